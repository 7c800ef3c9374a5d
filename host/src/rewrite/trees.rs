//! The directories of one snapshot, once more: what is left out of them, and what they consist of then.
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
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item, decode_items};
use crate::format::entry::{Entries, Entry, EntryType, with_content};
use crate::format::snapshot::Statistics;
use crate::format::to_cbor;
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::{MAX_DEPTH, add_up};
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

/// Is told of each path that is left out, and whether it is a directory.
pub type Told<'t> = dyn FnMut(&Path, bool) + Send + 't;

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
    patterns: &'a Patterns,
    watch: &'a Watch,
    /// Entries that may still come: a directory that stands in itself many times over has more than any disk.
    budget: u64,
    path: PathBuf,
    made: Made,
    store: Option<Store<'a>>,
}

impl<'a, 'r> Trees<'a, 'r> {
    /// For one snapshot, which may have so many entries.
    pub fn new(reader: &'a BlobReader<'r>, patterns: &'a Patterns, watch: &'a Watch, budget: u64) -> Self {
        Trees { reader, patterns, watch, budget, path: PathBuf::from("/"), made: Made::default(), store: None }
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
        self.made.root = self.directory(root, 0, None, &mut |_, _| ())?;
        if let Some(store) = &mut self.store {
            store.data.flush(uploads)?;
        }
        Ok(self.made)
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
        for leaf in reader.leaves(content).map_err(at(&self.path))? {
            let leaf = leaf.map_err(at(&self.path))?;
            let piece = reader.read(BlobKind::Tree, &leaf.id).map_err(at(&self.path))?;
            if piece.len() as u64 != leaf.size {
                let why = "a piece of another length than its content says";
                return Err(at(&self.path)(malformed("a directory", why)));
            }
            let entries = self.piece(&piece, depth, &mut last, untouched.as_deref_mut(), told)?;
            let has_changed = entries.iter().any(|entry| !matches!(entry.outcome, Outcome::Same));
            changed |= has_changed;
            let Some(store) = &mut self.store else { continue };
            if has_changed || !directory.is_at_cut() {
                directory.add(&entries, store)?;
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
    ) -> Result<Vec<Piece<'p>>, Fault> {
        let mut pieces: Vec<Piece<'p>> = Vec::new();
        let mut entries = Entries::new(piece);
        while let Some((entry, raw)) = entries.next_with_bytes() {
            let wrong = |why| at(&self.path)(RepositoryError::Malformed { what: "a directory".into(), why });
            let entry = entry.map_err(wrong)?;
            let before = pieces.last().map(|piece| &piece.name).or(last.as_ref());
            if before.is_some_and(|before| *before >= entry.name) {
                return Err(at(&self.path)(malformed("a directory", "an entry that is out of order or there twice")));
            }
            self.path.push(OsStr::from_bytes(&entry.name));
            let outcome = self.entry(&entry, raw, depth, untouched.as_deref_mut(), told)?;
            self.path.pop();
            pieces.push(Piece { name: entry.name, raw, outcome });
        }
        *last = pieces.last().map(|piece| piece.name.clone()).or(last.take());
        Ok(pieces)
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
        let is_directory = entry.kind == EntryType::Directory;
        if self.patterns.matches(&self.path, is_directory) == Some(true) {
            let left_out = &mut self.made.left_out;
            *(if is_directory { &mut left_out.directories } else { &mut left_out.files }) += 1;
            told(&self.path, is_directory);
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
