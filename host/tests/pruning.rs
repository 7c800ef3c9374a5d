//! Pruning: what no snapshot needs goes, whatever happens meanwhile, and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obnam::chunk::ChunkId;
use obnam::format::blob::BlobKind;
use obnam::format::content::Content;
use obnam::format::references::{Encoded, Reference, References};
use obnam::format::roster::Role;
use obnam::format::signed::Context;
use obnam::format::tombstone::Tombstone;
use obnam::format::{Time, to_cbor};
use obnam::local::LocalError;
use obnam::local::lock::BackupLock;
use obnam::repository::open::open;
use obnam::repository::pruning::Options;
use obnam::repository::{Repository, RepositoryError};
use obnam::store::ChunkStore;
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];
const HOUR: Duration = Duration::from_secs(3600);

/// A backup of the directory with some bytes that no other backup has.
fn backup_of(repository: &Repository, source: &Path, seed: u64) -> ChunkId {
    fs::write(source.join("own"), noise(seed, 50_000)).unwrap();
    backup(repository, source).id
}

/// The packs that all snapshots together name.
fn needed(repository: &Repository) -> BTreeSet<ChunkId> {
    let snapshots = load(repository).0;
    let living = snapshots.iter().filter(|info| !info.forgotten);
    living.flat_map(|info| repository.references(info).unwrap()).map(|reference| reference.pack).collect()
}

/// Three backups, of which the first two are forgotten; the third one with its source.
fn with_garbage(world: &World) -> (ChunkId, PathBuf, Tree) {
    let source = world.source("s", &[("shared", noise(1, 60_000)), ("words", b"some words".to_vec())]);
    let first = [2, 3].map(|seed| backup_of(&world.open(), &source, seed));
    let last = backup_of(&world.open(), &source, 4);
    forget(&world.open(), first);
    let before = tree(&source);
    (last, source, before)
}

fn tombstone(repository: &Repository, packs: Vec<ChunkId>, grace: u64) {
    let payload = Tombstone { packs, created: Time::now(), grace, snapshots: None, indexes: None };
    repository.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap();
}

#[test]
fn who_is_alone_frees_space_at_once() {
    let world = World::new();
    let (last, source, before) = with_garbage(&world);
    let all = packs(&world);
    let dry = prune_with(&world.open(), &Options { dry_run: true, ..whole_packs() }).unwrap();
    assert_eq!(packs(&world), all);
    let report = prune(&world.open());
    assert_eq!((report.removed, report.needed), (dry.removed, dry.needed));
    assert!(report.removed.packs > 3 && report.removed.bytes > 50_000, "{report:?}");
    assert_eq!(packs(&world), needed(&world.open()));
    assert_eq!(packs(&world).len() as u64, report.needed.packs);
    for repository in [world.open(), world.open_fresh()] {
        assert_restores(&repository, &last, &source, &before);
        assert_clean(&repository);
        assert!(repository.warnings.all().is_empty());
    }
    // The next backup relies on what is there, and on nothing else.
    let statistics = backup(&world.open(), &source).snapshot.statistics;
    assert!(statistics.new_bytes < 5000, "{statistics:?}");
    backup_of(&world.open(), &source, 2);
    assert_clean(&world.open_fresh());
    let again = prune(&world.open());
    assert_eq!((again.removed.packs, again.marked.packs, again.indexes_written), (0, 0, 0), "{again:?}");
}

