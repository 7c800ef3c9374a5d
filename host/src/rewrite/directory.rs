//! A directory that is made again: what has not changed of it stays as it is stored.

use crate::backup::cuts::Cuts;
use crate::backup::list::ListWriter;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item};
use crate::repository::RepositoryError;

/// What has become of an entry.
pub enum Outcome {
    /// It is as it was.
    Same,
    /// It is left out.
    Gone,
    /// It has other bytes now.
    Changed(Vec<u8>),
}

/// An entry of a piece: its name, its bytes there, and what has become of it.
pub struct Piece<'p> {
    /// The name.
    pub name: Vec<u8>,
    /// The bytes before.
    pub raw: &'p [u8],
    /// What has become of it.
    pub outcome: Outcome,
}

/// Where a directory's blobs go.
pub trait Shelf {
    /// Stores a new blob.
    fn store(&mut self, kind: BlobKind, plaintext: &[u8]) -> Result<BlobId, RepositoryError>;
    /// Where pieces end.
    fn cuts(&self) -> &Cuts;
}

/// See the head of this module.
///
/// Memory: the items of a directory as long as nothing has changed in it, 40 bytes for each piece of 512 KiB; then one piece.
#[derive(Default)]
pub struct Directory {
    /// The pieces before the first change.
    same: Vec<Item>,
    changed: bool,
    piece: Vec<u8>,
    list: ListWriter,
}

impl Directory {
    /// Whether the next piece stays as it is if nothing in it changes: no new piece is open.
    pub fn is_at_cut(&self) -> bool {
        self.piece.is_empty()
    }

    /// Adds a piece that stays as it is.
    pub fn keep(&mut self, item: Item, shelf: &mut impl Shelf) -> Result<(), RepositoryError> {
        if self.changed {
            return self.list.push(item, &mut |kind, bytes| shelf.store(kind, bytes));
        }
        self.same.push(item);
        Ok(())
    }

    /// Adds the entries of a piece that has changed, or stands behind one that has.
    pub fn add(&mut self, entries: &[Piece<'_>], shelf: &mut impl Shelf) -> Result<(), RepositoryError> {
        if !self.changed {
            self.changed = true;
            for item in std::mem::take(&mut self.same) {
                self.list.push(item, &mut |kind, bytes| shelf.store(kind, bytes))?;
            }
        }
        for entry in entries {
            match &entry.outcome {
                Outcome::Same => self.piece.extend_from_slice(entry.raw),
                Outcome::Changed(bytes) => self.piece.extend_from_slice(bytes),
                Outcome::Gone => continue,
            }
            if shelf.cuts().ends_piece(self.piece.len(), &entry.name) {
                self.close_piece(shelf)?;
            }
        }
        Ok(())
    }

    fn close_piece(&mut self, shelf: &mut impl Shelf) -> Result<(), RepositoryError> {
        let id = shelf.store(BlobKind::Tree, &self.piece)?;
        let item = Item { id, size: self.piece.len() as u64 };
        self.piece.clear();
        self.list.push(item, &mut |kind, bytes| shelf.store(kind, bytes))
    }

    /// The content of the directory; none if it is as it was.
    pub fn finish(mut self, shelf: &mut impl Shelf) -> Result<Option<Content>, RepositoryError> {
        if !self.changed {
            return Ok(None);
        }
        if !self.piece.is_empty() {
            self.close_piece(shelf)?;
        }
        Ok(Some(self.list.finish(&mut |kind, bytes| shelf.store(kind, bytes))?))
    }
}
