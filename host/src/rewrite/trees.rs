//! The directories of one snapshot, once more: what is left out of them, because it matches or because it is lost, and what they consist
//! of then.
//!
//! With [`Trees::look`] nothing is stored, and nothing is read of files. [`Trees::make`] makes directories anew where something in or below
//! them has changed, and takes note of every blob that the new snapshot needs: its reference list is made of that.
//!
//! Memory: for each level of directories two pieces of 512 KiB; of files one list of blobs for each level.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Watch;
use super::directory::{Directory, Outcome, Piece, Shelf};
use super::fault::{Fault, at, malformed};
use crate::backup::cuts::Cuts;
use crate::backup::packer::Packer;
use crate::backup::upload::UploadSender;
use crate::backup::writer::Writer;
use crate::chunk::ChunkId;
use crate::format::FormatError;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item, decode_items};
use crate::format::entry::{Entries, Entry, EntryType, with_content};
use crate::format::snapshot::Statistics;
use crate::format::to_cbor;
use crate::index::Location;
use crate::repository::RepositoryError;
use crate::repository::blobs::{BlobReader, pack_label};
use crate::repository::tree::{MAX_DEPTH, add_up};
use crate::restore::sparse::Layout;
use crate::select::Patterns;

/// So many directories are remembered in which nothing is left out, some 10 MB.
const MAX_UNTOUCHED: usize = 256 << 10;

/// What is left out of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Files, links and special files.
    pub files: u64,
    /// Directories; what is in them is not counted.
    pub directories: u64,
    /// What is lost: files, and directories of which something is.
    pub lost: u64,
}

impl LeftOut {
    /// Whether that is nothing.
    pub fn is_empty(self) -> bool {
        self == LeftOut::default()
    }
}

/// Directories, by path and contents, in which nothing is left out. Snapshots have most of theirs in common.
#[derive(Default)]
pub struct Untouched(HashSet<[u8; 16]>);

impl Untouched {
    fn key(path: &Path, content: &Content) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(path.as_os_str().as_bytes()).update(b"\0").update(&to_cbor(content));
        *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    fn insert(&mut self, key: [u8; 16]) {
        if self.0.len() >= MAX_UNTOUCHED {
            self.0.clear();
        }
        self.0.insert(key);
    }
}

/// Why something is not in the new snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'w> {
    /// It matches, and is a directory or not.
    Matches(bool),
    /// The contents of the file are lost, or a part of them, for this reason.
    FileLost(&'w str),
    /// The directory is lost, or some of what is in it.
    DirectoryLost(&'w str),
}

/// Is told of each path at which something is left out.
pub type Told<'t> = dyn FnMut(&Path, Reason<'_>) + Send + 't;

/// What is to be changed.
#[derive(Debug, Clone, Copy)]
pub enum Change<'c> {
    /// Leave out what matches.
    LeaveOut(&'c Patterns),
    /// Leave out what is lost; these packs are.
    Repair(&'c HashSet<ChunkId>),
}

/// What has been found, or made.
#[derive(Debug, Default)]
pub struct Made {
    /// The root directory, where it is another one now. Where nothing is stored, it is empty.
    pub root: Option<Content>,
    /// What is left out.
    pub left_out: LeftOut,
    /// What is left: files, directories, others, bytes.
    pub numbers: Statistics,
}

/// Where new blobs go.
struct Store<'a> {
    writer: &'a Writer<'a>,
    uploads: &'a UploadSender,
    cuts: Cuts,
    data: Packer,
}

impl Shelf for Store<'_> {
    fn store(&mut self, kind: BlobKind, plaintext: &[u8]) -> Result<BlobId, RepositoryError> {
        Ok(self.writer.store(self.uploads, Some(&mut self.data), kind, plaintext)?.id)
    }

    fn cuts(&self) -> &Cuts {
        &self.cuts
    }
}

/// See the head of this module.
pub struct Trees<'a, 'r> {
    reader: &'a BlobReader<'r>,
    change: Change<'a>,
    watch: &'a Watch,
    /// Entries that may still come: a directory that stands in itself many times over has more than any disk.
    budget: u64,
    path: PathBuf,
    made: Made,
    store: Option<Store<'a>>,
}

