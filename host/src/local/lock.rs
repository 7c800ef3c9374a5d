//! One backup of a client at a time, and one change of the roster: advisory locks that the kernel drops when the process ends, however
//! it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::{LocalError, io_error};

/// Held while a backup runs.
pub struct BackupLock {
    _file: File,
}

impl BackupLock {
    /// Takes the lock, or says that another backup has it.
    pub fn take(state: &Path) -> Result<Self, LocalError> {
        let path = state.join("backup.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io_error("open the lock", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(BackupLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LocalError::Locked { path }),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }
}

/// Held while the roster is changed.
pub struct RosterLock {
    _file: File,
}

impl RosterLock {
    /// Takes the lock, and waits for whoever has it: a change takes no longer than a few calls to the store.
    pub fn take(state: &Path) -> Result<Self, LocalError> {
        let path = state.join("roster.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io_error("open the lock", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(RosterLock { _file: file })
    }
}
