//! `obnam rewrite`: new snapshots of old ones, without the files that match.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::filter::Filter;
use super::output::{Output, complain, count, printable, size};
use super::progress::{State, beside, shown};
use super::snapshots::client_name;
use super::{Failure, Global, exit, interrupt};
use crate::chunk::ChunkId;
use crate::format::Time;
use crate::format::roster::Role;
use crate::repository::Repository;
use crate::repository::forgetting::Outcome;
use crate::repository::metadata::SnapshotInfo;
use crate::rewrite::{Fate, LeftOut, Reason, Rewriter, Task, Watch, forget};
use crate::select::{Patterns, argument, read_file};

/// Make new snapshots of old ones, without the files that match.
///
/// Without names and filters these are all snapshots; those in which nothing matches stay as they are. A new snapshot keeps time, machine,
/// paths and tags of its original, and policies treat the two as one. No contents are read or stored again.
///
/// The originals stay unless --forget is given (for clients with the role maintainer). After it, obnam prune frees the space.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam rewrite --exclude '*.iso' --exclude /home/me/Downloads/ --dry-run
  obnam rewrite --exclude '*.iso' --exclude /home/me/Downloads/ --forget
  obnam rewrite --exclude-from patterns 3f2a9c latest")]
pub struct Arguments {
    /// Snapshots to rewrite: latest, latest~1, ids, or beginnings of ids
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
    /// Leave out what matches this pattern, in the syntax of .gitignore; may be repeated
    ///
    /// A pattern that begins with / is an absolute path; any other matches at every depth. What a pattern matches is
    /// left out with all that is in it, also where it was named for the backup; a later pattern that begins with ! takes it back.
    #[arg(long, short = 'e', value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out what matches the patterns in this file, one a line, # begins a comment; may be repeated
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    #[command(flatten)]
    filter: Filter,
    /// Then forget the originals, as obnam forget does
    #[arg(long)]
    forget: bool,
    /// Show what would be done, and do nothing; with -v also which files and directories would be left out
    #[arg(long, short = 'n')]
    dry_run: bool,
}

impl Arguments {
    fn patterns(&self) -> Result<Patterns, Failure> {
        let input = |error: &dyn std::error::Error| Failure::Input(format!("{error}; nothing was rewritten"));
        let mut lines = Vec::new();
        for path in &self.exclude_from {
            lines.extend(read_file(path).map_err(|error| input(&error))?);
        }
        lines.extend(self.exclude.iter().map(|pattern| argument(pattern)));
        let patterns = Patterns::parse(lines).map_err(|error| input(&error))?;
        if patterns.is_empty() {
            let message = "say what is to be left out: --exclude PATTERN or --exclude-from FILE";
            return Err(Failure::Input(message.into()));
        }
        Ok(patterns)
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let patterns = arguments.patterns()?;
    let repository = global.repository()?;
    if arguments.forget {
        repository.require(Role::Maintainer, "forget snapshots (without --forget it can rewrite them)")?;
    }
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let chosen = choose(&repository, &arguments.snapshots, &arguments.filter, &snapshots)?;
    let index = repository.load_index(&listing)?;
    let watch = Watch::stopped_by(interrupt::flag());
    let mut rewriter = Rewriter::new(&repository, &snapshots, Task::LeaveOut(&patterns), &watch)?;
    let mut paths: Vec<Value> = Vec::new();
    let (lists, json) = (global.verbose > 0, output.json);
    let mut told = |info: &SnapshotInfo, path: &Path, reason: Reason<'_>| {
        let is_directory = reason == Reason::Matches(true);
        match (lists, json) {
            (false, _) => {}
            (true, false) => show(info, path, is_directory),
            (true, true) => paths.push(path_in_json(info, path, is_directory)),
        }
    };
    let mut fates: Vec<(&SnapshotInfo, Fate)> = Vec::new();
    let mut rest = chosen.iter().copied();
    let each = |_: &SnapshotInfo, fate| fates.extend(rest.next().map(|info| (info, fate)));
    let done = shown(
        output,
        || state(&watch, chosen.len()),
        || match arguments.dry_run {
            true => rewriter.rehearse(&index, &chosen, &mut told, each),
            false => rewriter.run(&index, &chosen, &mut told, each),
        },
    );
    if done.is_err() {
        output.warnings(&repository.warnings.all());
    }
    done?;
    let forgotten = match arguments.forget && !arguments.dry_run {
        true => forget(&repository, &pairs(&fates))?,
        false => Default::default(),
    };
    let report = Report { repository: &repository, fates: &fates, forgotten, begun, watch: &watch, arguments };
    report.print(lists.then_some(paths), output)
}

