//! Directories, piece by piece: a piece is what one tree blob holds, and is found by its place in the directory's stream.
//! Entries stand in order of name, so that one is found by halves.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::format::FormatError;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item, decode_items};
use crate::format::entry::{Entries, Entry};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::add_up;

/// Pieces of directories that are kept, in bytes; entries in memory take some three times what they take in the stream.
const KEPT_PIECES: u64 = 64 << 20;
/// Lists that are kept, in bytes.
const KEPT_LISTS: u64 = 16 << 20;
/// Bytes in memory for a byte of the stream.
const GROWTH: u64 = 3;

/// The entries of one tree blob.
pub struct Piece {
    /// Those that can be used, in ascending order of name.
    pub entries: Vec<Arc<Entry>>,
    /// Why there are not all of them.
    pub damage: Option<FormatError>,
    weight: u64,
}

/// A blob of a content, and where in the content it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The blob, and its length.
    pub item: Item,
    /// Where it begins.
    pub start: u64,
}

impl Leaf {
    /// Where the next one begins.
    pub fn end(&self) -> u64 {
        self.start + self.item.size
    }
}

#[derive(Debug, Clone)]
struct ByWeight;

impl Weighter<BlobId, Arc<Piece>> for ByWeight {
    fn weight(&self, _: &BlobId, piece: &Arc<Piece>) -> u64 {
        piece.weight
    }
}

impl Weighter<BlobId, Arc<Vec<Item>>> for ByWeight {
    fn weight(&self, _: &BlobId, items: &Arc<Vec<Item>>) -> u64 {
        (items.len() * size_of::<Item>()) as u64
    }
}

/// See the head of this module.
pub struct Trees<'r> {
    reader: &'r BlobReader<'r>,
    pieces: Cache<BlobId, Arc<Piece>, ByWeight>,
    lists: Cache<BlobId, Arc<Vec<Item>>, ByWeight>,
}

fn malformed(what: &str) -> impl Fn(FormatError) -> RepositoryError {
    move |why| RepositoryError::Malformed { what: what.to_owned(), why }
}

impl<'r> Trees<'r> {
    /// Nothing has been read yet.
    pub fn new(reader: &'r BlobReader<'r>) -> Self {
        let pieces = Cache::with_weighter(1_000, KEPT_PIECES, ByWeight);
        Trees { reader, pieces, lists: Cache::with_weighter(1_000, KEPT_LISTS, ByWeight) }
    }

    /// The blob with the byte at this offset, which must be below the content's size.
    pub fn leaf(&self, content: &Content, offset: u64) -> Result<Leaf, RepositoryError> {
        let items: Vec<Item> = content.items().map_err(malformed("a content"))?.collect();
        let mut items = Arc::new(add_up(items, content.size).map_err(malformed("a content"))?);
        let mut start = 0;
        for depth in (0..=content.depth).rev() {
            let mut found = None;
            for item in items.iter() {
                if offset - start < item.size {
                    found = Some(*item);
                    break;
                }
                start += item.size;
            }
            let item = found.ok_or_else(|| malformed("a content")(FormatError::Malformed("it ends too early")))?;
            if depth == 0 {
                return Ok(Leaf { item, start });
            }
            items = self.list(&item)?;
        }
        unreachable!("depth 0 is the last")
    }

    fn list(&self, item: &Item) -> Result<Arc<Vec<Item>>, RepositoryError> {
        let items = self.lists.get_or_insert_with(&item.id, || {
            let list = self.reader.read(BlobKind::List, &item.id)?;
            let items: Vec<Item> = decode_items(&list).map_err(malformed("a content list"))?.collect();
            let size = items.iter().try_fold(0u64, |sum, item| sum.checked_add(item.size));
            let size =
                size.ok_or_else(|| malformed("a content list")(FormatError::Malformed("sizes that overflow")))?;
            Ok::<_, RepositoryError>(Arc::new(add_up(items, size).map_err(malformed("a content list"))?))
        })?;
        // The same list may stand elsewhere under another size, which would be a lie.
        match items.iter().map(|item| item.size).sum::<u64>() == item.size {
            true => Ok(items),
            false => Err(malformed("a content list")(FormatError::Malformed("sizes that do not add up"))),
        }
    }

    /// The entries of a piece.
    pub fn piece(&self, leaf: &Leaf) -> Result<Arc<Piece>, RepositoryError> {
        self.pieces.get_or_insert_with(&leaf.item.id, || {
            let stream = self.reader.read(BlobKind::Tree, &leaf.item.id)?;
            let mut piece = Piece { entries: Vec::new(), damage: None, weight: stream.len() as u64 * GROWTH };
            for entry in Entries::new(&stream) {
                match entry {
                    Ok(entry) if piece.entries.last().is_some_and(|last| last.name >= entry.name) => {
                        piece.damage = Some(FormatError::Malformed("an entry that is out of order or there twice"));
                    }
                    Ok(entry) => piece.entries.push(Arc::new(entry)),
                    Err(why) => piece.damage = Some(why),
                }
            }
            Ok(Arc::new(piece))
        })
    }

    /// The entry with this name. An error where it may stand in what cannot be read.
    pub fn find(&self, directory: &Content, name: &[u8]) -> Result<Option<Arc<Entry>>, RepositoryError> {
        let (mut low, mut high) = (0, directory.size);
        while low < high {
            let leaf = self.leaf(directory, low + (high - low) / 2)?;
            let Ok(piece) = self.piece(&leaf) else { return self.search(directory, name) };
            let (Some(first), Some(last)) = (piece.entries.first(), piece.entries.last()) else {
                return self.search(directory, name);
            };
            if name < first.name.as_slice() {
                high = leaf.start;
            } else if name > last.name.as_slice() {
                low = leaf.end();
            } else {
                return match (find_in(&piece, name), &piece.damage) {
                    (None, Some(why)) => Err(malformed("a directory")(why.clone())),
                    (found, _) => Ok(found),
                };
            }
        }
        Ok(None)
    }

    /// Looks through all of a directory that is damaged.
    fn search(&self, directory: &Content, name: &[u8]) -> Result<Option<Arc<Entry>>, RepositoryError> {
        let (mut offset, mut lost) = (0, None);
        while offset < directory.size {
            let leaf = self.leaf(directory, offset)?;
            match self.piece(&leaf) {
                Ok(piece) => {
                    if let Some(found) = find_in(&piece, name) {
                        return Ok(Some(found));
                    }
                    lost = lost.or_else(|| piece.damage.clone().map(malformed("a directory")));
                }
                Err(why) => lost = Some(why),
            }
            offset = leaf.end();
        }
        match lost {
            Some(why) => Err(why),
            None => Ok(None),
        }
    }
}

fn find_in(piece: &Piece, name: &[u8]) -> Option<Arc<Entry>> {
    let place = piece.entries.binary_search_by(|entry| entry.name.as_slice().cmp(name));
    place.ok().map(|place| piece.entries[place].clone())
}
