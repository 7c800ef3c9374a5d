//! The one place that maps files into memory.
//!
//! Mapping is `unsafe` because a file that another process shortens or changes under the map is undefined behaviour
//! for the reader. The files mapped here are made by this program under a temporary name, renamed into place, never
//! written again, and lie in a directory that only the user may write (mode 0700), so nobody else changes them.
//!
//! A mapped page counts as memory of this program for as long as it stays mapped, though the kernel could drop it. So of
//! a file above [`RESIDENT`] no more than that stays mapped ([`Map::at`] lets go of all of it now and then), and what is
//! wanted of random places is read instead ([`Map::probe`]): mapping a page and letting go of it costs more than reading it.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Mmap, UncheckedAdvice};

/// So much of a file stays mapped, in bytes.
pub const RESIDENT: usize = 32 << 20;
/// What one touch of a page may map with it, in bytes: the kernel's `fault_around_bytes` (64 KiB), or a huge page where the file's part
/// of the page cache is made of such.
const WINDOW: usize = 2 << 20;
/// What is read at once of a file that is gone through, in bytes.
const STEP: usize = 1 << 20;

/// A file of the private cache directory, mapped read-only.
#[derive(Debug)]
pub struct Map {
    map: Mmap,
    file: File,
    /// Windows that were touched since all of them were let go, at most.
    touched: AtomicUsize,
    /// The window that was touched last.
    last: AtomicUsize,
}

impl Map {
    /// Maps a whole file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: see the head of this module.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Map { map, file, touched: AtomicUsize::new(0), last: AtomicUsize::new(usize::MAX) })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Some of the file's bytes, if it has them. For what is read in order, or often, and is short.
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let bytes = self.map.get(range.clone())?;
        if self.map.len() > RESIDENT {
            self.touch(&range);
        }
        Some(bytes)
    }

    /// The same for a range that is known to be in the file.
    ///
    /// # Panics
    /// Where it is not.
    pub fn at(&self, range: Range<usize>) -> &[u8] {
        self.get(range).expect("the range lies in the file")
    }

    /// The same for random places: mapped bytes of a file that stays mapped as a whole, read ones of a larger one.
    ///
    /// # Panics
    /// Where the range is not in the file.
    pub fn probe(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        if self.map.len() > RESIDENT {
            let mut bytes = vec![0; range.len()];
            if self.file.read_exact_at(&mut bytes, range.start as u64).is_ok() {
                return Cow::Owned(bytes);
            }
        }
        Cow::Borrowed(self.at(range))
    }

    /// The BLAKE3 of a range.
    ///
    /// # Panics
    /// Where it is not in the file.
    pub fn hash(&self, range: Range<usize>) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for start in range.clone().step_by(STEP) {
            hasher.update(self.at(start..range.end.min(start + STEP)));
        }
        hasher.finalize()
    }

    /// Counts what becomes mapped, and lets go of all of it when it is too much. A window that is touched again is counted
    /// again unless it was the last one: too much is let go too early, which costs little.
    fn touch(&self, range: &Range<usize>) {
        let (first, last) = (range.start / WINDOW, range.end.saturating_sub(1).max(range.start) / WINDOW);
        if first == last && self.last.load(Ordering::Relaxed) == last {
            return;
        }
        self.last.store(last, Ordering::Relaxed);
        let new = last - first + 1;
        if (self.touched.fetch_add(new, Ordering::Relaxed) + new) * WINDOW > RESIDENT {
            self.touched.store(new, Ordering::Relaxed);
            // SAFETY: the map is read-only and shared with the file: a page that is touched again is the same one, read
            // from the file, so slices that somebody holds stay what they were.
            #[allow(unsafe_code)]
            let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

/// Rows of one size in a [`Map`], in ascending order of the key that each begins with. One row is found by one read: of every
/// [`Table::BLOCK`] rows the beginning of the first key is held in memory, 8 bytes.
#[derive(Debug)]
pub struct Table {
    range: Range<usize>,
    row: usize,
    fences: Vec<u64>,
}

impl Table {
    /// Rows in a block.
    const BLOCK: usize = 64;

    /// The rows of `row` bytes each (keys of at least 8) in this range, the end of which lies in the file. Goes through all of it.
    pub fn new(map: &Map, range: Range<usize>, row: usize) -> Self {
        let fence = |start: usize| front(map.at(start..start + row));
        let fences = range.clone().step_by(row * Self::BLOCK).map(fence).collect();
        Table { range, row, fences }
    }

    /// The rows, in order.
    pub fn rows<'m>(&self, map: &'m Map) -> impl Iterator<Item = &'m [u8]> {
        let row = self.row;
        self.range.clone().step_by(row).map(move |start| map.at(start..start + row))
    }

    /// The first row with this key.
    pub fn find(&self, map: &Map, key: &[u8]) -> Option<Vec<u8>> {
        let wanted = front(key);
        // The row may stand in the last block that begins below the key, or in one that begins like it.
        let first = self.fences.partition_point(|&fence| fence < wanted).saturating_sub(1);
        let last = self.fences.partition_point(|&fence| fence <= wanted);
        let block = |number: usize| self.range.start + number * Self::BLOCK * self.row;
        (first..last).find_map(|number| {
            let rows = map.probe(block(number)..block(number + 1).min(self.range.end));
            let rows: Vec<&[u8]> = rows.chunks_exact(self.row).collect();
            let found = rows.get(rows.partition_point(|row| &row[..key.len()] < key))?;
            found.starts_with(key).then(|| found.to_vec())
        })
    }
}

