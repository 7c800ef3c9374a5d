//! Roles and keys: clients that may write but not read, several key sets, tombstones, and lists that outgrow a snapshot.
#![allow(clippy::unwrap_used)]

mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::format::blob::BlobKind;
use obnam::format::roster::{GroupKeys, Parameters, Role};
use obnam::format::signed::Context;
use obnam::format::tombstone::{Forgotten, Tombstone};
use obnam::format::{Time, to_cbor};
use obnam::repository::RepositoryError;
use obnam::repository::blobs::BlobReader;
use obnam::repository::open::open;
use obnam::restore::{self, RestoreError};
use obnam::store::memory::MemoryStore;
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError};
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("a", noise(1, 40_000)), ("dir/b", noise(2, 90_000)), ("words", b"some words".to_vec())]
}

/// Nothing new but directories above the source, in which others work.
fn assert_parents_only(outcome: &obnam::backup::Outcome) {
    let statistics = &outcome.snapshot.statistics;
    assert!(statistics.new_blobs <= 6 && statistics.new_bytes < 5000, "{statistics:?}");
}

#[test]
fn writer_without_the_role_reader_opens_no_pack() {
    let world = World::new();
    let party = world.party("writer");
    let roster = world.admit(vec![(&party, vec![Role::Writer], None)]);
    let source = world.source("s", &files());
    let before = tree(&source);
    let repository = world.open_as(&party);
    assert!(!repository.can_read());

    // Two backups: the second stores nothing but its snapshot.
    let first = backup(&repository, &source);
    let packs = |world: &World| world.chunks("data").len() + world.chunks("tree").len();
    let count = packs(&world);
    assert!(count > 0 && first.snapshot.statistics.new_bytes > 130_000);
    let second = backup(&world.open_as(&party), &source);
    assert_parents_only(&second);
    assert_eq!(second.snapshot.statistics.bytes, first.snapshot.statistics.bytes);
    assert!(packs(&world) <= count + 1);
    // Without any cache, everything is read again, and nothing is stored again.
    let cold = open(world.place("cold"), &party.secret, None).unwrap();
    let third = backup(&cold, &source);
    assert_eq!(third.snapshot.statistics.unchanged_files, 0);
    assert_parents_only(&third);
    assert_eq!(third.snapshot.sequence, 3);

    // It reads nothing of all that.
    let repository = world.open_as(&party);
    let (snapshots, index) = load(&repository);
    assert_eq!(snapshots.len(), 3, "snapshots themselves can be listed");
    let root = &snapshots[0].snapshot.root;
    let tmp = tempfile::tempdir().unwrap();
    let options = restore::Options::new(tmp.path().join("t"));
    let refused =
        restore::run(&repository, &index, &source_of(root), &options, &restore::Watch::default()).unwrap_err();
    assert!(
        matches!(refused, RestoreError::Repository(RepositoryError::NotAllowed { action: "restore" })),
        "{refused}"
    );
    assert!(!tmp.path().join("t").exists());
    let reader = BlobReader::new(&repository, &index);
    let mut blobs = 0;
    for run in &index.runs {
        for place in 0..run.len() {
            let record = run.record(place);
            assert!(reader.read(record.place.kind, &record.place.id).is_err());
            blobs += 1;
        }
    }
    assert!(blobs > 10);
    assert!(reader.find(root, b"/").unwrap().is_none());
    let (mut found, mut lost) = (0, 0);
    let count = |n: &mut i32| {
        *n += 1;
        Ok(())
    };
    reader.for_each_entry(root, |_| count(&mut found), |_| count(&mut lost)).unwrap();
    assert_eq!((found, lost), (0, 1));

    // Nor does anything that it holds: neither what the roster wraps for it, nor the secret halves that it has.
    let group = &roster.groups[0];
    let keys = GroupKeys::unwrap(&repository.id, &group.id.0, &group.key_sets[0], &party.keys.tag, &party.keys.hpke);
    let keys = keys.unwrap().unwrap();
    assert!(keys.data_private.is_none());
    for key in [&keys.blob_id, &keys.chunker, &keys.metadata] {
        let private = obnam::crypto::public::HpkePrivate::from_key(key.clone());
        assert_ne!(private.public().as_bytes(), keys.data_public.as_bytes());
    }
    for wrap in group.key_sets[0].wraps.iter().filter(|wrap| wrap.tag != party.keys.tag) {
        assert!(party.keys.hpke.open(b"obnam v1 key set", b"", &wrap.sealed).is_err());
    }
    let report = check(&repository, true);
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    assert!(report.findings.iter().any(|found| found.code == "not-a-reader"));

    // Readers read it.
    for id in [first.id, second.id, third.id] {
        assert_restores(&world.open(), &id, &source, &before);
    }
    assert_clean(&world.open());
}

