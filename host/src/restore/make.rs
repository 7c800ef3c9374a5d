//! Making things in the target: new ones where nothing stands, others beside what they replace.
//!
//! What is replaced is never written to: it may have a second name outside the target. It stays until what replaces it is
//! whole, so that a crash loses neither.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, chownat, linkat, makedev, mkdirat, mknodat, openat, renameat,
    renameat_with, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::folder::{Folder, status};
use super::metadata::{Known, times};
use super::target::{DIRECTORY, Target, standing};
use crate::format::entry::{Entry, EntryType, Pair};
use crate::inode::Inode;

impl Target {
    /// Makes a directory, for its owner alone until its metadata is set, and opens it.
    pub fn make_directory(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        mkdirat(parent, name, Mode::RWXU)?;
        Ok(openat(parent, name, DIRECTORY, Mode::empty())?)
    }

    /// Makes a regular file where nothing stands: with its final mode where that is safe, else for its owner alone.
    pub fn make_file(
        &self,
        at: (&Folder, &OwnedFd, &OsStr),
        entry: &Entry,
        is_written_once: bool,
    ) -> io::Result<(File, Known)> {
        let (folder, parent, name) = at;
        let final_mode = folder.birth().and_then(|birth| self.birth_mode(birth, entry, is_written_once));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, final_mode.unwrap_or(Mode::RUSR | Mode::WUSR))?;
        self.attributes.set_early_flags(&file, entry);
        let birth = match folder.birth() {
            Some(birth) => birth,
            None => folder.learn(parent, &status(&file)?),
        };
        Ok((file.into(), Known { owner: Some((birth.uid, birth.gid)), mode: final_mode.map(Mode::as_raw_mode) }))
    }

    /// Opens a regular file that this restore has made, to write more of it.
    pub fn reopen_file(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty())?;
        let found = status(&file)?;
        if super::target::kind_of(&found) != FileType::RegularFile || found.st_nlink != 1 {
            return Err(io::Error::other("something else was put in its place while it was written"));
        }
        Ok(file.into())
    }

    /// Makes a symbolic link or a special file where nothing stands, with its metadata.
    pub fn make_other(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
        if entry.kind == EntryType::Symlink {
            let target = entry.target.as_deref().unwrap_or_default();
            symlinkat(OsStr::from_bytes(target), parent, name)?;
        } else {
            let kind = special(entry.kind).ok_or(io::ErrorKind::InvalidInput)?;
            mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device(entry)?)?;
        }
        let change = |uid, gid| chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        let (_, mode) = self.set_owner(entry, Known::default(), change)?;
        let inode = Inode::below(parent, name);
        match &inode {
            Some(inode) => self.attributes.set_before_mode(inode, entry),
            None if entry.xattrs.is_some() => return Err(io::Error::other("extended attributes need /proc")),
            None => {}
        }
        if entry.kind != EntryType::Symlink {
            // What was just made here is no symbolic link, so the call does not go through one.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if let Some(inode) = &inode {
            self.attributes.set_after_mode(inode, entry);
        }
        Ok(utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The same in place of what stands there.
    pub fn replace_other(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let temporary = self.temporary_name();
        let made = self.make_other(parent, &temporary, entry);
        let placed = made.and_then(|()| self.put_in_place(parent, &temporary, name, true).map(drop));
        placed.inspect_err(|_| self.discard(parent, &temporary))
    }

    /// Gives a whole file its name. Returns whether it got it: without `replaces`, what stands there is kept.
    pub fn put_in_place(&self, parent: &OwnedFd, temporary: &OsStr, name: &OsStr, replaces: bool) -> io::Result<bool> {
        if replaces {
            renameat(parent, temporary, parent, name)?;
            return Ok(true);
        }
        let renamed = match renameat_with(parent, temporary, parent, name, RenameFlags::NOREPLACE) {
            // Not every file system can do that.
            Err(Errno::INVAL | Errno::NOSYS) => linkat(parent, temporary, parent, name, AtFlags::empty())
                .and_then(|()| unlinkat(parent, temporary, AtFlags::empty())),
            renamed => renamed,
        };
        match renamed {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                self.discard(parent, temporary);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file that will not be whole.
    pub fn discard(&self, parent: &OwnedFd, temporary: &OsStr) {
        if let Err(error) = unlinkat(parent, temporary, AtFlags::empty()) {
            tracing::debug!("{} is not removed: {error}", self.display(temporary.as_ref()).display());
        }
    }

    /// Makes a hard link to something that was restored before. `replaces`: what stands there may be replaced.
    pub fn link(&self, first: (&OwnedFd, &OsStr), second: (&OwnedFd, &OsStr), replaces: bool) -> io::Result<Linked> {
        match linkat(first.0, first.1, second.0, second.1, AtFlags::empty()) {
            Ok(()) => return Ok(Linked::Made),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let same = |found: Option<rustix::fs::Stat>| found.map(|found| (found.st_dev, found.st_ino));
        let old = same(standing(first.0, first.1)?);
        if old.is_some() && old == same(standing(second.0, second.1)?) || !replaces {
            return Ok(Linked::Kept);
        }
        let temporary = self.temporary_name();
        linkat(first.0, first.1, second.0, &temporary, AtFlags::empty())?;
        let placed = renameat(second.0, &temporary, second.0, second.1);
        if let Err(error) = placed {
            self.discard(second.0, &temporary);
            return Err(error.into());
        }
        Ok(Linked::Replaced)
    }
}

/// What became of a hard link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// It is new.
    Made,
    /// It stands where something else stood.
    Replaced,
    /// It was there, or something else is and stays.
    Kept,
}

/// The kind of a special file.
pub fn special(kind: EntryType) -> Option<FileType> {
    match kind {
        EntryType::BlockDevice => Some(FileType::BlockDevice),
        EntryType::CharDevice => Some(FileType::CharacterDevice),
        EntryType::Fifo => Some(FileType::Fifo),
        EntryType::Socket => Some(FileType::Socket),
        EntryType::File | EntryType::Directory | EntryType::Symlink => None,
    }
}

/// The number of a device.
pub fn device(entry: &Entry) -> io::Result<u64> {
    let Pair(major, minor) = entry.device.unwrap_or(Pair(0, 0));
    let number = |n: u64| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    Ok(makedev(number(major)?, number(minor)?))
}