#[test]
fn beside_other_clients_marked_packs_have_their_grace() {
    let world = World::new();
    let other = world.party("other");
    world.admit(vec![(&other, ALL.to_vec(), None)]);
    let (last, source, before) = with_garbage(&world);
    let short = prune_with(&world.open(), &Options { grace: Some(HOUR / 2), ..Options::default() }).unwrap_err();
    assert!(matches!(short, RepositoryError::ShortGrace), "{short}");
    let young = prune(&world.open());
    assert!(young.young.packs > 2 && young.marked.packs == 0, "{young:?}");
    pass(&world.store, 25 * HOUR);
    // Something new at the store shows what time it is there.
    backup(&world.open_as(&other), &source);
    let marked = prune(&world.open()).marked;
    assert_eq!(marked, young.young);
    assert_clean(&world.open_fresh());
    pass(&world.store, 23 * HOUR);
    backup(&world.open(), &source);
    let waits = prune(&world.open());
    assert_eq!((waits.waiting, waits.removed.packs), (marked, 0));
    pass(&world.store, 2 * HOUR);
    // Nothing at the store is as young as that, so it is asked for its time.
    let tombstones = world.chunks("tombstone").len();
    let report = prune(&world.open_as(&other));
    assert_eq!(report.removed, marked);
    assert_eq!(packs(&world), needed(&world.open()));
    assert!(world.chunks("tombstone").len() <= tombstones);
    assert_restores(&world.open_as(&other), &last, &source, &before);
    for repository in [world.open(), world.open_fresh()] {
        assert_restores(&repository, &last, &source, &before);
        assert_clean(&repository);
    }
    // The tombstone stays for some time, and goes then; the record of what was forgotten does not.
    for days in [0, 89] {
        pass(&world.store, days * 24 * HOUR);
        backup(&world.open(), &source);
        prune(&world.open());
        assert_eq!(world.open().tombstoned().unwrap().len() as u64, marked.packs);
    }
    pass(&world.store, 2 * 24 * HOUR);
    backup(&world.open(), &source);
    prune(&world.open());
    assert!(world.open().tombstoned().unwrap().is_empty());
    assert_clean(&world.open_fresh());
}

#[test]
fn a_pack_that_is_needed_again_is_rescued() {
    let world = World::new();
    let other = world.party("other");
    world.admit(vec![(&other, ALL.to_vec(), None)]);
    let (last, source, before) = with_garbage(&world);
    let living: Vec<ChunkId> = needed(&world.open()).into_iter().collect();
    tombstone(&world.open_as(&other), living.clone(), 3600);
    pass(&world.store, 2 * HOUR);
    let report = prune(&world.open());
    assert_eq!(report.rescued.packs, living.len() as u64);
    assert_restores(&world.open_fresh(), &last, &source, &before);
    assert!(world.open().tombstoned().unwrap().is_disjoint(&living.into_iter().collect()));
}

#[test]
fn a_backup_runs_and_no_prune_where_nothing_is_waited_for() {
    let world = World::new();
    with_garbage(&world);
    let repository = world.open();
    let lock = BackupLock::take(repository.state_dir()).unwrap();
    let busy = prune_with(&repository, &Options::default()).unwrap_err();
    assert!(matches!(busy, RepositoryError::Local(LocalError::Locked { .. })), "{busy}");
    drop(lock);
    prune(&repository);
}

#[test]
fn a_writer_neither_prunes_nor_buries() {
    let world = World::new();
    let (last, source, before) = with_garbage(&world);
    let party = world.party("writer");
    world.admit(vec![(&party, vec![Role::Writer, Role::Reader], None)]);
    let writer = world.open_as(&party);
    let refused = prune_with(&writer, &Options::default()).unwrap_err();
    assert!(matches!(refused, RepositoryError::NotAllowed { action: "prune" }), "{refused}");
    // What it signs all the same hides no index and marks no pack.
    let indexes: Vec<ChunkId> =
        ["index.", "snapshot."].iter().flat_map(|of| world.chunks(of)).map(|(_, id, _)| id).collect();
    let packs: Vec<ChunkId> = packs(&world).into_iter().collect();
    let payload = Tombstone { packs, created: Time::now(), grace: 0, snapshots: None, indexes: Some(indexes) };
    writer.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap();
    assert_restores(&world.open_fresh(), &last, &source, &before);
    assert!(world.open().tombstoned().unwrap().is_empty());
}

