//! `obnam find`: in which snapshots a file is.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned, civil};
use serde_json::json;

use super::output::{Colour, Output, complain, count, printable, size};
use super::{Failure, Global, exit, interrupt};
use crate::find::{self, Query, Version};
use crate::format::Time;
use crate::format::entry::EntryType;
use crate::format::roster::Role;
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;

/// Find files in all snapshots.
///
/// A PATTERN without a slash is for names, one with a slash for paths; a path that does not begin with the slash may begin
/// in any directory. * stands for anything within a name, ** for any directories, ? for one character, [abc] for one of
/// these, {a,b} for one or the other. Put patterns in quotes.
///
/// For each path that matches, its versions are printed: type, size, time of modification, and the snapshots that have it so.
/// What is equal in several snapshots is read once. With --json, one object per path and line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam find '*.odt'
  obnam find -i 'letters/*smith*' --type file
  obnam find '/etc/**/passwd*' --snapshot latest
  obnam find taxes.ods --newer 2026-01-01 --older 7d")]
pub struct Arguments {
    /// What to look for
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Do not tell upper from lower case
    #[arg(short, long)]
    ignore_case: bool,
    /// Only entries of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Only in this snapshot: its id, the beginning of it, or "latest"; may be repeated
    #[arg(long, value_name = "SNAP")]
    snapshot: Vec<String>,
    /// Only what was modified since then: 2026-01-31, 2026-01-31T12:00, or an age such as 7d or 12h
    #[arg(long, value_name = "TIME")]
    newer: Option<String>,
    /// Only what was modified before then
    #[arg(long, value_name = "TIME")]
    older: Option<String>,
}

/// Types of entries that can be looked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A regular file
    #[value(alias = "f")]
    File,
    /// A directory
    #[value(alias = "d")]
    Directory,
    /// A symbolic link
    #[value(alias = "l")]
    Symlink,
    /// A block device
    BlockDevice,
    /// A character device
    CharacterDevice,
    /// A FIFO
    Fifo,
    /// A socket
    Socket,
}

impl From<Kind> for EntryType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => EntryType::File,
            Kind::Directory => EntryType::Directory,
            Kind::Symlink => EntryType::Symlink,
            Kind::BlockDevice => EntryType::BlockDevice,
            Kind::CharacterDevice => EntryType::CharDevice,
            Kind::Fifo => EntryType::Fifo,
            Kind::Socket => EntryType::Socket,
        }
    }
}

/// A moment as a user writes it: a date, a date with a time, both of this time zone unless it has one, or an age.
fn moment(text: &str) -> Result<Time, Failure> {
    let zoned = |time: civil::DateTime| time.to_zoned(TimeZone::system()).map(|time| time.timestamp()).ok();
    let time =
        text.parse::<Timestamp>().ok().or_else(|| text.parse::<civil::DateTime>().ok().and_then(zoned)).or_else(|| {
            let age = text.parse::<Span>().ok().filter(|age| !age.is_negative())?;
            Zoned::now().checked_sub(age).map(|time| time.timestamp()).ok()
        });
    let time = time.ok_or_else(|| {
        Failure::Input(format!("{text:?} is no time; write 2026-01-31, 2026-01-31T12:00, or an age such as 7d or 12h"))
    })?;
    Ok(Time { seconds: time.as_second(), nanoseconds: 0 })
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let query = Query::new(&arguments.patterns, arguments.ignore_case);
    let mut query = query.map_err(|error| Failure::Input(error.to_string()))?;
    query.kind = arguments.kind.map(Into::into);
    query.newer = arguments.newer.as_deref().map(moment).transpose()?;
    query.older = arguments.older.as_deref().map(moment).transpose()?;
    let repository = global.repository()?;
    repository.require(Role::Reader, "read the trees of snapshots")?;
    let listing = repository.listing()?;
    let all = repository.snapshots(&listing)?;
    let mut snapshots: Vec<&SnapshotInfo> = Vec::new();
    for name in &arguments.snapshot {
        let info = repository.resolve(&all, name)?;
        if snapshots.iter().all(|other| other.id != info.id) {
            snapshots.push(info);
        }
    }
    if arguments.snapshot.is_empty() {
        snapshots = all.iter().filter(|info| !info.replaced).collect();
    }
    let index = repository.load_index(&listing)?;
    let reader = BlobReader::new(&repository, &index);
    let roots: Vec<_> = snapshots.iter().map(|info| &info.snapshot.root).collect();
    let mut printer = Printer { output, snapshots: &snapshots, failure: None, lost: Vec::new(), paths: 0 };
    let result = find::run(&reader, &roots, &query, &mut printer, interrupt::flag());
    let Printer { output, failure, lost, paths, .. } = printer;
    if let Some(failure) = failure {
        return Err(failure);
    }
    result?;
    if !output.json {
        let searched = count(snapshots.len() as u64, "snapshot", "snapshots");
        output.summary(format!("{} found in {searched}", count(paths, "path", "paths")))?;
    }
    output.flush()?;
    for (path, why) in &lost {
        repository.warnings.general("directory-damaged", format!("{}: {why}", path.display()));
    }
    for warning in repository.warnings.all() {
        complain(format_args!("warning: {}", warning.message));
    }
    Ok(if lost.is_empty() { exit::OK } else { exit::INCOMPLETE })
}

