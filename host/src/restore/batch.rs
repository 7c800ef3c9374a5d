//! A batch: files with the blobs that they need, grouped by pack.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::sparse::Layout;
use crate::chunk::{ChunkId, Label};
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::Item;
use crate::format::entry::Entry;
use crate::format::pack::BlobPlace;
use crate::index::IndexedPack;
use crate::repository::blobs::{BlobReader, pack_label};

/// A batch is full with this many files,
const MAX_FILES: usize = 32 << 10;
/// or this many blobs.
const MAX_BLOBS: usize = 64 << 10;

/// A file, or a stretch of a very large one.
pub struct FileJob {
    /// Below the target.
    pub path: PathBuf,
    /// Its metadata.
    pub entry: Entry,
    /// Where its contents go, if it is sparse.
    pub layout: Option<Layout>,
    /// Whether an earlier batch has made the file.
    pub continued: bool,
    /// Whether this batch has the file's end.
    pub complete: bool,
    /// Blobs still to be written.
    pub missing: AtomicU64,
    /// Whether the file has been made, and its descriptor if it is kept open.
    pub state: Mutex<FileState>,
    /// Whether a blob could not be had.
    pub damaged: AtomicBool,
}

impl FileJob {
    /// Length of the file in bytes, with its holes.
    pub fn size(&self) -> u64 {
        let content = || self.entry.content.as_ref().map_or(0, |content| content.size);
        self.layout.as_ref().map_or_else(content, Layout::size)
    }
}

/// Whether a file is there and open.
#[derive(Default)]
pub struct FileState {
    /// It has been made.
    pub made: bool,
    /// Its open descriptor.
    pub file: Option<File>,
}

/// Where a blob goes.
#[derive(Debug, Clone, Copy)]
pub struct Destination {
    /// Which file of the batch.
    pub file: usize,
    /// Offset in it.
    pub offset: u64,
}

/// A blob of a pack, and where it goes.
pub struct Wanted {
    /// Where it stands in the pack.
    pub place: BlobPlace,
    /// Where it goes.
    pub destinations: Vec<Destination>,
}

/// A pack that the batch needs something from.
pub struct PackJob {
    /// Its label.
    pub label: Label,
    /// The pack.
    pub pack: IndexedPack,
    /// What is needed, by offset.
    pub wanted: Vec<Wanted>,
}

/// See the head of this module.
#[derive(Default)]
pub struct Batch {
    /// The files.
    pub files: Vec<FileJob>,
    /// The packs, in the order in which they were first needed.
    pub packs: Vec<PackJob>,
    /// Blobs that no index names, at least not with the length that the content gives them.
    pub lost: Vec<(Item, Destination)>,
    blobs: usize,
    /// By label, id and hash of the header: what a hostile index chunk says of a pack must not get in the way of what a
    /// good one says.
    pack_places: HashMap<(Label, ChunkId, blake3::Hash), usize>,
    /// By pack, offset and blob, for the same reason.
    blob_places: HashMap<(usize, u32, BlobId), usize>,
}

/// How many blobs an entry counts for, whose extended attributes and runs are in memory with the batch.
fn weight(entry: &Entry) -> usize {
    let xattrs: usize = entry.xattrs.iter().flatten().map(|xattr| xattr.name.len() + xattr.value.len()).sum();
    entry.extents.as_ref().map_or(0, Vec::len) / 4 + xattrs / 256
}

impl Batch {
    /// Whether it is time to work on it.
    pub fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES || self.blobs >= MAX_BLOBS
    }

    /// Adds a file; its blobs follow.
    pub fn add_file(&mut self, path: PathBuf, entry: Entry, layout: Option<Layout>, continued: bool) -> usize {
        self.blobs += weight(&entry);
        self.files.push(FileJob {
            path,
            entry,
            layout,
            continued,
            complete: false,
            missing: AtomicU64::new(0),
            state: Mutex::default(),
            damaged: AtomicBool::new(false),
        });
        self.files.len() - 1
    }

    /// Adds a blob of a file.
    pub fn add_blob(&mut self, reader: &BlobReader<'_>, item: Item, destination: Destination) {
        self.blobs += 1;
        *self.files[destination.file].missing.get_mut() += 1;
        let found = reader.index.locations(&item.id).find_map(|location| {
            let place = location.record.place;
            if place.kind != BlobKind::Data || u64::from(place.raw) != item.size {
                return None;
            }
            let pack = location.pack().ok()?;
            let label = pack_label(&pack).ok()?;
            reader.opener(&pack).ok()?;
            Some((pack, label, place))
        });
        let Some((pack, label, place)) = found else {
            self.lost.push((item, destination));
            return;
        };
        let key = (label.clone(), pack.info.id, blake3::hash(&pack.info.header));
        let job = *self.pack_places.entry(key).or_insert_with(|| {
            self.packs.push(PackJob { label, pack, wanted: Vec::new() });
            self.packs.len() - 1
        });
        let wanted = &mut self.packs[job].wanted;
        let blob = *self.blob_places.entry((job, place.offset, place.id)).or_insert_with(|| {
            wanted.push(Wanted { place, destinations: Vec::new() });
            wanted.len() - 1
        });
        wanted[blob].destinations.push(destination);
    }
}
