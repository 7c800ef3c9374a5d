//! Which calls a backup and a restore make: what a store has to allow, what a command costs, and that a crash between
//! any two of them loses nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use obnam::backup::{Options, Watch, run};
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::format::roster::Parameters;
use obnam::repository::Repository;
use obnam::repository::open::open;
use obnam::select::{Marker, Patterns, Selection};
use obnam::store::memory::MemoryStore;
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError};
use support::*;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Put(Label, ChunkId, Bytes),
    Get(Label, ChunkId, Option<Range<u64>>),
    Stat(Label),
    List(String),
    Remove(Label),
}

impl Call {
    /// The verb and the family of the label.
    fn kind(&self) -> String {
        match self {
            Call::Put(label, ..) => format!("put {}", label.family()),
            Call::Get(label, ..) => format!("get {}", label.family()),
            Call::Stat(label) => format!("stat {}", label.family()),
            Call::List(filter) => format!("list {filter}"),
            Call::Remove(label) => format!("remove {}", label.family()),
        }
    }
}

/// Passes everything on and writes it down.
struct Recorder {
    inner: Arc<MemoryStore>,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl ChunkStore for Recorder {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.inner.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        let done = self.inner.put(label, id, bytes.clone());
        self.note(Call::Put(label.clone(), *id, bytes));
        done
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.note(Call::Get(label.clone(), *id, range.clone()));
        self.inner.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.note(Call::Stat(label.clone()));
        self.inner.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.note(Call::List(filter.to_wire()));
        self.inner.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.note(Call::Remove(label.clone()));
        self.inner.remove(label, id)
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

fn recorded(world: &World, machine: &str) -> (Arc<Recorder>, Repository) {
    let recorder = Arc::new(Recorder { inner: world.store.clone(), calls: Mutex::default() });
    let place = world.place_of(recorder.clone(), machine);
    let repository = open(place, &world.secret, Some(world.made.repository)).unwrap();
    (recorder, repository)
}

fn kinds(calls: &[Call]) -> Vec<String> {
    let mut kinds: Vec<String> = calls.iter().map(Call::kind).collect();
    kinds.sort();
    kinds
}

fn many(count: u64) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|n| (format!("d{}/f{n}", n % 7), noise(n, 700 + n as usize))).collect()
}

fn source(world: &World, name: &str, count: u64) -> std::path::PathBuf {
    let files = many(count);
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    world.source(name, &files)
}

#[test]
fn a_backup_needs_only_puts_and_reading_of_small_labels() {
    let world = World::new();
    let source = source(&world, "s", 100);
    for change in 0..3 {
        std::fs::write(source.join("changing"), noise(1000 + change, 5000)).unwrap();
        let (recorder, repository) = recorded(&world, "first");
        backup(&repository, &source);
        for call in recorder.take() {
            let small = ["credential", "client", "repository", "roster", "snapshot", "index", "tombstone", "note"];
            let allowed = match &call {
                Call::Put(label, ..) => ["data", "tree", "index", "snapshot"].contains(&label.family()),
                Call::Get(label, _, range) => small.contains(&label.family()) && range.is_none(),
                Call::List(filter) => small.contains(&filter.trim_end_matches('.')),
                Call::Stat(_) | Call::Remove(_) => false,
            };
            assert!(allowed, "{}", call.kind());
        }
    }
}

