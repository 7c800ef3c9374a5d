//! Stores that do something else than they are told.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::store::memory::MemoryStore;
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError, StoreErrorKind};

/// A store whose user dies at some change: it may still be made, and nothing works behind it.
pub struct Mortal {
    inner: Arc<MemoryStore>,
    /// How many changes are made before.
    left: AtomicI64,
    /// Whether the last one is made too.
    completes: bool,
}

impl Mortal {
    /// Dies with change number `changes`, counted from 0.
    pub fn new(inner: Arc<MemoryStore>, changes: usize, completes: bool) -> Self {
        Mortal { inner, left: AtomicI64::new(changes as i64), completes }
    }

    /// Whether it came to that.
    pub fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead() { Err(StoreError::new(StoreErrorKind::Other, "dead")) } else { Ok(()) }
    }

    fn change<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 || left == 0 && self.completes {
            let done = change();
            return if left > 0 { done } else { self.alive().and(done) };
        }
        self.left.store(-1, Ordering::SeqCst);
        self.alive().map(|()| unreachable!())
    }
}

impl ChunkStore for Mortal {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.alive()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.change(|| self.inner.put(label, id, bytes))
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.alive()?;
        self.inner.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.alive()?;
        self.inner.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.alive()?;
        self.inner.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.change(|| self.inner.remove(label, id))
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        1
    }
}

/// A store during whose n-th put something else happens: its user sleeps meanwhile.
pub struct Sleepy<F> {
    inner: Arc<MemoryStore>,
    puts: AtomicUsize,
    at: usize,
    /// Whether it happens once the packs were listed, instead.
    after_packs: AtomicBool,
    meanwhile: F,
}

impl<F: Fn() + Send + Sync> Sleepy<F> {
    /// `meanwhile` happens before put number `at`, counted from 0.
    pub fn new(inner: Arc<MemoryStore>, at: usize, meanwhile: F) -> Self {
        Sleepy { inner, puts: AtomicUsize::new(0), at, after_packs: AtomicBool::new(false), meanwhile }
    }

    /// `meanwhile` happens after the packs were listed for the first time.
    pub fn after_packs(inner: Arc<MemoryStore>, meanwhile: F) -> Self {
        Sleepy { inner, puts: AtomicUsize::new(0), at: usize::MAX, after_packs: AtomicBool::new(true), meanwhile }
    }
}

impl<F: Fn() + Send + Sync> ChunkStore for Sleepy<F> {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.inner.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        if self.puts.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.meanwhile)();
        }
        self.inner.put(label, id, bytes)
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.inner.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.inner.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        let page = self.inner.list_page(filter, after);
        let is_tree = matches!(filter, LabelFilter::Exactly(label) if label.as_str() == "tree");
        if is_tree && self.after_packs.swap(false, Ordering::SeqCst) {
            (self.meanwhile)();
        }
        page
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.inner.remove(label, id)
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        1
    }
}

/// How a store fails for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// It cannot be reached for so many calls.
    Calls(i64),
    /// A change is made, and its answer gets lost; or a call to read fails.
    Answer,
}

/// A store that cannot be reached for a moment. All calls before and after it pass.
pub struct Unreachable {
    inner: Arc<MemoryStore>,
    outage: Outage,
    /// How many calls come before it.
    left: AtomicI64,
    has_failed: AtomicBool,
    /// Whether a change has failed.
    was_change: AtomicBool,
}

impl Unreachable {
    /// It can be reached until it is told otherwise.
    pub fn new(inner: Arc<MemoryStore>, outage: Outage) -> Self {
        let left = AtomicI64::new(i64::MAX);
        Unreachable { inner, outage, left, has_failed: AtomicBool::new(false), was_change: AtomicBool::new(false) }
    }

    /// It comes after so many more calls.
    pub fn fail_after(&self, calls: usize) {
        self.left.store(calls as i64, Ordering::SeqCst);
    }

    /// Whether it came to that.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Whether a change was reported as failed.
    pub fn has_failed_to_change(&self) -> bool {
        self.was_change.load(Ordering::SeqCst)
    }

    fn call(&self) -> Result<(), StoreError> {
        let calls = if let Outage::Calls(calls) = self.outage { calls } else { 1 };
        if !(1 - calls..=0).contains(&self.left.fetch_sub(1, Ordering::SeqCst)) {
            return Ok(());
        }
        self.has_failed.store(true, Ordering::SeqCst);
        Err(StoreError::new(StoreErrorKind::Unavailable(None), "the network is down"))
    }

    fn change<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Err(failed) = self.call() else { return change() };
        self.was_change.store(true, Ordering::SeqCst);
        if self.outage == Outage::Answer {
            change()?;
        }
        Err(failed)
    }
}

impl ChunkStore for Unreachable {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.inner.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.change(|| self.inner.put(label, id, bytes))
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.call()?;
        self.inner.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.call()?;
        self.inner.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.call()?;
        self.inner.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.change(|| self.inner.remove(label, id))
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        1
    }
}

/// Time passes: everything in the store was stored so much earlier.
pub fn pass(store: &MemoryStore, time: Duration) {
    for (_, stored) in store.chunks.lock().unwrap().values_mut() {
        *stored -= time;
    }
}
