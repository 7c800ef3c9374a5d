//! The paths that a user names, as a tree: parents are entered for the sake of what is below them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A file or directory that the user named, or that leads to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Whether the user named it.
    pub named: bool,
    /// What leads on to others.
    pub below: BTreeMap<OsString, Node>,
}

/// What to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The paths, in the order given.
    pub paths: Vec<PathBuf>,
    /// The same as a tree below `/`.
    pub tree: Node,
}

/// Makes a path absolute: symbolic links above its last component are followed, the last one is not.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    match path.file_name() {
        // "." and ".." at the end, and "/", have no name of their own.
        None => path.canonicalize(),
        Some(name) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let absolute = parent.canonicalize()?.join(name);
            absolute.symlink_metadata()?;
            Ok(absolute)
        }
    }
}

impl Roots {
    /// The roots with these absolute paths.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let mut tree = Node::default();
        for path in &paths {
            let mut node = &mut tree;
            for part in path.components() {
                if let Component::Normal(name) = part {
                    node = node.below.entry(name.to_owned()).or_default();
                }
            }
            node.named = true;
        }
        Roots { paths, tree }
    }

    /// The paths' raw bytes.
    pub fn raw_paths(&self) -> impl Iterator<Item = Vec<u8>> {
        self.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_a_tree() {
        let leaf = || Node { named: true, below: BTreeMap::new() };
        let roots = Roots::new(["/a/b", "/a/b/c", "/d"].map(PathBuf::from).to_vec());
        let b = Node { named: true, below: BTreeMap::from([("c".into(), leaf())]) };
        let a = Node { named: false, below: BTreeMap::from([("b".into(), b)]) };
        let top = Node { named: false, below: BTreeMap::from([("a".into(), a), ("d".into(), leaf())]) };
        assert_eq!(roots.tree, top);
        assert!(Roots::new(vec!["/".into()]).tree.named);
    }

    #[test]
    fn paths_become_absolute() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().canonicalize().expect("exists");
        std::fs::create_dir(root.join("real")).expect("makes");
        std::fs::write(root.join("real/file"), "x").expect("writes");
        std::os::unix::fs::symlink("real", root.join("link")).expect("links");
        assert_eq!(absolute(&root.join("link/file")).expect("is there"), root.join("real/file"));
        assert_eq!(absolute(&root.join("link")).expect("is there"), root.join("link"));
        assert_eq!(absolute(&root.join("link/.")).expect("is there"), root.join("link"));
        assert_eq!(absolute(&root.join("real/..")).expect("is there"), root);
        assert!(absolute(&root.join("missing")).is_err());
    }
}
