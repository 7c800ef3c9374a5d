//! The answers to what the kernel asks, which [`kernel`] passes on.

mod kernel;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use rustix::fs::makedev;

use super::files::Files;
use super::inodes::{Inodes, Key, Node};
use super::shelves::{Shelf, Shelves};
use super::trees::Trees;
use super::{Complaints, Options};
use crate::format::Time;
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType};
use crate::repository::RepositoryError;
use crate::repository::windows::WindowReader;

/// How long the kernel may believe what it was told: nothing ever changes.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Bits of a position in a directory that count entries within a piece.
const WITHIN: u32 = 20;
/// Positions of "." and "..", which come before all pieces.
const DOTS: u64 = 2;

/// Snapshots as a file system.
pub struct Snapshots {
    shelves: Shelves,
    inodes: Inodes,
    trees: Trees<'static>,
    files: Files,
    owner_root: bool,
    checks_acls: bool,
    complaints: Complaints,
    /// Counts listings of directories.
    listings: AtomicU64,
    /// Those that have come by something that cannot be read.
    damaged: Mutex<HashMap<u64, Errno>>,
}

/// What has a number.
enum Found<'a> {
    Shelf { parent: u64, shelf: &'a Shelf, time: Time },
    Node(Arc<Node>),
}

/// A directory below a snapshot.
struct Directory {
    number: u64,
    key: Key,
    snapshot: usize,
    content: Content,
}

impl Snapshots {
    /// Nothing is read yet.
    pub fn new(
        reader: &'static WindowReader<'static, 'static>,
        shelves: Shelves,
        options: &Options,
        complaints: Complaints,
    ) -> io::Result<Self> {
        Ok(Snapshots {
            shelves,
            inodes: Inodes::default(),
            trees: Trees::new(reader.blobs),
            files: Files::new(reader, options.cache)?,
            owner_root: options.owner_root,
            checks_acls: options.allow_other,
            complaints,
            listings: AtomicU64::new(0),
            damaged: Mutex::default(),
        })
    }

