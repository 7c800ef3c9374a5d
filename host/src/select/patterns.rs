//! Lists of patterns in the syntax of `.gitignore`. `docs/excludes.md` has the rules as users read them.

use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// The syntax is wrong.
    #[error("the pattern {pattern:?} is wrong: {why}")]
    Syntax {
        /// As the user wrote it.
        pattern: String,
        /// What the matcher says.
        why: String,
    },
    /// It would never match anything.
    #[error("the pattern {pattern:?} can never match: {why}")]
    Useless {
        /// As the user wrote it.
        pattern: String,
        /// Why not, and what to write instead.
        why: &'static str,
    },
    /// A line of a file.
    #[error("{}, line {line}: {error}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Beginning with 1.
        line: usize,
        /// What is wrong there.
        error: Box<PatternError>,
    },
    /// The line is not UTF-8.
    #[error("the line is not UTF-8; write ? for each byte of the name that is not")]
    NotUtf8,
    /// The file cannot be read.
    #[error("cannot read the patterns in {}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// All of them are good, but they are too much for the matcher.
    #[error("the patterns cannot be used together: {0}; use fewer of them")]
    TooMuch(String),
}

/// Patterns in order; the last one that matches decides.
#[derive(Debug, Clone)]
pub struct Patterns(Gitignore);

impl Default for Patterns {
    fn default() -> Self {
        Patterns(Gitignore::empty())
    }
}

/// What a slash in the middle of a pattern means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Middle {
    /// Nothing: only a slash at the beginning ties a pattern to a place.
    Anywhere,
    /// The pattern is tied to the directory of its file, as Git does.
    Anchors,
}

impl Patterns {
    /// From the lines of a file, or one pattern each. Comments and empty lines are left out. What begins with a slash is
    /// a path from `/`; all else matches at any depth.
    pub fn parse<S: AsRef<str>>(lines: impl IntoIterator<Item = S>) -> Result<Self, PatternError> {
        let mut builder = builder(Path::new("/"));
        for line in lines {
            add(&mut builder, line.as_ref(), Middle::Anywhere)?;
        }
        build(&builder)
    }

    /// From a file that stands in `directory` and holds for what is below it, by Git's rules. Bad lines are left out and
    /// returned.
    pub fn of_directory(directory: &Path, file: &Path, text: &[u8]) -> (Self, Vec<PatternError>) {
        let mut builder = builder(directory);
        let mut errors = Vec::new();
        for (number, line) in lines(text) {
            let result = line.and_then(|line| add(&mut builder, line, Middle::Anchors));
            errors.extend(result.err().map(|error| error.in_line(file, number)));
        }
        let patterns = build(&builder).unwrap_or_else(|error| {
            errors.push(error);
            Patterns::default()
        });
        (patterns, errors)
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path matches, or is taken back by a pattern that begins with `!`. That a directory above it matches
    /// is not looked at: whoever walks a tree does not enter such a directory.
    pub fn matches(&self, path: &Path, is_dir: bool) -> Option<bool> {
        match self.0.matched(path, is_dir) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }

    /// Whether a path matches, or one of the directories above it.
    pub fn covers(&self, path: &Path, is_dir: bool) -> bool {
        let mut above = path.ancestors().skip(1);
        !self.is_empty()
            && (self.matches(path, is_dir) == Some(true) || above.any(|path| self.matches(path, true) == Some(true)))
    }
}

/// Reads patterns from a file. Each is known to be good then, so that an error can name its line.
pub fn read_file(path: &Path) -> Result<Vec<String>, PatternError> {
    let text = std::fs::read(path).map_err(|error| PatternError::File { path: path.to_owned(), error })?;
    let mut patterns = Vec::new();
    for (number, line) in lines(&text) {
        let good = line.and_then(|line| Patterns::parse([line]).map(|_| line));
        patterns.push(good.map_err(|error| error.in_line(path, number))?.to_owned());
    }
    Ok(patterns)
}

/// A pattern of the command line: there, `#` begins no comment.
pub fn argument(pattern: &str) -> String {
    if pattern.starts_with('#') { format!("\\{pattern}") } else { pattern.to_owned() }
}

impl PatternError {
    fn in_line(self, path: &Path, line: usize) -> Self {
        PatternError::Line { path: path.to_owned(), line, error: Box::new(self) }
    }
}

/// The lines of a file with their numbers; a byte order mark is no part of them.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, Result<&str, PatternError>)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let utf8 = |line| std::str::from_utf8(line).map_err(|_| PatternError::NotUtf8);
    (1..).zip(text.split(|byte| *byte == b'\n').map(utf8))
}

