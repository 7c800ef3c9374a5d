//! Directories as iterators: for whoever goes through two of them side by side.

use super::RepositoryError;
use super::blobs::BlobReader;
use super::tree::Leaves;
use crate::format::FormatError;
use crate::format::blob::BlobKind;
use crate::format::content::Content;
use crate::format::entry::{Entries, Entry};

/// The entries of a directory, in ascending order of name. One piece of it, some 512 KiB, is in memory at a time. After a
/// piece that cannot be read the rest still comes.
pub struct DirectoryEntries<'a, 'r> {
    reader: &'a BlobReader<'r>,
    leaves: Leaves<'a, 'r>,
    piece: std::vec::IntoIter<Result<Entry, FormatError>>,
    last: Option<Vec<u8>>,
}

impl<'r> BlobReader<'r> {
    /// The entries of a directory.
    pub fn entries<'a>(&'a self, content: &Content) -> Result<DirectoryEntries<'a, 'r>, RepositoryError> {
        Ok(DirectoryEntries { reader: self, leaves: self.leaves(content)?, piece: Vec::new().into_iter(), last: None })
    }
}

impl Iterator for DirectoryEntries<'_, '_> {
    type Item = Result<Entry, RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let malformed = |why| RepositoryError::Malformed { what: "a directory".into(), why };
        loop {
            match self.piece.next() {
                Some(Ok(entry)) if self.last.as_ref().is_some_and(|last| *last >= entry.name) => {
                    let why = "an entry that is out of order or there twice; it is left out";
                    return Some(Err(malformed(FormatError::Malformed(why))));
                }
                Some(Ok(entry)) => {
                    self.last = Some(entry.name.clone());
                    return Some(Ok(entry));
                }
                Some(Err(why)) => return Some(Err(malformed(why))),
                None => {}
            }
            let piece = match self.leaves.next()? {
                Ok(item) => self.reader.read(BlobKind::Tree, &item.id),
                Err(why) => Err(why),
            };
            match piece {
                Ok(piece) => self.piece = Entries::new(&piece).collect::<Vec<_>>().into_iter(),
                Err(why) => return Some(Err(why)),
            }
        }
    }
}