#[test]
fn a_reader_that_is_no_writer_backs_up_nothing() {
    let world = World::new();
    let party = world.party("reader");
    world.admit(vec![(&party, vec![Role::Reader], None)]);
    let source = world.source("s", &files());
    let before = tree(&source);
    let own = backup(&world.open(), &source);
    let repository = world.open_as(&party);
    let chunks = world.chunks("").len();
    let refused = try_backup(&repository, &source).unwrap_err();
    assert!(matches!(refused, RepositoryError::NotAllowed { action: "back up" }), "{refused}");
    assert_eq!(world.chunks("").len(), chunks);
    assert_restores(&repository, &own.id, &source, &before);
}

#[test]
fn old_key_sets_still_open_what_they_sealed() {
    let world = World::new();
    let source = world.source("s", &files());
    let first_tree = tree(&source);
    let first = backup(&world.open(), &source);
    let mut roster = world.open().roster;
    rotate(&mut roster, &world.made.repository);
    world.write_roster(&mut roster);
    let repository = world.open();
    assert_eq!(repository.sealing_keys().epoch, 2);
    assert_restores(&repository, &first.id, &source, &first_tree);
    // New keys name blobs anew: nothing is deduplicated against what the old ones sealed.
    std::fs::write(source.join("new"), "new").unwrap();
    let second_tree = tree(&source);
    let second = backup(&repository, &source);
    assert!(second.snapshot.statistics.new_bytes > 130_000);
    let needed = repository.references_of(&second.snapshot).unwrap();
    let old = repository.references_of(&first.snapshot).unwrap();
    assert!(needed.iter().all(|pack| old.iter().all(|old| old.pack != pack.pack)));
    for repository in [world.open(), world.open_fresh()] {
        assert_restores(&repository, &first.id, &source, &first_tree);
        assert_restores(&repository, &second.id, &source, &second_tree);
        assert_clean(&repository);
    }
    assert_parents_only(&backup(&world.open(), &source));
    // A member that joins later gets all of them.
    let party = world.party("later");
    world.admit(vec![(&party, ALL.to_vec(), None)]);
    assert_restores(&world.open_as(&party), &first.id, &source, &first_tree);
}

fn tombstone(world: &World, packs: Vec<ChunkId>) {
    let payload = Tombstone { packs, created: Time::now(), grace: 86_400, snapshots: None, indexes: None };
    world.open().put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap();
}

#[test]
fn packs_under_a_tombstone_are_not_relied_on() {
    let world = World::new();
    let source = world.source("s", &files());
    let before = tree(&source);
    let first = backup(&world.open(), &source);
    let condemned: Vec<ChunkId> =
        world.open().references_of(&first.snapshot).unwrap().into_iter().map(|reference| reference.pack).collect();
    tombstone(&world, condemned.clone());
    let second = backup(&world.open(), &source);
    assert!(second.snapshot.statistics.new_bytes > 130_000);
    for reference in world.open().references_of(&second.snapshot).unwrap() {
        assert!(!condemned.contains(&reference.pack));
    }
    for id in &condemned {
        for of in ["data", "tree"] {
            world.store.remove(&label(of), id).unwrap();
        }
    }
    assert_restores(&world.open_fresh(), &second.id, &source, &before);
}

