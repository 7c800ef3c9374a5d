//! The workers: read files, cut them, name the pieces, and store what is new.
//!
//! A worker reads a small file from open to close. A large one is cut by one worker, which hands the pieces to whoever
//! is free and works on them itself while all others are busy.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::Shared;
use super::attributes::Attributes;
use super::checkpoint::FlushRequest;
use super::list::ListWriter;
use super::packer::Packer;
use super::stream::Stream;
use super::upload::UploadSender;
use crate::chunker::Chunker;
use crate::format::Time;
use crate::format::blob::BlobKind;
use crate::format::content::{Content, Item};
use crate::inode::runs::RunReader;
use crate::repository::RepositoryError;

/// The reading buffer holds the longest piece and this much more, in bytes.
const READ_AHEAD: usize = 4 << 20;
/// Pieces of files above this size are shared out, in bytes.
const SHARE_FROM: u64 = 4 << 20;
/// Files above this size are looked at again right before they are read, in bytes.
const LOOK_AGAIN_FROM: u64 = 1 << 20;
/// Pieces of one file in flight.
const IN_FLIGHT: usize = 16;

/// What tells whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Last change of the contents.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// The inode.
    pub inode: u64,
}

/// What became of a file.
#[derive(Debug, Clone)]
pub enum FileResult {
    /// Its contents are stored; with what it was when they were read.
    Read(Content, Stamp, Attributes),
    /// It could not be read.
    Failed(String),
    /// The backup ended before it was read.
    Over,
}

/// Where a result will be.
pub type Ticket = Arc<OnceLock<FileResult>>;

/// A file to be read.
pub struct FileTask {
    /// Its path; for the stream that is backed up, the name of the file that it becomes.
    pub path: PathBuf,
    /// What the walker saw.
    pub stamp: Stamp,
    /// Whether it may have holes.
    pub may_be_sparse: bool,
    /// Where the result goes.
    pub ticket: Ticket,
}

/// A piece of a large file.
pub struct BlobTask {
    data: Vec<u8>,
    ticket: Arc<OnceLock<Option<Item>>>,
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    pieces: &'a Receiver<BlobTask>,
    piece_sender: &'a Sender<BlobTask>,
    flushes: &'a Receiver<FlushRequest>,
    uploads: &'a UploadSender,
    packer: Packer,
    buffer: Vec<u8>,
}

/// Works until there are no more files, then hands over the worker's pack.
pub fn work(
    shared: &Shared<'_>,
    files: &Receiver<FileTask>,
    pieces: &Receiver<BlobTask>,
    piece_sender: &Sender<BlobTask>,
    flushes: &Receiver<FlushRequest>,
    uploads: &UploadSender,
) {
    let packer = Packer::for_data(&shared.repository.roster.parameters);
    let mut worker = Worker { shared, pieces, piece_sender, flushes, uploads, packer, buffer: Vec::new() };
    loop {
        crossbeam_channel::select_biased! {
            recv(flushes) -> request => if let Ok(request) = request { worker.flush(&request) },
            recv(pieces) -> piece => if let Ok(piece) = piece { worker.piece(piece) },
            recv(files) -> file => match file {
                Ok(file) => worker.file(file),
                Err(_) if shared.large.load(Ordering::SeqCst) == 0 => break,
                Err(_) => {
                    if let Ok(piece) = pieces.recv_timeout(Duration::from_millis(2)) {
                        worker.piece(piece);
                    }
                }
            },
        }
    }
    if !shared.is_over()
        && let Err(error) = worker.packer.flush(uploads)
    {
        shared.fail(error);
    }
}