fn front(key: &[u8]) -> u64 {
    u64::from_be_bytes(*key.first_chunk().expect("keys have 8 bytes or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, Map) {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).expect("writes");
        let map = Map::open(&path).expect("maps");
        (folder, map)
    }

    /// What the kernel counts as mapped of this file, in KiB.
    fn resident(path: &Path) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("reads");
        let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().expect("a name")));
        let line = lines.find(|line| line.starts_with("Rss:")).expect("has the map");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    #[test]
    fn of_a_large_file_only_some_stays_mapped() {
        let bytes: Vec<u8> = (0..4 * RESIDENT / 8).flat_map(|n| (n as u64).to_le_bytes()).collect();
        let (folder, map) = file(&bytes);
        let path = folder.path().join("file");
        let most = 2 * RESIDENT / 1024;
        assert_eq!(map.hash(0..map.len()), blake3::hash(&bytes));
        assert!(resident(&path) < most);
        // In order, at random, and in the middle of a slice that is held.
        let held = map.at(12_345..99_999);
        for n in 0..bytes.len() / 8 {
            assert_eq!(map.at(n * 8..n * 8 + 8), (n as u64).to_le_bytes());
        }
        assert!(resident(&path) < most);
        for n in 0..20_000 {
            let start = (n * 7_654_321) % (bytes.len() - 100);
            assert_eq!(*map.probe(start..start + 100), bytes[start..start + 100]);
            assert_eq!(map.at(start..start + 100), &bytes[start..start + 100]);
        }
        assert!(resident(&path) < most);
        assert_eq!(held, &bytes[12_345..99_999]);
        assert!(map.get(bytes.len() - 1..bytes.len() + 1).is_none());
    }

    #[test]
    fn rows_are_found_by_their_keys() {
        for count in [0, 1, 63, 64, 65, 1000, 900_000] {
            let mut keys: Vec<[u8; 32]> = (0..count).map(|n: u64| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
            // Some that begin alike, more than a block has.
            keys.extend((0..count as u8 % 255).map(|n| {
                let mut key = [7; 32];
                key[31] = n;
                key
            }));
            keys.sort_unstable();
            let rows: Vec<[u8; 40]> = (0u64..)
                .zip(&keys)
                .map(|(n, key)| [&key[..], &n.to_le_bytes()].concat().try_into().expect("40 bytes"))
                .collect();
            let (_folder, map) = file(&[b"head".as_slice(), rows.as_flattened(), b"foot"].concat());
            let table = Table::new(&map, 4..map.len() - 4, 40);
            assert!(table.rows(&map).eq(rows.iter().map(|row| row.as_slice())));
            for row in rows.iter().step_by(rows.len() / 5000 + 1) {
                assert_eq!(table.find(&map, &row[..32]).as_deref(), Some(&row[..]));
                let mut other = keys[0];
                other.copy_from_slice(&row[..32]);
                other[31] ^= 0x80;
                let expected = keys.binary_search(&other).ok().map(|place| rows[place].to_vec());
                assert_eq!(table.find(&map, &other), expected);
            }
            assert_eq!(table.find(&map, &[0; 32]), None);
            assert_eq!(table.find(&map, &[255; 32]), None);
        }
    }
}
