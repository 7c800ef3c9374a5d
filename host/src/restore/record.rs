//! Restores in progress: a small file in the local state directory for each target, from the first write to the end of the
//! restore. It says that what an interrupted restore has left in the target is ours, so that the same restore may go on
//! there, and it is locked, so that two restores do not work on one target at the same time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RestoreError;
use crate::chunk::ChunkId;
use crate::local::{io_error, private_dir};
use crate::repository::RepositoryError;

/// A restore that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Begun {
    /// The snapshot's id.
    pub snapshot: String,
    /// The path in it, as hexadecimal bytes; none for the whole snapshot.
    pub path: Option<String>,
    /// Device and inode of the target: another directory of the same name is another target.
    pub target: (u64, u64),
    /// Whether the restore has made the target.
    pub made: bool,
    /// Whether the target was empty.
    pub was_empty: bool,
}

impl Begun {
    /// Whether this is the same part of the same snapshot, into the same directory.
    pub fn is_same(&self, other: &Begun) -> bool {
        (&self.snapshot, &self.path, self.target) == (&other.snapshot, &other.path, other.target)
    }

    /// The snapshot, for people.
    pub fn name(&self) -> &str {
        self.snapshot.get(..12).unwrap_or(&self.snapshot)
    }
}

/// The record of a target.
pub struct Record {
    path: PathBuf,
    file: Option<File>,
    /// The restore that was interrupted there.
    pub earlier: Option<Begun>,
}

impl Record {
    /// Looks for the record of a target. Only a restore that writes takes the lock.
    pub fn open(state: &Path, target: &Path, is_dry_run: bool) -> Result<Self, RestoreError> {
        let name = blake3::hash(target.as_os_str().as_encoded_bytes()).to_hex();
        let directory = private_dir(state.join("restores")).map_err(RepositoryError::from)?;
        let path = directory.join(format!("{}.json", &name[..32]));
        let mut options = OpenOptions::new();
        options.read(true).write(!is_dry_run).create(!is_dry_run).truncate(false);
        let mut file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if is_dry_run && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Record { path, file: None, earlier: None });
            }
            Err(error) => return Err(RepositoryError::from(io_error("open", &path)(error)).into()),
        };
        if !is_dry_run {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(RestoreError::Busy { path: target.to_owned() }),
                Err(TryLockError::Error(error)) => {
                    return Err(RepositoryError::from(io_error("lock", &path)(error)).into());
                }
            }
        }
        let mut text = String::new();
        let earlier = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
        Ok(Record { path, file: (!is_dry_run).then_some(file), earlier })
    }

    /// Takes note of a restore that begins now.
    pub fn begin(&mut self, begun: &Begun) -> Result<(), RestoreError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let text = serde_json::to_vec_pretty(begun).expect("strings and numbers are JSON");
        let mut write = || -> std::io::Result<()> {
            file.rewind()?;
            file.write_all(&text)?;
            file.set_len(text.len() as u64)?;
            file.sync_all()
        };
        write().map_err(|error| RepositoryError::from(io_error("write", &self.path)(error)).into())
    }

    /// The restore has come to its end, or was refused before it began.
    pub fn end(self) {
        if self.file.is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!("{} stays: {error}", self.path.display());
        }
    }
}

/// The wire form of a path in the record.
pub fn path_text(path: &Path) -> String {
    hex::encode(path.as_os_str().as_encoded_bytes())
}

/// The id of a snapshot in the record.
pub fn snapshot_text(id: &ChunkId) -> String {
    id.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_outlives_an_interrupt_and_no_more() {
        let state = tempfile::tempdir().expect("a directory");
        let target = Path::new("/some/target");
        let begun = Begun { snapshot: "00".into(), path: None, target: (1, 2), made: true, was_empty: true };
        let mut record = Record::open(state.path(), target, false).expect("opens");
        assert_eq!(record.earlier, None);
        record.begin(&begun).expect("writes");
        assert!(matches!(Record::open(state.path(), target, false), Err(RestoreError::Busy { .. })));
        drop(record);
        let dry = Record::open(state.path(), target, true).expect("opens");
        assert_eq!(dry.earlier, Some(begun.clone()));
        let record = Record::open(state.path(), target, false).expect("opens");
        assert_eq!(record.earlier, Some(begun));
        record.end();
        let other = Record::open(state.path(), target, true).expect("opens");
        assert_eq!(other.earlier, None);
    }
}