impl Worker<'_> {
    /// Hands over the pack that is being filled.
    fn flush(&mut self, request: &FlushRequest) {
        if let Err(error) = self.packer.flush(self.uploads) {
            self.shared.fail(error);
        }
        let _ = request.send(());
    }

    fn file(&mut self, task: FileTask) {
        let result = if self.shared.is_over() {
            FileResult::Over
        } else {
            let result = match &self.shared.options.stream {
                Some(stream) => self.stream(stream, task.stamp),
                None => self.read(&task),
            };
            match result {
                Ok(result) => result,
                Err(error) => {
                    self.shared.fail(error);
                    FileResult::Over
                }
            }
        };
        let _ = task.ticket.set(result);
    }

    /// Reads a file; again if it was changed between the walk and now.
    fn read(&mut self, task: &FileTask) -> Result<FileResult, RepositoryError> {
        self.shared.watch.is_at(&task.path);
        let failed = |action: &str, error: io::Error| Ok(FileResult::Failed(format!("cannot {action} it: {error}")));
        let mut file = match open(&task.path) {
            Ok(file) => file,
            Err(error) => return failed("open", error),
        };
        let mut expected = task.stamp;
        if expected.size >= LOOK_AGAIN_FROM {
            match stamp(&file) {
                Ok(stamp) => expected = stamp,
                Err(error) => return failed("look at", error),
            }
        }
        for last_try in [false, true] {
            let mut attributes = Attributes::of_open(&file);
            let sparse = task.may_be_sparse || last_try;
            let content = match self.sparse_contents(&mut file, expected.size, sparse, &mut attributes) {
                Ok(content) => content,
                Err(Failure::Read(error)) => return failed("read", error),
                Err(Failure::Fatal(error)) => return Err(error),
            };
            let now = match stamp(&file) {
                Ok(stamp) => stamp,
                Err(error) => return failed("look at", error),
            };
            if now != expected && last_try {
                attributes.problems.push("it changed while it was being read".into());
            }
            if now == expected || last_try {
                return Ok(FileResult::Read(content, now, attributes));
            }
            expected = now;
            if let Err(error) = file.seek(SeekFrom::Start(0)) {
                return failed("read", error);
            }
        }
        unreachable!("the second try returns")
    }

    /// Reads a file from its beginning to its end, without its holes.
    fn sparse_contents(
        &mut self,
        file: &mut File,
        size: u64,
        may_be_sparse: bool,
        attributes: &mut Attributes,
    ) -> Result<Content, Failure> {
        if !may_be_sparse {
            return self.contents(file, size);
        }
        let Some(runs) = attributes.find_holes(file, size).map_err(Failure::Read)? else {
            file.seek(SeekFrom::Start(0)).map_err(Failure::Read)?;
            return self.contents(file, size);
        };
        let length = runs.iter().map(|run| run.1).sum();
        let content = self.contents(&mut RunReader::new(file, runs), length)?;
        if content.size < length {
            attributes.shorten(content.size);
        }
        Ok(content)
    }

    /// Reads the stream that is backed up. There is no backup of a part of it.
    fn stream(&mut self, stream: &Stream, seen: Stamp) -> Result<FileResult, RepositoryError> {
        let failed = |why: String| RepositoryError::Stream { name: stream.name.clone(), why };
        let mut reader = stream.take().ok_or_else(|| failed("it cannot be read a second time".into()))?;
        self.shared.large.fetch_add(1, Ordering::SeqCst);
        let content = self.large(&mut reader);
        self.shared.large.fetch_sub(1, Ordering::SeqCst);
        match content {
            Ok(content) => {
                let now = Time::now();
                let stamp = Stamp { size: content.size, mtime: now, ctime: now, ..seen };
                Ok(FileResult::Read(content, stamp, Attributes::default()))
            }
            Err(Failure::Read(error)) => Err(failed(error.to_string())),
            Err(Failure::Fatal(error)) => Err(error),
        }
    }

    /// Reads a file from where it stands to its end.
    fn contents(&mut self, file: &mut dyn Read, size: u64) -> Result<Content, Failure> {
        if size >= SHARE_FROM {
            self.shared.large.fetch_add(1, Ordering::SeqCst);
            let content = self.large(file);
            self.shared.large.fetch_sub(1, Ordering::SeqCst);
            return content;
        }
        let mut list = ListWriter::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.cut(file, size, &mut buffer, |worker, piece| {
            let item = worker.store(BlobKind::Data, piece)?;
            list.push(item, &mut |kind, bytes| Ok(worker.store(kind, bytes)?.id))?;
            worker.shared.watch.counters.bytes.add(item.size);
            Ok(())
        });
        self.buffer = buffer;
        result?;
        Ok(list.finish(&mut |kind, bytes| Ok(self.store(kind, bytes)?.id))?)
    }

    /// Reads a file and gives its pieces to `each`, in order.
    fn cut(
        &mut self,
        file: &mut dyn Read,
        size: u64,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), Failure> {
        let max = self.shared.chunker.max();
        // One byte more than a small file has, so that one read finds its end.
        let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1).min(max + READ_AHEAD);
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let (mut start, mut end) = (0, 0);
        let mut at_end = false;
        loop {
            while !at_end && end - start < max.min(room) {
                if end == buffer.len() {
                    if start == 0 {
                        let longer = (buffer.len() * 2).min(max + READ_AHEAD);
                        buffer.resize(longer, 0);
                    } else {
                        buffer.copy_within(start..end, 0);
                        (start, end) = (0, end - start);
                    }
                }
                let most = buffer.len().min(end + READ_AHEAD);
                match file.read(&mut buffer[end..most]) {
                    Ok(0) => at_end = true,
                    Ok(count) => {
                        end += count;
                        // A regular file that gives less than asked is at its end, as far as it was known.
                        at_end = end as u64 == size && end < most;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Failure::Read(error)),
                }
                let length = self.shared.chunker.cut(&buffer[start..end]);
                if length < end - start {
                    break;
                }
            }
            if start == end {
                return Ok(());
            }
            if self.shared.is_over() {
                return Err(Failure::Fatal(RepositoryError::Interrupted));
            }
            let length = self.shared.chunker.cut(&buffer[start..end]);
            each(self, &buffer[start..start + length]).map_err(Failure::Fatal)?;
            start += length;
        }
    }

    /// Cuts a large file and shares its pieces out.
    fn large(&mut self, file: &mut dyn Read) -> Result<Content, Failure> {
        let mut list = ListWriter::default();
        let mut tickets: VecDeque<Arc<OnceLock<Option<Item>>>> = VecDeque::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.cut(file, u64::MAX, &mut buffer, |worker, piece| {
            if let Ok(request) = worker.flushes.try_recv() {
                worker.flush(&request);
            }
            while tickets.len() >= IN_FLIGHT {
                worker.next_item(&mut tickets, &mut list)?;
            }
            let ticket = Arc::new(OnceLock::new());
            tickets.push_back(ticket.clone());
            match worker.piece_sender.try_send(BlobTask { data: piece.to_vec(), ticket }) {
                Ok(()) => {}
                Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => worker.piece(task),
            }
            Ok(())
        });
        self.buffer = buffer;
        while !tickets.is_empty() {
            self.next_item(&mut tickets, &mut list)?;
        }
        result?;
        Ok(list.finish(&mut |kind, bytes| Ok(self.store(kind, bytes)?.id))?)
    }

    /// Waits for the oldest piece in flight, working on others meanwhile.
    fn next_item(
        &mut self,
        tickets: &mut VecDeque<Arc<OnceLock<Option<Item>>>>,
        list: &mut ListWriter,
    ) -> Result<(), RepositoryError> {
        let Some(ticket) = tickets.pop_front() else { return Ok(()) };
        while ticket.get().is_none() {
            match self.pieces.try_recv() {
                Ok(task) => self.piece(task),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    ticket.wait();
                }
            }
        }
        let item = ticket.get().copied().flatten().ok_or(RepositoryError::Interrupted)?;
        self.shared.watch.counters.bytes.add(item.size);
        list.push(item, &mut |kind, bytes| Ok(self.store(kind, bytes)?.id))
    }

    fn piece(&mut self, task: BlobTask) {
        let item = if self.shared.is_over() { None } else { self.store_or_fail(&task.data) };
        let _ = task.ticket.set(item);
    }

    fn store_or_fail(&mut self, data: &[u8]) -> Option<Item> {
        self.store(BlobKind::Data, data).map_err(|error| self.shared.fail(error)).ok()
    }

    /// Names a blob, and stores it if it is new.
    fn store(&mut self, kind: BlobKind, plaintext: &[u8]) -> Result<Item, RepositoryError> {
        store(self.shared, self.uploads, Some(&mut self.packer), kind, plaintext)
    }
}

