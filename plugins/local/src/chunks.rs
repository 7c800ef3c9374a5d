//! Chunks as files: put, get, stat, remove.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::directory;
use crate::errors::{explain, explain_stream};
use crate::names::{self, TEMPORARY};
use crate::settings::Settings;
use crate::{ByteRange, ChunkInfo, Content, Error, PutOutcome, RemoveOutcome};
use obnam_plugin::content;
use obnam_plugin::error::unavailable;
use obnam_plugin::wasi::clocks::wall_clock;
use obnam_plugin::wasi::filesystem::preopens::get_directories;
use obnam_plugin::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use obnam_plugin::wasi::io::streams::{InputStream, StreamError};
use obnam_plugin::wasi::random::random::get_random_u64;

/// Ranges up to this length are answered as bytes, longer ones as a stream.
const SMALL_RANGE: u64 = 256 << 10;

/// Temporary files older than this were left by somebody who is gone, in seconds.
const STALE_AFTER: u64 = 24 * 60 * 60;

/// The directory of a label, known to be there and durable.
struct LabelDirectory {
    descriptor: Descriptor,
    /// The directories below it that are there and durable.
    shards: RefCell<BTreeSet<String>>,
}

/// An opened directory of chunks.
pub struct LocalStore {
    /// The directory.
    pub root: Descriptor,
    /// Its path, for people.
    pub path: String,
    /// Whether to wait for the disk.
    pub fsync: bool,
    /// The directories of labels that this instance has stored chunks in.
    labels: RefCell<BTreeMap<String, Rc<LabelDirectory>>>,
}

impl LocalStore {
    /// The granted directory, not looked at yet.
    pub fn at(settings: Settings) -> Result<Self, Error> {
        let Settings { path, fsync } = settings;
        let granted = get_directories().into_iter().find(|(_, name)| *name == path);
        let (root, _) = granted.ok_or_else(|| Error::Denied(format!("the directory {path} was not granted")))?;
        Ok(LocalStore { root, path, fsync, labels: RefCell::default() })
    }

