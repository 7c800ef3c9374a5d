//! What the backup before saw: the entries of each directory, in a local file, so that files that have not changed are
//! not opened. Writers need it because they cannot read trees; for all it is faster. It is a cache: without it, readers
//! make it again from the trees of their last snapshot; writers read all files again, and store nothing twice.
//!
//! Layout, little-endian: magic "OBNAMFST" (8), records (bytes), table (sorted: key (16), offset (8), length (4), first
//! 4 bytes of the record's BLAKE3), foot: offset of the table (8), number of entries (8), start of that backup (seconds
//! 8, nanoseconds 4), BLAKE3 of table and the 28 bytes before (32). A record is a piece of a directory's entries (key:
//! BLAKE3 of its path, NUL, number of the piece), or a list blob (key: its id).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::files::Stamp;
use super::{Options, Shared};
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, decode_items};
use crate::format::entry::{Entries, Entry, EntryType};
use crate::format::{Fields, FormatError, Time};
use crate::index::Index;
use crate::local::{LocalError, io_error};
use crate::mapped::{Map, Table};
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::{Repository, RepositoryError};

const MAGIC: &[u8; 8] = b"OBNAMFST";
const ROW: usize = 16 + 8 + 4 + 4;
const FOOT: usize = 8 + 8 + 8 + 4 + 32;

/// So many rows of the table are sorted in memory at a time, 32 MiB.
const SORTED_AT_ONCE: u64 = 1 << 20;

/// State files that nobody has written for this long are removed.
const KEEP: Duration = Duration::from_secs(180 * 24 * 3600);

type Key = [u8; 16];

fn path_key(path: &Path, piece: u32) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_os_str().as_bytes()).update(&[0]).update(&piece.to_le_bytes());
    first(hasher.finalize().as_bytes())
}

fn list_key(id: &BlobId) -> Key {
    first(&id.0)
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    *hash.first_chunk().expect("a hash has 32 bytes")
}

/// The state files of backups of the same paths: of the last whole one, and of the last partial snapshot since.
#[derive(Clone)]
struct Files {
    whole: PathBuf,
    partial: PathBuf,
}

impl Files {
    fn new(repository: &Repository, options: &Options) -> Self {
        let mut hasher = blake3::Hasher::new();
        for path in options.paths() {
            hasher.update(&(path.0.len() as u64).to_le_bytes()).update(&path.0);
        }
        let name = format!("files-{}", hex::encode(first::<8>(hasher.finalize().as_bytes())));
        let file = |kind| repository.cache_dir().join(format!("{name}.{kind}"));
        Files { whole: file("state"), partial: file("partial") }
    }
}

/// Removes the state files of paths that have not been backed up for long.
fn remove_stale(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_state = entry.file_name().to_string_lossy().starts_with("files");
        let is_old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age > KEEP);
        if is_state && is_old() == Some(true) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What is known of the backup before: state files, the newest first.
pub struct Previous(Vec<Mapped>);

struct Mapped {
    map: Map,
    table: Table,
    started: Time,
}

impl Mapped {
    fn open(path: &Path) -> Option<Self> {
        let map = Map::open(path).ok()?;
        let foot = map.len().checked_sub(FOOT)?;
        let mut fields = Fields(map.at(foot..map.len()));
        let mut read = || -> Result<(usize, usize, Time), FormatError> {
            let (table, rows) = (fields.u64()? as usize, fields.u64()? as usize);
            let started = Time { seconds: fields.u64()? as i64, nanoseconds: fields.u32()? };
            Ok((table, rows, started))
        };
        let (table, rows, started) = read().ok()?;
        let fits = rows.checked_mul(ROW).and_then(|length| table.checked_add(length)) == Some(foot);
        let whole = fits && map.get(0..8) == Some(MAGIC) && map.hash(table..foot + 28).as_bytes() == fields.0;
        whole.then(|| Mapped { table: Table::new(&map, table..foot, ROW), started, map })
    }

    fn get(&self, key: &Key) -> Option<&[u8]> {
        let row = self.table.find(&self.map, key)?;
        let mut fields = Fields(&row[key.len()..]);
        let (offset, length) = (fields.u64().ok()? as usize, fields.u32().ok()? as usize);
        let record = self.map.get(offset..offset.checked_add(length)?)?;
        (first::<4>(blake3::hash(record).as_bytes()) == fields.0).then_some(record)
    }
}

