//! Verification: every file that was restored is read back from the target, and compared with the blob ids of the snapshot.
//!
//! The tree is walked a second time; files are read on as many threads as there are processors, one blob at a time.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::{Advice, FileType, OFlags, fadvise};

use super::folder::status;
use super::selection::{Choice, Verdict};
use super::sparse::Layout;
use super::standing::size;
use super::target::{Target, kind_of};
use super::{RestoreError, Watch};
use crate::backup::roots::Node;
use crate::format::blob::{BlobHasher, BlobKind, MAX_BLOB};
use crate::format::content::{Content, Item};
use crate::format::entry::{Entry, EntryType};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::is_too_deep;

/// See the head of this module.
pub struct Verification<'a, 'r> {
    /// Where ids come from.
    pub reader: &'a BlobReader<'r>,
    /// What is read.
    pub target: &'a Target,
    /// What was restored.
    pub choice: Choice<'a>,
    /// Told of what is found.
    pub watch: &'a Watch,
    /// What is known to be damaged, and is not said twice.
    pub known: HashSet<PathBuf>,
}

type Task = (PathBuf, Entry);

impl<'a> Verification<'a, '_> {
    /// Reads what is below a directory, or only this entry.
    pub fn run(&self, top: Result<&Content, &Entry>) -> Result<(), RestoreError> {
        self.synchronise();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (sender, receiver) = crossbeam_channel::bounded(64);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.read_files(&receiver));
            }
            let sender = sender;
            match top {
                Ok(content) => {
                    self.directory(content, Path::new(""), self.choice.scope, self.choice.takes_top(), &sender)
                }
                Err(entry) => self.entry(entry.clone(), Path::new(""), self.choice.scope, true, &sender),
            }
        })?;
        self.watch.check()
    }

    /// What is not on the disk yet would be read from memory.
    fn synchronise(&self) {
        if let Ok(Some(root)) = self.target.root()
            && let Err(error) = rustix::fs::syncfs(root)
        {
            tracing::debug!("the file system is not synchronised: {error}");
        }
    }

    fn directory(
        &self,
        content: &Content,
        path: &Path,
        scope: &'a Node,
        taken: bool,
        sender: &Sender<Task>,
    ) -> Result<(), RestoreError> {
        let is_not_there = self.known.contains(&self.target.display(path)) && self.target.open_directory(path).is_err();
        if is_not_there || is_too_deep(path) {
            return Ok(());
        }
        let mut failure = None;
        let walked = self.reader.for_each_entry(
            content,
            |entry| {
                self.entry(entry, path, scope, taken, sender).map_err(|error| {
                    failure = Some(error);
                    RepositoryError::Interrupted
                })
            },
            |_| Ok(()),
        );
        match failure {
            Some(failure) => Err(failure),
            None => Ok(walked?),
        }
    }

    fn entry(
        &self,
        entry: Entry,
        parent: &Path,
        scope: &'a Node,
        taken: bool,
        sender: &Sender<Task>,
    ) -> Result<(), RestoreError> {
        self.watch.check()?;
        let path = parent.join(OsStr::from_bytes(&entry.name));
        let (verdict, scope) = self.choice.of(scope, &path, entry.kind == EntryType::Directory, taken);
        match (verdict, entry.kind, &entry.content) {
            (Verdict::Take | Verdict::Enter, EntryType::Directory, Some(content)) => {
                self.directory(content, &path, scope, verdict == Verdict::Take, sender)
            }
            (Verdict::Take, EntryType::File, Some(_)) => {
                sender.send((path, entry)).map_err(|_| RepositoryError::Interrupted)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_files(&self, receiver: &Receiver<Task>) {
        let mut buffer = Vec::new();
        for (path, entry) in receiver {
            let shown = self.target.display(&path);
            if self.watch.is_stopped() || self.known.contains(&shown) || self.watch.is_untouched(&path) {
                continue;
            }
            match self.read(&path, &entry, &mut buffer) {
                Ok(()) => self.watch.verified.add(1),
                Err(why) => self.watch.problems.push(shown, format!("it is not as in the snapshot: {why}")),
            }
        }
    }

    fn read(&self, path: &Path, entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), String> {
        let file = self.target.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
        let file = File::from(file.map_err(|error| format!("it cannot be opened: {error}"))?);
        let found = status(&file).map_err(|error| format!("it cannot be looked at: {error}"))?;
        if kind_of(&found) != FileType::RegularFile {
            return Err("it is no regular file".into());
        }
        let expected = size(entry).unwrap_or(0);
        if found.st_size as u64 != expected {
            return Err(format!("it has {} bytes instead of {expected}", found.st_size));
        }
        // From the disk, not from memory, as far as the system lets us.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let Some(content) = &entry.content else { return Ok(()) };
        let layout = Layout::of(entry).map_err(|why| why.to_string())?;
        let mut offset = 0;
        for leaf in self.reader.leaves(content).map_err(|why| why.to_string())? {
            let item = leaf.map_err(|why| why.to_string())?;
            if self.watch.is_stopped() {
                return Ok(());
            }
            self.read_blob((&file, layout.as_ref()), offset, &item, buffer)?;
            offset += item.size;
        }
        Ok(())
    }

    fn read_blob(
        &self,
        (file, layout): (&File, Option<&Layout>),
        offset: u64,
        item: &Item,
        buffer: &mut Vec<u8>,
    ) -> Result<(), String> {
        let end = offset.saturating_add(item.size);
        let length = usize::try_from(item.size).ok().filter(|length| *length <= MAX_BLOB);
        let length = length.ok_or_else(|| format!("bytes {offset} to {end} are no blob"))?;
        buffer.resize(length, 0);
        let spans: Vec<(u64, usize)> = match layout {
            None => vec![(offset, length)],
            Some(layout) => layout.pieces(offset, buffer).map(|(at, piece)| (at, piece.len())).collect(),
        };
        let mut rest = buffer.as_mut_slice();
        for (at, length) in spans {
            let (piece, after) = rest.split_at_mut(length);
            file.read_exact_at(piece, at).map_err(|error| format!("bytes {offset} to {end}: {error}"))?;
            rest = after;
        }
        let is_good = |hasher: &BlobHasher| hasher.id(BlobKind::Data, buffer) == item.id;
        // Blob ids depend on the group's key, which the pack's header names.
        let openers = self.reader.index.locations(&item.id).filter_map(|location| {
            let pack = location.pack().ok()?;
            self.reader.opener(&pack).ok()
        });
        if openers.into_iter().any(|opener| is_good(&opener.hasher)) {
            self.watch.verified_bytes.add(item.size);
            return Ok(());
        }
        Err(format!("bytes {offset} to {end} differ"))
    }
}
