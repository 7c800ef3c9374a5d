//! What stands where something is to be restored, and what becomes of it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chownat, openat, readlinkat, utimensat};

use super::folder::status;
use super::make::{device, special};
use super::metadata::{Known, has_time, times};
use super::options::Overwrite;
use super::target::{Target, kind_of};
use crate::format::entry::{Entry, EntryType};

/// What becomes of what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is replaced.
    Replace,
    /// It stays, and is what the snapshot has.
    Same,
    /// It stays, whatever it is.
    Keep,
    /// It is a directory in the way.
    Directory,
    /// It stays, and what is in the snapshot cannot be restored.
    Refuse(String),
}

/// Decides for everything but directories of the snapshot.
pub fn decide(
    target: &Target,
    parent: &OwnedFd,
    entry: &Entry,
    found: &Stat,
    overwrite: Option<Overwrite>,
) -> io::Result<Decision> {
    let kind = kind_of(found);
    let is_same_kind = kind == file_type(entry.kind);
    let stands = || format!("a {} stands there, which is kept", describe(kind));
    Ok(match overwrite {
        None => Decision::Refuse("something stands there that was not there when the restore began".into()),
        Some(Overwrite::Never) if is_same_kind => Decision::Keep,
        Some(Overwrite::Never) => Decision::Refuse(stands()),
        Some(_) if kind == FileType::Directory => Decision::Directory,
        Some(Overwrite::Always) => Decision::Replace,
        Some(Overwrite::IfChanged) if is_same_kind && is_unchanged(target, parent, entry, found)? => Decision::Same,
        Some(Overwrite::IfChanged) => Decision::Replace,
    })
}

/// Whether it is what the snapshot has, as far as size and time tell. What has several names is the same only if nothing
/// about it has to be set: another name may be outside the target.
fn is_unchanged(target: &Target, parent: &OwnedFd, entry: &Entry, found: &Stat) -> io::Result<bool> {
    let is_done = target.has_metadata(entry, found) && entry.xattrs.is_none() && entry.flags.is_none();
    if found.st_nlink != 1 && !is_done {
        return Ok(false);
    }
    Ok(match entry.kind {
        EntryType::File => size(entry) == Some(found.st_size as u64) && has_time(entry, found),
        EntryType::Symlink => {
            let to = readlinkat(parent, OsStr::from_bytes(&entry.name), Vec::new())?;
            Some(to.as_bytes()) == entry.target.as_deref()
        }
        EntryType::BlockDevice | EntryType::CharDevice => is_done && device(entry)? == found.st_rdev,
        EntryType::Fifo | EntryType::Socket => is_done,
        EntryType::Directory => false,
    })
}

/// The size that a file has when it is restored, holes included.
pub fn size(entry: &Entry) -> Option<u64> {
    let content = entry.content.as_ref().map(|content| content.size);
    entry.size.filter(|_| entry.extents.is_some()).or(content)
}

impl Target {
    /// Sets the metadata of something that is kept, where it is not as in the snapshot.
    pub fn touch(&self, path: &Path, parent: &OwnedFd, entry: &Entry, found: &Stat) -> io::Result<()> {
        let name = OsStr::from_bytes(&entry.name);
        if self.has_metadata(entry, found) && entry.xattrs.is_none() && entry.flags.is_none() {
            return Ok(());
        }
        match entry.kind {
            EntryType::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::empty())?;
                let opened = status(&file)?;
                // What it is was looked at before; it must not have changed since, nor got a second name.
                if (opened.st_dev, opened.st_ino, opened.st_nlink) != (found.st_dev, found.st_ino, 1) {
                    return Err(io::Error::other("something else was put in its place meanwhile"));
                }
                self.set_metadata(&file, entry, Known::from(&opened))?;
                self.attributes.seal_later(path, entry);
                Ok(())
            }
            EntryType::Symlink => {
                let change = |uid, gid| chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
                self.set_owner(entry, Known::from(found), change)?;
                Ok(utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            _ => Ok(()),
        }
    }
}

fn file_type(kind: EntryType) -> FileType {
    match kind {
        EntryType::File => FileType::RegularFile,
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        kind => special(kind).unwrap_or(FileType::Unknown),
    }
}

/// What stands there, for people.
pub fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Unknown => "thing of unknown kind",
    }
}
