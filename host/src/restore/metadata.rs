//! Owner, mode and times of what is restored, with as few calls as will do.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, Stat, Timespec, Timestamps, Uid, fchmod, fchown, futimens};
use rustix::io::Errno;

use super::folder::Birth;
use super::target::Target;
use crate::format::entry::Entry;
use crate::inode::Inode;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// What is known of a file without asking.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// Its owner and group.
    pub owner: Option<(u32, u32)>,
    /// Its permission bits.
    pub mode: Option<u32>,
}

impl Known {
    /// What a status says.
    pub fn from(status: &Stat) -> Self {
        Known { owner: Some((status.st_uid, status.st_gid)), mode: Some(status.st_mode & 0o7777) }
    }
}

impl Target {
    /// The mode that a new file of this entry may be made with, if that can be its final one: it has never more rights
    /// than that, and no other owner with them.
    pub fn birth_mode(&self, birth: &Birth, entry: &Entry, is_written_once: bool) -> Option<Mode> {
        let mode = entry.mode & 0o7777;
        let is_plain =
            mode & 0o7000 == 0 && entry.xattrs.is_none() && self.umask.is_some_and(|umask| mode & umask == 0);
        // What cannot be opened for writing a second time is made so only if that is not needed.
        let is_writable = mode & 0o200 != 0 || is_written_once;
        let is_owned = !self.owners.wanted || fits(self.owners.of(entry), (birth.uid, birth.gid));
        (birth.exact_mode && is_plain && is_writable && is_owned).then(|| Mode::from_raw_mode(mode))
    }

    /// Sets owner, extended attributes, mode and ACLs, in this order: a change of owner clears setuid and capabilities, the
    /// mode may forbid to set attributes, and it changes the ACL.
    pub fn set_owner_and_mode(&self, file: impl AsFd, entry: &Entry, known: Known) -> io::Result<()> {
        let change = |uid: Option<Uid>, gid: Option<Gid>| fchown(&file, uid, gid);
        let (changed, mode) = self.set_owner(entry, known, change)?;
        let inode = Inode::Open(file.as_fd());
        self.attributes.set_before_mode(&inode, entry);
        if changed || known.mode != Some(mode) {
            fchmod(&file, Mode::from_raw_mode(mode))?;
        }
        self.attributes.set_after_mode(&inode, entry);
        Ok(())
    }

    /// Sets all metadata of an open file or directory. The time of modification is the last of all: it says that the rest
    /// is complete.
    pub fn set_metadata(&self, file: impl AsFd, entry: &Entry, known: Known) -> io::Result<()> {
        self.set_owner_and_mode(&file, entry, known)?;
        futimens(&file, &times(entry))?;
        self.attributes.set_late_flags(&file, entry);
        Ok(())
    }

    /// Sets the metadata of a directory.
    pub fn finish_directory(&self, path: &Path, entry: &Entry, known: Known) -> io::Result<()> {
        let directory = self.open_directory(path)?;
        self.attributes.set_early_flags(&directory, entry);
        self.set_metadata(directory, entry, known)?;
        self.attributes.seal_later(path, entry);
        Ok(())
    }

    /// Sets the owner where it is another one. Returns whether it did, and the mode that the file may have now: setuid
    /// and setgid are for the owner and group of the snapshot and nobody else.
    pub(super) fn set_owner(
        &self,
        entry: &Entry,
        known: Known,
        change: impl Fn(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    ) -> io::Result<(bool, u32)> {
        let mode = entry.mode & 0o7777;
        if !self.owners.wanted {
            return Ok((false, mode & !(SETUID | SETGID)));
        }
        let (uid, gid) = self.owners.of(entry);
        if known.owner.is_some_and(|known| fits((uid, gid), known)) {
            return Ok((false, mode));
        }
        let group = gid.map(Gid::from_raw);
        match change(uid.map(Uid::from_raw), group) {
            Ok(()) => Ok((true, mode)),
            // Only root can give files away; for others it is enough to say so once.
            Err(Errno::PERM | Errno::INVAL) if !self.owners.is_root_user => {
                let has_user = uid.is_none_or(|uid| uid == self.owners.user);
                let has_group = change(None, group).is_ok();
                if !has_user || !has_group {
                    self.owners.lose();
                }
                let lost = if has_user { 0 } else { SETUID } | if has_group { 0 } else { SETGID };
                Ok((true, mode & !lost))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether owner, mode and time of what stands there are those of the entry.
    pub fn has_metadata(&self, entry: &Entry, status: &Stat) -> bool {
        let mode = if self.owners.wanted { entry.mode & 0o7777 } else { entry.mode & 0o1777 };
        let is_owned = !self.owners.wanted || fits(self.owners.of(entry), (status.st_uid, status.st_gid));
        is_owned && status.st_mode & 0o7777 == mode && has_time(entry, status)
    }
}

/// Whether the time of modification is that of the entry.
pub fn has_time(entry: &Entry, status: &Stat) -> bool {
    (status.st_mtime, u64::from(status.st_mtime_nsec as u32)) == (entry.mtime.seconds, entry.mtime.nanoseconds.into())
}

/// Whether the owner is the wanted one, as far as one is wanted.
fn fits(wanted: (Option<u32>, Option<u32>), found: (u32, u32)) -> bool {
    wanted.0.is_none_or(|uid| uid == found.0) && wanted.1.is_none_or(|gid| gid == found.1)
}

/// Sees to it that its owner can work in a directory that was there before.
pub fn open_up(directory: &OwnedFd, status: &Stat) -> io::Result<()> {
    let mode = status.st_mode & 0o7777;
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    Ok(fchmod(directory, Mode::from_raw_mode(mode | 0o700))?)
}

pub(super) fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
