//! The second pass: the directories of a snapshot once more, with the target's blob ids. All data is in the target by now, or on its
//! way there.
//!
//! Memory: two pieces of 512 KiB for each level of directories, and a list of blobs for each level of the file's own.

use std::collections::HashMap;

use super::Fault;
use super::names::Names;
use super::survey::{at, contents_of_nothing, digest, too_deep};
use crate::backup::cuts::Cuts;
use crate::backup::list::ListWriter;
use crate::backup::upload::UploadSender;
use crate::backup::writer::Writer;
use crate::format::FormatError;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item};
use crate::format::entry::{Entries, Entry, EntryType, with_content};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::MAX_DEPTH;

/// So many directories of a snapshot are remembered: one that stands in it many times over is made once.
const MAX_KNOWN: usize = 4096;

/// See the head of this module.
pub struct Rewriter<'a, 'r> {
    reader: &'a BlobReader<'r>,
    names: &'a Names,
    writer: &'a Writer<'a>,
    uploads: &'a UploadSender,
    cuts: Cuts,
    known: HashMap<[u8; 16], Content>,
    path: Vec<u8>,
}

/// A directory that is being built.
#[derive(Default)]
struct Open {
    piece: Vec<u8>,
    list: ListWriter,
}

fn malformed(what: &str, why: &'static str) -> RepositoryError {
    RepositoryError::Malformed { what: what.into(), why: FormatError::Malformed(why) }
}

impl<'a, 'r> Rewriter<'a, 'r> {
    /// From this source into that target.
    pub fn new(
        reader: &'a BlobReader<'r>,
        names: &'a Names,
        writer: &'a Writer<'a>,
        uploads: &'a UploadSender,
    ) -> Self {
        let (cuts, known, path) = (Cuts::new(writer.repository), HashMap::new(), Vec::new());
        Rewriter { reader, names, writer, uploads, cuts, known, path }
    }

    /// The root directory as it is in the target.
    pub fn root(mut self, content: &Content) -> Result<Content, Fault> {
        self.directory(content, 0)
    }

    fn store(&self, kind: BlobKind, plaintext: &[u8]) -> Result<BlobId, RepositoryError> {
        Ok(self.writer.store(self.uploads, None, kind, plaintext)?.id)
    }

    fn directory(&mut self, content: &Content, depth: usize) -> Result<Content, Fault> {
        if depth > MAX_DEPTH {
            return Err(too_deep(&self.path));
        }
        let digest = digest(content);
        if let Some(known) = self.known.get(&digest) {
            return Ok(known.clone());
        }
        let mut open = Open::default();
        let mut last: Option<Vec<u8>> = None;
        for leaf in self.reader.leaves(content).map_err(at(&self.path))? {
            let leaf = leaf.map_err(at(&self.path))?;
            let piece = self.reader.read(BlobKind::Tree, &leaf.id).map_err(at(&self.path))?;
            if piece.len() as u64 != leaf.size {
                let why = "a piece of another length than its content says";
                return Err(at(&self.path)(malformed("a directory", why)));
            }
            let mut entries = Entries::new(&piece);
            while let Some((entry, raw)) = entries.next_with_bytes() {
                let wrong = |why| at(&self.path)(RepositoryError::Malformed { what: "a directory".into(), why });
                let entry = entry.map_err(wrong)?;
                if last.is_some_and(|last| last >= entry.name) {
                    return Err(wrong(FormatError::Malformed("an entry that is out of order or there twice")));
                }
                self.entry(&entry, raw, depth, &mut open)?;
                last = Some(entry.name);
            }
        }
        let content = self.close(open)?;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(digest, content.clone());
        Ok(content)
    }

    /// Adds an entry to the directory that is being built.
    fn entry(&mut self, entry: &Entry, raw: &[u8], depth: usize, open: &mut Open) -> Result<(), Fault> {
        if self.writer.is_over() {
            return Err(Fault::Target(RepositoryError::Interrupted));
        }
        let length = self.path.len();
        self.path.push(b'/');
        self.path.extend_from_slice(&entry.name);
        let content = match (&entry.content, entry.kind) {
            (None, _) => None,
            (Some(content), EntryType::Directory) => Some(self.directory(content, depth + 1)?),
            (Some(content), EntryType::File) => Some(self.file(content)?),
            (Some(_), _) => return Err(at(&self.path)(contents_of_nothing())),
        };
        match content {
            None => open.piece.extend_from_slice(raw),
            Some(content) => {
                let changed = with_content(raw, &content);
                let wrong = |why| at(&self.path)(RepositoryError::Malformed { what: "an entry".into(), why });
                open.piece.extend_from_slice(&changed.map_err(wrong)?);
            }
        }
        self.path.truncate(length);
        if self.cuts.ends_piece(open.piece.len(), &entry.name) {
            self.close_piece(open)?;
        }
        Ok(())
    }

    /// The contents of a file, by the names that its blobs have in the target.
    fn file(&self, content: &Content) -> Result<Content, Fault> {
        let mut list = ListWriter::default();
        for leaf in self.reader.leaves(content).map_err(at(&self.path))? {
            let leaf = leaf.map_err(at(&self.path))?;
            let name = self.names.get(&leaf.id).ok_or(Fault::Again)?;
            if u64::from(name.size) != leaf.size {
                let why = "a blob of another length than the content says";
                return Err(at(&self.path)(malformed("a file", why)));
            }
            if !self.writer.session.is_present(&name.id) {
                return Err(Fault::Again);
            }
            list.push(Item { id: name.id, size: leaf.size }, &mut |kind, bytes| self.store(kind, bytes))?;
        }
        Ok(list.finish(&mut |kind, bytes| self.store(kind, bytes))?)
    }

    fn close_piece(&self, open: &mut Open) -> Result<(), Fault> {
        let id = self.store(BlobKind::Tree, &open.piece)?;
        let item = Item { id, size: open.piece.len() as u64 };
        open.piece.clear();
        Ok(open.list.push(item, &mut |kind, bytes| self.store(kind, bytes))?)
    }

    fn close(&self, mut open: Open) -> Result<Content, Fault> {
        if !open.piece.is_empty() {
            self.close_piece(&mut open)?;
        }
        Ok(open.list.finish(&mut |kind, bytes| self.store(kind, bytes))?)
    }
}
