//! Reading contents and directories: trees of blobs, flattened into streams.

use super::RepositoryError;
use super::blobs::BlobReader;
use crate::format::FormatError;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item, decode_items};
use crate::format::entry::{Entries, Entry, EntryType};

/// Directories below one another, at most; more would outgrow stack and open files of whoever walks them.
pub(crate) const MAX_DEPTH: usize = 1000;

/// Whether a directory with this path is deeper than [`MAX_DEPTH`].
pub(crate) fn is_too_deep(path: &std::path::Path) -> bool {
    path.components().count() > MAX_DEPTH
}

/// Calls `work` on a thread whose stack suffices for [`MAX_DEPTH`] directories, whatever stack the caller has.
pub(crate) fn with_deep_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, RepositoryError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("tree".into()).stack_size(64 << 20).spawn_scoped(scope, work);
        let thread = thread.map_err(crate::local::io_error("start a thread for", std::path::Path::new("the tree")))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn malformed(what: &str) -> impl Fn(FormatError) -> RepositoryError {
    move |why| RepositoryError::Malformed { what: what.to_owned(), why }
}

/// The blobs of a content, in order; list blobs are read when they are reached.
pub struct Leaves<'a, 'r> {
    reader: &'a BlobReader<'r>,
    /// Levels still to be gone through: remaining items, in reverse, with their depth.
    levels: Vec<(u8, Vec<Item>)>,
}

/// Refuses items whose sizes do not add up. None is empty, so that a content has no more leaves than bytes.
pub(crate) fn add_up(items: Vec<Item>, size: u64) -> Result<Vec<Item>, FormatError> {
    let sum = items.iter().try_fold(0u64, |sum, item| sum.checked_add(item.size).filter(|_| item.size > 0));
    if sum == Some(size) { Ok(items) } else { Err(FormatError::Malformed("sizes that do not add up")) }
}

impl<'a, 'r> Leaves<'a, 'r> {
    /// The leaves of a content.
    pub fn new(reader: &'a BlobReader<'r>, content: &Content) -> Result<Self, RepositoryError> {
        let items: Vec<Item> = content.items().map_err(malformed("a content"))?.collect();
        let mut items = add_up(items, content.size).map_err(malformed("a content"))?;
        items.reverse();
        Ok(Leaves { reader, levels: vec![(content.depth, items)] })
    }

    fn step(&mut self) -> Result<Option<Item>, RepositoryError> {
        while let Some((depth, items)) = self.levels.last_mut() {
            let depth = *depth;
            match items.pop() {
                None => {
                    self.levels.pop();
                }
                Some(item) if depth == 0 => return Ok(Some(item)),
                Some(item) => {
                    let list = self.reader.read(BlobKind::List, &item.id)?;
                    let below: Vec<Item> = decode_items(&list).map_err(malformed("a content list"))?.collect();
                    let mut below = add_up(below, item.size).map_err(malformed("a content list"))?;
                    below.reverse();
                    self.levels.push((depth - 1, below));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Leaves<'_, '_> {
    type Item = Result<Item, RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if matches!(next, Some(Err(_))) {
            self.levels.clear();
        }
        next
    }
}

impl<'r> BlobReader<'r> {
    /// The data blobs of a file, or the tree blobs of a directory, in order.
    pub fn leaves(&self, content: &Content) -> Result<Leaves<'_, 'r>, RepositoryError> {
        Leaves::new(self, content)
    }

    /// Calls `each` for every list blob of a content.
    pub fn for_each_list(
        &self,
        content: &Content,
        mut each: impl FnMut(&BlobId, &[u8]),
    ) -> Result<(), RepositoryError> {
        if content.depth == 0 {
            return Ok(());
        }
        let mut levels = vec![(content.depth, content.items().map_err(malformed("a content"))?.collect::<Vec<_>>())];
        while let Some((depth, items)) = levels.pop() {
            for item in items {
                let list = self.read(BlobKind::List, &item.id)?;
                each(&item.id, &list);
                if depth > 1 {
                    levels.push((depth - 1, decode_items(&list).map_err(malformed("a content list"))?.collect()));
                }
            }
        }
        Ok(())
    }

    /// Calls `each` for every entry of a directory, in order. A piece that cannot be read is given to `lost`; the rest
    /// of the directory still comes.
    pub fn for_each_entry(
        &self,
        content: &Content,
        mut each: impl FnMut(Entry) -> Result<(), RepositoryError>,
        mut lost: impl FnMut(RepositoryError) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let leaves = match self.leaves(content) {
            Ok(leaves) => leaves,
            Err(why) => return lost(why),
        };
        let mut last: Option<Vec<u8>> = None;
        for leaf in leaves {
            let piece = match leaf.and_then(|item| self.read(BlobKind::Tree, &item.id)) {
                Ok(piece) => piece,
                Err(why) => {
                    lost(why)?;
                    continue;
                }
            };
            for entry in Entries::new(&piece) {
                match entry {
                    Ok(entry) if last.as_ref().is_some_and(|last| *last >= entry.name) => {
                        let why =
                            FormatError::Malformed("an entry that is out of order or there twice; it is left out");
                        lost(malformed("a directory")(why))?;
                    }
                    Ok(entry) => {
                        last = Some(entry.name.clone());
                        each(entry)?;
                    }
                    Err(why) => lost(malformed("a directory")(why))?,
                }
            }
        }
        Ok(())
    }

    /// Finds what stands at a path below a directory.
    pub fn find(&self, root: &Content, path: &[u8]) -> Result<Option<Entry>, RepositoryError> {
        let mut directory = root.clone();
        let mut found = None;
        let mut parts = path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
        while let Some(part) = parts.next() {
            found = None;
            self.for_each_entry(
                &directory,
                |entry| {
                    if entry.name == part {
                        found = Some(entry);
                    }
                    Ok(())
                },
                Err,
            )?;
            match &found {
                Some(Entry { kind: EntryType::Directory, content: Some(content), .. }) if parts.peek().is_some() => {
                    directory = content.clone();
                }
                Some(_) if parts.peek().is_none() => {}
                _ => return Ok(None),
            }
        }
        Ok(found)
    }
}