#[test]
fn an_unchanged_backup_makes_a_constant_number_of_calls() {
    let mut seen = Vec::new();
    for count in [100, 1000] {
        let world = World::with(Parameters::default());
        let source = source(&world, "s", count);
        backup(&world.open(), &source);
        let (recorder, repository) = recorded(&world, "first");
        let opening = recorder.take();
        assert!(opening.len() <= 4, "{:?}", kinds(&opening));
        let outcome = backup(&repository, &source);
        // Directories above the source may have changed: others work there. That makes one more pack.
        assert!(outcome.snapshot.statistics.new_bytes < 5000);
        let mut kinds = kinds(&recorder.take());
        if let Some(pack) = kinds.iter().position(|kind| kind == "put data") {
            kinds.remove(pack);
        }
        seen.push(kinds);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(
        seen[0],
        ["list index.", "list note.", "list snapshot.", "list tombstone", "list tombstone", "put snapshot"],
        "no chunk is read that the machine has, and one is written"
    );
}

#[test]
fn a_first_backup_counts_ahead_what_it_will_read() {
    let world = World::new();
    let source = source(&world, "s", 50);
    for (name, size) in [("large", 100_000), ("x.tmp", 10), ("off/.no", 3), ("off/file", 5_000), ("ignored", 70)] {
        std::fs::create_dir_all(source.join("off")).unwrap();
        std::fs::write(source.join(name), noise(1, size)).unwrap();
    }
    std::fs::write(source.join(".ignore"), "ignored\n").unwrap();
    std::fs::hard_link(source.join("d1/f1"), source.join("again")).unwrap();
    let select = Selection {
        patterns: Patterns::parse(["*.tmp"]).unwrap(),
        markers: vec![Marker::parse(".no").unwrap()],
        ignore_files: vec![".ignore".into()],
        larger_than: Some(50_000),
        ..Selection::default()
    };
    let options = Options { select, ..options(&source) };
    let counted = Arc::new(AtomicBool::new(false));
    let wait = counted.clone();
    let hold = move |_: &Path, _: bool| {
        while !wait.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let watch = Watch { counts_ahead: true, listener: Some(Box::new(hold)), ..Watch::default() };
    let repository = world.open();
    let outcome = std::thread::scope(|scope| {
        let backup = scope.spawn(|| run(&repository, &options, &watch).unwrap());
        while watch.counted.get().is_none() && !backup.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        counted.store(true, Ordering::Relaxed);
        backup.join().unwrap()
    });
    assert_eq!(watch.counted.get(), Some(&outcome.snapshot.statistics.bytes));
    assert_eq!((watch.total(), watch.expected.get()), (watch.counted.get().copied(), Some(&None)));
    // The next one knows it from this one.
    let watch = Watch { counts_ahead: true, ..Watch::default() };
    run(&repository, &options, &watch).unwrap();
    assert_eq!((watch.total(), watch.counted.get()), (Some(outcome.snapshot.statistics.bytes), None));
}

#[test]
fn a_tiny_backup_is_two_chunks() {
    let world = World::with(Parameters::default());
    let source = source(&world, "s", 20);
    let (recorder, repository) = recorded(&world, "first");
    recorder.take();
    backup(&repository, &source);
    let puts: Vec<_> = kinds(&recorder.take()).into_iter().filter(|kind| kind.starts_with("put")).collect();
    assert_eq!(puts, ["put data", "put snapshot"]);
}

#[test]
fn packs_come_before_the_index_and_the_index_before_the_snapshot() {
    // More than 2,000 blobs, so that the index is a chunk of its own.
    let world = World::with(Parameters { data_pack: 64 << 10, ..small_parameters() });
    let source = source(&world, "s", 2200);
    let (recorder, repository) = recorded(&world, "first");
    recorder.take();
    backup(&repository, &source);
    let puts: Vec<_> = recorder.take().iter().map(Call::kind).filter(|kind| kind.starts_with("put")).collect();
    assert!(puts.len() > 20, "{puts:?}");
    let (last, before) = puts.split_last().unwrap();
    assert_eq!(last, "put snapshot");
    let (index, packs) = before.split_last().unwrap();
    assert_eq!(index, "put index");
    assert!(packs.iter().all(|kind| kind == "put data" || kind == "put tree"), "{packs:?}");
}

#[test]
fn a_crash_after_any_call_loses_nothing() {
    // Two sizes: the index in the snapshot, and in a chunk of its own with many more calls.
    for (count, step) in [(120, 1), (2300, 37)] {
        let world = World::with(Parameters { data_pack: 32 << 10, ..small_parameters() });
        let source = source(&world, "s", 20);
        let old_tree = tree(&source);
        let old = backup(&world.open(), &source).id;
        let start = world.copy();

        let more = many(count);
        let more: Vec<(&str, Vec<u8>)> = more.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        world.source("s", &more);
        let new_tree = tree(&source);
        let (recorder, repository) = recorded(&world, "first");
        let new = backup(&repository, &source).id;
        let puts: Vec<Call> = recorder.take().into_iter().filter(|call| matches!(call, Call::Put(..))).collect();
        assert!(puts.len() >= 3, "{:?}", kinds(&puts));

        let lengths: std::collections::BTreeSet<usize> =
            (0..puts.len()).step_by(step).chain([puts.len() - 1, puts.len()]).collect();
        for length in lengths {
            let store = Arc::new(MemoryStore::default());
            *store.chunks.lock().unwrap() = start.chunks.lock().unwrap().clone();
            for call in &puts[..length] {
                let Call::Put(label, id, bytes) = call else { unreachable!() };
                store.put(label, id, bytes.clone()).unwrap();
            }
            let machine = format!("after {count} {length}");
            let open_here =
                || open(world.place_of(store.clone(), &machine), &world.secret, Some(world.made.repository)).unwrap();
            let repository = open_here();
            let (snapshots, _) = load(&repository);
            let ids: Vec<_> = snapshots.iter().map(|info| info.id).collect();
            let expected = if length == puts.len() { vec![old, new] } else { vec![old] };
            assert_eq!(ids, expected, "after {length} of {} calls", puts.len());
            assert_restores(&repository, &old, &source, &old_tree);
            let report = check(&repository, true);
            assert_eq!(report.errors(), 0, "{:#?}", report.findings);
            let outcome = backup(&open_here(), &source);
            assert_restores(&open_here(), &outcome.id, &source, &new_tree);
            let report = check(&open_here(), true);
            assert_eq!(report.errors(), 0, "{:#?}", report.findings);
            let only = ["pack-unindexed"];
            assert!(report.findings.iter().all(|found| only.contains(&found.code)), "{:#?}", report.findings);
        }
    }
}

#[test]
fn a_restore_reads_each_pack_once() {
    let world = World::with(Parameters { data_pack: 64 << 10, tree_pack: 64 << 10, ..small_parameters() });
    let source = source(&world, "s", 600);
    let before = tree(&source);
    let outcome = backup(&world.open(), &source);
    let (data, trees) = (world.chunks("data").len(), world.chunks("tree").len());
    assert!(data >= 8 && trees >= 1, "{data} data packs, {trees} tree packs");
    let (recorder, repository) = recorded(&world, "first");
    let (snapshots, index) = load(&repository);
    recorder.take();
    let root = &snapshots.iter().find(|info| info.id == outcome.id).unwrap().snapshot.root;
    let restored = restore_root(&repository, &index, root);
    assert_eq!(restored.problems, []);
    assert!(tree(&restored.at(&source)) == before);
    let calls = recorder.take();
    let gets = |family: &str| {
        let of = |call: &&Call| matches!(call, Call::Get(label, ..) if label.family() == family);
        calls.iter().filter(of).count()
    };
    assert!(gets("tree") <= trees, "{} reads of {trees} tree packs", gets("tree"));
    // The first pack of a backup may hold trees and data: each tree piece in it is a read of its own.
    assert!(gets("data") <= data + 8, "{} reads of {data} data packs", gets("data"));
    assert_eq!(gets("tree") + gets("data"), calls.len(), "{:?}", kinds(&calls));
}
