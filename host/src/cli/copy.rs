//! `obnam copy`, also called `obnam sync`: copies snapshots into another repository.

use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::filter::Filter;
use super::output::{Output, complain, count, printable, size};
use super::progress::{State, shown};
use super::snapshots::client_name;
use super::target::TargetArguments;
use super::{Failure, Global, exit, interrupt};
use crate::copy::{Copier, Estimate, Fate, Watch};
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;

/// Copy snapshots into another repository, with everything that it lacks.
///
/// Without names and filters these are all complete snapshots of all clients; those that the target has are left out, so the same
/// command, again and again, keeps it up to date. The two repositories share no keys: everything is opened with those of the one
/// and sealed with those of the other. The copies keep time, machine, paths and tags; they are signed by the client that copies.
///
/// If the target is away (exit code 10 or 13), nothing is lost: the next run copies what is missing.
#[derive(Debug, Args)]
#[command(visible_alias = "sync")]
#[command(after_help = "Examples:
  obnam sync                                   into the repository of the profile that sync-to names
  obnam -p spool copy --to-profile big --dry-run
  obnam -p spool copy latest --to-profile big
  OBNAM_TO_PASSPHRASE_FILE=~/.big obnam -r /mnt/a copy --host laptop --to /mnt/b")]
pub struct Arguments {
    /// Snapshots to copy: latest, latest~1, ids, or beginnings of ids
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Only say which snapshots would be copied, and about how much that is
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    target: TargetArguments,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    if !arguments.snapshots.is_empty() && !arguments.filter.is_empty() {
        let message = "snapshots are named, so no filter can say which ones are meant; leave out one of the two";
        return Err(Failure::Input(message.into()));
    }
    // A target that is not named is said before a passphrase is asked for.
    global.target(&arguments.target)?;
    let source = global.repository()?;
    let target = global.target_repository(&arguments.target)?;
    if source.id == target.id {
        let message = format!("{} and {} are the same repository ({})", source.location, target.location, source.id);
        return Err(Failure::Input(format!("{message}; nothing was copied")));
    }
    let listing = source.listing()?;
    let snapshots = source.snapshots(&listing)?;
    let chosen = choose(&source, arguments, &snapshots)?;
    let index = source.load_index(&listing)?;
    let watch = Watch::stopped_by(interrupt::flag());
    let mut copier = Copier::new(&source, &index, &target, &watch)?;
    let missing: Vec<&SnapshotInfo> = chosen.iter().copied().filter(|info| !copier.has(info)).collect();
    let present = chosen.len() - missing.len();
    let report = Report { source: &source, target: &target, present, begun, watch: &watch };
    if arguments.dry_run {
        let estimate = shown(output, || state(&watch, missing.len()), || copier.estimate(&missing));
        return report.rehearsed(&missing, estimate?, output);
    }
    let mut fates: Vec<(&SnapshotInfo, Fate)> = Vec::new();
    let copied = shown(
        output,
        || state(&watch, missing.len()),
        || {
            let mut rest = missing.iter().copied();
            copier.copy(&missing, |_, fate| fates.extend(rest.next().map(|info| (info, fate.clone()))))
        },
    );
    if copied.is_err() {
        report.warn(output);
    }
    copied?;
    report.done(&fates, output)
}

/// The snapshots that are meant, oldest first.
fn choose<'s>(
    source: &Repository,
    arguments: &Arguments,
    snapshots: &'s [SnapshotInfo],
) -> Result<Vec<&'s SnapshotInfo>, Failure> {
    let mut named = Vec::new();
    for name in &arguments.snapshots {
        named.push(source.resolve(snapshots, name)?.id);
    }
    let is_meant = |info: &&SnapshotInfo| match named.as_slice() {
        [] => !info.is_partial() && !info.forgotten && arguments.filter.passes(source, info),
        named => named.contains(&info.id),
    };
    let chosen: Vec<_> = snapshots.iter().filter(is_meant).collect();
    arguments.filter.refuse_nothing(&chosen)?;
    Ok(chosen)
}

/// What the progress says.
fn state(watch: &Watch, total: usize) -> State {
    let (done, read) = (watch.snapshots.get(), watch.read_bytes.get());
    let stored = watch.counters.stored_bytes.get();
    let text = format!("{done} of {total} snapshots, {} read, {} uploaded", size(read), size(stored));
    let numbers =
        vec![("snapshots", done), ("total_snapshots", total as u64), ("read_bytes", read), ("stored_bytes", stored)];
    State { bytes: (read, None), text, numbers, ..State::default() }
}

