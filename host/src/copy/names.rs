//! Names: which data blob of the source is which one of the target. Both ids are hashes of the same bytes under different keys, so
//! what stands here stays true for ever, whether the target has the blob or not. It is a cache: without it, a copy reads the
//! source's data again, and stores nothing twice.
//!
//! Layout of a file, little-endian: magic "OBNAMCPY" (8), records in ascending order (id in the source (32), id in the target
//! (32), length of the plaintext (4)), BLAKE3 of all before (32). A new file swallows older ones of up to twice its length.

use std::collections::HashMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::format::blob::BlobId;
use crate::local::io_error;
use crate::mapped::{Map, Table};
use crate::repository::{Repository, RepositoryError};

const MAGIC: &[u8; 8] = b"OBNAMCPY";
const RECORD: usize = 32 + 32 + 4;
const HASH: usize = 32;
/// So many new names are kept in memory, some 20 MB, before they go into a file.
const MAX_FRESH: usize = 128 << 10;
/// A new file swallows older ones of up to this many times its own length.
const SWALLOW: usize = 2;

/// A blob of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Its id.
    pub id: BlobId,
    /// The length of its plaintext.
    pub size: u32,
}

/// A file that is whole.
struct Kept {
    path: PathBuf,
    map: Map,
    table: Table,
}

/// See the head of this module.
pub struct Names {
    folder: PathBuf,
    files: Vec<Kept>,
    fresh: Mutex<HashMap<BlobId, Name>>,
}

impl Names {
    /// What is known of blobs of this source under the keys that the target seals with now.
    pub fn open(source: &Repository, target: &Repository) -> Result<Self, RepositoryError> {
        let keys = target.sealing_keys();
        let mut hasher = blake3::Hasher::new();
        hasher.update(source.id.as_bytes()).update(&keys.group).update(&keys.epoch.to_le_bytes());
        let name = hex::encode(&hasher.finalize().as_bytes()[..8]);
        Names::in_folder(target.cache_dir().join("copied").join(name))
    }

    fn in_folder(folder: PathBuf) -> Result<Self, RepositoryError> {
        fs::create_dir_all(&folder).map_err(io_error("make the directory", &folder))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io_error("list", &folder))?.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "names") {
                continue;
            }
            match Kept::open(&path) {
                Some(file) => files.push(file),
                None => drop(fs::remove_file(&path)),
            }
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.map.len()));
        Ok(Names { folder, files, fresh: Mutex::default() })
    }

    /// What the target calls this blob, if that is known.
    pub fn get(&self, id: &BlobId) -> Option<Name> {
        let fresh = self.fresh.lock().expect("no panic while the lock is held").get(id).copied();
        fresh.or_else(|| self.files.iter().find_map(|file| file.find(id)))
    }

    /// Notes what the target calls a blob.
    pub fn add(&self, id: BlobId, name: Name) {
        self.fresh.lock().expect("no panic while the lock is held").insert(id, name);
    }

    /// Keeps what is new in a file, once it is much.
    pub fn keep_many(&mut self) {
        if self.fresh.get_mut().expect("no panic while the lock is held").len() >= MAX_FRESH {
            self.keep();
        }
    }

    /// Keeps what is new in a file. A failure loses the cache, not the copy.
    pub fn keep(&mut self) {
        let fresh = std::mem::take(self.fresh.get_mut().expect("no panic while the lock is held"));
        if fresh.is_empty() {
            return;
        }
        let mut new: Vec<(BlobId, Name)> = fresh.into_iter().collect();
        new.sort_unstable_by_key(|(id, _)| *id);
        if let Err(error) = self.write(&new) {
            tracing::info!("the names of blobs were not kept in {}: {error}", self.folder.display());
            // What is in the files stays true.
            self.fresh.get_mut().expect("no panic while the lock is held").extend(new);
        }
    }

    fn write(&mut self, new: &[(BlobId, Name)]) -> std::io::Result<()> {
        let mut length = new.len() * RECORD;
        let mut from = self.files.len();
        while from > 0 && self.files[from - 1].map.len() <= SWALLOW * length {
            from -= 1;
            length += self.files[from].map.len();
        }
        let mut out = Hashed {
            out: BufWriter::new(tempfile::NamedTempFile::new_in(&self.folder)?),
            hasher: blake3::Hasher::new(),
        };
        out.write(MAGIC)?;
        merge(new, &self.files[from..], |record| out.write(record))?;
        let hash = out.hasher.finalize();
        out.out.write_all(hash.as_bytes())?;
        let file = out.out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let path = self.folder.join(format!("{}.names", hex::encode(crate::crypto::random::<8>())));
        file.persist(&path).map_err(|error| error.error)?;
        let kept = Kept::open(&path).ok_or(std::io::ErrorKind::InvalidData)?;
        for file in self.files.drain(from..) {
            let _ = fs::remove_file(file.path);
        }
        self.files.push(kept);
        Ok(())
    }
}

