//! What to restore, and how: [`Source`] and [`Options`].

use std::path::PathBuf;

use crate::chunk::ChunkId;
use crate::format::content::Content;
use crate::format::snapshot::Statistics;
use crate::repository::metadata::SnapshotInfo;
use crate::select::Patterns;

/// What happens to a file that stands where one is to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It is replaced.
    Always,
    /// It is kept if size and time of modification are those of the snapshot, else replaced.
    IfChanged,
    /// It is kept.
    Never,
}

/// Which part of which snapshot.
#[derive(Debug, Clone)]
pub struct Source {
    /// The snapshot.
    pub snapshot: ChunkId,
    /// Its root directory.
    pub root: Content,
    /// The absolute paths that were backed up.
    pub roots: Vec<PathBuf>,
    /// What it says of itself.
    pub statistics: Statistics,
    /// Only what is at and below this path in the snapshot; all of it without one.
    pub path: Option<PathBuf>,
}

impl Source {
    /// A snapshot, or what stands at a path in it.
    pub fn new(info: &SnapshotInfo, path: Option<PathBuf>) -> Self {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let snapshot = &info.snapshot;
        Source {
            snapshot: info.id,
            root: snapshot.root.clone(),
            roots: snapshot.paths.iter().map(|path| PathBuf::from(OsStr::from_bytes(&path.0))).collect(),
            statistics: snapshot.statistics,
            path,
        }
    }

    /// Whether there were things that the backup could not read, so that the snapshot does not have them.
    pub fn is_incomplete(&self) -> bool {
        self.statistics.errors > 0
    }
}

/// Where to, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that is restored into. In place: `/`, or in tests what stands for it.
    pub target: PathBuf,
    /// Whether everything goes to the path that it was backed up from.
    pub in_place: bool,
    /// What happens to what is there; without it, nothing may be.
    pub overwrite: Option<Overwrite>,
    /// Remove from restored directories what the snapshot does not have.
    pub delete: bool,
    /// Restore owners and groups, and with them setuid and setgid.
    pub owners: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Read everything back afterwards.
    pub verify: bool,
    /// Only what matches.
    pub include: Option<Patterns>,
    /// Not what matches.
    pub exclude: Option<Patterns>,
    /// Directories that are never removed, whatever the snapshot says: the repository, this program's own.
    pub protected: Vec<PathBuf>,
}

impl Options {
    /// Everything, into a directory that is empty or absent.
    pub fn new(target: PathBuf) -> Self {
        Options {
            target,
            in_place: false,
            overwrite: None,
            delete: false,
            owners: true,
            dry_run: false,
            verify: false,
            include: None,
            exclude: None,
            protected: Vec::new(),
        }
    }
}