#[test]
fn only_maintainers_forget() {
    let world = World::new();
    let source = world.source("s", &files());
    let snapshots: Vec<_> = (0..3).map(|_| backup(&world.open(), &source).id).collect();
    let party = world.party("writer");
    world.admit(vec![(&party, vec![Role::Writer, Role::Reader], None)]);
    let writer = world.open_as(&party);
    let listing = writer.listing().unwrap();
    let all = writer.snapshots(&listing).unwrap();
    let doomed = snapshots[..1].iter().copied().collect();
    let refused = writer.forget(&listing, &all, &doomed).unwrap_err();
    assert!(matches!(refused, RepositoryError::NotAllowed { action: "forget snapshots" }), "{refused}");
    // A record that it signs all the same makes nothing vanish.
    let gone = Forgotten { id: snapshots[0], client: all[0].snapshot.client, sequence: 1, previous: None };
    let payload =
        Tombstone { packs: vec![], created: Time::now(), grace: 0, snapshots: Some(vec![gone]), indexes: None };
    writer.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap();
    let repository = world.open();
    let listing = repository.listing().unwrap();
    let all = repository.snapshots(&listing).unwrap();
    assert!(all.len() == 3 && all.iter().all(|info| !info.forgotten));
    // The newest one of a client stays, whatever is asked for.
    let everything = snapshots.iter().copied().collect();
    let outcome = repository.forget(&listing, &all, &everything).unwrap();
    assert_eq!(outcome.removed.len(), 2);
    let repository = world.open_fresh();
    let left = repository.snapshots(&repository.listing().unwrap()).unwrap();
    assert_eq!(left.iter().map(|info| info.id).collect::<Vec<_>>(), snapshots[2..]);
    assert_restores(&repository, &snapshots[2], &source, &tree(&source));
}

/// Calls something after each data pack that it stores.
struct Shared(Arc<MemoryStore>, Arc<dyn Fn() + Send + Sync>);

impl ChunkStore for Shared {
    fn init(&self) -> Result<(), StoreError> {
        self.0.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.0.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        let done = self.0.put(label, id, bytes);
        if label.as_str() == "data" {
            (self.1)();
        }
        done
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.0.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.0.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.0.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.0.remove(label, id)
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.0.check()
    }
    fn parallelism(&self) -> usize {
        self.0.parallelism()
    }
}

#[test]
fn a_tombstone_during_a_backup_makes_it_store_again() {
    let world = Arc::new(World::new());
    let source = world.source("s", &files());
    let first = backup(&world.open(), &source);
    let condemned: Vec<ChunkId> =
        world.open().references_of(&first.snapshot).unwrap().into_iter().map(|reference| reference.pack).collect();
    std::fs::write(source.join("more"), noise(3, 60_000)).unwrap();
    let before = tree(&source);
    let puts = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (puts, condemned, store) = (puts.clone(), condemned.clone(), world.store.clone());
        // Signed beforehand; it appears when the first new pack is stored.
        let copy = World::copy(&world);
        tombstone(&world, condemned);
        let (of, id, bytes) = world.chunks("tombstone").remove(0);
        world.store.remove(&of, &id).unwrap();
        assert_eq!(*world.store.chunks.lock().unwrap(), *copy.chunks.lock().unwrap());
        move || {
            if puts.fetch_add(1, Ordering::SeqCst) == 0 {
                store.put(&of, &id, bytes.clone()).unwrap();
            }
        }
    };
    let place = world.place_of(Arc::new(Shared(world.store.clone(), Arc::new(hook))), "first");
    let repository = open(place, &world.secret, None).unwrap();
    let second = backup(&repository, &source);
    assert!(puts.load(Ordering::SeqCst) > 1);
    for reference in repository.references_of(&second.snapshot).unwrap() {
        assert!(!condemned.contains(&reference.pack), "a pack under a tombstone is relied on");
    }
    for id in &condemned {
        for of in ["data", "tree"] {
            world.store.remove(&label(of), id).unwrap();
        }
    }
    assert_restores(&world.open_fresh(), &second.id, &source, &before);
    assert_eq!(second.snapshot.sequence, 2);
}