impl<'a, 'r> Trees<'a, 'r> {
    /// For one snapshot, which may have so many entries.
    pub fn new(reader: &'a BlobReader<'r>, change: Change<'a>, watch: &'a Watch, budget: u64) -> Self {
        Trees { reader, change, watch, budget, path: PathBuf::from("/"), made: Made::default(), store: None }
    }

    /// Looks what is left out below a root directory. Not all that is left is counted.
    pub fn look(mut self, root: &Content, untouched: &mut Untouched, told: &mut Told<'_>) -> Result<Made, Fault> {
        self.made.root = self.directory(root, 0, Some(untouched), told)?;
        Ok(self.made)
    }

    /// Makes a root directory without what is left out. It is not durable before the packers and uploads are finished.
    pub fn make(mut self, root: &Content, writer: &'a Writer<'a>, uploads: &'a UploadSender) -> Result<Made, Fault> {
        let (cuts, data) = (Cuts::new(writer.repository), Packer::for_data(&writer.repository.roster.parameters));
        self.store = Some(Store { writer, uploads, cuts, data });
        // What is lost has been told by whoever looked.
        self.made.root = self.directory(root, 0, None, &mut |_, _| ())?;
        if let Some(store) = &mut self.store {
            store.data.flush(uploads)?;
        }
        Ok(self.made)
    }

    /// Damage at the present path: in a repair it is told, and what is lost is left out.
    fn lost(&mut self, error: RepositoryError, told: &mut Told<'_>) -> Result<(), Fault> {
        let is_repair = matches!(self.change, Change::Repair(_));
        let error = error.about_chunk()?;
        if !is_repair || error.is_denied() || matches!(error, RepositoryError::Interrupted) {
            return Err(at(&self.path)(error));
        }
        self.made.left_out.lost += 1;
        told(&self.path, Reason::DirectoryLost(&error.to_string()));
        Ok(())
    }

    /// A directory without what is left out; none if it is as it was.
    fn directory(
        &mut self,
        content: &Content,
        depth: usize,
        mut untouched: Option<&mut Untouched>,
        told: &mut Told<'_>,
    ) -> Result<Option<Content>, Fault> {
        if depth > MAX_DEPTH {
            // The path itself would fill the screen.
            let top: PathBuf = self.path.iter().take(8).collect();
            return Err(at(&top)(malformed("a directory", "directories more than 1,000 levels deep")));
        }
        let key = untouched.is_some().then(|| Untouched::key(&self.path, content));
        if let (Some(untouched), Some(key)) = (&untouched, &key)
            && untouched.0.contains(key)
        {
            return Ok(None);
        }
        let reader = self.reader;
        let (mut directory, mut changed, mut last) = (Directory::default(), false, None);
        let leaves = match reader.leaves(content) {
            Ok(leaves) => leaves,
            Err(why) => {
                self.lost(why, told)?;
                return Ok(Some(Content::default()));
            }
        };
        for leaf in leaves {
            let read = leaf.and_then(|leaf| Ok((leaf, reader.read(BlobKind::Tree, &leaf.id)?)));
            let (leaf, piece) = match read {
                Ok(read) => read,
                Err(why) => {
                    self.lost(why, told)?;
                    changed = true;
                    if let Some(store) = &mut self.store {
                        directory.add(&[], store)?;
                    }
                    continue;
                }
            };
            let has_right_size = piece.len() as u64 == leaf.size;
            if !has_right_size {
                self.lost(malformed("a directory", "a piece of another length than its content says"), told)?;
            }
            let entries = self.piece(&piece, depth, &mut last, untouched.as_deref_mut(), told)?;
            let is_same = |entry: &Piece<'_>| matches!(entry.outcome, Outcome::Same);
            let has_changed = !has_right_size || !entries.is_whole || !entries.pieces.iter().all(is_same);
            changed |= has_changed;
            let Some(store) = &mut self.store else { continue };
            if has_changed || !directory.is_at_cut() {
                directory.add(&entries.pieces, store)?;
            } else {
                directory.keep(leaf, store)?;
                self.need(BlobKind::Tree, &leaf.id)?;
            }
        }
        if let (Some(untouched), Some(key), false) = (untouched, key, changed) {
            untouched.insert(key);
        }
        let Some(store) = &mut self.store else { return Ok(changed.then(Content::default)) };
        let made = directory.finish(store)?;
        if made.is_none() {
            self.need_lists(content)?;
        }
        Ok(made)
    }

