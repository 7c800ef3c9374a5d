//! `obnam diff`: what is different between two snapshots, or between parts of them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::output::{Colour, Output, complain, printable, size};
use super::{Failure, Global, exit, interrupt};
use crate::diff::{self, Change, Difference, Totals};
use crate::format::entry::{Entry, EntryType};
use crate::format::roster::Role;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::{Repository, RepositoryError};

/// Show what is different between two snapshots.
///
/// Each line is one path: + is only in the second snapshot, - only in the first, M has other contents, U has the same contents
/// but another owner, mode, time or attribute, T is of another type. Directories end in a slash. Directories that are equal
/// are not read.
///
/// SNAP is an id, the beginning of one, or "latest". With SNAP:PATH only what stands at PATH is compared; the two paths may
/// be different ones, in the same snapshot or in two. With --json, one object per line, the last one with the totals.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam diff 3f2a9c latest
  obnam diff 3f2a9c:/etc latest:/etc
  obnam diff latest:/srv/old latest:/srv/new")]
pub struct Arguments {
    /// The first snapshot, with a path if only that is of interest
    #[arg(value_name = "SNAP[:PATH]")]
    before: String,
    /// The second snapshot
    #[arg(value_name = "SNAP[:PATH]")]
    after: String,
}

/// One side of the comparison.
struct Side<'s> {
    info: &'s SnapshotInfo,
    path: Option<PathBuf>,
}

impl<'s> Side<'s> {
    fn parse(repository: &Repository, snapshots: &'s [SnapshotInfo], text: &str) -> Result<Self, Failure> {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, Some(Path::new("/").join(path)).filter(|path| path != Path::new("/"))),
            None => (text, None),
        };
        Ok(Side { info: repository.resolve(snapshots, name)?, path })
    }

    fn entry(&self, reader: &BlobReader<'_>) -> Result<Entry, Failure> {
        let root = &self.info.snapshot.root;
        let Some(path) = &self.path else { return Ok(diff::root_entry(root)) };
        let found = reader.find(root, path.as_os_str().as_bytes())?;
        let missing = || Failure::Input(format!("{} is not in snapshot {}", path.display(), self.info.id.short()));
        found.ok_or_else(missing)
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    repository.require(Role::Reader, "read the trees of snapshots")?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let before = Side::parse(&repository, &snapshots, &arguments.before)?;
    let after = Side::parse(&repository, &snapshots, &arguments.after)?;
    let index = repository.load_index(&listing)?;
    let reader = BlobReader::new(&repository, &index);
    let entries = (before.entry(&reader)?, after.entry(&reader)?);
    // Paths that are compared with other paths have only what is below them in common.
    let root = match (&before.path, &after.path) {
        (one, other) if one == other => one.as_deref().unwrap_or(Path::new("/")),
        _ => Path::new("."),
    };
    let mut printer = Printer { output, failure: None, lost: Vec::new() };
    let result = diff::run(&reader, root, (&entries.0, &entries.1), &mut printer, interrupt::flag());
    let Printer { output, failure, lost } = printer;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let totals = result?;
    for (path, why) in &lost {
        repository.warnings.general("directory-damaged", format!("{}: {why}", path.display()));
    }
    let warnings = repository.warnings.all();
    if output.json {
        output.object(&json!({ "summary": totals, "warnings": warnings }))?;
    } else {
        summary(&totals, output)?;
    }
    output.flush()?;
    for warning in warnings {
        complain(format_args!("warning: {}", warning.message));
    }
    Ok(if lost.is_empty() { exit::OK } else { exit::INCOMPLETE })
}

struct Printer<'o> {
    output: &'o mut Output,
    failure: Option<Failure>,
    lost: Vec<(PathBuf, String)>,
}

impl diff::Sink for Printer<'_> {
    fn difference(&mut self, difference: &Difference<'_>) -> bool {
        let printed = if self.output.json {
            self.output.object(&to_json(difference))
        } else {
            let (letter, colour) = match difference.change {
                Change::Added => ('+', Colour::Green),
                Change::Removed => ('-', Colour::Red),
                Change::Content => ('M', Colour::Yellow),
                Change::Metadata => ('U', Colour::Cyan),
                Change::Type => ('T', Colour::Yellow),
            };
            let entry = difference.after.or(difference.before);
            let slash = if entry.is_some_and(|entry| entry.kind == EntryType::Directory) { "/" } else { "" };
            let path = printable(difference.path.as_os_str().as_bytes());
            let line = format!("{letter} {path}{}", if path == "/" { "" } else { slash });
            let line = self.output.paint(colour, &line);
            self.output.line(line)
        };
        self.failure = printed.err();
        self.failure.is_none()
    }

    fn lost(&mut self, path: &Path, why: RepositoryError) {
        self.lost.push((path.to_owned(), why.to_string()));
    }
}

fn to_json(difference: &Difference<'_>) -> Value {
    let raw = difference.path.as_os_str().as_bytes();
    let side = |entry: Option<&Entry>| {
        entry.map(|entry| {
            json!({
                "type": entry.kind.as_str(),
                "size": diff::size(entry),
                "mode": format!("{:04o}", entry.mode),
                "uid": entry.uid,
                "gid": entry.gid,
                "mtime": entry.mtime.to_rfc3339(),
            })
        })
    };
    json!({
        "change": difference.change,
        "path": difference.path.to_string_lossy(),
        "path_hex": std::str::from_utf8(raw).is_err().then(|| hex::encode(raw)),
        "before": side(difference.before),
        "after": side(difference.after),
    })
}

fn summary(totals: &Totals, output: &mut Output) -> Result<(), Failure> {
    output.summary(format!(
        "files: {} added, {} removed, {} changed; others: {} added, {} removed, {} changed; metadata alone: {}",
        totals.files_added,
        totals.files_removed,
        totals.files_changed,
        totals.others_added,
        totals.others_removed,
        totals.others_changed,
        totals.metadata_changed
    ))?;
    output.summary(format!("bytes: {} added, {} removed", size(totals.bytes_added), size(totals.bytes_removed)))
}