#[test]
fn reference_lists_of_more_than_a_thousand_packs() {
    // A pack for each blob or two.
    let parameters = Parameters {
        chunk_min: 64,
        chunk_average: 256,
        chunk_max: 1024,
        data_pack: 1,
        tree_pack: 1,
        small: 0,
        ..small_parameters()
    };
    let world = World::with(parameters);
    let source = world.source("s", &[("a", noise(1, 600_000)), ("b", noise(2, 100_000))]);
    let before = tree(&source);
    let first = backup(&world.open(), &source);
    let packs = world.chunks("data").len() + world.chunks("tree").len();
    assert!(packs > 1024, "{packs} packs");
    let pieces = first.snapshot.references.pieces.clone().expect("the long form");
    assert!(first.snapshot.references.inline.is_none());
    assert!(!pieces.is_empty());
    for repository in [world.open(), world.open_fresh()] {
        let listed = repository.references_of(&first.snapshot).unwrap();
        let mut expected: Vec<ChunkId> =
            ["data", "tree"].iter().flat_map(|of| world.chunks(of)).map(|(_, id, _)| id).collect();
        expected.sort();
        assert_eq!(listed.iter().map(|reference| reference.pack).collect::<Vec<_>>(), expected);
        let live: u64 = listed.iter().map(|reference| reference.live).sum();
        let stored: u64 = index_records(&repository).iter().map(|(_, stored)| u64::from(*stored)).sum();
        assert_eq!(live, stored, "all that was stored is needed");
    }
    let index_chunks = world.chunks("index.").len() - pieces.len();
    // The next one has all pieces but those that changed.
    std::fs::write(source.join("c"), noise(3, 300)).unwrap();
    let second = backup(&world.open(), &source);
    let next = second.snapshot.references.pieces.clone().expect("the long form");
    // What is cut alike is not stored again.
    for piece in &next {
        let before = pieces.iter().find(|before| before.digest == piece.digest);
        assert!(before.is_none_or(|before| before.chunk == piece.chunk));
    }
    let chunks: std::collections::BTreeSet<_> = pieces.iter().chain(&next).map(|piece| piece.digest).collect();
    assert_eq!(world.chunks("index.").len(), chunks.len() + index_chunks, "one chunk for each piece that differs");
    assert_eq!(
        world.open().references_of(&second.snapshot).unwrap().len() as u64,
        packs as u64 + new_packs(&world, packs)
    );
    assert_restores(&world.open_fresh(), &first.id, &source, &{
        let mut before = before;
        before.entry("".into()).and_modify(|root| root.1 = restored_time(&world, &first.id, &source));
        before
    });
    assert_clean(&world.open_fresh());
}

fn new_packs(world: &World, before: usize) -> u64 {
    // Packs of directories that were replaced are not needed any more.
    let now = world.chunks("data").len() + world.chunks("tree").len();
    let snapshots = load(&world.open()).0;
    let (first, second) = (&snapshots[0], &snapshots[1]);
    let of = |info| world.open().references(info).unwrap().into_iter().map(|reference| reference.pack);
    let needed: std::collections::BTreeSet<_> = of(second).collect();
    let gone = of(first).filter(|pack| !needed.contains(pack)).count();
    (now - before - gone) as u64
}

fn restored_time(world: &World, id: &ChunkId, source: &std::path::Path) -> (i64, i64) {
    tree(&restore(&world.open(), id).at(source))[std::path::Path::new("")].1
}

fn index_records(repository: &obnam::repository::Repository) -> Vec<(BlobKind, u32)> {
    let (_, index) = load(repository);
    let all = index.runs.iter().flat_map(|run| (0..run.len()).map(|place| run.record(place).place));
    all.map(|place| (place.kind, place.stored)).collect()
}

#[test]
fn an_index_chunk_in_the_middle_of_a_backup() {
    // More than 128 Ki blobs.
    let parameters = Parameters {
        chunk_min: 64,
        chunk_average: 256,
        chunk_max: 320,
        compression_level: 1,
        data_pack: 1 << 20,
        ..Parameters::default()
    };
    let world = World::with(parameters);
    let half = noise(9, 14 << 20);
    let files: Vec<(String, Vec<u8>)> =
        (0u64..6).map(|n| (format!("f{n}"), if n < 4 { noise(n, 7 << 20) } else { half.clone() })).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let source = world.source("s", &files);
    let before = tree(&source);
    let outcome = backup(&world.open(), &source);
    let blobs = outcome.snapshot.statistics.new_blobs;
    assert!(blobs > 128 << 10, "{blobs} blobs");
    let segments = world.chunks("index.").len();
    assert!(segments >= 2, "{segments} index chunks for {blobs} blobs");
    assert_eq!(index_records(&world.open_fresh()).len() as u64, blobs);
    assert_restores(&world.open_fresh(), &outcome.id, &source, &before);
    assert_clean(&world.open_fresh());
    let references = world.open().references_of(&outcome.snapshot).unwrap();
    let live: u64 = references.iter().map(|reference| reference.live).sum();
    let stored: u64 = index_records(&world.open()).iter().map(|(_, stored)| u64::from(*stored)).sum();
    assert_eq!(live, stored);
    // And what an interrupted backup has stored by then is found by the next one.
    let of = label(&format!("snapshot.{}", world.made.client));
    world.store.remove(&of, &outcome.id).unwrap();
    let again = backup(&world.open_fresh(), &source);
    assert!(again.snapshot.statistics.new_blobs < 50, "{:?}", again.snapshot.statistics);
    assert_restores(&world.open_fresh(), &again.id, &source, &before);
}
