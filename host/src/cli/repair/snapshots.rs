//! `obnam repair snapshots`: new snapshots of damaged ones, with what is left of them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::super::filter::Filter;
use super::super::output::{Output, complain, count, printable, size};
use super::super::progress::shown;
use super::super::rewrite::{choose, described, state};
use super::super::{Failure, Global, exit, interrupt};
use crate::chunk::ChunkId;
use crate::format::roster::Role;
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;
use crate::rewrite::{Fate, Reason, Rewriter, Task, Watch};

/// Make new snapshots of damaged ones, with what is left of them, and tell what is lost.
///
/// Without names and filters all snapshots are gone through; those in which nothing is lost stay as they are. In a new one, files whose
/// contents are lost, also in part, are left out; a directory that is lost is empty, and one that is lost in part has the rest. The damaged
/// ones stay until you forget them.
///
/// Before, run obnam repair index (after check --read-data found damage: with --read-data), and obnam backup where the files are: what is stored
/// again by it is not lost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam repair snapshots --dry-run
  obnam repair snapshots
  obnam repair snapshots 3f2a9c")]
pub struct Arguments {
    /// Snapshots to repair: latest, latest~1, ids, or beginnings of ids
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Show what is lost, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Something that is lost.
struct Loss {
    snapshot: ChunkId,
    path: PathBuf,
    is_directory: bool,
    why: String,
}

impl Loss {
    fn new(info: &SnapshotInfo, path: &Path, reason: Reason<'_>) -> Option<Self> {
        let (is_directory, why) = match reason {
            Reason::Matches(_) => return None,
            Reason::FileLost(why) => (false, why.to_owned()),
            Reason::DirectoryLost(why) => (true, why.to_owned()),
        };
        Some(Loss { snapshot: info.id, path: path.to_owned(), is_directory, why })
    }

    fn in_words(&self) -> String {
        let (path, what) = (printable(self.path.as_os_str().as_bytes()), if self.is_directory { "/" } else { "" });
        let slash = if path.ends_with('/') { "" } else { what };
        format!("{} lost: {path}{slash}: {}", self.snapshot.short(), self.why)
    }

    fn in_json(&self) -> Value {
        let bytes = self.path.as_os_str().as_bytes();
        json!({
            "snapshot": self.snapshot.to_string(),
            "path": self.path.to_string_lossy(),
            "path_hex": std::str::from_utf8(bytes).is_err().then(|| hex::encode(bytes)),
            "directory": self.is_directory,
            "message": self.why,
        })
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let repository = global.repository()?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let chosen = choose(&repository, &arguments.snapshots, &arguments.filter, &snapshots)?;
    // What the index does not name is not lost if its pack is there.
    if repository.require(Role::Maintainer, "repair the index").is_ok() {
        let found = repository.repair_index(&|_, _| false, true)?.found.len() as u64;
        if found > 0 {
            let there = if found == 1 { "1 pack is".to_owned() } else { format!("{found} packs are") };
            let message = format!(
                "{there} in the store that no index names: what seems lost may stand there; first: obnam repair index"
            );
            return Err(Failure::Input(message));
        }
    }
    let index = repository.load_index(&listing)?;
    let watch = Watch::stopped_by(interrupt::flag());
    let mut rewriter = Rewriter::new(&repository, &snapshots, Task::Repair, &watch)?;
    let mut losses: Vec<Loss> = Vec::new();
    let mut told = |info: &SnapshotInfo, path: &Path, reason: Reason<'_>| losses.extend(Loss::new(info, path, reason));
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
    let stored = watch.counters.stored_bytes.get();
    Report { repository: &repository, fates: &fates, losses: &losses, begun, stored, dry_run: arguments.dry_run }
        .print(output)
}

struct Report<'r> {
    repository: &'r Repository,
    fates: &'r [(&'r SnapshotInfo, Fate)],
    losses: &'r [Loss],
    begun: Instant,
    /// Bytes that were stored.
    stored: u64,
    dry_run: bool,
}