struct Printer<'o> {
    output: &'o mut Output,
    snapshots: &'o [&'o SnapshotInfo],
    failure: Option<Failure>,
    lost: Vec<(PathBuf, String)>,
    paths: u64,
}

impl Printer<'_> {
    fn print(&mut self, path: &Path, versions: &[Version]) -> Result<(), Failure> {
        let raw = path.as_os_str().as_bytes();
        if self.output.json {
            let version = |version: &Version| {
                let ids = version.snapshots.iter().map(|&number| self.snapshots[number].id.to_string());
                json!({
                    "type": version.kind.as_str(),
                    "size": version.size,
                    "mtime": version.mtime.to_rfc3339(),
                    "snapshots": ids.collect::<Vec<_>>(),
                })
            };
            let versions: Vec<_> = versions.iter().map(version).collect();
            return self.output.object(&json!({
                "path": path.to_string_lossy(),
                "path_hex": std::str::from_utf8(raw).is_err().then(|| hex::encode(raw)),
                "versions": versions,
            }));
        }
        let name = self.output.paint(Colour::Bold, &printable(raw));
        self.output.line(name)?;
        for version in versions {
            let size = if version.kind == EntryType::File { size(version.size) } else { version.kind.as_str().into() };
            let time = version.mtime.to_local();
            self.output.line(format!("  {size:>16}  {time}  in {}", self.names(&version.snapshots)))?;
        }
        Ok(())
    }

    /// The short ids of a few snapshots; of many, the first and the last.
    fn names(&self, numbers: &[usize]) -> String {
        const FEW: usize = 6;
        let name = |number: &usize| self.snapshots[*number].id.short();
        match numbers {
            [first, .., last] if numbers.len() > FEW => {
                format!("{} snapshots, {} to {}", numbers.len(), name(first), name(last))
            }
            few => few.iter().map(name).collect::<Vec<_>>().join(" "),
        }
    }
}

impl find::Sink for Printer<'_> {
    fn found(&mut self, path: &Path, versions: &[Version]) -> bool {
        self.paths += 1;
        self.failure = self.print(path, versions).err();
        self.failure.is_none()
    }

    fn lost(&mut self, path: &Path, why: RepositoryError) {
        self.lost.push((path.to_owned(), why.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("1970-01-02T00:00:00Z").expect("a time").seconds, 86_400);
        let now = Time::now().seconds;
        let age = now - moment("7d").expect("an age").seconds;
        assert!((7 * 86_400 - 7200..=7 * 86_400 + 7200).contains(&age), "{age}");
        assert!(
            moment("2026-01-31").is_ok() && moment("2026-01-31T12:00").is_ok() && moment("2026-01-31 12:00").is_ok()
        );
        for bad in ["", "yesterday", "2026-13-01", "-7d"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
