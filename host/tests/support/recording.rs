//! A store that writes down when each change to it began and when it returned, and what it is like if everything ends in between.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::store::memory::{Chunks, MemoryStore};
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError};

/// Calls in flight.
const AT_ONCE: usize = 4;
/// A change waits for so long that another one begins beside it. It decides how many states there are, and nothing else.
const COMPANY: Duration = Duration::from_millis(4);

/// The chunks that there are.
type Names = BTreeSet<(Label, ChunkId)>;

/// A change to the store: a chunk that is put, or, without contents, removed.
struct Change {
    chunk: (Label, ChunkId),
    contents: Option<(Bytes, SystemTime)>,
    /// The numbers of these events.
    began: usize,
    returned: Option<usize>,
}

#[derive(Default)]
struct Log {
    events: usize,
    in_flight: usize,
    changes: Vec<Change>,
}

/// What a crash leaves.
pub struct Crash {
    /// For messages: after how many events, and which of the changes in flight were made.
    pub name: String,
    /// What is in the store.
    pub chunks: Chunks,
    /// What the local directory of the machine may be like: right after the last event, and right before the next one.
    pub dirs: Vec<PathBuf>,
}

/// Passes everything on, several changes at a time, and records them. At each event it copies the local directory of its user.
pub struct Recording {
    inner: Arc<MemoryStore>,
    start: Chunks,
    dir: PathBuf,
    copies: PathBuf,
    log: Mutex<Log>,
    began: Condvar,
}

impl Recording {
    /// Records what the user whose local directory is `dir` changes in this store. `copies` is for copies of that directory.
    pub fn new(inner: Arc<MemoryStore>, dir: PathBuf, copies: PathBuf) -> Self {
        let start = inner.chunks.lock().unwrap().clone();
        Recording { inner, start, dir, copies, log: Mutex::default(), began: Condvar::new() }
    }

    /// Takes the number of an event, after a copy of the local directory as it is before it.
    fn event(&self, log: &mut Log) -> usize {
        copy_dir(&self.dir, &self.copies.join(log.events.to_string()));
        log.events += 1;
        log.events - 1
    }

    /// Writes down a change. Nothing comes between the moment at which it is made and that at which it returns.
    fn change<T>(&self, label: &Label, id: &ChunkId, is_put: bool, make: impl FnOnce() -> T) -> T {
        let chunk = (label.clone(), *id);
        let mut log = self.log.lock().unwrap();
        let (began, number) = (self.event(&mut log), log.changes.len());
        log.changes.push(Change { chunk: chunk.clone(), contents: None, began, returned: None });
        log.in_flight += 1;
        self.began.notify_all();
        let mut log: MutexGuard<'_, Log> =
            self.began.wait_timeout_while(log, COMPANY, |log| log.in_flight < AT_ONCE).unwrap().0;
        let event = self.event(&mut log);
        let done = make();
        if is_put {
            log.changes[number].contents = self.inner.chunks.lock().unwrap().get(&chunk).cloned();
        }
        log.changes[number].returned = Some(event);
        log.in_flight -= 1;
        done
    }

    /// What was changed, in order of the beginnings: "put" or "remove", and the family of the label.
    pub fn changes(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let verb = |change: &Change| if change.contents.is_some() { "put" } else { "remove" };
        log.changes.iter().map(|change| format!("{} {}", verb(change), change.chunk.0.family())).collect()
    }

    /// Every state in which a crash leaves the store and the machine: at each `step`th event and at the last ones, all changes that had returned,
    /// and of those in flight none, all, or one alone. None comes twice.
    pub fn crashes(&self, step: usize) -> Vec<Crash> {
        let mut log = self.log.lock().unwrap();
        self.event(&mut log);
        let last = log.events - 1;
        let mut crashes: Vec<Crash> = Vec::new();
        let mut known: BTreeMap<Names, (usize, HashSet<blake3::Hash>)> = BTreeMap::new();
        for point in (0..=last).filter(|point| point.is_multiple_of(step) || point + 6 >= last) {
            let has_returned = |change: &&Change| change.returned.is_some_and(|event| event < point);
            let mut returned: Vec<&Change> = log.changes.iter().filter(has_returned).collect();
            returned.sort_by_key(|change| change.returned);
            let flying: Vec<&Change> =
                log.changes.iter().filter(|change| change.began < point && !has_returned(change)).collect();
            let alone = flying.iter().map(|change| vec![*change]).filter(|_| flying.len() > 1);
            for made in [vec![], flying.clone()].into_iter().chain(alone) {
                let mut chunks = self.start.clone();
                returned.iter().chain(&made).for_each(|change| change.make(&mut chunks));
                let (place, dirs) = known.entry(chunks.keys().cloned().collect()).or_insert_with(|| {
                    let name = format!("after {point} of {last} events, {} of {} in flight", made.len(), flying.len());
                    crashes.push(Crash { name, chunks, dirs: Vec::new() });
                    (crashes.len() - 1, HashSet::new())
                });
                for dir in [point.saturating_sub(1), point].map(|event| self.copies.join(event.to_string())) {
                    if dirs.insert(digest(&dir)) {
                        crashes[*place].dirs.push(dir);
                    }
                }
            }
        }
        crashes
    }
}

impl Change {
    fn make(&self, chunks: &mut Chunks) {
        match &self.contents {
            Some(contents) => {
                chunks.entry(self.chunk.clone()).or_insert_with(|| contents.clone());
            }
            None => {
                chunks.remove(&self.chunk);
            }
        }
    }
}

impl ChunkStore for Recording {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.inner.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.change(label, id, true, || self.inner.put(label, id, bytes))
    }
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.inner.get(label, id, range)
    }
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        self.inner.stat(label, id)
    }
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.inner.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.change(label, id, false, || self.inner.remove(label, id))
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        AT_ONCE
    }
}

/// Copies a directory of files and directories. What others remove meanwhile is left out.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, is_dir) in entries(from) {
        let target = to.join(path.file_name().unwrap());
        if is_dir {
            copy_dir(&path, &target);
            continue;
        }
        match fs::copy(&path, &target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => {
                copied.unwrap();
            }
        }
    }
}

/// The entries of a directory, in order, and which of them are directories.
fn entries(dir: &Path) -> Vec<(PathBuf, bool)> {
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        read => read.unwrap(),
    };
    let mut entries: Vec<(PathBuf, bool)> =
        read.map(|entry| entry.unwrap()).map(|entry| (entry.path(), entry.file_type().unwrap().is_dir())).collect();
    entries.sort();
    entries
}

/// A hash of all names and contents in a directory.
fn digest(dir: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (path, is_dir) in entries(dir) {
        hasher.update(path.file_name().unwrap().as_encoded_bytes()).update(b"\0");
        let contents =
            if is_dir { *digest(&path).as_bytes() } else { *blake3::hash(&fs::read(&path).unwrap()).as_bytes() };
        hasher.update(&contents);
    }
    hasher.finalize()
}