impl Previous {
    fn load(files: &Files) -> Self {
        Previous([&files.partial, &files.whole].into_iter().filter_map(|path| Mapped::open(path)).collect())
    }

    /// What was kept of backups of the same paths; where nothing was, what the trees of this client's last snapshot say
    /// (of the same paths, if there is one), as far as it can read them.
    pub fn find(
        repository: &Repository,
        index: &Index,
        snapshots: &[SnapshotInfo],
        options: &Options,
    ) -> Result<Self, RepositoryError> {
        let files = Files::new(repository, options);
        let kept = Previous::load(&files);
        if options.force || options.stream.is_some() {
            // Only for what it says of files that are left out now.
            return Ok(kept);
        }
        let own = snapshots.iter().filter(|info| info.snapshot.client == repository.client.tag && !info.is_partial());
        // By their times: copies, and what was made from others, are older than their numbers say.
        let rank = |info: &&SnapshotInfo| (info.snapshot.started, info.snapshot.sequence);
        let last = own.max_by_key(|info| (info.snapshot.paths == options.paths(), rank(info)));
        let Some(last) = last.filter(|_| kept.0.is_empty() && repository.can_read()) else { return Ok(kept) };
        let snapshot = &last.snapshot;
        let state = StateWriter::create(repository, options, snapshot.started)?;
        let reader = BlobReader::new(repository, index);
        let mut directories = vec![(PathBuf::from("/"), snapshot.root.clone())];
        while let Some((path, content)) = directories.pop() {
            // What cannot be read is read again from the source.
            let _ = rebuild_directory(&reader, &state, &path, &content, &mut directories);
        }
        state.finish();
        Ok(Previous::load(&files))
    }

    /// The entries of a directory.
    pub fn directory(&self, path: &Path) -> PreviousEntries<'_> {
        PreviousEntries(self.0.iter().map(|mapped| LayerEntries::new(mapped, path)).collect())
    }

    fn list(&self, id: &BlobId) -> Option<&[u8]> {
        self.0.iter().find_map(|mapped| mapped.get(&list_key(id)))
    }
}

impl Mapped {
    /// Whether a file that was last touched then may have been changed again without showing it.
    fn is_racy(&self, time: Time) -> bool {
        time.seconds >= self.started.seconds - 1
    }
}

fn rebuild_directory(
    reader: &BlobReader<'_>,
    state: &StateWriter,
    path: &Path,
    content: &Content,
    directories: &mut Vec<(PathBuf, Content)>,
) -> Result<(), RepositoryError> {
    for (number, leaf) in reader.leaves(content)?.enumerate() {
        let piece = reader.read(BlobKind::Tree, &leaf?.id)?;
        state.keep_piece(path, number as u32, &piece);
        for entry in Entries::new(&piece).flatten() {
            let Some(content) = entry.content else { continue };
            match entry.kind {
                EntryType::Directory => directories.push((path.join(OsStr::from_bytes(&entry.name)), content)),
                _ => reader.for_each_list(&content, |id, list| state.keep_list(id, list))?,
            }
        }
    }
    Ok(())
}

/// The entries of one directory, asked for in ascending order of name.
pub struct PreviousEntries<'a>(Vec<LayerEntries<'a>>);

impl PreviousEntries<'_> {
    /// The newest entry with this name, and whether the file may have been changed since without showing it, if it was
    /// last touched at `ctime`. Names must come in ascending order.
    pub fn find(&mut self, name: &[u8], ctime: Time) -> Option<(Entry, bool)> {
        // Each layer has to see all names.
        let found: Vec<_> = self.0.iter_mut().map(|layer| layer.find(name)).collect();
        let newest = found.into_iter().zip(&self.0).find_map(|(entry, layer)| Some((entry?, layer)));
        newest.map(|(entry, layer)| (entry, layer.mapped.is_racy(ctime)))
    }
}

impl Iterator for PreviousEntries<'_> {
    type Item = Entry;

    /// The entries of the last whole backup, or of a partial one where there is none.
    fn next(&mut self) -> Option<Entry> {
        self.0.last_mut()?.next()
    }
}

