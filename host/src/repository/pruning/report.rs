//! What a prune tells: while it runs, and in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backup::counters::Counter;
use crate::repository::RepositoryError;

/// What the caller of a prune watches, and how it ends one.
#[derive(Default)]
pub struct Watch {
    /// Snapshots whose reference lists were read.
    pub snapshots: Counter,
    /// Packs that were repacked.
    pub repacked: Counter,
    /// Chunks that were removed.
    pub removed: Counter,
    /// Set to end it.
    pub stop: Arc<AtomicBool>,
}

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }

    pub(super) fn check(&self) -> Result<(), RepositoryError> {
        if self.stop.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }
}

/// A number of packs, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub packs: u64,
    /// Bytes in the store.
    pub bytes: u64,
}

impl Sum {
    pub(super) fn add(&mut self, size: u64) {
        self.packs += 1;
        self.bytes += size;
    }
}

/// What was found and done; in a dry run, what would be done.
#[derive(Debug, Default)]
pub struct Report {
    /// The grace that was applied.
    pub grace: Duration,
    /// Snapshots that keep packs alive.
    pub snapshots: u64,
    /// Packs in the store.
    pub all: Sum,
    /// Packs that snapshots need.
    pub needed: Sum,
    /// Bytes of blobs in those that no snapshot needs.
    pub waste: u64,
    /// Packs whose needed blobs were copied into others.
    pub repacked: Sum,
    /// The packs into which they were copied; in a dry run, the bytes of the blobs.
    pub written: Sum,
    /// Packs that snapshots need and that are not there.
    pub missing: u64,
    /// Packs that nobody needs and that are too young to be marked: a backup may be about to need them.
    pub young: Sum,
    /// Packs that were marked now.
    pub marked: Sum,
    /// Packs that were marked before and whose grace is not over.
    pub waiting: Sum,
    /// Packs that were marked, and are needed again.
    pub rescued: Sum,
    /// Packs that were removed.
    pub removed: Sum,
    /// When the store removes those that it does not remove at once (seconds since 1970).
    pub pending: Option<u64>,
    /// Index chunks that were replaced.
    pub indexes_replaced: u64,
    /// Index chunks that were written instead.
    pub indexes_written: u64,
}
