//! The index: which blob stands in which pack.
//!
//! In the repository it is a set of signed, immutable index chunks ([`crate::format::index`]). Locally they are merged
//! into a few sorted *runs*, files that are mapped into memory ([`run`]), so that the index is never held in memory
//! whole. The runs are a cache: [`cache`] makes them from the index chunks that a listing names, adds what is new, and
//! starts again when a chunk that they cover has gone. What a backup adds meanwhile is in [`crate::backup`].

pub mod cache;
pub mod contents;
pub mod run;

use std::sync::Arc;

use run::Run;

use crate::format::WriterTag;
use crate::format::blob::BlobId;
use crate::format::index::{PackInfo, Record};

/// A pack as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// Label, id, size, header, writer.
    pub info: PackInfo,
    /// Who signed the index chunk that lists it.
    pub signer: WriterTag,
}

/// One place where a blob is said to stand.
#[derive(Debug, Clone)]
pub struct Location {
    /// The run that knows it.
    pub run: Arc<Run>,
    /// The blob's record; `record.pack` counts in that run.
    pub record: Record,
}

impl Location {
    /// The pack.
    pub fn pack(&self) -> Result<IndexedPack, run::RunError> {
        self.run.pack(self.record.pack)
    }
}

/// All that is known of where blobs stand.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Sorted runs, in no particular order.
    pub runs: Vec<Arc<Run>>,
}

impl Index {
    /// All places where a blob is said to stand.
    pub fn locations(&self, id: &BlobId) -> impl Iterator<Item = Location> {
        self.runs.iter().flat_map(move |run| run.find(id).map(move |(_, record)| Location { run: run.clone(), record }))
    }

    /// The number of records, duplicates included.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.len() as u64).sum()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All packs of all runs; a pack may come up more than once.
    pub fn packs(&self) -> impl Iterator<Item = Result<IndexedPack, run::RunError>> {
        self.runs.iter().flat_map(|run| (0..run.pack_count()).map(move |place| run.pack(place)))
    }
}