    /// The entries of a piece, and what becomes of them.
    fn piece<'p>(
        &mut self,
        piece: &'p [u8],
        depth: usize,
        last: &mut Option<Vec<u8>>,
        mut untouched: Option<&mut Untouched>,
        told: &mut Told<'_>,
    ) -> Result<Pieces<'p>, Fault> {
        let mut found = Pieces { pieces: Vec::new(), is_whole: true };
        let mut entries = Entries::new(piece);
        while let Some((entry, raw)) = entries.next_with_bytes() {
            let before = found.pieces.last().map(|piece| &piece.name).or(last.as_ref());
            let entry = match entry {
                Ok(entry) if before.is_none_or(|before| *before < entry.name) => entry,
                wrong => {
                    let why =
                        wrong.err().unwrap_or(FormatError::Malformed("an entry that is out of order or there twice"));
                    self.lost(RepositoryError::Malformed { what: "a directory".into(), why }, told)?;
                    found.is_whole = false;
                    continue;
                }
            };
            self.path.push(OsStr::from_bytes(&entry.name));
            let outcome = self.entry(&entry, raw, depth, untouched.as_deref_mut(), told)?;
            self.path.pop();
            found.pieces.push(Piece { name: entry.name, raw, outcome });
        }
        *last = found.pieces.last().map(|piece| piece.name.clone()).or(last.take());
        Ok(found)
    }

    /// What becomes of the entry at the present path.
    fn entry(
        &mut self,
        entry: &Entry,
        raw: &[u8],
        depth: usize,
        untouched: Option<&mut Untouched>,
        told: &mut Told<'_>,
    ) -> Result<Outcome, Fault> {
        if self.watch.is_stopped() {
            return Err(Fault::Failed(RepositoryError::Interrupted));
        }
        self.watch.entries.add(1);
        self.budget = self.budget.checked_sub(1).ok_or_else(|| {
            let why = "more entries than the snapshot can have: directories that stand in themselves";
            at(&self.path)(malformed("a directory", why))
        })?;
        if self.is_left_out(entry, told)? {
            return Ok(Outcome::Gone);
        }
        let numbers = &mut self.made.numbers;
        match (entry.kind, &entry.content) {
            (EntryType::Directory, content) => {
                numbers.directories += 1;
                let Some(content) = content else { return Ok(Outcome::Same) };
                let Some(new) = self.directory(content, depth + 1, untouched, told)? else {
                    return Ok(Outcome::Same);
                };
                let wrong = |why| at(&self.path)(RepositoryError::Malformed { what: "an entry".into(), why });
                Ok(Outcome::Changed(with_content(raw, &new).map_err(wrong)?))
            }
            (EntryType::File, content) => {
                numbers.files += 1;
                numbers.bytes = numbers.bytes.saturating_add(content.as_ref().map_or(0, |content| content.size));
                content.as_ref().map_or(Ok(()), |content| self.need_file(content))?;
                Ok(Outcome::Same)
            }
            (_, None) => {
                numbers.others += 1;
                Ok(Outcome::Same)
            }
            (_, Some(_)) => {
                let why = "contents of what is neither a file nor a directory";
                Err(at(&self.path)(malformed("an entry", why)))
            }
        }
    }

    /// Whether the entry at the present path matches, or is a file that is lost.
    fn is_left_out(&mut self, entry: &Entry, told: &mut Told<'_>) -> Result<bool, Fault> {
        let left_out = &mut self.made.left_out;
        match self.change {
            Change::LeaveOut(patterns) => {
                let is_directory = entry.kind == EntryType::Directory;
                if patterns.matches(&self.path, is_directory) != Some(true) {
                    return Ok(false);
                }
                *(if is_directory { &mut left_out.directories } else { &mut left_out.files }) += 1;
                told(&self.path, Reason::Matches(is_directory));
            }
            Change::Repair(gone) => {
                let Some(content) = entry.content.as_ref().filter(|_| entry.kind == EntryType::File) else {
                    return Ok(false);
                };
                let layout = Layout::of(entry).map(drop).map_err(|why| why.to_string());
                let state = match layout {
                    Ok(()) => contents_state(self.reader, content, gone).map_err(at(&self.path))?,
                    wrong => wrong,
                };
                let Err(why) = state else { return Ok(false) };
                left_out.lost += 1;
                told(&self.path, Reason::FileLost(&why));
            }
        }
        Ok(true)
    }

    /// Takes note that the new snapshot needs a blob. One that is there, but only in packs that are being removed, or where nobody
    /// relied on it before, is stored again.
    fn need(&mut self, kind: BlobKind, id: &BlobId) -> Result<(), Fault> {
        let Some(store) = &mut self.store else { return Ok(()) };
        if store.writer.session.refer(id) || store.writer.session.is_present(id) {
            return Ok(());
        }
        let plaintext = self.reader.read(kind, id).map_err(at(&self.path))?;
        // Under older keys it would have another name now.
        if store.writer.hasher.id(kind, &plaintext) != *id {
            return Err(Fault::Again);
        }
        store.store(kind, &plaintext)?;
        Ok(())
    }

    /// The same for the list blobs of a directory that stays as it is.
    fn need_lists(&mut self, content: &Content) -> Result<(), Fault> {
        let (mut lists, reader) = (Vec::new(), self.reader);
        reader.for_each_list(content, |id, _| lists.push(*id)).map_err(at(&self.path))?;
        lists.iter().try_for_each(|id| self.need(BlobKind::List, id))
    }

    /// The same for all blobs of a file.
    fn need_file(&mut self, content: &Content) -> Result<(), Fault> {
        if self.store.is_none() {
            return Ok(());
        }
        let wrong =
            |path: &Path, why| at(path)(RepositoryError::Malformed { what: "the content of a file".into(), why });
        let items: Vec<Item> = content.items().map_err(|why| wrong(&self.path, why))?.collect();
        let mut levels = vec![(content.depth, add_up(items, content.size).map_err(|why| wrong(&self.path, why))?)];
        while let Some((depth, items)) = levels.pop() {
            for item in items {
                self.need(if depth == 0 { BlobKind::Data } else { BlobKind::List }, &item.id)?;
                if depth > 0 {
                    let list = self.reader.read(BlobKind::List, &item.id).map_err(at(&self.path))?;
                    let below = decode_items(&list).and_then(|below| add_up(below.collect(), item.size));
                    levels.push((depth - 1, below.map_err(|why| wrong(&self.path, why))?));
                }
            }
        }
        Ok(())
    }
}

