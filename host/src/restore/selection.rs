//! Which entries of a snapshot are restored: `--include` and `--exclude`, by their paths in the snapshot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::options::Options;
use crate::backup::roots::Node;
use crate::select::Patterns;

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Restore it, and what is below it.
    Take,
    /// Not itself; something below it may match.
    Enter,
    /// Neither it nor what is below it.
    Leave,
}

/// See the head of this module.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    include: Option<&'a Patterns>,
    exclude: Option<&'a Patterns>,
}

impl<'a> Selection<'a> {
    /// The selection that these options make.
    pub fn new(options: &'a Options) -> Self {
        Selection { include: options.include.as_ref(), exclude: options.exclude.as_ref() }
    }

    /// Whether everything is taken, wherever it is.
    pub fn is_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// `path` is absolute, in the snapshot; `is_below_taken` whether the directory it is in was taken.
    pub fn judge(&self, path: &Path, is_dir: bool, is_below_taken: bool) -> Verdict {
        if self.excludes(path, is_dir) {
            return Verdict::Leave;
        }
        let included = self.include.and_then(|include| include.matches(path, is_dir));
        match included.unwrap_or(is_below_taken) {
            true => Verdict::Take,
            false if is_dir => Verdict::Enter,
            false => Verdict::Leave,
        }
    }

    /// Whether a path is excluded by name.
    pub fn excludes(&self, path: &Path, is_dir: bool) -> bool {
        self.exclude.and_then(|exclude| exclude.matches(path, is_dir)) == Some(true)
    }
}

/// What is restored of a tree, and where in the tree that is.
#[derive(Debug, Clone)]
pub struct Choice<'a> {
    /// By patterns.
    pub selection: Selection<'a>,
    /// The path in the snapshot of what goes into the target itself.
    pub prefix: PathBuf,
    /// The roots of the backup, from there on. Directories above them were not backed up whole.
    pub scope: &'a Node,
    /// Whether only what is at and below the roots is restored.
    pub roots_only: bool,
}

static WHOLE: Node = Node { named: true, below: BTreeMap::new() };

impl<'a> Choice<'a> {
    /// Whether the directory that goes into the target itself is taken with all that is in it.
    pub fn takes_top(&self) -> bool {
        match self.selection.include {
            None => true,
            Some(include) => self.prefix.ancestors().any(|path| include.matches(path, true) == Some(true)),
        }
    }

    /// What is to be done with an entry at this path below the target, in a directory of this scope; and its own scope.
    pub fn of(&self, scope: &'a Node, path: &Path, is_dir: bool, is_below_taken: bool) -> (Verdict, &'a Node) {
        let inner = match (scope, path.file_name()) {
            (scope, Some(name)) if !scope.named => match scope.below.get(name) {
                Some(inner) => inner,
                None if self.roots_only => return (Verdict::Leave, &WHOLE),
                None => &WHOLE,
            },
            _ => &WHOLE,
        };
        if self.selection.is_all() {
            return (Verdict::Take, inner);
        }
        (self.selection.judge(&self.prefix.join(path), is_dir, is_below_taken), inner)
    }
}

/// The scope of what is below a path.
pub fn scope_at<'n>(tree: &'n Node, path: &Path) -> &'n Node {
    let mut scope = tree;
    for part in path.iter().filter(|part| *part != "/") {
        if scope.named {
            return &WHOLE;
        }
        scope = scope.below.get(part).unwrap_or(&WHOLE);
    }
    scope
}

/// The roots at and below a path; the path itself, where it is inside of one.
pub fn roots_at(roots: &[PathBuf], path: Option<&Path>) -> Vec<PathBuf> {
    let Some(path) = path else { return roots.to_vec() };
    if roots.iter().any(|root| path.starts_with(root)) {
        return vec![path.to_owned()];
    }
    let below: Vec<PathBuf> = roots.iter().filter(|root| root.starts_with(path)).cloned().collect();
    if below.is_empty() { vec![path.to_owned()] } else { below }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::roots::Roots;

    fn patterns(lines: &[&str]) -> Option<Patterns> {
        Some(Patterns::parse(lines).expect("they are good"))
    }

    #[test]
    fn included_and_excluded() {
        let (include, exclude) = (patterns(&["*.rs", "/docs"]), patterns(&["old", "/docs/*.pdf"]));
        let selection = Selection { include: include.as_ref(), exclude: exclude.as_ref() };
        let judge = |path: &str, is_dir, below| selection.judge(Path::new(path), is_dir, below);
        assert_eq!(judge("/src", true, false), Verdict::Enter);
        assert_eq!(judge("/src/a.rs", false, false), Verdict::Take);
        assert_eq!(judge("/src/a.c", false, false), Verdict::Leave);
        assert_eq!(judge("/docs", true, false), Verdict::Take);
        assert_eq!(judge("/docs/a", false, true), Verdict::Take);
        assert_eq!(judge("/docs/a.pdf", false, true), Verdict::Leave);
        assert_eq!(judge("/docs/old", true, true), Verdict::Leave);
        let all = Selection { include: None, exclude: exclude.as_ref() };
        assert_eq!(all.judge(Path::new("/src"), true, true), Verdict::Take);
    }

    #[test]
    fn what_is_above_the_roots_is_not_whole() {
        let roots = Roots::new(["/home/liw", "/etc"].map(PathBuf::from).to_vec());
        assert!(!scope_at(&roots.tree, Path::new("/home")).named);
        assert!(scope_at(&roots.tree, Path::new("/home/liw/x")).named);
        let at = |path: &str| roots_at(&roots.paths, Some(Path::new(path)));
        assert_eq!(at("/home"), [PathBuf::from("/home/liw")], "not the homes of others");
        assert_eq!(at("/home/liw/x"), [PathBuf::from("/home/liw/x")]);
        assert_eq!(roots_at(&roots.paths, None), roots.paths);
    }
}
