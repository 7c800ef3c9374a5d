//! Folders: directories of the target as the restore knows them, and a few of them kept open.
//!
//! A [`Folder`] is a name below another one, not a descriptor: a batch may have more folders than a process may have open
//! files. Each thread keeps the last ones open ([`OpenFolders`]), so that a file is made by its name alone instead of by
//! its whole path.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Stat, fgetxattr, fstat};
use rustix::io::Errno;

use super::target::Target;

/// Folders that a thread keeps open.
const KEPT_OPEN: usize = 32;

/// How files are born in a folder: what need not be set, because it is so already.
#[derive(Debug, Clone, Copy)]
pub struct Birth {
    /// Owner of a new file.
    pub uid: u32,
    /// Its group: of the process or of the folder, which only the kernel knows for sure.
    pub gid: u32,
    /// Whether a file gets the mode that it is made with, but for the umask: no default ACL meddles.
    pub exact_mode: bool,
    /// The file system.
    pub device: u64,
}

/// A directory of the target.
#[derive(Debug)]
pub struct Folder {
    /// Tells it from the others of this run.
    number: u64,
    parent: Option<Arc<Folder>>,
    name: Box<OsStr>,
    /// Made by this run: nobody else has put anything in it.
    pub fresh: bool,
    /// Learned from the first file; a folder that was made in another one inherits what matters.
    birth: Arc<OnceLock<Birth>>,
}

impl Folder {
    /// The target itself.
    pub fn root(fresh: bool) -> Arc<Self> {
        Folder::with(None, OsStr::new(""), fresh, Arc::default())
    }

    /// A directory in another one.
    pub fn below(parent: &Arc<Folder>, name: &OsStr, fresh: bool) -> Arc<Self> {
        let birth = if fresh { parent.birth.clone() } else { Arc::default() };
        Folder::with(Some(parent.clone()), name, fresh, birth)
    }

    fn with(parent: Option<Arc<Folder>>, name: &OsStr, fresh: bool, birth: Arc<OnceLock<Birth>>) -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Arc::new(Folder { number: NUMBER.fetch_add(1, Ordering::Relaxed), parent, name: name.into(), fresh, birth })
    }

    /// Its path below the target.
    pub fn path(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut folder = self;
        while let Some(parent) = &folder.parent {
            names.push(&*folder.name);
            folder = parent;
        }
        names.iter().rev().collect()
    }

    /// The path of something in it.
    pub fn join(&self, name: &[u8]) -> PathBuf {
        self.path().join(OsStr::from_bytes(name))
    }

    /// How files are born in it, if that is known.
    pub fn birth(&self) -> Option<&Birth> {
        self.birth.get()
    }

    /// Learns from a file that was just made in it.
    pub fn learn(&self, folder: impl AsFd, file: &Stat) -> &Birth {
        self.birth.get_or_init(|| {
            let none: &mut [u8] = &mut [];
            // With no room for an answer, the answer is the length, or that there is none.
            let acl = fgetxattr(folder, "system.posix_acl_default", none);
            Birth {
                uid: file.st_uid,
                gid: file.st_gid,
                exact_mode: matches!(acl, Err(Errno::NODATA | Errno::OPNOTSUPP)),
                device: file.st_dev,
            }
        })
    }
}

/// The folders that a thread keeps open.
#[derive(Debug, Default)]
pub struct OpenFolders(Vec<(u64, OwnedFd)>);

impl OpenFolders {
    /// An open descriptor of this folder; no symbolic link was followed on the way to it.
    pub fn get(&mut self, target: &Target, folder: &Folder) -> io::Result<&OwnedFd> {
        let found = self.0.iter().rposition(|(number, _)| *number == folder.number);
        match found {
            Some(place) => self.0[place..].rotate_left(1),
            None => {
                let opened = target.open_directory(&folder.path())?;
                if self.0.len() >= KEPT_OPEN {
                    self.0.remove(0);
                }
                self.0.push((folder.number, opened));
            }
        }
        Ok(&self.0.last().expect("it was just put there").1)
    }
}

/// The status of an open file.
pub fn status(file: impl AsFd) -> io::Result<Stat> {
    Ok(fstat(file)?)
}

/// A path that is a single name.
pub fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
