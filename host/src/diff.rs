//! Diff: what is different between two trees. Both are walked side by side, in order of names; directories with equal
//! contents are equal all the way down, and are not read.

use std::ffi::OsStr;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::{MAX_DEPTH, is_too_deep, with_deep_stack};

/// What has happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is only in the second tree.
    Added,
    /// It is only in the first tree.
    Removed,
    /// The contents of a file, the target of a link or the numbers of a device.
    Content,
    /// Owner, mode, time, attributes or number of names, and nothing else.
    Metadata,
    /// It is of another type.
    Type,
}

/// One difference.
#[derive(Debug)]
pub struct Difference<'e> {
    /// The path, below the roots of the comparison.
    pub path: &'e Path,
    /// What has happened.
    pub change: Change,
    /// The entry in the first tree.
    pub before: Option<&'e Entry>,
    /// The entry in the second tree.
    pub after: Option<&'e Entry>,
}

/// How much is different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Files that are only in the second tree.
    pub files_added: u64,
    /// Files that are only in the first tree.
    pub files_removed: u64,
    /// Files whose contents differ.
    pub files_changed: u64,
    /// Everything else that is only in the second tree.
    pub others_added: u64,
    /// Everything else that is only in the first tree.
    pub others_removed: u64,
    /// Everything else whose contents differ, and all that is of another type.
    pub others_changed: u64,
    /// What differs in its metadata alone.
    pub metadata_changed: u64,
    /// Bytes of the files that were added, and the new sizes of those that changed.
    pub bytes_added: u64,
    /// Bytes of the files that were removed, and the old sizes of those that changed.
    pub bytes_removed: u64,
}

/// Where differences go.
pub trait Sink: Send {
    /// Takes one; `false` ends the comparison.
    fn difference(&mut self, difference: &Difference<'_>) -> bool;
    /// Takes note of what could not be compared.
    fn lost(&mut self, path: &Path, why: RepositoryError);
}

/// Compares what stands at `before` and `after`. Neither name counts: differences have paths below `root`.
pub fn run(
    reader: &BlobReader<'_>,
    root: &Path,
    (before, after): (&Entry, &Entry),
    sink: &mut dyn Sink,
    stop: Arc<AtomicBool>,
) -> Result<Totals, RepositoryError> {
    with_deep_stack(|| {
        let mut diff = Diff { reader, sink, stop, totals: Totals::default() };
        diff.pair(before, after, root)?;
        Ok(diff.totals)
    })?
}

struct Diff<'a> {
    reader: &'a BlobReader<'a>,
    sink: &'a mut dyn Sink,
    stop: Arc<AtomicBool>,
    totals: Totals,
}

type Side<'a> = Peekable<Box<dyn Iterator<Item = Result<Entry, RepositoryError>> + 'a>>;

/// The error that comes next, if one does.
fn broken(side: &mut Side<'_>) -> Option<RepositoryError> {
    side.next_if(Result::is_err).and_then(Result::err)
}

fn next_name(side: &mut Side<'_>) -> Option<Vec<u8>> {
    side.peek().and_then(|entry| entry.as_ref().ok()).map(|entry| entry.name.clone())
}

