//! The directory that is restored into. Everything is reached from one open directory, one component after the other,
//! and no symbolic link is followed on the way; everything is made new.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, linkat, makedev, mkdirat, mknodat, openat, openat2, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::RestoreError;
use super::attributes::Attributes;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::inode::Inode;

/// Numbers of users (false) and groups (true) by name, each looked up once.
type Owners = HashMap<(bool, Vec<u8>), Option<u32>>;

/// The target directory.
pub struct Target {
    root: OwnedFd,
    path: PathBuf,
    is_root_user: bool,
    owners_lost: AtomicBool,
    owners: Mutex<Owners>,
    /// Sets extended attributes and flags.
    pub(super) attributes: Attributes,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Target {
    /// Opens the target, making it if it is not there. It must be empty.
    pub fn open(path: &Path) -> Result<Self, RestoreError> {
        let error = |why: String| RestoreError::Target { path: path.to_owned(), why };
        std::fs::create_dir_all(path).map_err(|e| error(format!("it cannot be made: {e}")))?;
        let mut entries = std::fs::read_dir(path).map_err(|e| error(format!("it cannot be listed: {e}")))?;
        if entries.next().is_some() {
            return Err(error("it is not empty; name an empty directory, or one that is not there yet".into()));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|e| error(format!("it cannot be opened: {e}")))?;
        Ok(Target {
            attributes: Attributes::of_target(&root),
            root,
            path: path.to_owned(),
            is_root_user: rustix::process::geteuid().is_root(),
            owners_lost: AtomicBool::new(false),
            owners: Mutex::default(),
        })
    }

    /// The target's own directory.
    pub fn root(&self) -> io::Result<OwnedFd> {
        self.root.try_clone()
    }

    /// A path below the target, for messages.
    pub fn display(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// Whether owners could not be restored for lack of privilege.
    pub fn owners_lost(&self) -> bool {
        self.owners_lost.load(Ordering::Relaxed)
    }

    /// Opens something below the target without following any symbolic link.
    fn open_below(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root();
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, flags, mode, resolve) {
            // Kernels before 5.6, and sandboxes that do not know the call; paths above 4,096 bytes.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => self.open_stepwise(path, flags, mode),
            opened => Ok(opened?),
        }
    }

    fn open_stepwise(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let mut directory = self.root()?;
        let mut parts = path.iter().peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return Ok(openat(&directory, part, flags | OFlags::NOFOLLOW, mode)?);
            }
            directory = openat(&directory, part, DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }

    /// Makes a directory, for its owner alone until its metadata is set, and opens it.
    pub fn make_directory(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        mkdirat(parent, name, Mode::RWXU)?;
        Ok(openat(parent, name, DIRECTORY, Mode::empty())?)
    }

    /// Makes a regular file, for its owner alone until its metadata is set.
    pub fn create_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(self.open_below(path, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Opens a regular file that was made before.
    pub fn reopen_file(&self, path: &Path) -> io::Result<File> {
        Ok(self.open_below(path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    /// Makes a hard link to something that was made before.
    pub fn link(&self, old: &Path, new: &Path) -> io::Result<()> {
        let parent = |path: &Path| self.open_below(path.parent().unwrap_or(Path::new("")), DIRECTORY, Mode::empty());
        let (Some(old_name), Some(new_name)) = (old.file_name(), new.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(linkat(parent(old)?, old_name, parent(new)?, new_name, AtFlags::empty())?)
    }

    /// Makes a symbolic link or a special file, with its metadata.
    pub fn make_other(&self, parent: &OwnedFd, entry: &Entry) -> io::Result<()> {
        let name = OsStr::from_bytes(&entry.name);
        if entry.kind == EntryType::Symlink {
            let target = entry.target.as_deref().unwrap_or_default();
            symlinkat(OsStr::from_bytes(target), parent, name)?;
        } else {
            let kind = match entry.kind {
                EntryType::BlockDevice => FileType::BlockDevice,
                EntryType::CharDevice => FileType::CharacterDevice,
                EntryType::Fifo => FileType::Fifo,
                EntryType::Socket => FileType::Socket,
                EntryType::File | EntryType::Directory | EntryType::Symlink => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            };
            let Pair(major, minor) = entry.device.unwrap_or(Pair(0, 0));
            let number = |n: u64| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
            mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, makedev(number(major)?, number(minor)?))?;
        }
        let (uid, gid) = self.owner(entry);
        self.owned(chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW), entry)?;
        let inode = Inode::below(parent, name);
        match &inode {
            Some(inode) => self.attributes.set_before_mode(inode, entry),
            None if entry.xattrs.is_some() => return Err(io::Error::other("extended attributes need /proc")),
            None => {}
        }
        if entry.kind != EntryType::Symlink {
            // What was just made here is no symbolic link, so the call does not go through one.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        if let Some(inode) = &inode {
            self.attributes.set_after_mode(inode, entry);
        }
        Ok(utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets owner, extended attributes, mode, ACLs, times and flags of an open file or directory, in this order: a change
    /// of owner clears setuid and capabilities, the mode may forbid to set attributes, and it changes the ACL.
    pub fn set_metadata(&self, file: impl AsFd, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = self.owner(entry);
        self.owned(fchown(&file, uid, gid), entry)?;
        let inode = Inode::Open(file.as_fd());
        self.attributes.set_before_mode(&inode, entry);
        fchmod(&file, Mode::from_raw_mode(entry.mode))?;
        self.attributes.set_after_mode(&inode, entry);
        futimens(&file, &times(entry))?;
        self.attributes.set_late_flags(&file, entry);
        Ok(())
    }

    /// Sets the flags of what is immutable or append-only, when all else is done. Returns what could not be opened.
    pub fn seal(&self) -> Vec<(PathBuf, String)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.attributes.seal(|path| self.open_below(path, flags, Mode::empty()))
    }

    /// Sets the metadata of a directory that was made before.
    pub fn finish_directory(&self, path: &Path, entry: &Entry) -> io::Result<()> {
        let directory = self.open_below(path, DIRECTORY, Mode::empty())?;
        self.attributes.set_early_flags(&directory, entry);
        self.set_metadata(directory, entry)?;
        self.attributes.seal_later(path, entry);
        Ok(())
    }

    /// Only root can give files away; for others it is enough to say so once.
    fn owned(&self, changed: rustix::io::Result<()>, entry: &Entry) -> io::Result<()> {
        match changed {
            Err(Errno::PERM | Errno::INVAL) if !self.is_root_user => {
                if entry.uid != rustix::process::geteuid().as_raw() {
                    self.owners_lost.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            changed => Ok(changed?),
        }
    }

    /// The owner and group on this machine: by name where this machine knows it, else by number.
    /// Neither where the number is that which means "leave it".
    fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        let mut users = self.owners.lock().expect("no panic while the lock is held");
        let mut look = |is_group: bool, name: &Option<Vec<u8>>, number: u32| {
            let Some(name) = name else { return number };
            let found = *users.entry((is_group, name.clone())).or_insert_with(|| {
                let name = OsStr::from_bytes(name);
                if is_group {
                    uzers::get_group_by_name(name).map(|group| group.gid())
                } else {
                    uzers::get_user_by_name(name).map(|user| user.uid())
                }
            });
            found.unwrap_or(number)
        };
        let uid = look(false, &entry.user, entry.uid);
        let gid = look(true, &entry.group, entry.gid);
        let is_one = |number: &u32| *number != u32::MAX;
        (Some(uid).filter(is_one).map(Uid::from_raw), Some(gid).filter(is_one).map(Gid::from_raw))
    }
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