#[test]
fn a_snapshot_that_cannot_be_read_may_need_anything() {
    let world = World::new();
    let (last, ..) = with_garbage(&world);
    let party = world.party("other");
    world.admit(vec![(&party, vec![Role::Writer, Role::Reader], None)]);
    let source = world.source("other", &[("theirs", noise(9, 70_000))]);
    let lost = backup(&world.open_as(&party), &source).id;
    let key = (label(&format!("snapshot.{}", party.keys.tag)), lost);
    let good = {
        let mut chunks = world.store.chunks.lock().unwrap();
        let (bytes, _) = chunks.get_mut(&key).unwrap();
        let good = bytes.clone();
        let mut bad = good.to_vec();
        bad[200] ^= 1;
        *bytes = bad.into();
        good
    };
    pass(&world.store, 48 * HOUR);
    let before = packs(&world);
    let refused = prune_with(&world.open_fresh(), &Options::default()).unwrap_err();
    assert!(matches!(refused, RepositoryError::Unprunable { snapshot, .. } if snapshot == lost), "{refused}");
    assert!(refused.to_string().contains("--give-up"), "{refused}");
    assert_eq!(packs(&world), before);
    // What nobody has signed may lie around, and hinders nothing.
    world.add(&format!("snapshot.{}", party.keys.tag), b"nothing".as_slice());
    world.store.chunks.lock().unwrap().get_mut(&key).unwrap().0 = good;
    let report = prune(&world.open_fresh());
    assert!(report.marked.packs > 2, "{report:?}");
    assert_eq!(report.snapshots, 2);
    // The user says that it is lost.
    world.store.chunks.lock().unwrap().get_mut(&key).unwrap().0 = b"gone".as_slice().into();
    let options = Options { give_up: vec![lost.to_string()[..8].to_owned()], ..Options::default() };
    let nobody = Options { give_up: vec!["ffff".into()], ..Options::default() };
    assert!(matches!(prune_with(&world.open_fresh(), &nobody), Err(RepositoryError::NoSnapshot(_))));
    let given_up = prune_with(&world.open_fresh(), &options).unwrap();
    assert_eq!(given_up.snapshots, 1);
    assert!(given_up.marked.packs > 0);
    assert!(load(&world.open_fresh()).0.iter().any(|info| info.id == last));
    // That lasts: it is recorded as forgotten, and gone.
    assert!(world.store.stat(&key.0, &lost).is_err());
    let fresh = world.open_fresh();
    prune(&fresh);
    let listing = fresh.listing().unwrap();
    let record = fresh.buried(&listing).unwrap().forgotten[&lost].clone();
    assert_eq!((record.client, record.sequence, record.previous), (party.keys.tag, 1, None));
    let warned = fresh.warnings.all();
    assert!(!warned.iter().any(|warning| warning.message.contains(&lost.to_string())), "{warned:?}");
}

#[test]
fn a_snapshot_is_given_up_where_nobody_else_backs_up() {
    let world = World::new();
    let (last, source, before) = with_garbage(&world);
    // The one before the last one; what only it needs goes at once.
    let between = backup_of(&world.open(), &source, 77);
    fs::write(source.join("own"), noise(2, 50_000)).unwrap();
    let newest = backup(&world.open(), &source).id;
    let key = (label(&format!("snapshot.{}", world.made.client)), between);
    world.store.chunks.lock().unwrap().get_mut(&key).unwrap().0 = b"gone".as_slice().into();
    let options = Options { give_up: vec![between.to_string()[..8].to_owned()], ..all_blobs() };
    let report = prune_with(&world.open_fresh(), &options).unwrap();
    assert!(report.removed.packs > 0, "{report:?}");
    let fresh = world.open_fresh();
    let ids: Vec<ChunkId> = load(&fresh).0.iter().map(|info| info.id).collect();
    assert!(ids.contains(&last) && ids.contains(&newest) && !ids.contains(&between));
    let listing = fresh.listing().unwrap();
    let (snapshots, forgotten) = (fresh.snapshots(&listing).unwrap(), &fresh.buried(&listing).unwrap().forgotten);
    let chains = obnam::audit::chains(&snapshots, forgotten);
    assert!(
        chains.values().all(|chain| chain.missing.is_empty() && chain.gaps.is_empty() && chain.aside.is_empty()),
        "{chains:#?}"
    );
    assert_restores(&fresh, &last, &source, &before);
}

