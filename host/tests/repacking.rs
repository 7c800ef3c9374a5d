//! Repacking: what is needed of a pack goes into another one, nothing is lost on the way, and reference lists lead there.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obnam::chunk::ChunkId;
use obnam::format::blob::BlobKind;
use obnam::format::content::Content;
use obnam::format::index::Moved;
use obnam::format::ordinals::Ordinals;
use obnam::format::references::{Encoded, Reference, References};
use obnam::format::roster::{Removed, Role};
use obnam::repository::Repository;
use obnam::repository::open::open;
use obnam::repository::pruning::{Budget, Options};
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];
const HOUR: Duration = Duration::from_secs(3600);
const FILES: u64 = 12;

/// Files that go into few packs, with contents by these numbers.
fn fill(source: &Path, contents: impl Fn(u64) -> u64) {
    for number in 0..FILES {
        fs::write(source.join(format!("file {number}")), noise(1000 * number + contents(number), 1500)).unwrap();
    }
}

/// A backup whose snapshot is kept and needs some blobs of packs whose other blobs nobody needs.
fn with_holes(world: &World) -> (ChunkId, PathBuf, Tree) {
    let source = world.source("s", &[]);
    fill(&source, |_| 0);
    let first = backup(&world.open(), &source).id;
    fill(&source, |number| number % 2);
    let last = backup(&world.open(), &source).id;
    forget(&world.open(), [first]);
    let before = tree(&source);
    (last, source, before)
}

#[test]
fn what_is_needed_is_copied_and_the_rest_goes() {
    let world = World::new();
    let (last, source, before) = with_holes(&world);
    let all = packs(&world);
    let dry = prune_with(&world.open(), &Options { dry_run: true, ..all_blobs() }).unwrap();
    assert_eq!(packs(&world), all);
    assert!(dry.repacked.packs > 0 && dry.waste > 5000, "{dry:#?}");
    let whole = prune(&world.open());
    assert_eq!((whole.repacked.packs, whole.waste), (0, dry.waste));
    let report = repack(&world.open());
    assert_eq!((report.repacked, report.waste), (dry.repacked, dry.waste));
    assert!(report.written.bytes < report.repacked.bytes, "{report:#?}");
    assert_only_needed(&world);
    for repository in [world.open(), world.open_fresh()] {
        assert_restores(&repository, &last, &source, &before);
        assert_clean(&repository);
    }
    // The next backup relies on the new packs.
    let next = backup(&world.open(), &source);
    assert!(next.snapshot.statistics.new_bytes < 2000, "{:?}", next.snapshot.statistics);
    let again = repack(&world.open());
    assert_eq!((again.waste, again.repacked.packs, again.removed.packs), (0, 0, 0), "{again:#?}");
}

#[test]
fn years_of_repacking() {
    let world = World::new();
    let source = world.source("s", &[]);
    let mut kept: VecDeque<(ChunkId, Tree)> = VecDeque::new();
    let mut repacked = 0;
    for round in 0..14u64 {
        fill(&source, |number| round / (1 + (number + round) % 5));
        kept.push_back((backup(&world.open(), &source).id, tree(&source)));
        if kept.len() > 4 {
            // Not always the oldest: what is needed has holes of all kinds.
            let (gone, _) = kept.remove(if round % 3 == 0 { 2 } else { 0 }).unwrap();
            forget(&world.open(), [gone]);
        }
        repacked += repack(&world.open()).repacked.packs;
        assert_only_needed(&world);
        let repository = world.open_fresh();
        assert_clean(&repository);
        for (id, before) in &kept {
            assert_restores(&repository, id, &source, before);
        }
    }
    assert!(repacked > 8, "{repacked}");
    let (indexes, tombstones) = (world.chunks("index.").len(), world.chunks("tombstone").len());
    pass(&world.store, 100 * 24 * HOUR);
    repack(&world.open());
    fill(&source, |number| number % 2);
    backup(&world.open(), &source);
    let newest = kept.pop_back().unwrap().0;
    forget(&world.open(), kept.into_iter().map(|(id, _)| id).chain([newest]));
    repack(&world.open());
    assert_only_needed(&world);
    assert!(world.chunks("tombstone").len() < tombstones, "{tombstones} tombstones, {indexes} index chunks");
}

