//! A batch: files with the blobs that they need, grouped by pack.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::folder::Folder;
use super::metadata::Known;
use super::sparse::Layout;
use crate::chunk::{ChunkId, Label};
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::Item;
use crate::format::entry::Entry;
use crate::format::pack::BlobPlace;
use crate::index::IndexedPack;
use crate::repository::blobs::{BlobReader, pack_label};

/// A batch is full with this many files, or links, or directories,
const MAX_FILES: usize = 4 << 10;
/// or this many blobs.
const MAX_BLOBS: usize = 16 << 10;

/// A file, or a stretch of a very large one.
pub struct FileJob {
    /// Where it is.
    pub folder: Arc<Folder>,
    /// Its name and metadata.
    pub entry: Entry,
    /// Where its contents go, if it is sparse.
    pub layout: Option<Layout>,
    /// How it gets there.
    pub how: How,
    /// Whether an earlier batch has made the file.
    pub continued: bool,
    /// Whether this batch has the file's end.
    pub complete: bool,
    /// Whether this batch has blobs of it.
    pub has_blobs: bool,
    /// Blobs still to be written.
    pub missing: AtomicU64,
    /// Whether the file has been made, and its descriptor if it is kept open.
    pub state: Mutex<FileState>,
    /// What has gone wrong, in this batch and those before.
    pub fate: Arc<Fate>,
}

/// How a file gets where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Nothing stands there: it is made there.
    New,
    /// It is made under this name, and when it is whole takes the place of what stands there.
    Replace(OsString),
    /// It is made under this name, and when it is whole gets its own, if nothing stands there then.
    Whole(OsString),
}

/// What has gone wrong with a file.
#[derive(Debug, Default)]
pub struct Fate {
    damaged: AtomicBool,
    failed: AtomicBool,
}

impl Fate {
    /// A part of it could not be had.
    pub fn damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// It could not be written.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether a part of it could not be had.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether it could not be written.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Whether a file is there and open.
#[derive(Default)]
pub struct FileState {
    /// It has been made.
    pub made: bool,
    /// What is known of it without asking.
    pub known: Known,
    /// Its open descriptor.
    pub file: Option<File>,
    /// It has all that it gets, and may be put in its place.
    pub is_whole: bool,
}

impl FileJob {
    /// The name that it is written under.
    pub fn name(&self) -> &OsStr {
        match &self.how {
            How::New => OsStr::from_bytes(&self.entry.name),
            How::Replace(temporary) | How::Whole(temporary) => temporary,
        }
    }

    /// Length of the file in bytes, with its holes.
    pub fn size(&self) -> u64 {
        let content = || self.entry.content.as_ref().map_or(0, |content| content.size);
        self.layout.as_ref().map_or_else(content, Layout::size)
    }

    /// What a later batch needs to go on with it.
    pub fn rest(&self) -> FileJob {
        let (folder, entry, layout) = (self.folder.clone(), self.entry.clone(), self.layout.clone());
        FileJob { continued: true, fate: self.fate.clone(), ..FileJob::new(folder, entry, self.how.clone(), layout) }
    }

    fn new(folder: Arc<Folder>, entry: Entry, how: How, layout: Option<Layout>) -> Self {
        FileJob {
            folder,
            entry,
            layout,
            how,
            continued: false,
            complete: false,
            has_blobs: false,
            missing: AtomicU64::new(0),
            state: Mutex::default(),
            fate: Arc::default(),
        }
    }

    /// Its path below the target.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.entry.name)
    }
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
    /// Whether it is time to work on it, with so many other things to do.
    pub fn is_full(&self, others: usize) -> bool {
        self.files.len() >= MAX_FILES || self.blobs >= MAX_BLOBS || others >= MAX_FILES
    }

    /// Adds a file; its blobs follow.
    pub fn add_file(&mut self, folder: Arc<Folder>, entry: Entry, how: How, layout: Option<Layout>) -> usize {
        self.add_rest(FileJob::new(folder, entry, how, layout))
    }

    /// Adds what is left of a file that an earlier batch has begun.
    pub fn add_rest(&mut self, file: FileJob) -> usize {
        self.blobs += weight(&file.entry);
        self.files.push(file);
        self.files.len() - 1
    }

    /// Adds a blob of a file.
    pub fn add_blob(&mut self, reader: &BlobReader<'_>, item: Item, destination: Destination) {
        self.blobs += 1;
        let file = &mut self.files[destination.file];
        file.has_blobs = true;
        *file.missing.get_mut() += 1;
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
