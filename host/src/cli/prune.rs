//! `obnam prune`: frees the space of what no snapshot needs.

use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::output::{Output, count, size};
use super::progress::{State, shown};
use super::{Failure, Global, exit, interrupt};
use crate::format::Time;
use crate::repository::Repository;
use crate::repository::pruning::{Options, Report, Sum, Watch};

/// Free the space of what no snapshot needs any more.
///
/// Packs that no snapshot needs are marked, and removed by the first `prune` that runs when their time of grace is over: a backup of
/// another client that runs meanwhile has to hear of it. Where only this client backs up, there is nothing to wait for, and they are
/// removed at once. Backups can go on all the time; a `prune` that was interrupted is gone on with by the next one.
///
/// This needs a client with the role maintainer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam forget --keep-daily 7 --keep-monthly 12 && obnam prune
  obnam prune --dry-run
  obnam prune --grace 48h")]
pub struct Arguments {
    /// How long marked packs stay (90m, 24h, 2d): an hour at least where other clients back up too, and a day unless you say it;
    /// otherwise 0
    #[arg(long, value_name = "TIME", value_parser = grace)]
    grace: Option<Duration>,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Count this snapshot, which cannot be read, as lost, and what only it needs as of no use; may be repeated
    #[arg(long, value_name = "SNAP")]
    give_up: Vec<String>,
}

/// Days are of 24 hours.
fn grace(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; give something like 90m, 24h or 2d");
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let (days, rest) = match text.split_once('d') {
        Some((days, rest)) => (days.trim().parse::<u32>().map_err(|_| wrong())?, rest),
        None => (0, text),
    };
    let rest = match rest.trim() {
        "" if text.contains('d') => SignedDuration::ZERO,
        rest => rest.parse().map_err(|_| wrong())?,
    };
    let rest = Duration::try_from(rest).map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(days) * 86_400) + rest)
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    if let Some(short) = arguments.give_up.iter().find(|name| name.len() < 4) {
        return Err(Failure::Input(format!("--give-up {short}: give at least 4 digits of the snapshot's id")));
    }
    let repository = global.repository()?;
    let options = Options { grace: arguments.grace, dry_run: arguments.dry_run, give_up: arguments.give_up.clone() };
    let report = prune(&repository, &options, output)?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        output.document("ok", &warnings, in_json(&report, arguments.dry_run))?;
        return Ok(exit::OK);
    }
    show(&report, arguments.dry_run, output)?;
    output.flush()?;
    Ok(exit::OK)
}

fn prune(repository: &Repository, options: &Options, output: &Output) -> Result<Report, Failure> {
    let watch = Watch::stopped_by(interrupt::flag());
    let look = || {
        let (snapshots, removed) = (watch.snapshots.get(), watch.removed.get());
        let text = format!(
            "{} looked at, {} removed",
            count(snapshots, "snapshot", "snapshots"),
            count(removed, "chunk", "chunks")
        );
        State { text, numbers: vec![("snapshots", snapshots), ("removed", removed)], ..State::default() }
    };
    Ok(shown(output, look, || repository.prune(options, &watch))?)
}

fn in_json(report: &Report, dry_run: bool) -> Value {
    let sum = |sum: &Sum| json!({ "packs": sum.packs, "bytes": sum.bytes });
    json!({
        "dry_run": dry_run,
        "grace": report.grace.as_secs(),
        "snapshots": report.snapshots,
        "all": sum(&report.all),
        "needed": sum(&report.needed),
        "waste": report.waste,
        "young": sum(&report.young),
        "marked": sum(&report.marked),
        "waiting": sum(&report.waiting),
        "rescued": sum(&report.rescued),
        "removed": sum(&report.removed),
        "pending": report.pending.map(time).map(Time::to_rfc3339),
        "indexes_replaced": report.indexes_replaced,
        "indexes_written": report.indexes_written,
    })
}

fn time(seconds: u64) -> Time {
    Time { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanoseconds: 0 }
}

fn show(report: &Report, dry_run: bool, output: &mut Output) -> Result<(), Failure> {
    let sum = |sum: &Sum| format!("{} ({})", count(sum.packs, "pack", "packs"), size(sum.bytes));
    let would = if dry_run { "would be " } else { "" };
    output.summary(format!(
        "{} of {} needed by {}; at most {} in them are not",
        sum(&report.needed),
        sum(&report.all),
        count(report.snapshots, "snapshot", "snapshots"),
        size(report.waste)
    ))?;
    if report.rescued.packs > 0 {
        output.summary(format!("{} marked before and needed again", sum(&report.rescued)))?;
    }
    if report.marked.packs > 0 {
        let after = humantime(report.grace);
        output.summary(format!("{} {would}marked; the first prune after {after} removes them", sum(&report.marked)))?;
    }
    if report.waiting.packs > 0 {
        output.summary(format!("{} marked before; their grace is not over", sum(&report.waiting)))?;
    }
    if report.young.packs > 0 {
        let text = "not needed, but so young that a backup may be about to need them; left alone";
        output.summary(format!("{} {text}", sum(&report.young)))?;
    }
    if report.indexes_replaced > 0 {
        let (replaced, written) = (report.indexes_replaced, report.indexes_written);
        output.summary(format!("{} replaced by {written}", count(replaced, "index chunk", "index chunks")))?;
    }
    output.summary(format!(
        "{} {would}removed{}",
        sum(&report.removed),
        if dry_run { "; nothing was done" } else { "" }
    ))?;
    if let Some(until) = report.pending {
        output.summary(format!("the server removes them by {}", time(until).to_local()))?;
    }
    Ok(())
}

fn humantime(time: Duration) -> String {
    match (time.as_secs() / 3600, time.as_secs() / 60 % 60) {
        (hours, 0) => count(hours, "hour", "hours"),
        (0, minutes) => count(minutes, "minute", "minutes"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graces() {
        for (text, seconds) in [("0", 0), ("90m", 5400), ("24h", 86_400), ("2d", 172_800), ("1d 6h", 108_000)] {
            assert_eq!(grace(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "x", "-1h", "5", "1d5"] {
            assert!(grace(text).is_err(), "{text}");
        }
    }
}