impl<'a> Diff<'a> {
    fn side(&self, content: Option<&Content>) -> Result<Side<'a>, RepositoryError> {
        let entries: Box<dyn Iterator<Item = _> + 'a> = match content {
            Some(content) => Box::new(self.reader.entries(content)?),
            None => Box::new(std::iter::empty()),
        };
        Ok(entries.peekable())
    }

    /// Compares directories, one of which may not be there. When a piece of one is lost, nothing is said of what comes behind
    /// it: it is not known to have gone.
    fn directories(
        &mut self,
        before: Option<&Content>,
        after: Option<&Content>,
        path: &Path,
    ) -> Result<(), RepositoryError> {
        if before == after {
            return Ok(());
        }
        if is_too_deep(path) {
            let why = crate::format::FormatError::Malformed("the directory is too deep");
            self.sink.lost(path, RepositoryError::Malformed { what: format!("more than {MAX_DEPTH} levels"), why });
            return Ok(());
        }
        let (mut left, mut right) = match (self.side(before), self.side(after)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(why), _) | (_, Err(why)) => {
                self.sink.lost(path, why);
                return Ok(());
            }
        };
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RepositoryError::Interrupted);
            }
            if let Some(why) = broken(&mut left).or_else(|| broken(&mut right)) {
                self.sink.lost(path, why);
                return Ok(());
            }
            let (first, second) = (next_name(&mut left), next_name(&mut right));
            let (take_left, take_right) = match (&first, &second) {
                (None, None) => return Ok(()),
                (Some(first), Some(second)) => (first <= second, second <= first),
                (first, second) => (first.is_some(), second.is_some()),
            };
            let one = if take_left { left.next().and_then(Result::ok) } else { None };
            let other = if take_right { right.next().and_then(Result::ok) } else { None };
            let name = if take_left { first } else { second }.unwrap_or_default();
            let path = path.join(OsStr::from_bytes(&name));
            match (&one, &other) {
                (Some(one), Some(other)) => self.pair(one, other, &path)?,
                (one, other) => self.alone(one.as_ref(), other.as_ref(), &path)?,
            }
        }
    }

    fn pair(&mut self, before: &Entry, after: &Entry, path: &Path) -> Result<(), RepositoryError> {
        if before.kind != after.kind {
            self.found(Change::Type, Some(before), Some(after), path)?;
            // What stood below a directory has come or gone with it.
            self.directories(directory(before), None, path)?;
            return self.directories(None, directory(after), path);
        }
        if before.kind != EntryType::Directory && !same_contents(before, after) {
            return self.found(Change::Content, Some(before), Some(after), path);
        }
        // A directory's time changes with the names in it, which are told one by one.
        let time_counts = before.kind != EntryType::Directory || before.content == after.content;
        if !same_metadata(before, after) || (time_counts && before.mtime != after.mtime) {
            self.found(Change::Metadata, Some(before), Some(after), path)?;
        }
        self.directories(directory(before), directory(after), path)
    }

    fn alone(&mut self, before: Option<&Entry>, after: Option<&Entry>, path: &Path) -> Result<(), RepositoryError> {
        let change = if after.is_some() { Change::Added } else { Change::Removed };
        self.found(change, before, after, path)?;
        self.directories(before.and_then(directory), after.and_then(directory), path)
    }

    fn found(
        &mut self,
        change: Change,
        before: Option<&Entry>,
        after: Option<&Entry>,
        path: &Path,
    ) -> Result<(), RepositoryError> {
        self.totals.add(change, before, after);
        if self.sink.difference(&Difference { path, change, before, after }) {
            Ok(())
        } else {
            Err(RepositoryError::Interrupted)
        }
    }
}

impl Totals {
    fn add(&mut self, change: Change, before: Option<&Entry>, after: Option<&Entry>) {
        let file = after.or(before).is_some_and(|entry| entry.kind == EntryType::File);
        let number = match (change, file) {
            (Change::Added, true) => &mut self.files_added,
            (Change::Added, false) => &mut self.others_added,
            (Change::Removed, true) => &mut self.files_removed,
            (Change::Removed, false) => &mut self.others_removed,
            (Change::Content, true) => &mut self.files_changed,
            (Change::Content, false) | (Change::Type, _) => &mut self.others_changed,
            (Change::Metadata, _) => &mut self.metadata_changed,
        };
        *number += 1;
        if change != Change::Metadata {
            self.bytes_added = self.bytes_added.saturating_add(after.map_or(0, size));
            self.bytes_removed = self.bytes_removed.saturating_add(before.map_or(0, size));
        }
    }
}

/// The size of a file, with its holes; 0 for all else.
pub fn size(entry: &Entry) -> u64 {
    let content = entry.content.as_ref().filter(|_| entry.kind == EntryType::File);
    content.map_or(0, |content| entry.size.unwrap_or(content.size))
}

fn directory(entry: &Entry) -> Option<&Content> {
    entry.content.as_ref().filter(|_| entry.kind == EntryType::Directory)
}

fn same_contents(a: &Entry, b: &Entry) -> bool {
    let numbers = |entry: &Entry| (entry.device, entry.size);
    (&a.content, &a.target, &a.extents) == (&b.content, &b.target, &b.extents) && numbers(a) == numbers(b)
}

/// Whether all is the same that a restore brings back besides contents and time. Inodes and the times of their change are
/// not among it.
fn same_metadata(a: &Entry, b: &Entry) -> bool {
    let numbers = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.hard_link.is_some(), entry.flags);
    numbers(a) == numbers(b) && (&a.user, &a.group, &a.xattrs) == (&b.user, &b.group, &b.xattrs)
}

/// The directory that stands for a whole snapshot.
pub fn root_entry(root: &Content) -> Entry {
    Entry {
        mode: 0o755,
        mtime: crate::format::Time { seconds: 0, nanoseconds: 0 },
        content: Some(root.clone()),
        ..Entry::new(b"", EntryType::Directory)
    }
}
