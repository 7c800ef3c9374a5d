//! The first pass: goes through the directories of a snapshot and names the data blobs that its files consist of.

use std::collections::HashSet;

use super::Fault;
use crate::format::FormatError;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item};
use crate::format::entry::EntryType;
use crate::format::pack::BlobPlace;
use crate::format::to_cbor;
use crate::index::Index;
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::MAX_DEPTH;

/// So many directories are remembered, some 10 MB.
const MAX_SEEN: usize = 256 << 10;

/// What a content is known by.
pub fn digest(content: &Content) -> [u8; 16] {
    *blake3::hash(&to_cbor(content)).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Somebody who is told of data blobs, with the path of a file that needs them.
pub type Each<'e> = dyn FnMut(&Item, &[u8]) -> Result<(), Fault> + Send + 'e;

/// Which directories have been gone through: what several snapshots have in common is looked at once.
#[derive(Default)]
pub struct Survey(HashSet<[u8; 16]>);

impl Survey {
    /// Calls `each` for the data blobs below a root directory, but for those in directories that were gone through before.
    pub fn walk(&mut self, reader: &BlobReader<'_>, root: &Content, each: &mut Each<'_>) -> Result<(), Fault> {
        self.directory(reader, root, &mut Vec::new(), 0, each)
    }

    /// Goes through everything again, from now on: not all that was named has been copied.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    fn directory(
        &mut self,
        reader: &BlobReader<'_>,
        content: &Content,
        path: &mut Vec<u8>,
        depth: usize,
        each: &mut Each<'_>,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(too_deep(path));
        }
        let digest = digest(content);
        if self.0.contains(&digest) {
            return Ok(());
        }
        for entry in reader.entries(content).map_err(at(path))? {
            let entry = entry.map_err(at(path))?;
            let Some(content) = &entry.content else { continue };
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(&entry.name);
            match entry.kind {
                EntryType::Directory => self.directory(reader, content, path, depth + 1, each)?,
                EntryType::File => {
                    for item in reader.leaves(content).map_err(at(path))? {
                        each(&item.map_err(at(path))?, path)?;
                    }
                }
                _ => return Err(at(path)(contents_of_nothing())),
            }
            path.truncate(length);
        }
        if self.0.len() >= MAX_SEEN {
            self.0.clear();
        }
        self.0.insert(digest);
        Ok(())
    }
}

/// Damage at this path.
pub fn at(path: &[u8]) -> impl Fn(RepositoryError) -> Fault {
    let path = if path.is_empty() { "/".into() } else { String::from_utf8_lossy(path).into_owned() };
    move |error| match error.about_chunk() {
        Ok(error) => Fault::Source(path.clone(), Box::new(error)),
        Err(outage) => Fault::Target(outage),
    }
}

/// Directories without end.
pub fn too_deep(path: &[u8]) -> Fault {
    let why = FormatError::Malformed("directories more than 1,000 levels deep");
    // The path itself would fill the screen.
    at(path.get(..80).unwrap_or(path))(RepositoryError::Malformed { what: "a directory".into(), why })
}

/// Contents where there can be none.
pub fn contents_of_nothing() -> RepositoryError {
    let why = FormatError::Malformed("contents of what is neither a file nor a directory");
    RepositoryError::Malformed { what: "an entry".into(), why }
}

/// A bit for each record of an index: whether that blob was counted.
pub struct Counted<'i> {
    index: &'i Index,
    taken: Vec<Vec<u64>>,
}

impl<'i> Counted<'i> {
    /// Nothing is counted yet.
    pub fn new(index: &'i Index) -> Self {
        Counted { index, taken: index.runs.iter().map(|run| vec![0; run.len().div_ceil(64)]).collect() }
    }

    /// Counts a data blob; where it stands, unless it was counted before.
    pub fn take(&mut self, id: &BlobId) -> Option<BlobPlace> {
        for (run, taken) in self.index.runs.iter().zip(&mut self.taken) {
            let mut found = run.find(id).map(|(place, record)| (place, record.place));
            if let Some((place, found)) = found.find(|(_, found)| found.kind == BlobKind::Data) {
                let bit = 1 << (place % 64);
                let is_new = taken[place / 64] & bit == 0;
                taken[place / 64] |= bit;
                return is_new.then_some(found);
            }
        }
        None
    }
}
