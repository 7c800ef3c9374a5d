//! What a backup would do: the walk alone. No file is opened, nothing is stored, and no lock is taken, so that a
//! repository that can only be read will do.

use std::path::PathBuf;
use std::thread;

use super::walk::{Sink, walk};
use super::{Options, QUEUE, Watch, prepare, thread_died, thread_error};
use crate::clock::Moment;
use crate::format::Time;
use crate::format::entry::EntryType;
use crate::repository::{Repository, RepositoryError};

/// How something differs from the backup before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The backup before did not have it.
    New,
    /// It would be read again.
    Changed,
    /// The backup before had it; it is gone, or left out now.
    Removed,
}

/// Something that differs from the backup before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Where.
    pub path: PathBuf,
    /// What it is, or was.
    pub entry: EntryType,
}

/// Walks, and calls `each` for what a backup would change, in order. What is below a removed directory is not named. The
/// numbers are in `watch`.
pub fn rehearse(
    repository: &Repository,
    options: &Options,
    watch: &Watch,
    mut each: impl FnMut(Change),
) -> Result<(), RepositoryError> {
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let shared = prepare(repository, options, watch, &listing, &snapshots, (Time::now(), Moment::now()))?;
    let (sender, changes) = crossbeam_channel::bounded(QUEUE);
    thread::scope(|scope| {
        let walker = thread::Builder::new().name("walk".into()).stack_size(64 << 20);
        let walker =
            walker.spawn_scoped(scope, || walk(&shared, watch, Sink::Rehearsal(sender))).map_err(thread_error)?;
        changes.iter().for_each(&mut each);
        walker.join().map_err(|_| thread_died())
    })?;
    shared.ended()
}