/// Names a blob, and stores it if it is new; in `packer`, if it is data.
pub fn store(
    shared: &Shared<'_>,
    uploads: &UploadSender,
    packer: Option<&mut Packer>,
    kind: BlobKind,
    plaintext: &[u8],
) -> Result<Item, RepositoryError> {
    let item = shared.writer.store(uploads, packer, kind, plaintext)?;
    if kind == BlobKind::List {
        shared.state.keep_list(&item.id, plaintext);
    }
    Ok(item)
}

enum Failure {
    Read(io::Error),
    Fatal(RepositoryError),
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        Failure::Fatal(error)
    }
}

/// Opens a file for reading: not through a symbolic link, and not waiting for the writer of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        // The system takes paths of up to 4,096 bytes at once.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => open_stepwise(path, flags),
        opened => opened,
    }
}

fn open_stepwise(path: &Path, flags: OFlags) -> io::Result<File> {
    let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = openat(CWD, "/", steps, Mode::empty())?;
    let names = path.strip_prefix("/").unwrap_or(path);
    for name in names.parent().into_iter().flatten() {
        directory = openat(&directory, name, steps, Mode::empty())?;
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty())?.into())
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file any more"));
    }
    Ok(Stamp {
        size: metadata.len(),
        mtime: Time { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 },
        ctime: Time { seconds: metadata.ctime(), nanoseconds: metadata.ctime_nsec() as u32 },
        inode: metadata.ino(),
    })
}
