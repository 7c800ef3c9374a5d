//! Restore: from a snapshot to a directory.
//!
//! [`plan`] walks the tree, makes directories, links and special files on the way, and collects the blobs that files
//! need into batches of bounded size. [`fetch`] reads each pack of a batch once, in joined ranges, on several threads,
//! and writes blobs wherever they are needed, in any order. After each batch, files and directories get their
//! metadata. [`target`] is the only part that touches the target: it makes new things only, never follows a symbolic
//! link, and never leaves the target directory, whatever the repository says.

mod attributes;
mod batch;
mod fetch;
mod plan;
pub mod sparse;
pub mod target;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::backup::counters::Counter;
use crate::format::FormatError;
use crate::format::content::Content;
use crate::format::roster::Role;
use crate::index::Index;
use crate::problem::Problems;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::with_deep_stack;
use crate::repository::{Repository, RepositoryError};

/// What the caller of a restore watches, and how it ends one.
#[derive(Default)]
pub struct Watch {
    /// Regular files done.
    pub files: Counter,
    /// Directories made.
    pub directories: Counter,
    /// Links and special files made.
    pub others: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Set to end the restore.
    pub stop: Arc<AtomicBool>,
    /// What was not restored, or not as it was.
    pub problems: Problems,
    fatal: Mutex<Option<RestoreError>>,
}

/// Why a restore ended early.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The target cannot be used.
    #[error("cannot restore into {path}: {why}", path = path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }

    fn fail(&self, error: RestoreError) {
        self.fatal.lock().expect("no panic while the lock is held").get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the restore with the first failure, or because the user asked.
    fn check(&self) -> Result<(), RestoreError> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let fatal = self.fatal.lock().expect("no panic while the lock is held").take();
        Err(fatal.unwrap_or(RestoreError::Repository(RepositoryError::Interrupted)))
    }
}

/// Restores a directory of a snapshot into `target`, which must be empty or absent. What cannot be restored is in
/// [`Watch::problems`]; all else is there.
pub fn run(
    repository: &Repository,
    index: &Index,
    root: &Content,
    target: &std::path::Path,
    watch: &Watch,
) -> Result<(), RestoreError> {
    repository.require(Role::Reader, "restore")?;
    if !repository.can_read() {
        let why = FormatError::NoKey;
        return Err(RepositoryError::Malformed { what: "the roster gives this reader no data key".into(), why }.into());
    }
    let target = target::Target::open(target)?;
    let reader = BlobReader::new(repository, index);
    with_deep_stack(|| plan::Planner::new(&reader, &target, watch).restore(root))?
}
