//! Structure: the chunks that must be there, the packs that the index names, history, and trees.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::{Check, Finding, Severity, place_key};
use crate::chunk::ChunkId;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item, decode_items};
use crate::format::entry::{Entries, Entry};
use crate::index::Index;
use crate::repository::blobs::{BlobReader, pack_label};
use crate::repository::metadata::SnapshotInfo;
use crate::repository::tombstones::Buried;
use crate::repository::tree::{MAX_DEPTH, add_up, is_too_deep};
use crate::repository::{ChunkName, RepositoryError, family};
use crate::restore::sparse::Layout;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Families of labels that this version knows.
const FAMILIES: [&str; 10] =
    ["repository", "roster", "credential", "client", "snapshot", "index", "tree", "data", "tombstone", "note"];

/// Those whose labels end in a writer's tag.
const TAGGED: [&str; 3] = ["snapshot", "index", "note"];

impl Check<'_> {
    /// The chunks without which this client cannot open the repository, and chunks that belong to nothing.
    pub(super) fn own_chunks(&self) {
        let repository = self.repository;
        let own =
            [("repository", repository.id), ("credential", repository.credential), ("client", repository.client_chunk)];
        for (label, id) in own {
            let name = ChunkName { label: family(label), id };
            if !self.listed.contains_key(&name) {
                let message = "it is not in the store; this machine works with a copy of its own".into();
                self.report(Severity::Error, "chunk-missing", Some(&name), message);
            }
        }
        // Without its roster a repository does not open.
        for name in self.listed.keys() {
            let (family, tagged) = (name.label.family(), name.label.tag().is_some());
            if !FAMILIES.contains(&family) || tagged != TAGGED.contains(&family) {
                let message = "a chunk with a label that obnam does not use; it is ignored".into();
                self.report(Severity::Warning, "unknown-label", Some(name), message);
            }
        }
    }

    /// Compares the packs that the index names with the listing. Returns how many the index names.
    pub(super) fn packs(&mut self, index: &Index, buried: &Buried) -> Result<usize, RepositoryError> {
        let mut named = HashSet::new();
        let mut good = HashSet::new();
        for pack in index.packs() {
            let pack = pack?;
            let id = pack.info.id;
            let Ok(label) = pack_label(&pack) else { continue };
            let name = ChunkName { label, id };
            named.insert(name.clone());
            self.writers.insert(id, pack.info.writer);
            match self.listed.get(&name) {
                Some(size) if *size == pack.info.size => {
                    good.insert(name);
                }
                Some(size) => self.report(
                    Severity::Error,
                    "pack-size",
                    Some(&name),
                    format!(
                        "it has {} bytes instead of {}; written by client {}",
                        size, pack.info.size, pack.info.writer
                    ),
                ),
                // Removed on purpose; somebody who slept meanwhile may have brought the entry back.
                None if buried.packs.contains(&id) => {}
                None => self.report(
                    Severity::Error,
                    "pack-missing",
                    Some(&name),
                    format!(
                        "the pack is not in the store (listed by client {}, written by {})",
                        pack.signer, pack.info.writer
                    ),
                ),
            }
        }
        self.good_packs = good;
        for name in self.listed.keys() {
            let is_pack = matches!(name.label.as_str(), "data" | "tree");
            if is_pack && !named.contains(name) && !buried.packs.contains(&name.id) {
                let message = "no index names this pack: left by a backup that was cut off, added by somebody else, or its index is lost; obnam repair index takes it in, if it is good".into();
                self.report(Severity::Warning, "pack-unindexed", Some(name), message);
            }
        }
        Ok(named.len())
    }

    /// Each snapshot's predecessor has to be there, unless it was forgotten.
    pub(super) fn history(&self, snapshots: &[SnapshotInfo], buried: &Buried) {
        let forgotten = buried.forgotten.keys().copied();
        let ids: HashSet<ChunkId> = snapshots.iter().map(|info| info.id).chain(forgotten).collect();
        for info in snapshots {
            if let Some(previous) = info.snapshot.previous.filter(|id| !ids.contains(id)) {
                let message = format!(
                    "the snapshot {} (number {} of client {}) is not there, but {} follows it: it was removed or damaged",
                    previous.short(),
                    info.snapshot.sequence.saturating_sub(1),
                    info.snapshot.client,
                    info.id.short()
                );
                self.report(Severity::Error, "snapshot-missing", None, message);
            }
        }
    }

    /// Walks the trees of all snapshots: every blob that they name has to be in a pack that is there.
    pub(super) fn trees(&self, snapshots: &[SnapshotInfo], index: &Index) -> Result<(), RepositoryError> {
        if !self.repository.can_read() {
            self.report(
                Severity::Warning,
                "not-a-reader",
                None,
                "this client cannot read trees, so they were not checked".into(),
            );
            return Ok(());
        }
        let reader = BlobReader::new(self.repository, index);
        let mut walk = Walk { check: self, reader: &reader, seen: HashSet::new(), snapshot: String::new() };
        for info in snapshots {
            walk.snapshot = info.id.short();
            walk.directory(&info.snapshot.root, &PathBuf::from("/"))?;
            self.watch.snapshots.add(1);
        }
        for info in snapshots {
            if let Err(why) = self.repository.references(info) {
                let why = why.about_chunk()?;
                let message = format!("the reference list of snapshot {} cannot be read: {why}", info.id.short());
                self.report(Severity::Error, "references", None, message);
            }
        }
        Ok(())
    }
}

struct Walk<'a> {
    check: &'a Check<'a>,
    reader: &'a BlobReader<'a>,
    /// Tree pieces that were gone through without a finding.
    seen: HashSet<BlobId>,
    snapshot: String,
}

