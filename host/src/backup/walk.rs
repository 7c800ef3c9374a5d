//! The walker: goes through the source tree in order of names, leaves out what the user does not want, tells files that
//! have not changed, and sends what it finds to the assembler, and files to be read to the workers. [`excludes`] has what
//! it leaves out, [`entries`] what becomes of inodes.

mod entries;
mod excludes;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};

use entries::{Names, hard_link, kind, stamp};

use super::attributes::{self, Attributes};
use super::files::{FileTask, Stamp, Ticket};
use super::previous::PreviousEntries;
use super::rehearsal::{Change, ChangeKind};
use super::roots::Node;
use super::stream::Stream;
use super::{Shared, Watch};
use crate::format::Time;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::repository::tree::{MAX_DEPTH, is_too_deep};
use crate::select::Patterns;

/// Directories are listed in pieces of this size, in bytes.
const LISTING: usize = 32 << 10;

/// What the assembler is told, in the order of the tree.
pub enum Event {
    /// A directory begins. The first one is the root, whose name is empty.
    Enter(Box<Entry>, PathBuf),
    /// A file that has not changed, a link, a special file: all is known.
    Ready(Box<Entry>),
    /// A file that is being read.
    File(Box<Entry>, PathBuf, Ticket),
    /// The directory that began last ends.
    Leave,
}

/// Whom the walker tells.
pub enum Sink {
    /// The pipeline of a backup.
    Backup {
        /// Files to be read.
        files: Sender<FileTask>,
        /// What the assembler is told.
        events: Sender<Event>,
    },
    /// Somebody who wants to know what a backup would do.
    Rehearsal(Sender<Change>),
    /// Somebody who wants to know how many bytes there are to read. Nothing is looked at but names and inodes.
    Count,
}

/// The backup is over, for whatever reason.
struct Over;

/// How the walk has come to a file or directory.
#[derive(Clone, Copy)]
struct Way<'n> {
    /// What the user named here and below, if anything.
    node: Option<&'n Node>,
    /// Whether all that is in it is wanted, and not only what was named below it.
    whole: bool,
    /// The file system of what was named last.
    device: u64,
}

impl<'n> Way<'n> {
    fn is_named(&self) -> bool {
        self.node.is_some_and(|node| node.named)
    }

    /// Names in this directory that lead to what was named.
    fn names(&self) -> impl Iterator<Item = &'n OsString> {
        self.node.into_iter().flat_map(|node| node.below.keys())
    }

    fn node(&self, name: &OsStr) -> Option<&'n Node> {
        self.node?.below.get(name)
    }
}

struct Walker<'a> {
    shared: &'a Shared<'a>,
    /// Who counts and hears of problems.
    watch: &'a Watch,
    sink: Sink,
    users: Names,
    links: HashMap<Pair, Ticket>,
    /// Where the walk is.
    path: PathBuf,
    /// For listings.
    buffer: Vec<u8>,
    /// Patterns that were found in directories above.
    found: Vec<Patterns>,
}

/// Walks all roots. Numbers and problems go to `watch`.
pub fn walk(shared: &Shared<'_>, watch: &Watch, sink: Sink) {
    let mut walker = Walker {
        shared,
        watch,
        sink,
        users: Names::default(),
        links: HashMap::new(),
        path: "/".into(),
        buffer: Vec::with_capacity(LISTING),
        found: Vec::new(),
    };
    // An early end shows in `shared`, or in the assembler's channel.
    let _ = walker.root();
}

