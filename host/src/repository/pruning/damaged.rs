//! Where something is missing: reference lists lead nowhere then, so the trees of the snapshots that lack something tell what can
//! still be read of them. Nothing of that may be pruned.

use std::collections::HashSet;

use super::Watch;
use super::look::Look;
use crate::chunk::ChunkId;
use crate::format::blob::BlobId;
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType};
use crate::format::references::Reference;
use crate::index::Index;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::tree::{MAX_DEPTH, with_deep_stack};
use crate::repository::{Repository, RepositoryError};

impl Look {
    /// The packs that snapshots need, and that are not there.
    pub(super) fn missing(&self) -> HashSet<ChunkId> {
        self.needs.0.keys().filter(|pack| !self.packs.contains_key(*pack)).copied().collect()
    }

    /// Adds to what is needed whatever can still be read of the snapshots that need these packs.
    pub(super) fn keep_what_is_left(
        &mut self,
        repository: &Repository,
        snapshots: &[SnapshotInfo],
        missing: &HashSet<ChunkId>,
        watch: &Watch,
    ) -> Result<(), RepositoryError> {
        if !repository.can_read() {
            return Err(RepositoryError::NotAllowed { action: "prune where packs are missing, without reading trees" });
        }
        let index = repository.load_index(&self.listing)?;
        let reader = BlobReader::new(repository, &index);
        let mut walk = Walk { reader: &reader, index: &index, watch, seen: HashSet::new(), packs: HashSet::new() };
        for info in snapshots {
            let references = repository.references(info);
            let references = references.or_else(|why| why.about_chunk().map(|_| Vec::new()))?;
            if references.iter().any(|reference| missing.contains(&reference.pack)) {
                with_deep_stack(|| walk.directory(&info.snapshot.root, 0))??;
            }
        }
        for pack in walk.packs.into_iter().filter(|pack| self.packs.contains_key(pack)) {
            self.needs.add(Reference { pack, live: 0, used: None });
        }
        Ok(())
    }
}

struct Walk<'a> {
    reader: &'a BlobReader<'a>,
    index: &'a Index,
    watch: &'a Watch,
    /// Directories by the blobs that they begin with; a directory that comes again is not read again.
    seen: HashSet<Vec<u8>>,
    packs: HashSet<ChunkId>,
}

impl Walk<'_> {
    fn keep(&mut self, blob: &BlobId) {
        for location in self.index.locations(blob) {
            self.packs.extend(location.pack().map(|pack| pack.info.id));
        }
    }

    /// What cannot be read is lost, and `check` tells of it.
    fn directory(&mut self, content: &Content, depth: usize) -> Result<(), RepositoryError> {
        self.watch.check()?;
        if depth > MAX_DEPTH || !self.seen.insert(crate::format::to_cbor(content)) {
            return Ok(());
        }
        self.content(content)?;
        let mut entries: Vec<(EntryType, Content)> = Vec::new();
        let take = |entry: Entry| {
            entries.extend(entry.content.map(|content| (entry.kind, content)));
            Ok(())
        };
        self.reader.for_each_entry(content, take, |why| why.about_chunk().map(drop))?;
        for (kind, content) in entries {
            match kind {
                EntryType::Directory => self.directory(&content, depth + 1)?,
                _ => self.content(&content)?,
            }
        }
        Ok(())
    }

    fn content(&mut self, content: &Content) -> Result<(), RepositoryError> {
        let mut lists = Vec::new();
        let read = self.reader.for_each_list(content, |id, _| lists.push(*id));
        lists.iter().for_each(|id| self.keep(id));
        if let Err(why) = read {
            why.about_chunk()?;
        }
        // Those before a list that is lost.
        let leaves = match self.reader.leaves(content) {
            Ok(leaves) => leaves,
            Err(why) => return why.about_chunk().map(drop),
        };
        for item in leaves {
            match item {
                Ok(item) => self.keep(&item.id),
                Err(why) => drop(why.about_chunk()?),
            }
        }
        Ok(())
    }
}
