//! What a Unix inode has besides contents and what `stat` tells: extended attributes (POSIX ACLs are among them), flags,
//! holes. The calls for them, and nothing else; [`backup`](crate::backup) reads with them, [`restore`](crate::restore)
//! sets.

pub mod flags;
pub mod runs;
pub mod xattrs;

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// How an inode is reached.
#[derive(Debug)]
pub enum Inode<'a> {
    /// By an open descriptor.
    Open(BorrowedFd<'a>),
    /// By a path whose last part is not followed: for symbolic links, devices, FIFOs and sockets, which cannot be opened,
    /// or not without consequences.
    Named(PathBuf),
}

/// Where the system shows this process's descriptors as directories.
static DESCRIPTORS: LazyLock<Option<&Path>> =
    LazyLock::new(|| Some(Path::new("/proc/self/fd")).filter(|path| path.is_dir()));

impl<'a> Inode<'a> {
    /// What stands under a name in an open directory. `None` where the system has no `/proc`: no call takes a directory
    /// and a name (Linux has them from 6.13 on).
    pub fn below(directory: impl AsFd, name: &OsStr) -> Option<Self> {
        let mut path = DESCRIPTORS.as_deref()?.as_os_str().as_bytes().to_vec();
        path.extend_from_slice(format!("/{}/", directory.as_fd().as_raw_fd()).as_bytes());
        path.extend_from_slice(name.as_bytes());
        Some(Inode::Named(std::ffi::OsString::from_vec(path).into()))
    }
}
