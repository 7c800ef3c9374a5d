//! Files that vanish, or become something else, after the walk has seen them and before they are read.
//!
//! Storage that takes no data until the test allows it stops the readers; the walk goes on to its end meanwhile. So
//! what happens to the files in between happens at the right time, however fast the machine is.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use obnam::backup::roots::Roots;
use obnam::backup::{self, Options, Watch};
use obnam::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use obnam::repository::open::open;
use obnam::store::memory::MemoryStore;
use obnam::store::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError};
use support::*;

/// Takes no data before it is opened.
#[derive(Default)]
struct Gate {
    inner: Arc<MemoryStore>,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open_up(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl ChunkStore for Gate {
    fn init(&self) -> Result<(), StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), StoreError> {
        self.inner.open()
    }
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        if label.family() == "data" {
            drop(self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
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
        self.inner.list_page(filter, after)
    }
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.inner.remove(label, id)
    }
    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

/// Backs `path` up; `meanwhile` happens after the walk has seen `files` files, and before the last of them are read.
fn backup_while(world: &World, path: &Path, files: u64, meanwhile: impl FnOnce()) -> BTreeMap<PathBuf, String> {
    let gate = Arc::new(Gate { inner: world.store.clone(), ..Gate::default() });
    let repository = open(world.place_of(gate.clone(), "first"), &world.secret, None).unwrap();
    let options = Options {
        roots: Roots::new(vec![path.to_owned()]),
        select: Default::default(),
        skip: vec![],
        host: "test".into(),
        tags: vec![],
        force: false,
        stream: None,
        checkpoints: None,
    };
    let watch = Watch::default();
    thread::scope(|scope| {
        let backup = scope.spawn(|| backup::run(&repository, &options, &watch).map(|_| ()));
        while watch.counters.files.get() < files && !backup.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        meanwhile();
        gate.open_up();
        backup.join().unwrap().unwrap();
    });
    watch.problems.all().into_iter().map(|problem| (problem.path, problem.message)).collect()
}

/// Enough data that all readers wait for the storage before they come to what is behind it: packs of 16 KiB.
fn ballast(path: &Path) -> u64 {
    let readers = thread::available_parallelism().map_or(2, usize::from) as u64;
    let files = 40 + 2 * readers;
    for number in 0..files {
        fs::write(path.join(format!("ballast-{number:04}")), noise(number, 100_000)).unwrap();
    }
    files
}

#[test]
fn what_becomes_of_files_before_they_are_read() {
    let world = World::new();
    let source = world.tmp.path().join("source");
    fs::create_dir_all(source.join("z/folder")).unwrap();
    let mut files = ballast(&source);
    for name in ["fifo", "folder/file", "grown", "link", "stays", "vanished"] {
        fs::write(source.join("z").join(name), name).unwrap();
        files += 1;
    }
    let z = source.join("z");
    let problems = backup_while(&world, &source, files, || {
        fs::remove_file(z.join("vanished")).unwrap();
        fs::remove_file(z.join("fifo")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, z.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::remove_file(z.join("link")).unwrap();
        std::os::unix::fs::symlink("stays", z.join("link")).unwrap();
        fs::remove_dir_all(z.join("folder")).unwrap();
        fs::write(z.join("grown"), "longer than before").unwrap();
    });
    // What has grown is read as it is now, and is no problem.
    let paths: Vec<_> = problems.keys().map(|path| path.strip_prefix(&z).unwrap().to_str().unwrap()).collect();
    assert_eq!(paths, ["fifo", "folder/file", "link", "vanished"]);
    for (name, words) in [
        ("fifo", "no regular file any more"),
        ("folder/file", "No such file"),
        ("link", "cannot open it"),
        ("vanished", "No such file"),
    ] {
        assert!(problems[&z.join(name)].contains(words), "{problems:?}");
    }
    // All else is in the snapshot.
    let repository = world.try_open().unwrap();
    let (snapshots, _) = load(&repository);
    let restoring = restore(&repository, &snapshots[0].id);
    let restored = restoring.at(&z);
    assert_eq!(fs::read_to_string(restored.join("stays")).unwrap(), "stays");
    assert_eq!(fs::read_to_string(restored.join("grown")).unwrap(), "longer than before");
    assert!(restored.join("folder").is_dir());
    let mut names: Vec<_> = fs::read_dir(&restored).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["folder", "grown", "stays"]);
    assert_eq!(fs::read(restoring.at(&source.join("ballast-0039"))).unwrap(), noise(39, 100_000));
}