struct Report<'r> {
    source: &'r Repository,
    target: &'r Repository,
    /// Snapshots that were there already.
    present: usize,
    begun: Instant,
    watch: &'r Watch,
}

impl Report<'_> {
    /// Tells what could not be used in either repository.
    fn warn(&self, output: &mut Output) -> Vec<crate::repository::Warning> {
        let mut warnings = self.source.warnings.all();
        warnings.extend(self.target.warnings.all());
        output.warnings(&warnings);
        warnings
    }

    fn in_json(&self, info: &SnapshotInfo) -> Value {
        json!({
            "id": info.id.to_string(),
            "client": client_name(self.source, info),
            "started": info.snapshot.started.to_rfc3339(),
            "host": info.snapshot.host,
            "paths": info.snapshot.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect::<Vec<_>>(),
            "bytes": info.snapshot.statistics.bytes,
        })
    }

    fn line(&self, first: String, info: &SnapshotInfo, output: &mut Output) -> Result<(), Failure> {
        let paths: Vec<_> = info.snapshot.paths.iter().map(|path| printable(&path.0)).collect();
        let host = printable(info.snapshot.host.as_bytes());
        output.line(format!("{first}  {}  {host}: {}", info.snapshot.started.to_local(), paths.join(" ")))
    }

    fn rehearsed(&self, missing: &[&SnapshotInfo], estimate: Estimate, output: &mut Output) -> Result<u8, Failure> {
        let warnings = self.warn(output);
        let Estimate { blobs, bytes, stored_bytes } = estimate;
        if output.json {
            let result = json!({
                "dry_run": true,
                "missing": missing.iter().map(|info| self.in_json(info)).collect::<Vec<_>>(),
                "present": self.present,
                "estimate": { "blobs": blobs, "bytes": bytes, "stored_bytes": stored_bytes },
            });
            output.document("ok", &warnings, result)?;
            return Ok(exit::OK);
        }
        for info in missing {
            self.line(info.id.short(), info, output)?;
        }
        output.summary(format!(
            "{} would be copied, with about {} of data ({} in packs); {} there already",
            count(missing.len() as u64, "snapshot", "snapshots"),
            size(bytes),
            size(stored_bytes),
            self.present
        ))?;
        output.flush()?;
        Ok(exit::OK)
    }

    fn done(&self, fates: &[(&SnapshotInfo, Fate)], output: &mut Output) -> Result<u8, Failure> {
        let warnings = self.warn(output);
        let (mut copied, mut failed) = (Vec::new(), Vec::new());
        for (info, fate) in fates {
            match fate {
                Fate::Copied(id) => copied.push((*info, *id)),
                Fate::Damaged(why) => failed.push((*info, why)),
                Fate::Present => {}
            }
        }
        let present = self.present + fates.len() - copied.len() - failed.len();
        let code = if failed.is_empty() { exit::OK } else { exit::INCOMPLETE };
        let (read, stored) = (self.watch.read_bytes.get(), self.watch.counters.stored_bytes.get());
        if output.json {
            let with = |info, key: &str, text: String| {
                let mut value = self.in_json(info);
                value[key] = text.into();
                value
            };
            let result = json!({
                "copied": copied.iter().map(|(info, id)| with(info, "copy", id.to_string())).collect::<Vec<_>>(),
                "failed": failed.iter().map(|(info, why)| with(info, "message", (*why).clone())).collect::<Vec<_>>(),
                "present": present,
                "read_bytes": read,
                "stored_bytes": stored,
                "seconds": self.begun.elapsed().as_secs_f64(),
            });
            output.document(if code == exit::OK { "ok" } else { "incomplete" }, &warnings, result)?;
            return Ok(code);
        }
        for (info, id) in &copied {
            self.line(format!("{} -> {}", info.id.short(), id.short()), info, output)?;
        }
        for (info, why) in &failed {
            let advice = "it was not copied; see: obnam check --read-data";
            complain(format_args!("error: snapshot {}: {why}; {advice}", info.id.short()));
        }
        output.summary(format!(
            "{} copied, {present} there already{}; {} read, {} stored, in {:.1} s",
            count(copied.len() as u64, "snapshot", "snapshots"),
            if failed.is_empty() { String::new() } else { format!(", {} NOT copied (see above)", failed.len()) },
            size(read),
            size(stored),
            self.begun.elapsed().as_secs_f64(),
        ))?;
        output.flush()?;
        Ok(code)
    }
}