#[test]
fn budgets_are_kept() {
    let world = World::new();
    let (_, source, before) = with_holes(&world);
    let budget = |budget: Budget| Options { budget, ..all_blobs() };
    let full = prune_with(&world.open(), &Options { dry_run: true, ..all_blobs() }).unwrap();
    let unused = all_blobs().budget.max_unused;
    let little = Budget { max_unused: unused, max_repack: Some(full.written.bytes / 2), max_time: None };
    let report = prune_with(&world.open(), &Options { dry_run: true, ..budget(little) }).unwrap();
    assert!(report.written.bytes <= full.written.bytes / 2, "{report:#?}");
    let no_time = Budget { max_unused: unused, max_repack: None, max_time: Some(Duration::ZERO) };
    assert_eq!(prune_with(&world.open(), &budget(no_time)).unwrap().repacked.packs, 0);
    let usual = prune_with(&world.open(), &Options::default()).unwrap();
    assert!(usual.repacked.packs > 0 && usual.repacked.packs <= full.repacked.packs, "{usual:#?}");
    let last = load(&world.open()).0.last().unwrap().id;
    assert_restores(&world.open_fresh(), &last, &source, &before);
}

#[test]
fn what_is_needed_again_meanwhile_stays() {
    let world = Arc::new(World::new());
    let other = world.party("other");
    world.admit(vec![(&other, ALL.to_vec(), None)]);
    let (last, source, before) = with_holes(&world);
    let old = world.source("old", &[]);
    fill(&old, |_| 0);
    let old_tree = tree(&old);
    pass(&world.store, 25 * HOUR);
    let elsewhere = world.source("elsewhere", &[("e", b"the time at the store".to_vec())]);
    backup(&world.open(), &elsewhere);
    let (other_secret, place) = (other.secret.clone(), world.place(&other.name));
    let committed = Arc::new(Mutex::new(None));
    let (id, from) = (world.made.repository, old.clone());
    let noted = committed.clone();
    let place = Mutex::new(Some(place));
    // The other client backs up what nobody needed, right before the packs are marked, and relies on them.
    let meanwhile = move || {
        let repository = open(place.lock().unwrap().take().unwrap(), &other_secret, Some(id)).unwrap();
        let outcome = backup(&repository, &from);
        assert!(outcome.snapshot.statistics.new_bytes < 3000, "{:?}", outcome.snapshot.statistics);
        *noted.lock().unwrap() = Some(outcome.id);
    };
    let sleepy = Arc::new(Sleepy::new(world.store.clone(), 0, meanwhile));
    let repository = open(world.place_of(sleepy, "first"), &world.secret, None).unwrap();
    let report = repack(&repository);
    assert!(report.repacked.packs > 0 && report.removed.packs == 0, "{report:#?}");
    let theirs = committed.lock().unwrap().unwrap();
    for _ in 0..3 {
        pass(&world.store, 25 * HOUR);
        backup(&world.open(), &elsewhere);
        repack(&world.open());
        let repository = world.open_fresh();
        assert_clean(&repository);
        assert_restores(&repository, &theirs, &old, &old_tree);
        assert_restores(&repository, &last, &source, &before);
    }
}

#[test]
fn what_is_left_is_kept_when_an_index_chunk_is_lost() {
    let world = World::new();
    let (last, source, before) = with_holes(&world);
    assert!(repack(&world.open()).repacked.packs > 0);
    let all = packs(&world);
    let indexes: Vec<_> = world.chunks("index.").into_iter().map(|(label, id, _)| (label, id)).collect();
    assert!(!indexes.is_empty());
    for name in &indexes {
        world.store.chunks.lock().unwrap().remove(name).unwrap();
    }
    pass(&world.store, 200 * 24 * HOUR);
    let report = repack(&world.open_fresh());
    assert!(report.missing > 0 && report.removed.packs == 0, "{report:#?}");
    assert_eq!(packs(&world), all);
    world.open_fresh().repair_index(&|_, _| false, false).unwrap();
    for _ in 0..2 {
        let repository = world.open_fresh();
        assert_restores(&repository, &last, &source, &before);
        assert_clean(&repository);
        assert_eq!(repack(&repository).removed.packs, 0);
    }
}

/// Says of a pack of nothing that all blobs of these packs were moved into it.
fn lie(repository: &Repository, packs: &[(ChunkId, u32)]) {
    let forger = Forger::new(repository);
    let many = noise(5, 4000);
    let blobs: Vec<(BlobKind, &[u8])> = many.chunks(4).map(|some| (BlobKind::Data, some)).collect();
    let pack = forger.pack("data", &blobs);
    let mut payload = forger.index_of(&[&pack]);
    let moves = packs
        .iter()
        .map(|(from, from_count)| Moved {
            from: *from,
            from_count: *from_count,
            bits: Ordinals::all(*from_count).as_bytes().to_vec(),
            to: pack.id,
            to_count: pack.blobs.len() as u32,
            first: 0,
        })
        .collect();
    payload.moves = Some(moves);
    forger.index(&payload);
}

