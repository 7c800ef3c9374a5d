//! Find: in which snapshots there are files with certain names. All snapshots are walked at once: at each path, equal
//! pieces of directories are read once, for all snapshots that have them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::diff::size;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::Content;
use crate::format::entry::{Entries, Entry, EntryType};
use crate::format::{FormatError, Time};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::{MAX_DEPTH, is_too_deep, with_deep_stack};

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the pattern {pattern:?} is wrong: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

/// What is looked for.
pub struct Query {
    names: GlobSet,
    paths: GlobSet,
    /// Only entries of this type.
    pub kind: Option<EntryType>,
    /// Only what was modified at this time or later.
    pub newer: Option<Time>,
    /// Only what was modified before this time.
    pub older: Option<Time>,
}

impl Query {
    /// Patterns without a slash are for names, others for whole paths: from the root if they begin with the slash, else
    /// from any directory.
    pub fn new(patterns: &[String], ignore_case: bool) -> Result<Self, PatternError> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let wrong = |why: String| PatternError { pattern: pattern.clone(), why };
            let path = pattern.contains('/');
            let text = pattern.strip_suffix('/').unwrap_or(pattern);
            if text.is_empty() {
                return Err(wrong("it names nothing; write * for everything".into()));
            }
            let whole = if path && !text.starts_with('/') { format!("**/{text}") } else { text.to_owned() };
            let glob = GlobBuilder::new(&whole).literal_separator(true).case_insensitive(ignore_case).build();
            let glob = glob.map_err(|error| wrong(error.kind().to_string()))?;
            if path {
                paths.add(glob)
            } else {
                names.add(glob)
            };
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| PatternError { pattern: patterns.join(" "), why: error.to_string() })
        };
        Ok(Query { names: build(names)?, paths: build(paths)?, kind: None, newer: None, older: None })
    }

    fn matches(&self, entry: &Entry, path: &Path) -> bool {
        self.kind.is_none_or(|kind| entry.kind == kind)
            && self.newer.is_none_or(|newer| entry.mtime >= newer)
            && self.older.is_none_or(|older| entry.mtime < older)
            && (self.names.is_match(OsStr::from_bytes(&entry.name)) || self.paths.is_match(path))
    }
}

/// A set of snapshots, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn all(count: usize, of: impl IntoIterator<Item = usize>) -> Self {
        let mut set = Set(vec![0; count.div_ceil(64)]);
        of.into_iter().for_each(|number| set.0[number / 64] |= 1 << (number % 64));
        set
    }

    fn add(&mut self, other: &Set) {
        self.0.iter_mut().zip(&other.0).for_each(|(bits, other)| *bits |= other);
    }

    fn numbers(&self) -> Vec<usize> {
        (0..self.0.len() * 64).filter(|number| self.0[number / 64] & (1 << (number % 64)) != 0).collect()
    }
}

/// What was found at a path: equal in some snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What it is.
    pub kind: EntryType,
    /// Bytes of a file.
    pub size: u64,
    /// When it was modified.
    pub mtime: Time,
    /// The numbers of the snapshots that have it so, ascending.
    pub snapshots: Vec<usize>,
}

/// Where what was found goes.
pub trait Sink: Send {
    /// Takes all that was found at a path; `false` ends the search.
    fn found(&mut self, path: &Path, versions: &[Version]) -> bool;
    /// Takes note of what could not be searched.
    fn lost(&mut self, path: &Path, why: RepositoryError);
}

/// Searches the trees below these roots; their places in the list are their numbers.
pub fn run(
    reader: &BlobReader<'_>,
    roots: &[&Content],
    query: &Query,
    sink: &mut dyn Sink,
    stop: Arc<AtomicBool>,
) -> Result<(), RepositoryError> {
    let mut distinct: Vec<(Content, Set)> = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        put(&mut distinct, root, &Set::all(roots.len(), [number]));
    }
    let mut find = Find { reader, query, sink, stop };
    with_deep_stack(|| find.directory(Path::new("/"), &distinct))?
}

/// Adds to the set of what equals `content`.
fn put(distinct: &mut Vec<(Content, Set)>, content: &Content, set: &Set) {
    match distinct.iter_mut().find(|(other, _)| other == content) {
        Some((_, other)) => other.add(set),
        None => distinct.push((content.clone(), set.clone())),
    }
}

/// What stands under one name in a directory.
#[derive(Default)]
struct Child {
    /// What matches, as (type, size, time).
    versions: Vec<((EntryType, u64, Time), Set)>,
    /// Where it is a directory.
    directories: Vec<(Content, Set)>,
}

struct Find<'a> {
    reader: &'a BlobReader<'a>,
    query: &'a Query,
    sink: &'a mut dyn Sink,
    stop: Arc<AtomicBool>,
}

