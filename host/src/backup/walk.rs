//! The walker: goes through the source tree in order of names, tells files that have not changed, and sends what it
//! finds to the assembler, and files to be read to the workers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Sender;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::Shared;
use super::files::{FileTask, Stamp, Ticket};
use super::previous::PreviousEntries;
use super::roots::Node;
use crate::format::Time;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::repository::tree::{MAX_DEPTH, is_too_deep};

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

/// The backup is over, for whatever reason.
struct Over;

struct Walker<'a> {
    shared: &'a Shared<'a>,
    files: Sender<FileTask>,
    events: Sender<Event>,
    users: Names,
    links: HashMap<Pair, Ticket>,
}

/// Walks all roots.
pub fn walk(shared: &Shared<'_>, files: Sender<FileTask>, events: Sender<Event>) {
    let mut walker = Walker { shared, files, events, users: Names::default(), links: HashMap::new() };
    // An early end shows in `shared`, or in the assembler's channel.
    let _ = walker.root();
}

impl Walker<'_> {
    fn root(&mut self) -> Result<(), Over> {
        let path = Path::new("/");
        match statat(CWD, path, AtFlags::empty()) {
            Ok(stat) => {
                let entry = self.entry(OsStr::new(""), &stat);
                self.directory(CWD, path, path, entry, &self.shared.options.roots.tree)
            }
            Err(error) => {
                self.shared.watch.problems.push(path, format!("cannot look at it: {error}"));
                Err(Over)
            }
        }
    }

    fn send(&self, event: Event) -> Result<(), Over> {
        if self.shared.is_over() {
            return Err(Over);
        }
        self.events.send(event).map_err(|_| Over)
    }

    /// Enters a directory, `name` as seen from `parent`.
    fn directory(
        &mut self,
        parent: impl std::os::fd::AsFd,
        name: &Path,
        path: &Path,
        entry: Entry,
        node: &Node,
    ) -> Result<(), Over> {
        if is_too_deep(path) {
            // What could not be restored must not seem to be safe.
            let message = format!("the directory is not backed up: it is more than {MAX_DEPTH} levels deep");
            self.shared.watch.problems.push(path, message);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(parent, name, flags, Mode::empty());
        if !entry.name.is_empty() {
            self.shared.watch.counters.directories.add(1);
        }
        self.send(Event::Enter(Box::new(entry), path.to_owned()))?;
        match opened {
            Ok(directory) => self.children(&directory, path, node)?,
            Err(error) => self.shared.watch.problems.push(path, format!("cannot open the directory: {error}")),
        }
        self.send(Event::Leave)
    }

    fn children(&mut self, directory: &OwnedFd, path: &Path, node: &Node) -> Result<(), Over> {
        let parts;
        let children: &BTreeMap<OsString, Node> = match node {
            Node::Parts(children) => children,
            Node::Whole => {
                parts = match names(directory) {
                    Ok(names) => names.into_iter().map(|name| (name, Node::Whole)).collect(),
                    Err(error) => {
                        self.shared.watch.problems.push(path, format!("cannot list the directory: {error}"));
                        BTreeMap::new()
                    }
                };
                &parts
            }
        };
        let shared = self.shared;
        let mut previous = shared.previous.directory(path);
        for (name, node) in children {
            self.child(directory, name, &path.join(name), node, &mut previous)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &Path,
        node: &Node,
        previous: &mut PreviousEntries<'_>,
    ) -> Result<(), Over> {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was listed: it is as if it had been removed before.
            Err(rustix::io::Errno::NOENT) if *node == Node::Whole => return Ok(()),
            Err(error) => {
                self.shared.watch.problems.push(path, format!("cannot look at it: {error}"));
                return Ok(());
            }
        };
        let mut entry = self.entry(name, &stat);
        match entry.kind {
            EntryType::Directory if self.shared.options.skip.iter().any(|skip| skip == path) => Ok(()),
            EntryType::Directory => self.directory(directory, Path::new(name), path, entry, node),
            EntryType::File => self.file(entry, &stat, path, previous),
            kind => {
                if kind == EntryType::Symlink {
                    match readlinkat(directory, name, Vec::new()) {
                        Ok(target) => entry.target = Some(target.into_bytes()),
                        Err(error) => {
                            self.shared.watch.problems.push(path, format!("cannot read the link: {error}"));
                            return Ok(());
                        }
                    }
                }
                self.shared.watch.counters.others.add(1);
                self.send(Event::Ready(Box::new(entry)))
            }
        }
    }

    fn file(
        &mut self,
        mut entry: Entry,
        stat: &Stat,
        path: &Path,
        previous: &mut PreviousEntries<'_>,
    ) -> Result<(), Over> {
        let counters = &self.shared.watch.counters;
        counters.files.add(1);
        let stamp = stamp(stat);
        let before = previous.find(&entry.name);
        if let Some(content) = before.as_ref().and_then(|before| self.shared.unchanged(before, &stamp)) {
            counters.unchanged_files.add(1);
            counters.bytes.add(content.size);
            entry.content = Some(content);
            return self.send(Event::Ready(Box::new(entry)));
        }
        if before.is_some() {
            counters.changed_files.add(1)
        } else {
            counters.new_files.add(1)
        }
        if let Some(ticket) = entry.hard_link.and_then(|link| self.links.get(&link)).cloned() {
            return self.send(Event::File(Box::new(entry), path.to_owned(), ticket));
        }
        let ticket = Ticket::default();
        if let Some(link) = entry.hard_link {
            self.links.insert(link, ticket.clone());
        }
        let task = FileTask { path: path.to_owned(), stamp, ticket: ticket.clone() };
        self.send(Event::File(Box::new(entry), path.to_owned(), ticket.clone()))?;
        if let Err(crossbeam_channel::SendError(task)) = self.files.send(task) {
            let _ = task.ticket.set(super::files::FileResult::Over);
            return Err(Over);
        }
        Ok(())
    }

    fn entry(&mut self, name: &OsStr, stat: &Stat) -> Entry {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => EntryType::Symlink,
            FileType::BlockDevice => EntryType::BlockDevice,
            FileType::CharacterDevice => EntryType::CharDevice,
            FileType::Fifo => EntryType::Fifo,
            FileType::Socket => EntryType::Socket,
            FileType::RegularFile | FileType::Unknown => EntryType::File,
        };
        let stamp = stamp(stat);
        let is_device = matches!(kind, EntryType::BlockDevice | EntryType::CharDevice);
        let linked = kind != EntryType::Directory && stat.st_nlink > 1;
        Entry {
            name: name.as_bytes().to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            user: self.users.user(stat.st_uid),
            group: self.users.group(stat.st_gid),
            mtime: stamp.mtime,
            ctime: Some(stamp.ctime),
            inode: Some(stamp.inode),
            content: None,
            target: None,
            hard_link: linked.then_some(Pair(stat.st_dev, stat.st_ino)),
            device: is_device
                .then(|| Pair(rustix::fs::major(stat.st_rdev).into(), rustix::fs::minor(stat.st_rdev).into())),
            xattrs: None,
            flags: None,
            birth: None,
            size: None,
            extents: None,
        }
    }
}

fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        size: stat.st_size as u64,
        mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        ctime: Time { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 },
        inode: stat.st_ino,
    }
}

/// The names in a directory, in memory: some 50 bytes each.
fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Names of users and groups, each looked up once.
#[derive(Default)]
struct Names {
    users: HashMap<u32, Option<Arc<[u8]>>>,
    groups: HashMap<u32, Option<Arc<[u8]>>>,
}

impl Names {
    fn user(&mut self, uid: u32) -> Option<Vec<u8>> {
        let look = || uzers::get_user_by_uid(uid).map(|user| user.name().as_bytes().into());
        self.users.entry(uid).or_insert_with(look).as_ref().map(|name| name.to_vec())
    }

    fn group(&mut self, gid: u32) -> Option<Vec<u8>> {
        let look = || uzers::get_group_by_gid(gid).map(|group| group.name().as_bytes().into());
        self.groups.entry(gid).or_insert_with(look).as_ref().map(|name| name.to_vec())
    }
}
