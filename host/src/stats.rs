//! Stats: what a repository holds, and what snapshots cost. Each blob that a snapshot needs is counted once, by a bit for
//! each record of the index; a piece of a directory that was gone through is not read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::backup::counters::Counter;
use crate::chunk::LabelFilter;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::Content;
use crate::format::entry::{Entries, EntryType};
use crate::format::pack::BlobPlace;
use crate::index::Index;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::tree::{MAX_DEPTH, with_deep_stack};
use crate::repository::{Repository, RepositoryError};

/// Chunks and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub chunks: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What the store holds, by family of labels.
pub fn stored(repository: &Repository) -> Result<BTreeMap<String, Amount>, RepositoryError> {
    let mut families: BTreeMap<String, Amount> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = repository.store.list_page(&LabelFilter::All, after.as_deref())?;
        for chunk in &page.chunks {
            let amount = families.entry(chunk.label.family().to_owned()).or_default();
            amount.chunks += 1;
            amount.bytes = amount.bytes.saturating_add(chunk.size);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(families),
        }
    }
}

/// What snapshots need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Blobs, each counted once.
    pub blobs: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Their bytes in packs.
    pub stored_bytes: u64,
    /// Of these bytes before compression, those of directories and lists.
    pub tree_bytes: u64,
    /// Blobs that no index knows, or that cannot be read; what is below them is not counted.
    pub missing: u64,
}

/// What the caller watches, and how it ends the count.
#[derive(Default)]
pub struct Watch {
    /// Blobs that were counted.
    pub blobs: Counter,
    /// Set to end the count.
    pub stop: Arc<AtomicBool>,
}

/// Counts what these snapshots need together.
pub fn needs(
    repository: &Repository,
    index: &Index,
    snapshots: &[&SnapshotInfo],
    watch: &Watch,
) -> Result<Needs, RepositoryError> {
    let reader = BlobReader::new(repository, index);
    let taken = index.runs.iter().map(|run| vec![0; run.len().div_ceil(64)]).collect();
    let mut count = Count { reader: &reader, watch, taken, needs: Needs::default() };
    with_deep_stack(|| snapshots.iter().try_for_each(|info| count.directory(&info.snapshot.root, 1)))??;
    Ok(count.needs)
}

struct Count<'a> {
    reader: &'a BlobReader<'a>,
    watch: &'a Watch,
    /// For each run, a bit for each record.
    taken: Vec<Vec<u64>>,
    needs: Needs,
}

impl Count<'_> {
    /// Counts a blob, unless it was counted before. Returns whether it was counted now.
    fn take(&mut self, kind: BlobKind, id: &BlobId) -> bool {
        for (run, taken) in self.reader.index.runs.iter().zip(&mut self.taken) {
            for (place, record) in run.find(id) {
                let BlobPlace { kind: found, raw, stored, .. } = record.place;
                if found != kind {
                    continue;
                }
                let bit = 1 << (place % 64);
                if taken[place / 64] & bit != 0 {
                    return false;
                }
                taken[place / 64] |= bit;
                self.needs.blobs += 1;
                self.needs.bytes += u64::from(raw);
                self.needs.stored_bytes += u64::from(stored);
                self.needs.tree_bytes += if kind == BlobKind::Data { 0 } else { raw.into() };
                self.watch.blobs.add(1);
                return true;
            }
        }
        self.needs.missing += 1;
        false
    }

    /// Counts the lists and leaves of a content, and calls `each` for leaves that were not counted before.
    fn content(
        &mut self,
        content: &Content,
        kind: BlobKind,
        mut each: impl FnMut(&mut Self, &BlobId) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut lists = Vec::new();
        let read = self.reader.for_each_list(content, |id, _| lists.push(*id));
        for id in lists {
            self.take(BlobKind::List, &id);
        }
        let leaves = read.and_then(|()| self.reader.leaves(content));
        let Ok(leaves) = leaves else {
            self.needs.missing += 1;
            return Ok(());
        };
        for leaf in leaves {
            match leaf {
                Ok(leaf) if self.take(kind, &leaf.id) => each(self, &leaf.id)?,
                Ok(_) => {}
                Err(_) => self.needs.missing += 1,
            }
        }
        Ok(())
    }

    fn directory(&mut self, content: &Content, depth: usize) -> Result<(), RepositoryError> {
        if self.watch.stop.load(Ordering::Relaxed) {
            return Err(RepositoryError::Interrupted);
        }
        if depth > MAX_DEPTH {
            return Ok(());
        }
        self.content(content, BlobKind::Tree, |count, id| {
            let Ok(piece) = count.reader.read(BlobKind::Tree, id) else {
                count.needs.missing += 1;
                return Ok(());
            };
            for entry in Entries::new(&piece).flatten() {
                match (entry.kind, &entry.content) {
                    (EntryType::Directory, Some(content)) => count.directory(content, depth + 1)?,
                    (EntryType::File, Some(content)) => count.content(content, BlobKind::Data, |_, _| Ok(()))?,
                    _ => {}
                }
            }
            Ok(())
        })
    }
}