    /// Stores a chunk, see the contract.
    pub fn put_chunk(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error> {
        let doing = format!("store chunk {label}/{id} in {}", self.path);
        let fail = |code| explain(code, &doing);
        let directory = self.label_directory(label, &doing)?;
        let labels = &directory.descriptor;
        self.prepare_shard(&directory, names::shard(id), &doing)?;
        let target = format!("{}/{id}", names::shard(id));
        if let Some(stat) = directory::stat(labels, &target).map_err(fail)? {
            return self.already_present(labels, id, &stat, size, &doing);
        }
        let file = TemporaryFile::create(labels, &format!("{label}/"), &doing);
        let file = file.map_err(|error| self.forget_if_gone(label, error))?;
        file.fill(size, content, &doing)?;
        self.sync_file(&file.descriptor, &doing)?;
        match file.link_to(&target) {
            Ok(()) => {}
            Err(ErrorCode::Exist) => {
                let stat = directory::stat(labels, &target).map_err(fail)?;
                let stat = stat.ok_or_else(|| unavailable(format!("could not {doing}: it comes and goes"), None))?;
                return self.already_present(labels, id, &stat, size, &doing);
            }
            Err(code) => return Err(self.forget_if_gone(label, fail(code))),
        }
        drop(file);
        self.sync_shard(labels, id, &doing)?;
        Ok(PutOutcome::Stored)
    }

    /// The answer for a chunk that was there before: durable too, whoever wrote it.
    fn already_present(
        &self,
        labels: &Descriptor,
        id: &str,
        stat: &DescriptorStat,
        size: u64,
        doing: &str,
    ) -> Result<PutOutcome, Error> {
        if stat.type_ != DescriptorType::RegularFile || stat.size != size {
            return Err(Error::Corrupt(format!(
                "could not {doing}: something else has its name, {} bytes instead of {size}; move it away",
                stat.size
            )));
        }
        self.sync_shard(labels, id, doing)?;
        Ok(PutOutcome::AlreadyPresent)
    }

    /// The directory of a label. Created where it is missing, and made durable before its first use by this instance:
    /// whoever created it may not have come that far.
    fn label_directory(&self, label: &str, doing: &str) -> Result<Rc<LabelDirectory>, Error> {
        if let Some(known) = self.labels.borrow().get(label) {
            return Ok(known.clone());
        }
        let fail = |code| explain(code, doing);
        directory::create(&self.root, label).map_err(fail)?;
        let descriptor = directory::open(&self.root, label).map_err(fail)?.ok_or_else(|| fail(ErrorCode::NoEntry))?;
        self.sync_directory(&self.root, doing)?;
        remove_stale(&descriptor, label);
        let directory = Rc::new(LabelDirectory { descriptor, shards: RefCell::default() });
        self.labels.borrow_mut().insert(label.to_owned(), directory.clone());
        Ok(directory)
    }

    /// When somebody has removed a directory that was known: the next try, which the error asks for, looks again.
    fn forget_if_gone(&self, label: &str, error: Error) -> Error {
        let Error::NotFound(message) = error else { return error };
        self.labels.borrow_mut().remove(label);
        unavailable(message, None)
    }

    /// Makes sure that the directory between label and chunk is there and durable.
    fn prepare_shard(&self, directory: &LabelDirectory, shard: &str, doing: &str) -> Result<(), Error> {
        if !directory.shards.borrow().contains(shard) {
            directory::create(&directory.descriptor, shard).map_err(|code| explain(code, doing))?;
            self.sync_directory(&directory.descriptor, doing)?;
            directory.shards.borrow_mut().insert(shard.to_owned());
        }
        Ok(())
    }

    /// Waits until the disk has the names of the chunks beside this one.
    fn sync_shard(&self, labels: &Descriptor, id: &str, doing: &str) -> Result<(), Error> {
        if !self.fsync {
            return Ok(());
        }
        let shard = directory::open(labels, names::shard(id)).map_err(|code| explain(code, doing))?;
        let shard = shard.ok_or_else(|| explain(ErrorCode::NoEntry, doing))?;
        self.sync_directory(&shard, doing)
    }

    /// Reads a chunk, see the contract.
    pub fn get_chunk(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        let doing = format!("read chunk {label}/{id} in {}", self.path);
        let fail = |code| explain(code, &doing);
        let file = self
            .root
            .open_at(PathFlags::empty(), &chunk_path(label, id), OpenFlags::empty(), DescriptorFlags::READ)
            .map_err(fail)?;
        let Some(ByteRange { offset, length }) = range else {
            return Ok(Content::Stream(file.read_via_stream(0).map_err(fail)?));
        };
        let size = file.stat().map_err(fail)?.size;
        let end = content::end(ByteRange { offset, length }, size, &doing)?;
        if length > SMALL_RANGE {
            return Ok(Content::Stream(file.read_via_stream(offset).map_err(fail)?));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut position = offset;
        while position < end {
            let (piece, _) = file.read(end - position, position).map_err(fail)?;
            if piece.is_empty() {
                return Err(unavailable(format!("could not {doing}: it became shorter meanwhile"), None));
            }
            position += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        Ok(Content::Bytes(bytes))
    }

    /// What is known of a chunk.
    pub fn stat_chunk(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        let doing = format!("look at chunk {label}/{id} in {}", self.path);
        let stat = directory::stat(&self.root, &chunk_path(label, id)).map_err(|code| explain(code, &doing))?;
        match stat {
            Some(stat) if stat.type_ == DescriptorType::RegularFile => Ok(info(label, id, &stat)),
            Some(_) => {
                Err(Error::Corrupt(format!("could not {doing}: its name belongs to something else than a file")))
            }
            None => Err(explain(ErrorCode::NoEntry, &doing)),
        }
    }

    /// Removes a chunk; durable when it returns.
    pub fn remove_chunk(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        let doing = format!("remove chunk {label}/{id} from {}", self.path);
        let fail = |code| explain(code, &doing);
        let shard = directory::open(&self.root, &format!("{label}/{}", names::shard(id))).map_err(fail)?;
        if let Some(shard) = shard {
            match shard.unlink_file_at(id) {
                Ok(()) | Err(ErrorCode::NoEntry) => self.sync_directory(&shard, &doing)?,
                Err(code) => return Err(fail(code)),
            }
        }
        Ok(RemoveOutcome::Removed)
    }

    /// Waits until the disk has the bytes of a file.
    pub fn sync_file(&self, file: &Descriptor, doing: &str) -> Result<(), Error> {
        if self.fsync { file.sync_data().map_err(|code| explain(code, doing)) } else { Ok(()) }
    }

    /// Waits until the disk has the entries of a directory.
    pub fn sync_directory(&self, directory: &Descriptor, doing: &str) -> Result<(), Error> {
        if !self.fsync {
            return Ok(());
        }
        match directory.sync() {
            // Some network file systems cannot sync a directory; they have what they answered.
            Ok(()) | Err(ErrorCode::Invalid | ErrorCode::Unsupported) => Ok(()),
            Err(code) => Err(explain(code, doing)),
        }
    }
}

/// `<label>/<shard>/<id>`
fn chunk_path(label: &str, id: &str) -> String {
    format!("{label}/{}/{id}", names::shard(id))
}

/// What the file system says about a chunk.
pub fn info(label: &str, id: &str, stat: &DescriptorStat) -> ChunkInfo {
    // A hard link changes the status of the file, so this is when the chunk got its name; no user program can set
    // it, unlike the time of modification.
    let stored = stat.status_change_timestamp.or(stat.data_modification_timestamp);
    ChunkInfo { label: label.into(), id: id.into(), size: stat.size, stored: stored.map(|time| time.seconds) }
}

/// Removes temporary files that nobody can be writing any more. Best effort: they do no harm.
fn remove_stale(labels: &Descriptor, label: &str) {
    let Ok(entries) = directory::entries(labels, "clean up") else { return };
    let now = wall_clock::now().seconds;
    for entry in entries {
        if !entry.name.starts_with(TEMPORARY) || entry.kind != DescriptorType::RegularFile {
            continue;
        }
        let Ok(Some(stat)) = directory::stat(labels, &entry.name) else { continue };
        let written = stat.data_modification_timestamp.map_or(now, |time| time.seconds);
        if written.saturating_add(STALE_AFTER) < now && labels.unlink_file_at(&entry.name).is_ok() {
            obnam_plugin::log!("removed {label}/{}, left by an interrupted backup", entry.name);
        }
    }
}

/// A file under a temporary name; the name goes away when this is dropped.
pub struct TemporaryFile<'a> {
    directory: &'a Descriptor,
    /// The name in its directory.
    pub name: String,
    /// The open file.
    pub descriptor: Descriptor,
}

impl<'a> TemporaryFile<'a> {
    /// Creates an empty file. `place` is where, for messages.
    pub fn create(directory: &'a Descriptor, place: &str, doing: &str) -> Result<Self, Error> {
        let name = format!("{TEMPORARY}{:016x}", get_random_u64());
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let descriptor = directory
            .open_at(PathFlags::empty(), &name, flags, DescriptorFlags::WRITE)
            .map_err(|code| explain(code, &format!("{doing} (by way of {place}{name})")))?;
        Ok(TemporaryFile { directory, name, descriptor })
    }

    /// Writes exactly `size` bytes of content.
    pub fn fill(&self, size: u64, content: Content, doing: &str) -> Result<(), Error> {
        let written = match content {
            Content::Stream(stream) => self.splice(&stream, size, doing)?,
            Content::Bytes(bytes) => self.write(&bytes, doing)?,
        };
        if written == size { Ok(()) } else { Err(content::wrong_length(written, size, doing)) }
    }

    /// Moves the stream into the file; at most one byte beyond `size`.
    fn splice(&self, stream: &InputStream, size: u64, doing: &str) -> Result<u64, Error> {
        let output = self.descriptor.write_via_stream(0).map_err(|code| explain(code, doing))?;
        let mut written = 0;
        while written <= size {
            match output.blocking_splice(stream, size + 1 - written) {
                Ok(moved) => written += moved,
                Err(StreamError::Closed) => break,
                Err(error) => return Err(explain_stream(error, doing)),
            }
        }
        output.blocking_flush().map_err(|error| explain_stream(error, doing))?;
        Ok(written)
    }

    fn write(&self, bytes: &[u8], doing: &str) -> Result<u64, Error> {
        let mut written = 0;
        while written < bytes.len() {
            let moved = self.descriptor.write(&bytes[written..], written as u64);
            written += moved.map_err(|code| explain(code, doing))? as usize;
        }
        Ok(written as u64)
    }

    /// Gives the file another name in the same directory, beside the temporary one; fails when that is taken.
    pub fn link_only(&self, target: &str) -> Result<(), ErrorCode> {
        self.directory.link_at(PathFlags::empty(), &self.name, self.directory, target)
    }

    /// Gives the file its final name; fails when that is taken.
    pub fn link_to(&self, target: &str) -> Result<(), ErrorCode> {
        match self.link_only(target) {
            // FAT and some network file systems know no hard links. Renaming would replace a chunk that another one
            // stores at the very same moment, with the same bytes: a chunk's name is the hash of them.
            Err(ErrorCode::NotPermitted | ErrorCode::Unsupported | ErrorCode::TooManyLinks) => {
                if directory::stat(self.directory, target)?.is_some() {
                    return Err(ErrorCode::Exist);
                }
                self.directory.rename_at(&self.name, self.directory, target)
            }
            result => result,
        }
    }
}

impl Drop for TemporaryFile<'_> {
    fn drop(&mut self) {
        let _ = self.directory.unlink_file_at(&self.name);
    }
}