impl Walk<'_> {
    fn lost(&self, path: &std::path::Path, message: String) {
        let path = format!("{}:{}", self.snapshot, path.display());
        let message = format!("{path}: {message}");
        self.check.insert(Finding {
            severity: Severity::Error,
            code: "file-damaged",
            chunk: None,
            path: Some(path),
            writer: None,
            files: None,
            next: Some(super::FILE_LOST.into()),
            message,
        });
    }

    /// Whatever is lost here is lost with the packs that should hold this blob.
    fn blame(&self, blob: &BlobId, path: &std::path::Path) {
        let path = format!("{}:{}", self.snapshot, path.display());
        let mut affected = self.check.affected.lock().expect("no panic while the lock is held");
        for pack in self.reader.index.locations(blob).filter_map(|location| location.pack().ok()) {
            affected.entry(format!("{}/{}", pack.info.label, pack.info.id)).or_default().insert(path.clone());
        }
    }

    /// Returns whether nothing below is lost.
    fn directory(&mut self, content: &Content, path: &std::path::Path) -> Result<bool, RepositoryError> {
        if self.check.watch.stop.load(Ordering::Relaxed) {
            return Err(RepositoryError::Interrupted);
        }
        if is_too_deep(path) {
            self.lost(path, format!("the directory is too deep: more than {MAX_DEPTH} levels"));
            return Ok(false);
        }
        let reader = self.reader;
        let leaves = match reader.leaves(content) {
            Ok(leaves) => leaves,
            Err(why) => {
                self.lost(path, why.about_chunk()?.to_string());
                return Ok(false);
            }
        };
        let mut whole = true;
        for leaf in leaves {
            let item = match leaf {
                Ok(item) => item,
                Err(why) => {
                    let why = why.about_chunk()?;
                    self.lost(path, format!("part of the directory is lost: {why}"));
                    return Ok(false);
                }
            };
            if self.seen.contains(&item.id) {
                continue;
            }
            let piece = match reader.read(BlobKind::Tree, &item.id) {
                Ok(piece) => piece,
                Err(why) => {
                    let why = why.about_chunk()?;
                    self.blame(&item.id, path);
                    self.lost(path, format!("part of the directory is lost: {why}"));
                    whole = false;
                    continue;
                }
            };
            let mut piece_is_whole = true;
            for entry in Entries::new(&piece) {
                match entry {
                    Ok(entry) => piece_is_whole &= self.entry(&entry, path)?,
                    Err(why) => {
                        self.lost(path, format!("part of the directory cannot be read: {why}"));
                        piece_is_whole = false;
                    }
                }
            }
            if piece_is_whole {
                self.seen.insert(item.id);
            }
            whole &= piece_is_whole;
        }
        Ok(whole)
    }

    fn entry(&mut self, entry: &Entry, parent: &std::path::Path) -> Result<bool, RepositoryError> {
        use crate::format::entry::EntryType;
        let path = parent.join(OsStr::from_bytes(&entry.name));
        match (entry.kind, &entry.content) {
            (EntryType::Directory, Some(content)) => self.directory(content, &path),
            (EntryType::File, Some(content)) => {
                let layout = Layout::of(entry).map_err(|why| self.lost(&path, why.to_string()));
                Ok(self.file(content, &path)? && layout.is_ok())
            }
            _ => Ok(true),
        }
    }

    fn file(&self, content: &Content, path: &std::path::Path) -> Result<bool, RepositoryError> {
        let items = content.items().and_then(|items| add_up(items.collect(), content.size));
        let mut levels = match items {
            Ok(items) => vec![(content.depth, items)],
            Err(why) => {
                self.lost(path, why.to_string());
                return Ok(false);
            }
        };
        while let Some((depth, items)) = levels.pop() {
            for item in items {
                if depth == 0 {
                    if let Err(why) = self.data_blob(&item) {
                        self.blame(&item.id, path);
                        self.lost(path, why);
                        return Ok(false);
                    }
                    continue;
                }
                let list = match self.reader.read(BlobKind::List, &item.id) {
                    Ok(list) => Ok(list),
                    Err(why) => {
                        let why = why.about_chunk()?;
                        self.blame(&item.id, path);
                        Err(why.to_string())
                    }
                };
                let below = list.and_then(|list| {
                    let items = decode_items(&list).map(Iterator::collect);
                    items.and_then(|items| add_up(items, item.size)).map_err(|why| why.to_string())
                });
                match below {
                    Ok(below) => levels.push((depth - 1, below)),
                    Err(why) => {
                        self.lost(path, why);
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether a data blob is in a pack that is there, and did not fail to open.
    fn data_blob(&self, item: &Item) -> Result<(), String> {
        let id = &item.id;
        let bad = self.check.bad_places.lock().expect("no panic while the lock is held");
        let mut found = Vec::new();
        for location in self.reader.index.locations(id) {
            let place = &location.record.place;
            if place.kind != BlobKind::Data || u64::from(place.raw) != item.size {
                continue;
            }
            let Ok(pack) = location.pack() else { continue };
            let Ok(label) = pack_label(&pack) else { continue };
            let name = ChunkName { label, id: pack.info.id };
            if self.check.good_packs.contains(&name) && !bad.contains(&place_key(&name, place)) {
                return Ok(());
            }
            found.push(format!("{}/{}", pack.info.label, pack.info.id));
        }
        if found.is_empty() {
            Err(format!("contents are lost: no index names a pack that holds blob {id} of {} bytes", item.size))
        } else {
            Err(format!("contents are lost with {}", found.join(", ")))
        }
    }
}