#[test]
fn a_damaged_index_chunk_is_in_nobodys_way() {
    let world = World::new();
    let (last, source, before) = with_garbage(&world);
    // An index chunk of its own: what stood in forgotten snapshots.
    let (to, id, _) = world.chunks("index.").into_iter().next().unwrap();
    world.store.chunks.lock().unwrap().get_mut(&(to.clone(), id)).unwrap().0 = b"damaged".as_slice().into();
    pass(&world.store, 48 * HOUR);
    let report = prune(&world.open_fresh());
    assert_eq!(report.missing, 0);
    assert!(world.store.stat(&to, &id).is_ok(), "a prune leaves alone what it cannot read");
    let found = world.open_fresh().repair_index(&|_, _| false, true).unwrap();
    assert_eq!(found.unreadable.iter().map(|name| name.id).collect::<Vec<_>>(), [id]);
    world.open_fresh().repair_index(&|_, _| false, false).unwrap();
    assert!(world.store.stat(&to, &id).is_err());
    let fresh = world.open_fresh();
    prune(&fresh);
    assert_eq!(fresh.warnings.all(), []);
    assert_clean(&fresh);
    assert_restores(&fresh, &last, &source, &before);
}

#[test]
fn index_chunks_are_merged_and_nothing_is_laundered() {
    let world = World::new();
    let party = world.party("hostile");
    let victim = world.party("victim");
    world.admit(vec![
        (&party, vec![Role::Writer, Role::Reader], None),
        // It relies on the maintainer, and on nobody else.
        (&victim, ALL.to_vec(), Some(vec![world.made.client])),
    ]);
    let hostile = world.open_as(&party);
    let forger = Forger::new(&hostile);
    // A pack of something else, described as the pack of blobs that the victim is going to have; by others too.
    let contents = [noise(77, 1000), noise(78, 1000)];
    let named = contents.each_ref().map(|bytes| forger.hasher.id(BlobKind::Data, bytes));
    let pack = forger.pack_as("data", &named.map(|id| (BlobKind::Data, id, b"nothing of the kind".as_slice())));
    let dead = forger.pack("data", &[(BlobKind::Data, b"needed by nobody")]);
    for (sequence, writer) in (1..).zip([party.keys.tag, world.made.client, victim.keys.tag, party.keys.tag]) {
        let mut payload = forger.index_of(&[&pack, &dead]);
        payload.packs.iter_mut().for_each(|pack| pack.writer = writer);
        forger.index(&payload);
        let mut snapshot = forger.snapshot(sequence, Content::new(0, &[]), Some(&payload));
        let needed = Encoded::of(&[Reference { pack: pack.id, live: 10, used: None }]);
        snapshot.references = References { inline: Some(needed.records), ..References::default() };
        forger.put_snapshot(&snapshot);
    }
    let stores = |bytes: &[u8]| {
        let theirs = world.source("v", &[("bytes", bytes.to_vec())]);
        let outcome = backup(&world.open_as(&victim), &theirs);
        let references = world.open().references_of(&outcome.snapshot).unwrap();
        assert!(references.iter().all(|reference| reference.pack != pack.id));
        assert_restores(&world.open_fresh(), &outcome.id, &theirs, &tree(&theirs));
    };
    stores(&contents[0]);
    // The newest of its snapshots keeps the pack alive. The maintainer takes over what the indexes of the others say, and replaces the index
    // chunks, which name a pack that goes.
    let source = world.source("s", &[("shared", noise(1, 60_000))]);
    for seed in 0..20 {
        backup_of(&world.open(), &source, seed);
    }
    let snapshots: Vec<ChunkId> = load(&world.open()).0.iter().map(|info| info.id).collect();
    forget(&world.open(), snapshots);
    let mut reports = Vec::new();
    for _ in 0..3 {
        pass(&world.store, 48 * HOUR);
        backup(&world.open(), &source);
        reports.push(prune(&world.open()));
    }
    let replaced: u64 = reports.iter().map(|report| report.indexes_replaced).sum();
    assert!(replaced > 0 && !world.chunks("data").iter().any(|(_, id, _)| *id == dead.id), "{reports:#?}");
    assert!(world.chunks("data").iter().any(|(_, id, _)| *id == pack.id));
    stores(&contents[1]);
}

