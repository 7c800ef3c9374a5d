//! What the caller of a restore watches, and how it ends one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::RestoreError;
use crate::backup::counters::{Counter, Current};
use crate::problem::Problems;
use crate::repository::RepositoryError;

/// What happens to a path of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing stood there.
    Make,
    /// Something stood there and was replaced.
    Overwrite,
    /// Something stands there and stays.
    Keep,
    /// The snapshot does not have it.
    Delete,
}

impl Action {
    /// Its name in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Make => "make",
            Action::Overwrite => "overwrite",
            Action::Keep => "keep",
            Action::Delete => "delete",
        }
    }
}

/// Told of everything that happens, with paths below the target, from any thread.
pub type Told = Box<dyn Fn(Action, &Path) + Send + Sync>;

/// See the head of this module.
#[derive(Default)]
pub struct Watch {
    /// Regular files that are as in the snapshot now.
    pub files: Counter,
    /// Directories made.
    pub directories: Counter,
    /// Links and special files made.
    pub others: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Paths where nothing stood, directories among them.
    pub made: Counter,
    /// Paths where something was replaced.
    pub overwritten: Counter,
    /// Paths, without directories, where what was there stays.
    pub kept: Counter,
    /// Paths removed.
    pub deleted: Counter,
    /// Files that were read back and are good.
    pub verified: Counter,
    /// Bytes that were read back.
    pub verified_bytes: Counter,
    /// Set to end the restore.
    pub stop: Arc<AtomicBool>,
    /// What was not restored, or not as it was.
    pub problems: Problems,
    /// Told of everything that happens.
    pub told: Option<Told>,
    /// What the restore has done last, below the target, for whoever wants to see it.
    pub current: Option<Current>,
    pub(super) resumes: AtomicBool,
    /// For the verification, which must not expect the snapshot's contents of them.
    untouched: Mutex<HashSet<PathBuf>>,
    fatal: Mutex<Option<RestoreError>>,
}

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }

    /// Whether this goes on with a restore that was interrupted.
    pub fn resumes(&self) -> bool {
        self.resumes.load(Ordering::Relaxed)
    }

    pub(super) fn done(&self, action: Action, path: impl FnOnce() -> PathBuf) {
        let counter = match action {
            Action::Make => &self.made,
            Action::Overwrite => &self.overwritten,
            Action::Keep => &self.kept,
            Action::Delete => &self.deleted,
        };
        counter.add(1);
        if self.told.is_none() && self.current.is_none() {
            return;
        }
        let path = path();
        if let Some(told) = &self.told {
            told(action, &path);
        }
        if let Some(current) = &self.current {
            current.set(&path);
        }
    }

    /// A file that is there stays, whatever it is.
    pub(super) fn keep(&self, path: &Path, is_verified: bool) {
        if is_verified {
            self.untouched.lock().expect("no panic while the lock is held").insert(path.to_owned());
        }
        self.done(Action::Keep, || path.to_owned());
    }

    /// Whether a file was there and stayed, whatever it is.
    pub(super) fn is_untouched(&self, path: &Path) -> bool {
        self.untouched.lock().expect("no panic while the lock is held").contains(path)
    }

    pub(super) fn fail(&self, error: RestoreError) {
        self.fatal.lock().expect("no panic while the lock is held").get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the restore with the first failure, or because the user asked.
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        if !self.is_stopped() {
            return Ok(());
        }
        let fatal = self.fatal.lock().expect("no panic while the lock is held").take();
        Err(fatal.unwrap_or(RestoreError::Repository(RepositoryError::Interrupted)))
    }
}