/// The snapshots that are meant, oldest first.
pub(super) fn choose<'s>(
    repository: &Repository,
    names: &[String],
    filter: &Filter,
    snapshots: &'s [SnapshotInfo],
) -> Result<Vec<&'s SnapshotInfo>, Failure> {
    if !names.is_empty() && !filter.is_empty() {
        let message = "snapshots are named, so no filter can say which ones are meant; leave out one of the two";
        return Err(Failure::Input(message.into()));
    }
    let mut named = Vec::new();
    for name in names {
        let info = repository.resolve(snapshots, name)?;
        if info.forgotten {
            let message = "was forgotten, and is there only until the store removes it; name another one";
            return Err(Failure::Input(format!("snapshot {} {message}", info.id.short())));
        }
        named.push(info.id);
    }
    let is_meant = |info: &&SnapshotInfo| match named.as_slice() {
        [] => !info.forgotten && filter.passes(repository, info),
        named => named.contains(&info.id),
    };
    let chosen: Vec<_> = snapshots.iter().filter(is_meant).collect();
    filter.refuse_nothing(&chosen)?;
    Ok(chosen)
}

fn show(info: &SnapshotInfo, path: &Path, is_directory: bool) {
    let (slash, path) = (if is_directory { "/" } else { "" }, printable(path.as_os_str().as_bytes()));
    beside(|| {
        let _ = writeln!(std::io::stdout().lock(), "{} - {path}{slash}", info.id.short());
    });
}

fn path_in_json(info: &SnapshotInfo, path: &Path, is_directory: bool) -> Value {
    let bytes = path.as_os_str().as_bytes();
    json!({
        "snapshot": info.id.to_string(),
        "path": path.to_string_lossy(),
        "path_hex": std::str::from_utf8(bytes).is_err().then(|| hex::encode(bytes)),
        "directory": is_directory,
    })
}

/// What the progress says.
pub(super) fn state(watch: &Watch, total: usize) -> State {
    let (done, entries) = (watch.snapshots.get(), watch.entries.get());
    let stored = watch.counters.stored_bytes.get();
    let text = format!("{done} of {total} snapshots, {entries} files and directories, {} uploaded", size(stored));
    let numbers =
        vec![("snapshots", done), ("total_snapshots", total as u64), ("entries", entries), ("stored_bytes", stored)];
    State { bytes: (stored, None), text, numbers, ..State::default() }
}

/// Originals, and what was made of them.
fn pairs(fates: &[(&SnapshotInfo, Fate)]) -> Vec<(ChunkId, ChunkId)> {
    let pair = |(info, fate): &(&SnapshotInfo, Fate)| match fate {
        Fate::Rewritten { id, .. } | Fate::Present(id) => Some((info.id, *id)),
        _ => None,
    };
    fates.iter().filter_map(pair).collect()
}

struct Report<'r> {
    repository: &'r Repository,
    fates: &'r [(&'r SnapshotInfo, Fate)],
    /// What was forgotten, and what cannot be.
    forgotten: (Outcome, Vec<ChunkId>),
    begun: Instant,
    watch: &'r Watch,
    arguments: &'r Arguments,
}

