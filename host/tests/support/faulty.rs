//! Stores that do something else than they are told.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::store::memory::MemoryStore;
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError, StoreErrorKind};

/// What goes wrong with the calls of a [`Faulty`] store.
pub trait Fault: Send + Sync {
    /// Before a call that changes nothing. `label`: of the chunk, where it is about one.
    fn call(&self, label: Option<&Label>) -> Result<(), StoreError>;

    /// Around a call that changes something.
    fn change<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.call(None)?;
        change()
    }
}

/// A store whose calls go wrong.
pub struct Faulty<F> {
    inner: Arc<MemoryStore>,
    /// What goes wrong.
    pub fault: F,
}

impl<F: Fault> ChunkStore for Faulty<F> {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.fault.call(None)
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.fault.change(|| self.inner.put(label, id, bytes))
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.fault.call(Some(label))?;
        self.inner.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.fault.call(Some(label))?;
        self.inner.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.fault.call(None)?;
        self.inner.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.fault.change(|| self.inner.remove(label, id))
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        1
    }
}

/// The user dies at some change: it may still be made, and nothing works behind it.
pub struct Death {
    /// How many changes are made before.
    left: AtomicI64,
    /// Whether the last one is made too.
    completes: bool,
}

/// A store whose user dies.
pub type Mortal = Faulty<Death>;

impl Mortal {
    /// Dies with change number `changes`, counted from 0.
    pub fn new(inner: Arc<MemoryStore>, changes: usize, completes: bool) -> Self {
        Faulty { inner, fault: Death { left: AtomicI64::new(changes as i64), completes } }
    }

    /// Whether it came to that.
    pub fn is_dead(&self) -> bool {
        self.fault.left.load(Ordering::SeqCst) < 0
    }
}

impl Fault for Death {
    fn call(&self, _: Option<&Label>) -> Result<(), StoreError> {
        let is_dead = self.left.load(Ordering::SeqCst) < 0;
        if is_dead { Err(StoreError::new(StoreErrorKind::Other, "dead")) } else { Ok(()) }
    }

    fn change<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 || left == 0 && self.completes {
            let done = change();
            return if left > 0 { done } else { self.call(None).and(done) };
        }
        self.left.store(-1, Ordering::SeqCst);
        self.call(None).map(|()| unreachable!())
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

/// The store cannot be reached for a moment. All calls before and after it pass.
pub struct Absence {
    outage: Outage,
    /// How many calls come before it.
    left: AtomicI64,
    has_failed: AtomicBool,
    /// Whether a change has failed.
    was_change: AtomicBool,
}

/// A store that cannot be reached for a moment.
pub type Unreachable = Faulty<Absence>;

impl Unreachable {
    /// It can be reached until it is told otherwise.
    pub fn new(inner: Arc<MemoryStore>, outage: Outage) -> Self {
        let (has_failed, was_change) = (AtomicBool::new(false), AtomicBool::new(false));
        Faulty { inner, fault: Absence { outage, left: AtomicI64::new(i64::MAX), has_failed, was_change } }
    }

    /// It comes after so many more calls.
    pub fn fail_after(&self, calls: usize) {
        self.fault.left.store(calls as i64, Ordering::SeqCst);
    }

    /// Whether it came to that.
    pub fn has_failed(&self) -> bool {
        self.fault.has_failed.load(Ordering::SeqCst)
    }

    /// Whether a change was reported as failed.
    pub fn has_failed_to_change(&self) -> bool {
        self.fault.was_change.load(Ordering::SeqCst)
    }
}

fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable(None), "the network is down")
}

impl Fault for Absence {
    fn call(&self, _: Option<&Label>) -> Result<(), StoreError> {
        let calls = if let Outage::Calls(calls) = self.outage { calls } else { 1 };
        if !(1 - calls..=0).contains(&self.left.fetch_sub(1, Ordering::SeqCst)) {
            return Ok(());
        }
        self.has_failed.store(true, Ordering::SeqCst);
        Err(unavailable())
    }

    fn change<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Err(failed) = self.call(None) else { return change() };
        self.was_change.store(true, Ordering::SeqCst);
        if self.outage == Outage::Answer {
            change()?;
        }
        Err(failed)
    }
}

/// No packs can be reached.
pub struct NoPacks;

impl Faulty<NoPacks> {
    /// All else can.
    pub fn new(inner: Arc<MemoryStore>) -> Self {
        Faulty { inner, fault: NoPacks }
    }
}

impl Fault for NoPacks {
    fn call(&self, label: Option<&Label>) -> Result<(), StoreError> {
        let is_pack = label.is_some_and(|label| matches!(label.family(), "data" | "tree"));
        if is_pack { Err(unavailable()) } else { Ok(()) }
    }
}

/// Time passes: everything in the store was stored so much earlier.
pub fn pass(store: &MemoryStore, time: Duration) {
    for (_, stored) in store.chunks.lock().unwrap().values_mut() {
        *stored -= time;
    }
}
