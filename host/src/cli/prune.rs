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
use crate::repository::pruning::{Budget, Options, Report, Sum, Unused, Watch};

/// Free the space of what no snapshot needs any more.
///
/// Packs that no snapshot needs are marked, and removed by the first `prune` that runs when their time of grace is over: a backup of
/// another client that runs meanwhile has to hear of it. Where only this client backs up, there is nothing to wait for, and they are
/// removed at once. Backups can go on all the time; a `prune` that was interrupted is gone on with by the next one.
///
/// Of packs that are needed in part, what is needed is copied into new ones, until no more than `--max-unused` of the repository is
/// of no use.
///
/// This needs a client with the role maintainer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam forget --keep-daily 7 --keep-monthly 12 && obnam prune
  obnam prune --dry-run
  obnam prune --grace 48h
  obnam prune --max-unused 10% --max-repack 20G --max-time 2h")]
pub struct Arguments {
    /// How long marked packs stay (90m, 24h, 2d): an hour at least where other clients back up too, and a day unless you say it;
    /// otherwise 0
    #[arg(long, value_name = "TIME", value_parser = time)]
    grace: Option<Duration>,
    /// Repack until at most this is unused: a percentage of the repository, an amount (2G), or "unlimited" to repack nothing
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    max_unused: Unused,
    /// Copy at most this much (2G) while repacking
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    max_repack: Option<u64>,
    /// Begin to repack no more when this time (30m, 2h) is over
    #[arg(long, value_name = "TIME", value_parser = time)]
    max_time: Option<Duration>,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Count this snapshot, which cannot be read, as lost, and what only it needs as of no use; may be repeated
    #[arg(long, value_name = "SNAP")]
    give_up: Vec<String>,
}

/// Days are of 24 hours.
fn time(text: &str) -> Result<Duration, String> {
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
    let Arguments { max_unused, max_repack, max_time, .. } = *arguments;
    let options = Options {
        budget: Budget { max_unused, max_repack, max_time },
        grace: arguments.grace,
        dry_run: arguments.dry_run,
        give_up: arguments.give_up.clone(),
    };
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
        let (snapshots, repacked, removed) = (watch.snapshots.get(), watch.repacked.get(), watch.removed.get());
        let text = format!(
            "{} looked at, {} repacked, {} removed",
            count(snapshots, "snapshot", "snapshots"),
            count(repacked, "pack", "packs"),
            count(removed, "chunk", "chunks")
        );
        let numbers = vec![("snapshots", snapshots), ("repacked", repacked), ("removed", removed)];
        State { text, numbers, ..State::default() }
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
        "missing": report.missing,
        "repacked": sum(&report.repacked),
        "written": sum(&report.written),
        "young": sum(&report.young),
        "marked": sum(&report.marked),
        "waiting": sum(&report.waiting),
        "rescued": sum(&report.rescued),
        "removed": sum(&report.removed),
        "pending": report.pending.map(moment).map(Time::to_rfc3339),
        "indexes_replaced": report.indexes_replaced,
        "indexes_written": report.indexes_written,
    })
}

fn moment(seconds: u64) -> Time {
    Time { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanoseconds: 0 }
}

fn show(report: &Report, dry_run: bool, output: &mut Output) -> Result<(), Failure> {
    let sum = |sum: &Sum| format!("{} ({})", count(sum.packs, "pack", "packs"), size(sum.bytes));
    let would = if dry_run { "would be " } else { "" };
    output.summary(format!(
        "{} of {} needed by {}; {} in them are not",
        sum(&report.needed),
        sum(&report.all),
        count(report.snapshots, "snapshot", "snapshots"),
        size(report.waste)
    ))?;
    if report.missing > 0 {
        let missing = count(report.missing, "pack", "packs");
        output.summary(format!("{missing} needed and not there; what is left is kept. See: obnam check"))?;
    }
    if report.repacked.packs > 0 && dry_run {
        let bytes = size(report.written.bytes);
        output.summary(format!("{} would be repacked, {bytes} of them copied", sum(&report.repacked)))?;
    } else if report.repacked.packs > 0 {
        output.summary(format!("{} repacked into {}", sum(&report.repacked), sum(&report.written)))?;
    }
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
        output.summary(format!("the server removes them by {}", moment(until).to_local()))?;
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
    fn limits() {
        for (text, limit) in [
            ("5%", Unused::Percent(5.0)),
            ("0.5 %", Unused::Percent(0.5)),
            ("unlimited", Unused::Unlimited),
            ("2G", Unused::Bytes(2 << 30)),
            ("0", Unused::Bytes(0)),
        ] {
            assert_eq!(text.parse(), Ok(limit), "{text}");
        }
        for text in ["", "-1%", "101%", "x", "2X"] {
            assert!(text.parse::<Unused>().is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, seconds) in [("0", 0), ("90m", 5400), ("24h", 86_400), ("2d", 172_800), ("1d 6h", 108_000)] {
            assert_eq!(super::time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "x", "-1h", "5", "1d5"] {
            assert!(super::time(text).is_err(), "{text}");
        }
    }
}
