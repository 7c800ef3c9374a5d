//! Restored trees, and comparisons of trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use obnam::chunk::ChunkId;
use obnam::format::content::Content;
use obnam::format::snapshot::Statistics;
use obnam::index::Index;
use obnam::repository::Repository;
use obnam::restore;
use tempfile::TempDir;

use super::load;

/// A restored tree.
pub struct Restored {
    tmp: TempDir,
    /// What could not be restored.
    pub problems: Vec<obnam::problem::Problem>,
}

impl Restored {
    /// Where a path of the source is now.
    pub fn at(&self, source: &Path) -> PathBuf {
        self.root().join(source.strip_prefix("/").unwrap())
    }

    /// The directory that was restored into.
    pub fn root(&self) -> PathBuf {
        self.tmp.path().join("target")
    }

    /// What stands beside the directory that was restored into.
    pub fn outside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.tmp.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != self.root()).collect()
    }
}

/// A root directory as the source of a restore.
pub fn source_of(root: &Content) -> restore::Source {
    let (snapshot, roots) = (ChunkId::from_bytes([7; 32]), vec!["/".into()]);
    restore::Source { snapshot, root: root.clone(), roots, statistics: Statistics::default(), path: None }
}

/// Restores a root directory.
pub fn restore_root(repository: &Repository, index: &Index, root: &Content) -> Restored {
    let tmp = tempfile::tempdir().unwrap();
    let watch = restore::Watch::default();
    let options = restore::Options::new(tmp.path().join("target"));
    restore::run(repository, index, &source_of(root), &options, &watch).unwrap();
    let quiet = "owners were not restored, because only root can do that";
    let problems = watch.problems.all().into_iter().filter(|problem| problem.message != quiet).collect();
    Restored { tmp, problems }
}

/// Restores a snapshot.
pub fn restore(repository: &Repository, id: &ChunkId) -> Restored {
    let (snapshots, index) = load(repository);
    let info = snapshots.iter().find(|info| info.id == *id).unwrap_or_else(|| panic!("snapshot {id} is not listed"));
    restore_root(repository, &index, &info.snapshot.root)
}

/// What a tree is, for comparisons: path, type and mode, modification time, and contents or target.
pub type Tree = BTreeMap<PathBuf, (u32, (i64, i64), Vec<u8>)>;

/// Reads a tree.
pub fn tree(root: &Path) -> Tree {
    fn below(root: &Path, path: &Path, tree: &mut Tree) {
        let metadata = path.symlink_metadata().unwrap();
        let contents = if metadata.is_symlink() {
            fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), (metadata.mode(), time, contents));
        if metadata.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                below(root, &entry.unwrap().path(), tree);
            }
        }
    }
    let mut tree = Tree::new();
    below(root, root, &mut tree);
    tree
}

/// Restores a snapshot and compares it with a source.
pub fn assert_restores(repository: &Repository, id: &ChunkId, source: &Path, expected: &Tree) {
    let restored = restore(repository, id);
    assert_eq!(restored.problems, [], "restoring {id}");
    let found = tree(&restored.at(source));
    let paths = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(expected), "restoring {id}");
    for (path, entry) in expected {
        assert!(found[path] == *entry, "{} differs in snapshot {id}", path.display());
    }
}