impl Report<'_> {
    fn count(&self, is_meant: impl Fn(&Fate) -> bool) -> u64 {
        self.fates.iter().filter(|(_, fate)| is_meant(fate)).count() as u64
    }

    /// Those of which nothing is left, or that cannot be gone through.
    fn failed(&self) -> Vec<(&SnapshotInfo, String)> {
        let why = |fate: &Fate| match fate {
            Fate::Damaged(why) => Some(why.clone()),
            Fate::Emptied => Some("nothing of it is left".to_owned()),
            _ => None,
        };
        self.fates.iter().filter_map(|(info, fate)| Some((*info, why(fate)?))).collect()
    }

    fn print(&self, output: &mut Output) -> Result<u8, Failure> {
        let warnings = self.repository.warnings.all();
        output.warnings(&warnings);
        let failed = self.failed();
        let code = if failed.is_empty() { exit::OK } else { exit::INCOMPLETE };
        if output.json {
            let result = self.in_json(&failed);
            output.document(if code == exit::OK { "ok" } else { "incomplete" }, &warnings, result)?;
            return Ok(code);
        }
        for loss in self.losses {
            output.line(loss.in_words())?;
        }
        for (info, fate) in self.fates {
            if let Fate::Rewritten { id, numbers, .. } = fate {
                let (time, left) = (info.snapshot.started.to_local(), count(numbers.files, "file", "files"));
                let of = info.snapshot.statistics.files;
                output.line(format!("{} -> {}  {time}  {left} of {of} are left", info.id.short(), id.short()))?;
            }
        }
        for (info, why) in &failed {
            complain(format_args!("error: snapshot {} was not repaired: {why}", info.id.short()));
        }
        self.summary(failed.len(), output)?;
        output.flush()?;
        Ok(code)
    }

    fn summary(&self, failed: usize, output: &mut Output) -> Result<(), Failure> {
        let whole = self.count(|fate| matches!(fate, Fate::Untouched));
        let rest = match failed {
            0 => format!("{whole} whole"),
            failed => format!("{whole} whole, {failed} NOT repaired (see above)"),
        };
        let lost = count(self.losses.len() as u64, "path", "paths");
        if self.dry_run {
            let found = count(self.count(|fate| matches!(fate, Fate::Found(_))), "snapshot", "snapshots");
            return output.summary(format!("{found} would be repaired, {rest}, {lost} lost; nothing was done"));
        }
        let (repaired, before) = (
            self.count(|fate| matches!(fate, Fate::Rewritten { .. })),
            self.count(|fate| matches!(fate, Fate::Present(_))),
        );
        output.summary(format!(
            "{} repaired, {before} before, {rest}, {lost} lost; {} stored, in {:.1} s",
            count(repaired, "snapshot", "snapshots"),
            size(self.stored),
            self.begun.elapsed().as_secs_f64()
        ))?;
        if repaired + before > 0 {
            output
                .summary("the damaged ones are still there; when you need nothing more of them: obnam forget SNAP")?;
        }
        Ok(())
    }

    fn in_json(&self, failed: &[(&SnapshotInfo, String)]) -> Value {
        let about = |info: &SnapshotInfo| described(self.repository, info);
        let one = |(info, fate): &(&SnapshotInfo, Fate)| {
            let mut value = about(info);
            match fate {
                Fate::Found(_) => {}
                Fate::Rewritten { id, numbers, .. } => {
                    value["snapshot"] = id.to_string().into();
                    value["files_left"] = numbers.files.into();
                    value["bytes_left"] = numbers.bytes.into();
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
        json!({
            "dry_run": self.dry_run,
            "snapshots": self.fates.iter().filter_map(one).collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>(),
            "whole": self.count(|fate| matches!(fate, Fate::Untouched)),
            "lost": self.losses.iter().map(Loss::in_json).collect::<Vec<_>>(),
            "stored_bytes": self.stored,
            "seconds": self.begun.elapsed().as_secs_f64(),
        })
    }
}