/// The entries of a piece, and whether all of it could be read.
struct Pieces<'p> {
    pieces: Vec<Piece<'p>>,
    is_whole: bool,
}

/// Whether all blobs of a file are in packs that are there, as far as the index knows; if not, what is lost.
fn contents_state(
    reader: &BlobReader<'_>,
    content: &Content,
    gone: &HashSet<ChunkId>,
) -> Result<Result<(), String>, RepositoryError> {
    let leaves = match reader.leaves(content) {
        Ok(leaves) => leaves,
        Err(why) => return Ok(Err(why.about_chunk()?.to_string())),
    };
    for leaf in leaves {
        let item = match leaf {
            Ok(item) => item,
            Err(why) if why.is_denied() => return Err(why),
            Err(why) => return Ok(Err(why.about_chunk()?.to_string())),
        };
        let is_there = |location: &Location| {
            let place = &location.record.place;
            let fits = place.kind == BlobKind::Data && u64::from(place.raw) == item.size;
            fits && location.pack().is_ok_and(|pack| pack_label(&pack).is_ok() && !gone.contains(&pack.info.id))
        };
        if !reader.index.locations(&item.id).any(|location| is_there(&location)) {
            return Ok(Err(format!("its contents are lost, or a part of them: no pack holds data blob {}", item.id)));
        }
    }
    Ok(Ok(()))
}
