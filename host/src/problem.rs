//! Problems: files that a backup or a restore has not brought over, or not as they were. None of them ends it.

use std::path::PathBuf;
use std::sync::Mutex;

/// A file or directory that is not in the backup, or was not restored, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its path.
    pub path: PathBuf,
    /// What happened to it.
    pub message: String,
}

/// The problems of a run, added to from any thread.
#[derive(Debug, Default)]
pub struct Problems(Mutex<Vec<Problem>>);

impl Problems {
    pub(crate) fn push(&self, path: impl Into<PathBuf>, message: impl Into<String>) {
        let problem = Problem { path: path.into(), message: message.into() };
        self.0.lock().expect("no panic while the lock is held").push(problem);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().expect("no panic while the lock is held").clear();
    }

    /// All problems so far.
    pub fn all(&self) -> Vec<Problem> {
        self.0.lock().expect("no panic while the lock is held").clone()
    }
}