fn builder(root: &Path) -> GitignoreBuilder {
    let mut builder = GitignoreBuilder::new(root);
    // `[a` is a mistake more often than a name.
    builder.allow_unclosed_class(false);
    builder
}

fn build(builder: &GitignoreBuilder) -> Result<Patterns, PatternError> {
    builder.build().map(Patterns).map_err(|error| PatternError::TooMuch(error.to_string()))
}

fn add(builder: &mut GitignoreBuilder, line: &str, middle: Middle) -> Result<(), PatternError> {
    if line.starts_with('#') || line.trim_end().is_empty() {
        return Ok(());
    }
    let (not, pattern) = line.strip_prefix('!').map_or(("", line), |pattern| ("!", pattern));
    let parts = pattern.trim_end().trim_start_matches('/').trim_end_matches('/');
    let useless = |why| Err(PatternError::Useless { pattern: line.to_owned(), why });
    if parts.is_empty() {
        return useless("it names nothing; write * for everything");
    }
    if pattern.starts_with("~/") {
        return useless("~ stands for no home directory here; write its path, or \\~ for a file with this name");
    }
    if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return useless(
            "it has an empty part, . or ..; write the path without them, from / if it is meant to be absolute",
        );
    }
    let anywhere = middle == Middle::Anywhere && !pattern.starts_with('/') && parts.contains('/');
    let whole = if anywhere { format!("{not}**/{pattern}") } else { line.to_owned() };
    match builder.add_line(None, &whole) {
        Ok(_) => Ok(()),
        Err(ignore::Error::Glob { err, .. }) => Err(PatternError::Syntax { pattern: line.to_owned(), why: err }),
        Err(error) => Err(PatternError::Syntax { pattern: line.to_owned(), why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn matches(lines: &[&str], path: &str) -> Option<bool> {
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        Patterns::parse(lines).expect("good").matches(Path::new(path), is_dir)
    }

    #[test]
    fn what_matches() {
        let yes = Some(true);
        for (pattern, path, expected) in [
            ("*.o", "/a/b.o", yes),
            ("*.o", "/a/b.o/", yes),
            ("*.o", "/a/b.c", None),
            ("cache", "/home/x/cache", yes),
            ("cache", "/cache", yes),
            ("cache", "/home/x/caches", None),
            ("cache/", "/home/x/cache/", yes),
            ("cache/", "/home/x/cache", None),
            ("/home/x/cache", "/home/x/cache/", yes),
            ("/home/x/cache/", "/home/x/cache/", yes),
            ("/home/x/cache", "/srv/home/x/cache/", None),
            ("/home/*/cache", "/home/x/cache", yes),
            ("/home/*/cache", "/home/x/y/cache", None),
            ("/home/**/cache", "/home/x/y/cache", yes),
            ("x/cache", "/home/x/cache", yes),
            ("x/cache", "/home/xx/cache", None),
            ("x/*/cache", "/home/x/y/cache", yes),
            ("**/x/cache", "/home/x/cache", yes),
            ("/cache", "/home/x/cache", None),
            ("cache/**", "/home/cache/", None),
            ("cache/**", "/home/cache/x", yes),
            ("/home/x/cache/*", "/home/x/cache/y", yes),
            ("/*", "/home/", yes),
            ("/*", "/home/x", None),
            ("?", "/a", yes),
            ("[a-c]x", "/bx", yes),
            ("[!a-c]x", "/bx", None),
            ("\\#a", "/#a", yes),
            ("\\!a", "/!a", yes),
            ("\\!a/b", "/x/!a/b", yes),
            ("# a", "/# a", None),
            ("a  ", "/a", yes),
            ("a\\ ", "/a ", yes),
            ("a\r", "/a", yes),
            ("A", "/a", None),
            ("b/ä", "/b/ä", yes),
            ("??", "/ä", yes),
            ("?", "/ä", None),
            ("*.{jpg,png}", "/a.png", yes),
        ] {
            assert_eq!(matches(&[pattern], path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_one_decides() {
        let lines = ["*.log", "!keep.log", "!x/y.log", "z.log"];
        assert_eq!(matches(&lines, "/a/b.log"), Some(true));
        assert_eq!(matches(&lines, "/a/keep.log"), Some(false));
        assert_eq!(matches(&lines, "/a/x/y.log"), Some(false));
        assert_eq!(matches(&["!z.log", "*.log"], "/z.log"), Some(true));
        assert_eq!(matches(&[], "/a"), None);
    }

    #[test]
    fn what_is_covered() {
        let patterns = Patterns::parse(["cache/", "!keep"]).expect("good");
        let covers = |path: &str| patterns.covers(Path::new(path), false);
        assert!(covers("/a/cache/b/c") && covers("/cache/keep"));
        assert!(!covers("/a/cache") && !covers("/a/keep") && !covers("/"));
    }

    #[test]
    fn names_that_are_not_utf8() {
        let patterns = Patterns::parse(["*.o", "a?b", "[!x]y"]).expect("good");
        let path = |bytes: &'static [u8]| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(patterns.matches(path(b"/\xff.o"), false), Some(true));
        assert_eq!(patterns.matches(path(b"/x/a\xffb"), false), Some(true));
        assert_eq!(patterns.matches(path(b"/x/\xffy"), false), Some(true));
        assert_eq!(patterns.matches(path(b"/x/\xff"), false), None);
        assert_eq!(patterns.matches(path(b"/\xff/c.o"), false), Some(true));
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in ["[a", "a\\", "[z-a]", "./a", "../a", "a/../b", "a//b", "/", "!", "!/", "~/a", "{a"] {
            let error = Patterns::parse([bad]).expect_err(bad).to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn files_of_patterns() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("patterns");
        std::fs::write(&path, "\u{feff}*.o\r\n\n# comment\n!a.o").expect("writes");
        let patterns = Patterns::parse(read_file(&path).expect("good")).expect("good");
        assert_eq!(patterns.matches(Path::new("/b.o"), false), Some(true));
        assert_eq!(patterns.matches(Path::new("/a.o"), false), Some(false));
        std::fs::write(&path, "a\n[b\n").expect("writes");
        let error = read_file(&path).expect_err("bad").to_string();
        assert!(error.contains("patterns, line 2: the pattern \"[b\" is wrong"), "{error}");
        std::fs::write(&path, b"\xff").expect("writes");
        assert!(read_file(&path).expect_err("bad").to_string().contains("line 1: the line is not UTF-8"));
        assert!(read_file(&folder.path().join("none")).expect_err("none").to_string().contains("none"));
    }

    #[test]
    fn files_in_directories_follow_git() {
        let text = b"*.o\n/here\nsub/file\n[bad\n\xff\n!keep.o";
        let (patterns, errors) = Patterns::of_directory(Path::new("/w/d"), Path::new("/w/d/.ignore"), text);
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].starts_with("/w/d/.ignore, line 4:"), "{messages:?}");
        let matches = |path: &str| patterns.matches(Path::new(path), false);
        for path in ["/w/d/a.o", "/w/d/x/a.o", "/w/d/here", "/w/d/sub/file"] {
            assert_eq!(matches(path), Some(true), "{path}");
        }
        assert_eq!(matches("/w/d/x/keep.o"), Some(false));
        for path in ["/w/d/x/here", "/w/d/x/sub/file"] {
            assert_eq!(matches(path), None, "{path}");
        }
    }
}