struct LayerEntries<'a> {
    mapped: &'a Mapped,
    path: PathBuf,
    next_piece: u32,
    entries: Option<Entries<'a>>,
    ahead: Option<Entry>,
}

impl<'a> LayerEntries<'a> {
    fn new(mapped: &'a Mapped, path: &Path) -> Self {
        LayerEntries { mapped, path: path.to_owned(), next_piece: 0, entries: None, ahead: None }
    }
}

impl Iterator for LayerEntries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                return entry.ok();
            }
            let record = self.mapped.get(&path_key(&self.path, self.next_piece))?;
            self.next_piece += 1;
            self.entries = Some(Entries::new(record));
        }
    }
}

impl LayerEntries<'_> {
    fn find(&mut self, name: &[u8]) -> Option<Entry> {
        loop {
            let entry = self.ahead.take().or_else(|| self.next())?;
            match entry.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(entry),
                std::cmp::Ordering::Greater => {
                    self.ahead = Some(entry);
                    return None;
                }
            }
        }
    }
}

impl Shared<'_> {
    /// Whether a file has not changed since the backup before, and all of its blobs are still there. `is_racy` says that
    /// it may have been changed without showing it.
    pub(super) fn is_unchanged(&self, before: &Entry, is_racy: bool, now: &Stamp) -> bool {
        let Some(content) = before.content.as_ref().filter(|_| before.kind == EntryType::File) else { return false };
        before.file_size() == now.size && self.is_same_inode(before, is_racy, now) && self.all_present(content)
    }

    /// Whether an inode has not been touched since the backup before: every change of it, also of its extended
    /// attributes and flags, changes its ctime.
    pub(super) fn is_same_inode(&self, before: &Entry, is_racy: bool, now: &Stamp) -> bool {
        before.mtime == now.mtime && before.ctime == Some(now.ctime) && before.inode == Some(now.inode) && !is_racy
    }

    /// Whether all blobs of a content are there; notes that the snapshot needs them.
    fn all_present(&self, content: &Content) -> bool {
        let Ok(items) = content.items() else { return false };
        let mut levels = vec![(content.depth, items.collect::<Vec<_>>())];
        while let Some((depth, items)) = levels.pop() {
            for item in items {
                if !self.writer.session.is_present(&item.id) {
                    return false;
                }
                if depth > 0 {
                    let Some(list) = self.previous.list(&item.id) else { return false };
                    let Ok(below) = decode_items(list) else { return false };
                    self.state.keep_list(&item.id, list);
                    levels.push((depth - 1, below.collect()));
                }
            }
        }
        true
    }
}

/// Writes the state file for the next backup. Failures lose the cache, not the backup.
pub struct StateWriter {
    files: Files,
    started: Time,
    inner: Mutex<Inner>,
}

struct Inner {
    out: BufWriter<NamedTempFile>,
    position: u64,
    /// The rows of the table, as they come.
    rows: BufWriter<File>,
    count: u64,
    broken: Option<std::io::Error>,
}

