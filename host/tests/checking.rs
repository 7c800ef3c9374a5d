//! `check`, where this machine has copies of what is stored, and where the store fails as a whole.
#![allow(clippy::unwrap_used)]

mod support;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use obnam::check::{self, Options, Part, Severity, Watch};
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::repository::RepositoryError;
use obnam::repository::open::open;
use obnam::store::memory::MemoryStore;
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError, StoreErrorKind};
use support::*;

/// A machine that has made a snapshot has a copy of it, and so goes on without the store's. Others would not.
#[test]
fn what_this_machine_has_a_copy_of_is_read_from_the_store() {
    let world = World::new();
    let source = world.source("s", &[("file", noise(1, 20_000))]);
    let id = backup(&world.open(), &source).id;
    assert!(check(&world.open(), false).findings.is_empty());

    let (label, _, bytes) = world.chunks("snapshot.").remove(0);
    let (last, front) = bytes.split_last().unwrap();
    let damaged = [front, &[!last]].concat();
    world.store.chunks.lock().unwrap().get_mut(&(label.clone(), id)).unwrap().0 = damaged.into();
    for options in [None, Some(Part::Share { share: 1, shares: 1 }), Some(Part::All)] {
        let repository = world.open();
        let options = Options { read_data: options, max_age: None };
        let report = check::run(&repository, &options, &Watch::default()).unwrap();
        let expected = (Severity::Error, "chunk-damaged", format!("{label}/{id}"));
        assert_eq!(findings(&report), [expected], "{options:?}: {:#?}", report.findings);
        assert!(report.findings.first().unwrap().next.as_ref().unwrap().starts_with("obnam backup"));
    }
    // One that has no copy finds it too.
    let report = check(&world.open_fresh(), false);
    assert!(report.errors() > 0, "{:#?}", report.findings);
}

/// Gives out what the opening of a repository takes, and no packs.
struct NoPacks(Arc<MemoryStore>);

impl ChunkStore for NoPacks {
    fn init(&self) -> Result<(), StoreError> {
        self.0.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.0.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.0.put(label, id, bytes)
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        match label.family() {
            "data" | "tree" => Err(StoreError::new(StoreErrorKind::Unavailable(None), "the network is down")),
            _ => self.0.get(label, id, range),
        }
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
        4
    }
}

/// Whoever looks for damage while the network is down is not told that everything is lost.
#[test]
fn a_store_that_cannot_be_reached_is_no_damage() {
    let world = World::new();
    backup(&world.open(), &world.source("s", &[("file", noise(1, 50_000))]));
    let down = open(
        world.place_of(Arc::new(NoPacks(world.store.clone())), "down"),
        &world.secret,
        Some(world.made.repository),
    );
    let repository = down.unwrap();
    for read_data in [None, Some(Part::All)] {
        let options = Options { read_data, max_age: None };
        let error = check::run(&repository, &options, &Watch::default()).unwrap_err();
        assert!(matches!(&error, RepositoryError::Store(error) if error.is_outage()), "{read_data:?}: {error:?}");
    }
    // Nothing is remembered as bad because of that.
    assert!(check(&world.open(), true).findings.is_empty());
}
