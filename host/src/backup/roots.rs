//! The paths that a user names, as a tree: parents are entered for the sake of what is below them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A directory that is backed up whole, or only for the roots below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// All of it.
    Whole,
    /// Only what leads to roots.
    Parts(BTreeMap<OsString, Node>),
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
        let mut tree = Node::Parts(BTreeMap::new());
        for path in &paths {
            let parts: Vec<&OsStr> = path
                .components()
                .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
                .collect();
            insert(&mut tree, &parts);
        }
        Roots { paths, tree }
    }

    /// The paths' raw bytes.
    pub fn raw_paths(&self) -> impl Iterator<Item = Vec<u8>> {
        self.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec())
    }
}

fn insert(node: &mut Node, parts: &[&OsStr]) {
    match (node, parts) {
        (node, []) => *node = Node::Whole,
        (Node::Whole, _) => {}
        (Node::Parts(children), [first, rest @ ..]) => {
            let child = children.entry((*first).to_owned()).or_insert_with(|| Node::Parts(BTreeMap::new()));
            insert(child, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_inside_roots_vanish() {
        let roots = Roots::new(["/a/b", "/a/b/c", "/d"].map(PathBuf::from).to_vec());
        let b = BTreeMap::from([("b".into(), Node::Whole)]);
        let top = BTreeMap::from([("a".into(), Node::Parts(b)), ("d".into(), Node::Whole)]);
        assert_eq!(roots.tree, Node::Parts(top));
        assert_eq!(Roots::new(vec!["/".into(), "/x".into()]).tree, Node::Whole);
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