impl Report<'_> {
    fn count(&self, is_meant: impl Fn(&Fate) -> bool) -> u64 {
        self.fates.iter().filter(|(_, fate)| is_meant(fate)).count() as u64
    }

    /// Those that were not rewritten although something matches, or that could not be read.
    fn failed(&self) -> Vec<(&SnapshotInfo, String)> {
        let why = |(info, fate): &(&'_ SnapshotInfo, Fate)| match fate {
            Fate::Damaged(why) => Some(format!("{why}; see: obnam check --read-data")),
            Fate::Emptied => {
                Some(format!("nothing would be left of it; to be rid of it: obnam forget {}", info.id.short()))
            }
            _ => None,
        };
        self.fates.iter().filter_map(|one| Some((one.0, why(one)?))).collect()
    }

    fn print(&self, paths: Option<Vec<Value>>, output: &mut Output) -> Result<u8, Failure> {
        let warnings = self.repository.warnings.all();
        output.warnings(&warnings);
        let failed = self.failed();
        let code = if failed.is_empty() { exit::OK } else { exit::INCOMPLETE };
        if output.json {
            let mut result = self.in_json(&failed);
            if let Some(paths) = paths {
                result["left_out"] = paths.into();
            }
            output.document(if code == exit::OK { "ok" } else { "incomplete" }, &warnings, result)?;
            return Ok(code);
        }
        for (info, fate) in self.fates {
            let (new, left_out) = match fate {
                Fate::Found(left_out) => (String::new(), left_out),
                Fate::Rewritten { id, left_out, .. } => (format!(" -> {}", id.short()), left_out),
                _ => continue,
            };
            let paths: Vec<_> = info.snapshot.paths.iter().map(|path| printable(&path.0)).collect();
            let host = printable(info.snapshot.host.as_bytes());
            let (id, time) = (info.id.short(), info.snapshot.started.to_local());
            output.line(format!("{id}{new}  {time}  {host}: {}, without {}", paths.join(" "), words(left_out)))?;
        }
        for (info, why) in &failed {
            complain(format_args!("error: snapshot {} was not rewritten: {why}", info.id.short()));
        }
        self.summary(failed.len(), output)?;
        output.flush()?;
        Ok(code)
    }

    fn summary(&self, failed: usize, output: &mut Output) -> Result<(), Failure> {
        let untouched = self.count(|fate| matches!(fate, Fate::Untouched));
        let rest = match failed {
            0 => format!("{untouched} without a match"),
            failed => format!("{untouched} without a match, {failed} NOT rewritten (see above)"),
        };
        if self.arguments.dry_run {
            let found = count(self.count(|fate| matches!(fate, Fate::Found(_))), "snapshot", "snapshots");
            return output.summary(format!("{found} with a match, {rest}; nothing was done"));
        }
        let rewritten = self.count(|fate| matches!(fate, Fate::Rewritten { .. }));
        let present = self.count(|fate| matches!(fate, Fate::Present(_)));
        output.summary(format!(
            "{} rewritten, {present} before, {rest}; {} stored, in {:.1} s",
            count(rewritten, "snapshot", "snapshots"),
            size(self.watch.counters.stored_bytes.get()),
            self.begun.elapsed().as_secs_f64()
        ))?;
        let (outcome, kept) = &self.forgotten;
        if !self.arguments.forget {
            let hint = "the originals are still there: the same command with --forget forgets them, then obnam prune frees the space";
            return if rewritten + present > 0 { output.summary(hint) } else { Ok(()) };
        }
        let gone = (outcome.removed.len() + outcome.pending.len()) as u64;
        output.summary(format!("{} forgotten", count(gone, "original", "originals")))?;
        if gone > 0 {
            output.summary("their space is free after: obnam prune")?;
        }
        if let Some(until) = outcome.pending.iter().map(|(_, until)| *until).max() {
            output.summary(format!("the server removes {} by {}", outcome.pending.len(), time(until).to_local()))?;
        }
        for id in kept {
            output.summary(format!(
                "{} stays: it is the newest one of its client. When there is a newer one, run the same command again",
                id.short()
            ))?;
        }
        Ok(())
    }

    fn in_json(&self, failed: &[(&SnapshotInfo, String)]) -> Value {
        let about = |info: &SnapshotInfo| described(self.repository, info);
        let one = |(info, fate): &(&SnapshotInfo, Fate)| {
            let mut value = about(info);
            match fate {
                Fate::Found(left_out) => value["left_out"] = numbers(left_out),
                Fate::Rewritten { id, numbers: now, left_out } => {
                    value["left_out"] = numbers(left_out);
                    value["snapshot"] = id.to_string().into();
                    value["files_left"] = now.files.into();
                    value["bytes_left"] = now.bytes.into();
                }
                Fate::Present(id) => value["snapshot"] = id.to_string().into(),
                Fate::Untouched | Fate::Emptied | Fate::Damaged(_) => return None,
            }
            Some(value)
        };
        let failed = failed.iter().map(|(info, why)| {
            let mut value = about(info);
            value["message"] = why.clone().into();
            value
        });
        let (outcome, kept) = &self.forgotten;
        let ids = |ids: &[ChunkId]| ids.iter().map(ChunkId::to_string).collect::<Vec<_>>();
        let pending = outcome.pending.iter();
        json!({
            "dry_run": self.arguments.dry_run,
            "snapshots": self.fates.iter().filter_map(one).collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>(),
            "untouched": self.count(|fate| matches!(fate, Fate::Untouched)),
            "removed": ids(&outcome.removed),
            "pending": pending
                .map(|(id, until)| json!({ "id": id.to_string(), "until": time(*until).to_rfc3339() }))
                .collect::<Vec<_>>(),
            "kept": ids(kept),
            "stored_bytes": self.watch.counters.stored_bytes.get(),
            "seconds": self.begun.elapsed().as_secs_f64(),
        })
    }
}

/// A snapshot that is rewritten, in JSON.
pub(super) fn described(repository: &Repository, info: &SnapshotInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "client": client_name(repository, info),
        "started": info.snapshot.started.to_rfc3339(),
        "host": info.snapshot.host,
        "paths": info.snapshot.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect::<Vec<_>>(),
        "files": info.snapshot.statistics.files,
        "bytes": info.snapshot.statistics.bytes,
    })
}

fn time(seconds: u64) -> Time {
    Time { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanoseconds: 0 }
}

fn numbers(left_out: &LeftOut) -> Value {
    json!({ "files": left_out.files, "directories": left_out.directories })
}

fn words(left_out: &LeftOut) -> String {
    let files = count(left_out.files, "file", "files");
    match left_out.directories {
        0 => files,
        number => format!("{files} and {}", count(number, "directory with all in it", "directories with all in them")),
    }
}
