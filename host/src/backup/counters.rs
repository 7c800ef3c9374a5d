//! How far a backup is: numbers that any thread may read at any time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::format::snapshot::Statistics;

/// Where a command is: a path that it has come to last. Seen now and then, so that whoever writes never waits.
#[derive(Debug, Default)]
pub struct Current(Mutex<PathBuf>);

impl Current {
    /// The command is here now.
    pub fn set(&self, path: &Path) {
        if let Ok(mut current) = self.0.try_lock() {
            path.clone_into(&mut current);
        }
    }

    /// Where it is; empty before it has come anywhere.
    pub fn get(&self) -> PathBuf {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers of a backup.
#[derive(Debug, Default)]
pub struct Counters {
    /// Regular files done.
    pub files: Counter,
    /// Directories done.
    pub directories: Counter,
    /// Other entries done.
    pub others: Counter,
    /// Bytes of contents done.
    pub bytes: Counter,
    /// Files that the backup before did not have.
    pub new_files: Counter,
    /// Files that have changed.
    pub changed_files: Counter,
    /// Files that were not opened.
    pub unchanged_files: Counter,
    /// Blobs that were not in the repository.
    pub new_blobs: Counter,
    /// Their bytes before compression.
    pub new_bytes: Counter,
    /// Bytes of chunks that were stored.
    pub stored_bytes: Counter,
    /// Lengths of the files that have to be read, as the walk saw them.
    pub bytes_to_read: Counter,
    /// Files, links and special files that were left out because the user wants it so.
    pub excluded_files: Counter,
    /// Directories that were not entered because the user wants it so; what is in them is not counted.
    pub excluded_directories: Counter,
}

impl Counters {
    /// Those that a snapshot records.
    fn all(&self) -> [&Counter; 10] {
        [
            &self.files,
            &self.directories,
            &self.others,
            &self.bytes,
            &self.new_files,
            &self.changed_files,
            &self.unchanged_files,
            &self.new_blobs,
            &self.new_bytes,
            &self.stored_bytes,
        ]
    }

    /// Sets all numbers to 0.
    pub fn reset(&self) {
        let others = [&self.bytes_to_read, &self.excluded_files, &self.excluded_directories];
        self.all().into_iter().chain(others).for_each(|counter| counter.0.store(0, Ordering::Relaxed));
    }

    /// As a snapshot records them.
    pub fn statistics(&self) -> Statistics {
        let [
            files,
            directories,
            others,
            bytes,
            new_files,
            changed_files,
            unchanged_files,
            new_blobs,
            new_bytes,
            stored_bytes,
        ] = self.all().map(Counter::get);
        Statistics {
            files,
            directories,
            others,
            bytes,
            new_files,
            changed_files,
            unchanged_files,
            new_blobs,
            new_bytes,
            stored_bytes,
            errors: 0,
        }
    }
}