impl StateWriter {
    /// A writer for a backup that started then.
    pub fn create(repository: &Repository, options: &Options, started: Time) -> Result<Self, LocalError> {
        let files = Files::new(repository, options);
        let folder = repository.cache_dir();
        remove_stale(folder);
        let make = || -> std::io::Result<_> {
            let mut out = BufWriter::with_capacity(1 << 18, NamedTempFile::new_in(folder)?);
            out.write_all(MAGIC)?;
            let rows = BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(folder)?);
            Ok(Inner { out, position: MAGIC.len() as u64, rows, count: 0, broken: None })
        };
        let inner = Mutex::new(make().map_err(io_error("write", &files.whole))?);
        Ok(StateWriter { files, started, inner })
    }

    fn keep(&self, key: Key, record: &[u8]) {
        let check = first(blake3::hash(record).as_bytes());
        let mut inner = self.inner.lock().expect("no panic while the lock is held");
        let row = to_row(key, inner.position, record.len() as u32, check);
        match inner.out.write_all(record).and_then(|()| inner.rows.write_all(&row)) {
            Ok(()) => {
                inner.count += 1;
                inner.position += record.len() as u64;
            }
            Err(error) => inner.broken = Some(error),
        }
    }

    /// Keeps a piece of a directory's entries.
    pub fn keep_piece(&self, path: &Path, piece: u32, entries: &[u8]) {
        self.keep(path_key(path, piece), entries);
    }

    /// Keeps a list blob.
    pub fn keep_list(&self, id: &BlobId, list: &[u8]) {
        self.keep(list_key(id), list);
    }

    /// Puts the file in place.
    pub fn finish(self) {
        let mut inner = self.inner.into_inner().expect("no panic while the lock is held");
        let finish = || -> std::io::Result<()> {
            inner.broken.take().map_or(Ok(()), Err)?;
            complete(inner.out, (&mut inner.rows, inner.count), self.started)?.persist(&self.files.whole)?;
            Ok(())
        };
        match finish() {
            Ok(()) => drop(std::fs::remove_file(&self.files.partial)),
            Err(error) => tracing::info!("{} was not written: {error}", self.files.whole.display()),
        }
    }

    /// Puts a copy of what there is so far in place, for a backup that is cut off later.
    pub fn checkpoint(&self) {
        let mut inner = self.inner.lock().expect("no panic while the lock is held");
        let mut copy = || -> std::io::Result<()> {
            inner.out.flush()?;
            let folder = self.files.partial.parent().unwrap_or(Path::new("."));
            let mut copy = NamedTempFile::new_in(folder)?;
            std::io::copy(&mut File::open(inner.out.get_ref().path())?, &mut copy)?;
            let out = BufWriter::with_capacity(1 << 18, copy);
            let Inner { rows, count, .. } = &mut *inner;
            complete(out, (rows, *count), self.started)?.persist(&self.files.partial)?;
            Ok(())
        };
        if let Err(error) = copy() {
            tracing::info!("{} was not written: {error}", self.files.partial.display());
        }
    }
}

/// Where a record is: its key, offset, length, and the beginning of its hash.
fn to_row(key: Key, offset: u64, length: u32, check: [u8; 4]) -> [u8; ROW] {
    let mut row = [0; ROW];
    row[..16].copy_from_slice(&key);
    row[16..24].copy_from_slice(&offset.to_le_bytes());
    row[24..28].copy_from_slice(&length.to_le_bytes());
    row[28..].copy_from_slice(&check);
    row
}

/// Writes table and foot behind the records. The rows are gone through once for each part of them that is sorted in memory; keys
/// are hashes, so the parts are of about equal size.
fn complete(
    mut out: BufWriter<NamedTempFile>,
    (rows, count): (&mut BufWriter<File>, u64),
    started: Time,
) -> std::io::Result<NamedTempFile> {
    rows.flush()?;
    let position = out.stream_position()?;
    let mut hasher = blake3::Hasher::new();
    let mut write = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)
    };
    let parts = count.div_ceil(SORTED_AT_ONCE);
    let part_of = |row: &[u8; ROW]| {
        let front = u64::from_be_bytes(*row.first_chunk().expect("rows are longer"));
        ((u128::from(front) * u128::from(parts)) >> 64) as u64
    };
    let mut written = 0u64;
    let mut file = rows.get_ref();
    for part in 0..parts {
        file.seek(SeekFrom::Start(0))?;
        let mut all = BufReader::with_capacity(1 << 18, file);
        let mut sorted: Vec<[u8; ROW]> = Vec::new();
        for _ in 0..count {
            let mut row = [0; ROW];
            all.read_exact(&mut row)?;
            if part_of(&row) == part {
                sorted.push(row);
            }
        }
        sorted.sort_unstable();
        sorted.dedup_by_key(|row| *row.first_chunk::<16>().expect("rows are longer"));
        sorted.iter().try_for_each(|row| write(row))?;
        written += sorted.len() as u64;
    }
    file.seek(SeekFrom::End(0))?;
    write(&position.to_le_bytes())?;
    write(&written.to_le_bytes())?;
    write(&started.seconds.to_le_bytes())?;
    write(&started.nanoseconds.to_le_bytes())?;
    let hash = hasher.finalize();
    out.write_all(hash.as_bytes())?;
    out.into_inner().map_err(|error| error.into_error())
}