#[test]
fn only_maintainers_move() {
    let world = World::new();
    let (hostile, removed) = (world.party("hostile"), world.party("removed"));
    world.admit(vec![(&hostile, vec![Role::Writer, Role::Reader], None), (&removed, ALL.to_vec(), None)]);
    let (last, source, before) = with_holes(&world);
    let snapshots = load(&world.open()).0;
    let (_, index) = load(&world.open());
    let mut counts = std::collections::BTreeMap::new();
    for run in &index.runs {
        for place in 0..run.len() {
            *counts.entry(run.pack(run.pack_of(place)).unwrap().info.id).or_insert(0u32) += 1;
        }
    }
    let counts: Vec<(ChunkId, u32)> = counts.into_iter().collect();
    assert!(counts.len() > 1 && !snapshots.is_empty());
    lie(&world.open_as(&hostile), &counts);
    lie(&world.open_as(&removed), &counts);
    let mut roster = world.open().roster.clone();
    let member = roster.members.iter_mut().find(|member| member.tag == removed.keys.tag).unwrap();
    member.removed = Some(Removed { sequence: 0, snapshot: None });
    world.write_roster(&mut roster);
    for _ in 0..4 {
        pass(&world.store, 48 * HOUR);
        let elsewhere = world.source("elsewhere", &[("e", b"the time at the store".to_vec())]);
        backup(&world.open(), &elsewhere);
        repack(&world.open());
        let repository = world.open_fresh();
        assert_restores(&repository, &last, &source, &before);
        assert_clean(&repository);
    }
}

#[test]
fn a_writer_cannot_say_later_that_its_pack_holds_something_else() {
    let world = World::new();
    let party = world.party("hijacked");
    world.admit(vec![(&party, vec![Role::Writer, Role::Reader], None)]);
    let hijacked = world.open_as(&party);
    let forger = Forger::new(&hijacked);
    // A snapshot from better times needs the second of three blobs.
    let blobs = [noise(1, 3000), noise(2, 3000), noise(3, 3000)];
    let pack = forger.pack("data", &blobs.each_ref().map(|bytes| (BlobKind::Data, bytes.as_slice())));
    let mut used = Ordinals::none(3);
    used.insert(1);
    let mut snapshot = forger.snapshot(1, Content::new(0, &[]), None);
    let needed = Encoded::of(&[Reference { pack: pack.id, live: 3000, used: Some(used) }]);
    snapshot.references = References { inline: Some(needed.records), used: needed.used, pieces: None };
    forger.put_snapshot(&snapshot);
    // Now the index says that the third one is the second of three.
    let mut lie = pack.clone();
    lie.blobs[0].stored += lie.blobs[1].stored;
    lie.blobs[1] = lie.blobs[2];
    lie.blobs[2].offset += lie.blobs[2].stored;
    lie.blobs[2].stored = 10;
    forger.index(&forger.index_of(&[&lie]));
    for _ in 0..3 {
        pass(&world.store, 48 * HOUR);
        let elsewhere = world.source("elsewhere", &[("e", b"the time at the store".to_vec())]);
        backup(&world.open(), &elsewhere);
        let repository = world.open();
        assert_eq!(repack(&repository).repacked.packs, 0);
        let warned = repository.warnings.all().iter().any(|warning| warning.code == "pack-damaged");
        assert!(warned && packs(&world).contains(&pack.id));
    }
}

#[test]
fn packs_that_are_stored_while_it_looks_are_not_missing() {
    let world = Arc::new(World::new());
    let other = world.party("other");
    world.admit(vec![(&other, ALL.to_vec(), None)]);
    let (last, source, before) = with_holes(&world);
    let new = world.source("new", &[("new", noise(77, 9000))]);
    let new_tree = tree(&new);
    let place = Mutex::new(Some(world.place(&other.name)));
    let (secret, id, from) = (other.secret.clone(), world.made.repository, new.clone());
    // Lists are one request each: packs come first, and the snapshot that needs others right after them.
    let meanwhile = move || {
        let Some(place) = place.lock().unwrap().take() else { return };
        backup(&open(place, &secret, Some(id)).unwrap(), &from);
    };
    let store = Arc::new(Sleepy::after_packs(world.store.clone(), meanwhile));
    let report = repack(&open(world.place_of(store, "first"), &world.secret, None).unwrap());
    assert_eq!((report.missing, report.snapshots), (0, 2), "{report:#?}");
    let repository = world.open_fresh();
    assert_restores(&repository, &last, &source, &before);
    let theirs = load(&repository).0.iter().find(|info| info.snapshot.client == other.keys.tag).unwrap().id;
    assert_restores(&repository, &theirs, &new, &new_tree);
}