struct Hashed {
    out: BufWriter<tempfile::NamedTempFile>,
    hasher: blake3::Hasher,
}

impl Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

impl Kept {
    /// Opens a file; none, if it is damaged.
    fn open(path: &Path) -> Option<Self> {
        let map = Map::open(path).ok()?;
        let end = map.len().checked_sub(HASH)?;
        let is_whole = map.get(0..MAGIC.len())? == MAGIC
            && end.checked_sub(MAGIC.len())?.is_multiple_of(RECORD)
            && map.hash(0..end).as_bytes() == map.at(end..map.len());
        is_whole.then(|| Kept { path: path.to_owned(), table: Table::new(&map, MAGIC.len()..end, RECORD), map })
    }

    fn find(&self, id: &BlobId) -> Option<Name> {
        let found = self.table.find(&self.map, &id.0)?;
        let (target, size) = found[32..].split_at(32);
        Some(Name {
            id: BlobId(target.try_into().expect("32 bytes")),
            size: u32::from_le_bytes(size.try_into().expect("4 bytes")),
        })
    }

    fn records(&self) -> impl Iterator<Item = [u8; RECORD]> {
        self.table.rows(&self.map).map(|row| row.try_into().expect("rows have the length of a record"))
    }
}

fn to_record((id, name): &(BlobId, Name)) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..32].copy_from_slice(&id.0);
    record[32..64].copy_from_slice(&name.id.0);
    record[64..].copy_from_slice(&name.size.to_le_bytes());
    record
}

/// Gives all records to `each` in ascending order, each id once.
fn merge(
    new: &[(BlobId, Name)],
    files: &[Kept],
    mut each: impl FnMut(&[u8; RECORD]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    type Source<'s> = Peekable<Box<dyn Iterator<Item = [u8; RECORD]> + 's>>;
    let mut sources: Vec<Source<'_>> = Vec::new();
    let first: Box<dyn Iterator<Item = [u8; RECORD]> + '_> = Box::new(new.iter().map(to_record));
    sources.push(first.peekable());
    for file in files {
        let records: Box<dyn Iterator<Item = [u8; RECORD]> + '_> = Box::new(file.records());
        sources.push(records.peekable());
    }
    let mut last: Option<[u8; RECORD]> = None;
    loop {
        let heads = sources.iter_mut().enumerate().filter_map(|(place, source)| Some((*source.peek()?, place)));
        let Some((record, place)) = heads.min() else { return Ok(()) };
        sources[place].next();
        if last.is_none_or(|last| last[..32] != record[..32]) {
            each(&record)?;
        }
        last = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> BlobId {
        BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    fn name(number: u32) -> Name {
        Name { id: id(number + 1_000_000), size: number }
    }

    #[test]
    fn names_come_back_from_few_files() {
        let root = tempfile::tempdir().expect("a directory");
        let open = || Names::in_folder(root.path().join("names")).expect("opens");
        for round in 0..20 {
            let mut names = open();
            assert_eq!(names.get(&id(round * 50)), None);
            // Some of them twice.
            for number in (round * 50).saturating_sub(10)..(round + 1) * 50 {
                names.add(id(number), name(number));
            }
            assert_eq!(names.get(&id(round * 50)), Some(name(round * 50)), "before it is kept");
            names.keep();
            assert!(names.files.len() < 6, "{} files", names.files.len());
        }
        let names = open();
        for number in 0..1000 {
            assert_eq!(names.get(&id(number)), Some(name(number)), "{number}");
        }
        assert_eq!(names.get(&id(1000)), None);
    }

    #[test]
    fn a_damaged_file_is_thrown_away() {
        let root = tempfile::tempdir().expect("a directory");
        let mut names = Names::in_folder(root.path().to_owned()).expect("opens");
        names.add(id(1), name(1));
        names.keep();
        let path = names.files[0].path.clone();
        drop(names);
        let good = fs::read(&path).expect("reads");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            for bytes in [&bad[..], &good[..place]] {
                fs::write(&path, bytes).expect("writes");
                assert!(Kept::open(&path).is_none(), "{place}");
            }
        }
        fs::write(&path, &good[..20]).expect("writes");
        assert_eq!(Names::in_folder(root.path().to_owned()).expect("opens").get(&id(1)), None);
        assert!(!path.exists());
    }
}