    fn find(&self, number: INodeNo) -> Result<Found<'_>, Errno> {
        if let Some((parent, shelf, time)) = self.shelves.get(number.0) {
            return Ok(Found::Shelf { parent, shelf, time });
        }
        self.inodes.get(number.0).map(Found::Node).ok_or(Errno::ESTALE)
    }

    fn node(&self, number: INodeNo) -> Result<Arc<Node>, Errno> {
        match self.find(number)? {
            Found::Node(node) => Ok(node),
            Found::Shelf { .. } => Err(Errno::EINVAL),
        }
    }

    /// A directory below a snapshot, or its root.
    fn directory(&self, number: INodeNo) -> Result<Directory, Errno> {
        let number = number.0;
        match self.find(INodeNo(number))? {
            Found::Shelf { shelf: Shelf::Snapshot(snapshot), .. } => {
                let (snapshot, key) = (*snapshot, Key::root(*snapshot));
                let content = self.shelves.snapshots[snapshot].snapshot.root.clone();
                Ok(Directory { number, key, snapshot, content })
            }
            Found::Shelf { .. } => Err(Errno::ENOTDIR),
            Found::Node(node) if node.entry.kind != EntryType::Directory => Err(Errno::ENOTDIR),
            Found::Node(node) => {
                let content = node.content().ok_or(Errno::EIO)?.clone();
                Ok(Directory { number, key: node.key, snapshot: node.snapshot, content })
            }
        }
    }

    /// Writes a line about what cannot be read, and makes it the kernel's error.
    fn damaged(&self, snapshot: usize, path: &std::path::Path, why: &RepositoryError) -> Errno {
        let name = self.shelves.snapshots[snapshot].id.short();
        let path = path.display().to_string().escape_debug().to_string();
        self.complaints.line(&format!("snapshot {name}: {path} cannot be read: {why}"));
        if why.is_denied() { Errno::EACCES } else { Errno::EIO }
    }

    fn damaged_directory(&self, directory: &Directory, why: &RepositoryError) -> Errno {
        let path = match self.inodes.get(directory.number) {
            Some(node) => self.inodes.path(&node),
            None => "/".into(),
        };
        self.damaged(directory.snapshot, &path, why)
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        if let Found::Shelf { shelf: Shelf::Folder(names), .. } = self.find(parent)? {
            let number = names.get(name.as_bytes()).ok_or(Errno::ENOENT)?;
            return self.attributes(INodeNo(*number));
        }
        let directory = self.directory(parent)?;
        let found = self.trees.find(&directory.content, name.as_bytes());
        let entry = found.map_err(|why| self.damaged_directory(&directory, &why))?.ok_or(Errno::ENOENT)?;
        let (number, node) = self.inodes.tell((directory.number, directory.key), directory.snapshot, &entry);
        Ok(self.attributes_of(number, &node.entry))
    }

    fn attributes(&self, number: INodeNo) -> Result<FileAttr, Errno> {
        match self.find(number)? {
            Found::Node(node) => Ok(self.attributes_of(number.0, &node.entry)),
            Found::Shelf { shelf, time, .. } => {
                let link = matches!(shelf, Shelf::Link(_));
                let mut entry = Entry::new(b"", if link { EntryType::Symlink } else { EntryType::Directory });
                entry.mode = if link { 0o777 } else { 0o755 };
                entry.mtime = time;
                if let Shelf::Link(target) = shelf {
                    entry.target = Some(target.clone());
                }
                Ok(self.attributes_of(number.0, &entry))
            }
        }
    }

    fn attributes_of(&self, number: u64, entry: &Entry) -> FileAttr {
        let mtime = system_time(entry.mtime);
        let size = match (entry.kind, &entry.content, &entry.target) {
            (EntryType::Directory, Some(content), _) => content.size,
            (EntryType::Symlink, _, Some(target)) => target.len() as u64,
            _ => entry.file_size(),
        };
        // Holes take no room.
        let stored = entry.content.as_ref().filter(|_| entry.kind == EntryType::File).map_or(0, |content| content.size);
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: stored.div_ceil(512),
            atime: mtime,
            mtime,
            ctime: entry.ctime.map_or(mtime, system_time),
            crtime: entry.birth.map_or(UNIX_EPOCH, system_time),
            kind: file_type(entry.kind),
            perm: (entry.mode & 0o7777) as u16,
            // How many names a file has is not stored, only whether it has several. 1 says of a directory that its
            // number of subdirectories is not known.
            nlink: if entry.hard_link.is_some() && entry.kind != EntryType::Directory { 2 } else { 1 },
            uid: if self.owner_root { 0 } else { entry.uid },
            gid: if self.owner_root { 0 } else { entry.gid },
            rdev: entry.device.map_or(0, |device| makedev(device.0 as u32, device.1 as u32) as u32),
            blksize: 128 << 10,
            flags: 0,
        }
    }

    /// Gives entries from a position on to `add`, which says when it has enough: the position behind an entry, its number,
    /// name and type; with the entry itself where it is not of a shelf.
    fn list(&self, number: INodeNo, listing: u64, position: u64, add: &mut Adder<'_>) -> Result<(), Errno> {
        let parent = match self.find(number)? {
            Found::Shelf { parent, .. } => parent,
            Found::Node(node) => node.parent,
        };
        for (place, (name, number)) in [(".", number.0), ("..", parent)].into_iter().enumerate().skip(position as usize)
        {
            if add(place as u64 + 1, Line { name: name.as_bytes(), number, below: None }) {
                return Ok(());
            }
        }
        let position = position.max(DOTS) - DOTS;
        if let Found::Shelf { shelf: Shelf::Folder(names), .. } = self.find(number)? {
            for (place, (name, number)) in names.iter().enumerate().skip(position as usize) {
                if add(place as u64 + 1 + DOTS, Line { name, number: *number, below: None }) {
                    break;
                }
            }
            return Ok(());
        }
        self.list_directory(&self.directory(number)?, listing, position, add)
    }

    fn list_directory(
        &self,
        directory: &Directory,
        listing: u64,
        position: u64,
        add: &mut Adder<'_>,
    ) -> Result<(), Errno> {
        let damaged = |error: Errno| {
            self.damaged.lock().expect("no panic while the lock is held").insert(listing, error);
        };
        let (mut offset, mut skipped) = (position >> WITHIN, (position & ((1 << WITHIN) - 1)) as usize);
        while offset < directory.content.size {
            let leaf = self.trees.leaf(&directory.content, offset);
            let leaf = leaf.map_err(|why| self.damaged_directory(directory, &why))?;
            let piece = match self.trees.piece(&leaf) {
                Ok(piece) => piece,
                Err(why) => {
                    damaged(self.damaged_directory(directory, &why));
                    (offset, skipped) = (leaf.end(), 0);
                    continue;
                }
            };
            if let Some(why) = &piece.damage {
                let why = RepositoryError::Malformed { what: "a directory".into(), why: why.clone() };
                damaged(self.damaged_directory(directory, &why));
            }
            for (place, entry) in piece.entries.iter().enumerate().take(1 << WITHIN).skip(skipped) {
                let is_last = place + 1 == piece.entries.len();
                let next = if is_last { leaf.end() << WITHIN } else { leaf.start << WITHIN | (place as u64 + 1) };
                let number = directory.key.of(directory.snapshot, entry).number();
                if add(next + DOTS, Line { name: &entry.name, number, below: Some((directory, entry)) }) {
                    return Ok(());
                }
            }
            (offset, skipped) = (leaf.end(), 0);
        }
        // Whoever lists it gets what there is, and in the end is told that it is not all.
        let damaged = self.damaged.lock().expect("no panic while the lock is held");
        damaged.get(&listing).map_or(Ok(()), |error| Err(*error))
    }

    fn read_range(&self, number: INodeNo, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let node = self.node(number)?;
        let end = offset.saturating_add(size.into()).min(node.entry.file_size());
        if offset >= end {
            return Ok(Vec::new());
        }
        let read = self.files.read(&self.trees, &node, offset, end);
        read.map_err(|why| self.damaged(node.snapshot, &self.inodes.path(&node), &why))
    }

    fn seek(&self, number: INodeNo, offset: i64, whence: i32) -> Result<i64, Errno> {
        let node = self.node(number)?;
        let size = node.entry.file_size();
        let offset = u64::try_from(offset).ok().filter(|&offset| offset < size).ok_or(Errno::ENXIO)?;
        let layout = node.layout.as_ref().map_err(|_| Errno::EIO)?.as_ref();
        let found = match (whence, layout) {
            (libc::SEEK_DATA, None) => offset,
            (libc::SEEK_DATA, Some(layout)) => layout.next_data(offset).ok_or(Errno::ENXIO)?,
            (libc::SEEK_HOLE, None) => size,
            (libc::SEEK_HOLE, Some(layout)) => layout.next_hole(offset),
            _ => return Err(Errno::EINVAL),
        };
        i64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    }

    fn xattr(&self, number: INodeNo, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let Found::Node(node) = self.find(number)? else { return Err(Errno::NO_XATTR) };
        let xattr = node.entry.xattrs.iter().flatten().find(|xattr| xattr.name == name.as_bytes());
        xattr.map(|xattr| xattr.value.clone()).ok_or(Errno::NO_XATTR)
    }

    fn xattr_names(&self, number: INodeNo) -> Result<Vec<u8>, Errno> {
        let Found::Node(node) = self.find(number)? else { return Ok(Vec::new()) };
        let names = node.entry.xattrs.iter().flatten().map(|xattr| [&xattr.name[..], b"\0"].concat());
        Ok(names.collect::<Vec<_>>().concat())
    }
}

/// An entry of a directory, as it is listed.
struct Line<'a> {
    name: &'a [u8],
    number: u64,
    below: Option<(&'a Directory, &'a Arc<Entry>)>,
}

type Adder<'a> = dyn FnMut(u64, Line<'_>) -> bool + 'a;

/// A time, or the nearest one that there is.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let time = second.and_then(|second| second.checked_add(Duration::from_nanos(time.nanoseconds.into())));
    time.unwrap_or(UNIX_EPOCH)
}

fn file_type(kind: EntryType) -> FileType {
    match kind {
        EntryType::File => FileType::RegularFile,
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        EntryType::BlockDevice => FileType::BlockDevice,
        EntryType::CharDevice => FileType::CharDevice,
        EntryType::Fifo => FileType::NamedPipe,
        EntryType::Socket => FileType::Socket,
    }
}