impl Find<'_> {
    fn directory(&mut self, path: &Path, contents: &[(Content, Set)]) -> Result<(), RepositoryError> {
        if is_too_deep(path) {
            let why = FormatError::Malformed("the directory is too deep");
            self.sink.lost(path, RepositoryError::Malformed { what: format!("more than {MAX_DEPTH} levels"), why });
            return Ok(());
        }
        let mut children: BTreeMap<Vec<u8>, Child> = BTreeMap::new();
        for (piece, set) in self.pieces(path, contents) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepositoryError::Interrupted);
            }
            match self.reader.read(BlobKind::Tree, &piece) {
                Ok(piece) => self.entries(&piece, &set, path, &mut children),
                Err(why) => self.sink.lost(path, why.about_chunk()?),
            }
        }
        for (name, child) in children {
            let path = path.join(OsStr::from_bytes(&name));
            let mut versions: Vec<Version> = child
                .versions
                .iter()
                .map(|(of, set)| Version { kind: of.0, size: of.1, mtime: of.2, snapshots: set.numbers() })
                .collect();
            versions.sort_by(|one, other| one.snapshots.cmp(&other.snapshots));
            if !versions.is_empty() && !self.sink.found(&path, &versions) {
                return Err(RepositoryError::Interrupted);
            }
            if !child.directories.is_empty() {
                self.directory(&path, &child.directories)?;
            }
        }
        Ok(())
    }

    /// The distinct pieces of directories, each with the snapshots that have it.
    fn pieces(&mut self, path: &Path, contents: &[(Content, Set)]) -> Vec<(BlobId, Set)> {
        let mut pieces: Vec<(BlobId, Set)> = Vec::new();
        let mut places: HashMap<BlobId, usize> = HashMap::new();
        for (content, set) in contents {
            let leaves = match self.reader.leaves(content) {
                Ok(leaves) => leaves,
                Err(why) => {
                    self.sink.lost(path, why);
                    continue;
                }
            };
            for leaf in leaves {
                match leaf {
                    Ok(item) => match places.get(&item.id) {
                        Some(&place) => pieces[place].1.add(set),
                        None => {
                            places.insert(item.id, pieces.len());
                            pieces.push((item.id, set.clone()));
                        }
                    },
                    Err(why) => self.sink.lost(path, why),
                }
            }
        }
        pieces
    }

    fn entries(&mut self, piece: &[u8], set: &Set, path: &Path, children: &mut BTreeMap<Vec<u8>, Child>) {
        for entry in Entries::new(piece) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(why) => {
                    self.sink.lost(path, RepositoryError::Malformed { what: "a directory".into(), why });
                    continue;
                }
            };
            if self.query.matches(&entry, &path.join(OsStr::from_bytes(&entry.name))) {
                let of = (entry.kind, size(&entry), entry.mtime);
                let versions = &mut children.entry(entry.name.clone()).or_default().versions;
                match versions.iter_mut().find(|(other, _)| *other == of) {
                    Some((_, other)) => other.add(set),
                    None => versions.push((of, set.clone())),
                }
            }
            if let (EntryType::Directory, Some(content)) = (entry.kind, &entry.content) {
                put(&mut children.entry(entry.name).or_default().directories, content, set);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::tests::sample;

    fn matches(pattern: &str, ignore_case: bool, path: &str) -> bool {
        let query = Query::new(&[pattern.to_owned()], ignore_case).expect("a pattern");
        let path = Path::new(path);
        query.matches(&sample(path.file_name().expect("a name").as_bytes()), path)
    }

    #[test]
    fn patterns_for_names_and_paths() {
        for (pattern, path) in [
            ("*.txt", "/a/b.txt"),
            ("b", "/a/b"),
            ("a/*.txt", "/x/a/b.txt"),
            ("/a/*.txt", "/a/b.txt"),
            ("/a/**/c", "/a/x/y/c"),
            ("a/b/", "/a/b"),
            ("{x,y}?", "/y1"),
        ] {
            assert!(matches(pattern, false, path), "{pattern} {path}");
        }
        for (pattern, path) in [("*.txt", "/a.txt/b"), ("/a/*", "/x/a/b"), ("/a/*", "/a/b/c"), ("B", "/a/b")] {
            assert!(!matches(pattern, false, path), "{pattern} {path}");
        }
        assert!(matches("B/*.TXT", true, "/b/c.txt"));
        for bad in ["", "/", "[a", "{a"] {
            assert!(Query::new(&[bad.to_owned()], false).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_types() {
        let mut query = Query::new(&["*".to_owned()], false).expect("a pattern");
        let entry = sample(b"a");
        let later = |seconds| Time { seconds: entry.mtime.seconds + seconds, ..entry.mtime };
        let fits = |query: &Query| query.matches(&entry, Path::new("/a"));
        (query.newer, query.older) = (Some(entry.mtime), Some(later(1)));
        assert!(fits(&query));
        query.newer = Some(later(1));
        assert!(!fits(&query));
        (query.newer, query.older) = (None, Some(entry.mtime));
        assert!(!fits(&query));
        (query.older, query.kind) = (None, Some(EntryType::Directory));
        assert!(!fits(&query));
    }

    #[test]
    fn sets_of_snapshots() {
        let mut set = Set::all(130, [0, 64, 129]);
        set.add(&Set::all(130, [5]));
        assert_eq!(set.numbers(), [0, 5, 64, 129]);
    }
}
