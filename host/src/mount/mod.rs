//! Mount: snapshots as a read-only file system, through FUSE.
//!
//! [`shelves`] are the folders at the top, which say what snapshots there are. Below a snapshot, [`inodes`] has what the
//! kernel knows of: entries of directories, under numbers made of their paths, until the kernel forgets them. [`trees`]
//! reads directories piece by piece, [`files`] reads files by ranges; both keep what they have opened within a budget, and
//! check sizes before they use them. [`filesystem`] answers the kernel, on as many threads as the store works on calls.
//!
//! Nothing is ever shown in place of what cannot be read: such a read fails with EIO, and a line says which file and which
//! chunk it was.

mod files;
mod filesystem;
mod inodes;
mod shelves;
mod trees;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};

use crate::index::Index;
use crate::repository::Repository;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::windows::WindowReader;
use filesystem::Snapshots;

/// How often somebody looks whether the mount has ended.
const INTERVAL: Duration = Duration::from_millis(100);
/// Lines about damage that are remembered, so that each is written once.
const REMEMBERED: usize = 10_000;

/// How to show snapshots.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of opened blobs of files that are kept.
    pub cache: u64,
    /// Show everything as owned by root.
    pub owner_root: bool,
    /// Let other users in; the kernel checks modes and ACLs then.
    pub allow_other: bool,
}

/// Where lines about damage go.
pub struct Complaints {
    write: Box<dyn Fn(&str) + Send + Sync>,
    written: Mutex<HashSet<blake3::Hash>>,
}

impl Complaints {
    /// Lines go there.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Complaints { write: Box::new(write), written: Mutex::default() }
    }

    /// Writes a line, unless it has been written.
    fn line(&self, line: &str) {
        let mut written = self.written.lock().expect("no panic while the lock is held");
        if written.len() >= REMEMBERED {
            written.clear();
        }
        if written.insert(blake3::hash(line.as_bytes())) {
            (self.write)(line);
        }
    }
}

/// A mount that is there.
pub struct Mounted {
    session: BackgroundSession,
}

/// How a mount has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody has unmounted it.
    Unmounted,
    /// It was asked to end, but somebody has files open in it.
    Busy,
}

/// Mounts snapshots. What reads them lives as long as the process: the threads that answer the kernel may be the last
/// to end.
pub fn mount(
    repository: Repository,
    index: Index,
    snapshots: &[SnapshotInfo],
    mountpoint: &Path,
    options: &Options,
    complaints: Complaints,
) -> io::Result<Mounted> {
    let repository: &'static Repository = Box::leak(Box::new(repository));
    let index: &'static Index = Box::leak(Box::new(index));
    let blobs: &'static BlobReader<'static> = Box::leak(Box::new(BlobReader::new(repository, index)));
    let windows: &'static WindowReader<'static, 'static> = Box::leak(Box::new(WindowReader::new(blobs)));
    let latest = repository.resolve(snapshots, "latest").ok();
    let filesystem = Snapshots::new(windows, shelves::arrange(snapshots, latest), options, complaints)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName("obnam".into()),
        MountOption::Subtype("obnam".into()),
    ];
    if options.allow_other {
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(repository.store.parallelism().clamp(2, 16));
    config.clone_fd = true;
    let session = Session::new(filesystem, mountpoint, &config)?.spawn()?;
    Ok(Mounted { session })
}

impl Mounted {
    /// Waits until it has been unmounted, or `is_stopped`; then unmounts it. [`Ended::Busy`] where files in it are open:
    /// nothing has changed then.
    pub fn wait(self, is_stopped: impl Fn() -> bool) -> io::Result<Ended> {
        while !self.session.guard.is_finished() && !is_stopped() {
            std::thread::sleep(INTERVAL);
        }
        if self.session.guard.is_finished() {
            self.session.join()?;
            return Ok(Ended::Unmounted);
        }
        match self.session.umount_and_join() {
            Ok(()) => Ok(Ended::Unmounted),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(Ended::Busy),
            Err(error) => Err(error),
        }
    }
}