impl Walker<'_> {
    /// The root directory of a backup of a stream: one file.
    fn stream(&mut self, stream: &Stream) -> Result<(), Over> {
        let entry = |name: &str, kind| Entry {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Entry::new(name.as_bytes(), kind)
        };
        self.send(Event::Enter(Box::new(entry("", EntryType::Directory)), "/".into()))?;
        let file = Entry { mode: 0o600, ..entry(&stream.name, EntryType::File) };
        let stamp = Stamp { size: u64::MAX, mtime: Time::now(), ctime: Time::now(), inode: 0 };
        self.watch.counters.files.add(1);
        self.watch.counters.new_files.add(1);
        self.path.push(&stream.name);
        self.read(file, stamp, false)?;
        self.send(Event::Leave)
    }

    fn root(&mut self) -> Result<(), Over> {
        if let Some(stream) = &self.shared.options.stream {
            return self.stream(stream);
        }
        let path = Path::new("/");
        match statat(CWD, path, AtFlags::empty()) {
            Ok(stat) => {
                let entry = self.entry(OsStr::new(""), &stat);
                let node = &self.shared.options.roots.tree;
                self.directory(CWD, path, entry, Way { node: Some(node), whole: node.named, device: stat.st_dev })
            }
            Err(error) => {
                self.problem(format!("cannot look at it: {error}"));
                Err(Over)
            }
        }
    }

    fn send(&self, event: Event) -> Result<(), Over> {
        if self.shared.is_over() || self.watch.is_stopped() {
            return Err(Over);
        }
        match &self.sink {
            Sink::Backup { events, .. } => events.send(event).map_err(|_| Over),
            Sink::Rehearsal(_) | Sink::Count => Ok(()),
        }
    }

    /// Tells whoever wants to know what a backup would do.
    fn change(&self, kind: ChangeKind, entry: EntryType) -> Result<(), Over> {
        match &self.sink {
            Sink::Backup { .. } | Sink::Count => Ok(()),
            Sink::Rehearsal(changes) => changes.send(Change { kind, path: self.path.clone(), entry }).map_err(|_| Over),
        }
    }

    /// Tells what the backup before has in a directory, and this one has not.
    fn removed(&mut self, kept: &[&OsStr]) -> Result<(), Over> {
        let shared = self.shared;
        for entry in shared.previous.directory(&self.path) {
            let name = OsStr::from_bytes(&entry.name);
            if kept.binary_search(&name).is_err() {
                self.path.push(name);
                self.change(ChangeKind::Removed, entry.kind)?;
                self.path.pop();
            }
        }
        Ok(())
    }

    /// Something is wrong with what the walk has come to.
    fn problem(&self, message: String) {
        self.watch.problems.push(&self.path, message);
    }

    /// Enters a directory, `name` as seen from `parent`.
    fn directory(&mut self, parent: impl AsFd, name: &Path, mut entry: Entry, way: Way<'_>) -> Result<(), Over> {
        if is_too_deep(&self.path) {
            // What could not be restored must not seem to be safe.
            self.problem(format!("the directory is not backed up: it is more than {MAX_DEPTH} levels deep"));
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let is_entered = way.whole || way.names().next().is_some();
        let opened = is_entered.then(|| openat(parent, name, flags, Mode::empty()));
        if !entry.name.is_empty() {
            self.watch.counters.directories.add(1);
            if let (Some(Ok(directory)), false) = (&opened, self.only_counts()) {
                self.note(Attributes::of_open(directory), &mut entry);
            }
        }
        if let Sink::Backup { .. } = self.sink {
            self.watch.is_at(&self.path);
        }
        self.send(Event::Enter(Box::new(entry), self.path.clone()))?;
        match opened {
            Some(Ok(directory)) => self.children(&directory, way)?,
            Some(Err(error)) => self.problem(format!("cannot open the directory: {error}")),
            None => {}
        }
        self.send(Event::Leave)
    }

    fn only_counts(&self) -> bool {
        matches!(self.sink, Sink::Count)
    }

    /// Notes attributes in an entry, and what is wrong with them.
    fn note(&self, attributes: Attributes, entry: &mut Entry) {
        attributes.problems.iter().for_each(|problem| self.problem(problem.clone()));
        attributes.write_to(entry);
    }

    fn children(&mut self, directory: &OwnedFd, mut way: Way<'_>) -> Result<(), Over> {
        let mut names = Vec::new();
        let found = self.found.len();
        if way.whole {
            names = self.list(directory);
            self.warn_if_emptied(&names, way);
            way.whole = !self.heed_markers(directory, &mut names, way);
            self.heed_ignore_files(directory, &names);
        }
        if way.names().next().is_some() {
            names.extend(way.names().cloned());
            names.sort_unstable();
            names.dedup();
        }
        let shared = self.shared;
        let mut previous = shared.previous.directory(&self.path);
        let is_rehearsal = matches!(self.sink, Sink::Rehearsal(_));
        let mut kept = Vec::new();
        for name in &names {
            self.path.push(name);
            let is_kept = self.child(directory, name, way, &mut previous)?;
            if is_rehearsal && is_kept {
                kept.push(name.as_os_str());
            }
            self.path.pop();
        }
        if is_rehearsal {
            self.removed(&kept)?;
        }
        self.found.truncate(found);
        Ok(())
    }

    /// The names in a directory in order, in memory: some 50 bytes each.
    fn list(&mut self, directory: &OwnedFd) -> Vec<OsString> {
        let mut names = Vec::new();
        let mut listing = RawDir::new(directory, self.buffer.spare_capacity_mut());
        let mut failure = None;
        while let Some(entry) = listing.next() {
            match entry {
                Ok(entry) if [&b"."[..], b".."].contains(&entry.file_name().to_bytes()) => {}
                Ok(entry) => names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failure {
            self.problem(format!("cannot list the directory to its end: {error}"));
        }
        names.sort_unstable();
        names
    }

    /// Goes to what has this name; says whether it is in the backup.
    fn child(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        way: Way<'_>,
        previous: &mut PreviousEntries<'_>,
    ) -> Result<bool, Over> {
        let mut way = Way { node: way.node(name), ..way };
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was listed: it is as if it had been removed before.
            Err(rustix::io::Errno::NOENT) if way.node.is_none() => return Ok(false),
            Err(error) => {
                self.problem(format!("cannot look at it: {error}"));
                return Ok(false);
            }
        };
        let kind = kind(&stat);
        let is_directory = kind == EntryType::Directory;
        if is_directory && self.shared.options.skip.contains(&self.path) {
            if way.is_named() {
                let message = format!("{:?} is not backed up: it is the repository, or obnam's own cache", self.path);
                self.shared.repository.warnings.general("own-directory", message);
            }
            return Ok(false);
        }
        if way.is_named() {
            if self.shared.options.select.patterns.covers(&self.path, is_directory) {
                self.named_all_the_same("a pattern matches it, or a directory above it");
            } else if kind == EntryType::File && self.is_too_large(&stat) {
                self.named_all_the_same("it is larger than --exclude-larger-than allows");
            }
            (way.whole, way.device) = (true, stat.st_dev);
        } else if way.whole && self.is_excluded(kind, &stat) {
            let counters = &self.watch.counters;
            let counter = if is_directory { &counters.excluded_directories } else { &counters.excluded_files };
            counter.add(1);
            if way.node.is_none() {
                return Ok(false);
            }
            way.whole = false;
        } else if way.whole && is_directory && self.is_other_file_system(&stat, way) {
            self.watch.counters.excluded_directories.add(1);
            way.whole = false;
        }
        match kind {
            EntryType::Directory => {
                let entry = self.entry(name, &stat);
                if matches!(self.sink, Sink::Rehearsal(_))
                    && previous.find(name.as_bytes(), stamp(&stat).ctime).is_none()
                {
                    self.change(ChangeKind::New, kind)?;
                }
                self.directory(directory, Path::new(name), entry, way)?;
            }
            _ if self.only_counts() => self.count(&stat),
            EntryType::File => self.file(name, &stat, previous)?,
            _ => self.other(directory, name, &stat, previous)?,
        }
        Ok(true)
    }

    /// A link or special file.
    fn other(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        stat: &Stat,
        previous: &mut PreviousEntries<'_>,
    ) -> Result<(), Over> {
        let stamp = stamp(stat);
        match previous.find(name.as_bytes(), stamp.ctime) {
            Some((before, is_racy))
                if !self.shared.options.force
                    && before.kind == kind(stat)
                    && self.shared.is_same_inode(&before, is_racy, &stamp) =>
            {
                let entry = self.repeat(before, stat);
                self.watch.counters.others.add(1);
                return self.send(Event::Ready(Box::new(entry)));
            }
            Some(_) => self.change(ChangeKind::Changed, kind(stat))?,
            None => self.change(ChangeKind::New, kind(stat))?,
        }
        let mut entry = self.entry(name, stat);
        if entry.kind == EntryType::Symlink {
            match readlinkat(directory, name, Vec::new()) {
                Ok(target) => entry.target = Some(target.into_bytes()),
                Err(error) => {
                    self.problem(format!("cannot read the link: {error}"));
                    return Ok(());
                }
            }
        }
        self.note(Attributes::of_named(directory, name, &self.path), &mut entry);
        self.watch.counters.others.add(1);
        self.send(Event::Ready(Box::new(entry)))
    }

    /// Counts what would have to be read of a file, each file once.
    fn count(&mut self, stat: &Stat) {
        let is_new = hard_link(stat).is_none_or(|link| self.links.insert(link, Ticket::default()).is_none());
        if kind(stat) == EntryType::File && is_new {
            self.watch.counters.bytes_to_read.add(stat.st_size as u64);
        }
    }

    fn file(&mut self, name: &OsStr, stat: &Stat, previous: &mut PreviousEntries<'_>) -> Result<(), Over> {
        let counters = &self.watch.counters;
        counters.files.add(1);
        let stamp = stamp(stat);
        match previous.find(name.as_bytes(), stamp.ctime) {
            Some((before, is_racy))
                if !self.shared.options.force && self.shared.is_unchanged(&before, is_racy, &stamp) =>
            {
                counters.unchanged_files.add(1);
                counters.bytes.add(before.content.as_ref().map_or(0, |content| content.size));
                let entry = self.repeat(before, stat);
                return self.send(Event::Ready(Box::new(entry)));
            }
            Some(_) => {
                counters.changed_files.add(1);
                self.watch.tell(&self.path, false);
                self.change(ChangeKind::Changed, EntryType::File)?;
            }
            None => {
                counters.new_files.add(1);
                self.watch.tell(&self.path, true);
                self.change(ChangeKind::New, EntryType::File)?;
            }
        }
        let entry = self.entry(name, stat);
        if let Some(ticket) = entry.hard_link.and_then(|link| self.links.get(&link)).cloned() {
            return self.send(Event::File(Box::new(entry), self.path.clone(), ticket));
        }
        self.read(entry, stamp, attributes::may_be_sparse(stat))
    }

    /// Has the file at the path where the walk is read.
    fn read(&mut self, entry: Entry, stamp: Stamp, may_be_sparse: bool) -> Result<(), Over> {
        let ticket = Ticket::default();
        if let Some(link) = entry.hard_link {
            self.links.insert(link, ticket.clone());
        }
        self.watch.counters.bytes_to_read.add(stamp.size);
        let task = FileTask { path: self.path.clone(), stamp, may_be_sparse, ticket: ticket.clone() };
        self.send(Event::File(Box::new(entry), self.path.clone(), ticket))?;
        let Sink::Backup { files, .. } = &self.sink else { return Ok(()) };
        if let Err(crossbeam_channel::SendError(task)) = files.send(task) {
            let _ = task.ticket.set(super::files::FileResult::Over);
            return Err(Over);
        }
        Ok(())
    }
}