#[test]
fn a_backup_that_slept_for_days_hears_of_what_has_gone() {
    let world = Arc::new(World::new());
    let (_, source, _) = with_garbage(&world);
    fs::write(source.join("own"), noise(2, 50_000)).unwrap();
    fs::write(source.join("new"), noise(5, 30_000)).unwrap();
    let before = tree(&source);
    let other = world.party("other");
    world.admit(vec![(&other, ALL.to_vec(), None)]);
    pass(&world.store, 48 * HOUR);
    let there = world.clone();
    let meanwhile = move || {
        let world = &there;
        // Days pass: what it relies on is marked and removed.
        for _ in 0..4 {
            prune(&world.open());
            pass(&world.store, 48 * HOUR);
            let elsewhere = world.source("elsewhere", &[("e", noise(8, 100))]);
            backup(&world.open(), &elsewhere);
        }
        assert_eq!(packs(world), needed(&world.open()));
    };
    let place = world.place_of(Arc::new(Sleepy::new(world.store.clone(), 0, meanwhile)), &other.name);
    let repository = open(place, &other.secret, Some(world.made.repository)).unwrap();
    let outcome = backup(&repository, &source);
    assert!(needed(&world.open()).is_subset(&packs(&world)));
    assert_restores(&world.open_fresh(), &outcome.id, &source, &before);
}

#[test]
fn every_crash_leaves_all_snapshots_whole() {
    let world = World::new();
    let (last, source, before) = with_garbage(&world);
    let next = world.source("next", &[("more", noise(6, 40_000)), ("shared", noise(1, 60_000))]);
    let next_tree = tree(&next);
    let start = world.copy();
    type Operation = fn(&Repository, &Path) -> Result<(), RepositoryError>;
    let operations: [(&str, Operation); 3] = [
        ("prune", |repository, _| prune_with(repository, &all_blobs()).map(drop)),
        ("backup", |repository, source| try_backup(repository, source).map(drop)),
        ("forget", |repository, _| {
            let listing = repository.listing()?;
            let snapshots = repository.snapshots(&listing)?;
            let all = snapshots.iter().map(|info| info.id).collect();
            repository.forget(&listing, &snapshots, &all).map(drop)
        }),
    ];
    for (name, operation) in operations {
        let mut deaths = 0;
        for change in 0.. {
            let mut died = false;
            for completes in [false, true] {
                *world.store.chunks.lock().unwrap() = start.chunks.lock().unwrap().clone();
                if name == "forget" {
                    backup(&world.open_fresh(), &source);
                }
                let mortal = Arc::new(Mortal::new(world.store.clone(), change, completes));
                let machine = format!("{name}-{change}-{completes}");
                let place = world.place_of(mortal.clone(), &machine);
                let opened = open(place, &world.secret, Some(world.made.repository));
                let ended = opened.and_then(|repository| operation(&repository, &next));
                died |= mortal.is_dead();
                assert_eq!(ended.is_err(), mortal.is_dead(), "{name} {change}: {ended:?}");
                // As it is now, everything that was committed is there.
                let check = |when: &str| {
                    let repository = world.open_fresh();
                    assert_clean_but_for_left_overs(&repository, &format!("{name} {change} {completes}, {when}"));
                    for info in load(&repository).0.iter().filter(|info| !info.forgotten) {
                        let (path, expected) = if info.snapshot.paths[0].0.ends_with(b"next") {
                            (&next, &next_tree)
                        } else {
                            (&source, &before)
                        };
                        assert_restores(&repository, &info.id, path, expected);
                    }
                    if name != "forget" {
                        assert!(load(&repository).0.iter().any(|info| info.id == last));
                    }
                };
                check("at once");
                // The same machine goes on.
                let again = open(world.place(&machine), &world.secret, Some(world.made.repository)).unwrap();
                operation(&again, &next).unwrap();
                let other = backup(&again, &next);
                repack(&again);
                check("after the next run");
                assert!(load(&again).0.iter().any(|info| info.id == other.id));
                assert_only_needed(&world);
            }
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 3, "{name} makes {deaths} changes");
    }
}

/// What a crash may leave behind is worth a warning, no more.
fn assert_clean_but_for_left_overs(repository: &Repository, when: &str) {
    let report = check(repository, true);
    let others: Vec<_> = report.findings.iter().filter(|found| found.code != "pack-unindexed").collect();
    assert!(others.is_empty(), "{when}: {others:#?}");
}
