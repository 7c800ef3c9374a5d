//! `obnam status`: the last good backup of each source.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::filter::Filter;
use super::output::{Output, complain, count, printable};
use super::{Failure, Global, exit};
use crate::format::Time;
use crate::retention::Age;
use crate::status::{Source, metrics, sources};

/// Show when each source was last backed up.
///
/// A source is what a client backs up of a machine: the same paths. Its last good backup is the newest snapshot that is complete and
/// not forgotten. For monitoring: with --max-age the exit code is 5 if that of any source is older, or if there is none at all.
/// This reads no data; a client that can only write can do it too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam status
  obnam -q status --max-age 26h || echo \"look after the backups\"
  obnam status --host laptop --max-age 7d --json
  obnam status --metrics /var/lib/prometheus/node-exporter/obnam.prom")]
pub struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// The exit code is 5 where a backup is older than this (12h, 2d, 1m), or there is none
    #[arg(long, value_name = "AGE")]
    max_age: Option<Age>,
    /// Write the same into this file too, for the node exporter of Prometheus
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let snapshots = repository.snapshots(&repository.listing()?)?;
    let now = Time::now();
    let passing = snapshots.iter().filter(|info| arguments.filter.passes(&repository, info));
    let sources = sources(&repository, passing, now);
    if let Some(path) = &arguments.metrics {
        metrics::write(path, &metrics::text(&repository.id, &sources, now))?;
    }
    let oldest = arguments.max_age.as_ref().and_then(|age| {
        let now = Timestamp::new(now.seconds, 0).ok()?.to_zoned(TimeZone::system());
        Some(age.before(&now)?.timestamp().as_second())
    });
    let is_late = |source: &Source| {
        oldest.is_some_and(|oldest| source.last.as_ref().is_none_or(|last| last.time.seconds < oldest))
    };
    let late = sources.iter().filter(|source| is_late(source)).count();
    let is_stale = late > 0 || (arguments.max_age.is_some() && sources.is_empty());
    let code = if is_stale { exit::STALE } else { exit::OK };
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let listed: Vec<Value> = sources.iter().map(|source| in_json(source, is_late(source), now)).collect();
        output.document(if is_stale { "stale" } else { "ok" }, &warnings, Value::Array(listed))?;
        return Ok(code);
    }
    for source in &sources {
        let line = line(source, now);
        output.line(if is_late(source) { format!("{line}  TOO OLD") } else { line })?;
    }
    output.flush()?;
    match &arguments.max_age {
        Some(age) if sources.is_empty() => complain(format_args!("obnam: there is no backup, so none within {age}")),
        Some(age) if late > 0 => {
            let what = count(late as u64, "source has", "sources have");
            complain(format_args!("obnam: {what} no good backup within {age}"));
        }
        _ => output.summary(count(sources.len() as u64, "source", "sources"))?,
    }
    output.flush()?;
    Ok(code)
}

fn line(source: &Source, now: Time) -> String {
    let text = |text: &str| printable(text.as_bytes());
    let paths: Vec<_> = source.paths.iter().map(|path| printable(&path.0)).collect();
    let (client, host, paths) = (text(&source.client), text(&source.host), paths.join(" "));
    let copied = if source.origin.is_some() { " (copied)" } else { "" };
    match &source.last {
        Some(last) => {
            let problems = match last.problems {
                0 => String::new(),
                problems => format!("  {}", count(problems, "problem", "problems")),
            };
            let (age, time, id) = (age(last.age(now)), last.time.to_local(), last.id.short());
            format!("{age:>9}  {time:<19}  {id:<10}  client {client}{copied}, host {host}: {paths}{problems}")
        }
        None => format!("{:>9}  {:<19}  {:<10}  client {client}{copied}, host {host}: {paths}", "never", "", ""),
    }
}

/// An age for people: its two largest units.
fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}min"),
        (0, _) => format!("{hours}h {minutes}min"),
        _ => format!("{days}d {hours}h"),
    }
}

fn in_json(source: &Source, is_late: bool, now: Time) -> Value {
    let last = source.last.as_ref().map(|last| {
        json!({
            "snapshot": last.id.to_string(),
            "time": last.time.to_rfc3339(),
            "age": last.age(now),
            "files": last.files,
            "bytes": last.bytes,
            "problems": last.problems,
        })
    });
    json!({
        "client": source.client,
        "origin": source.origin.map(|origin| origin.to_string()),
        "host": source.host,
        "paths": source.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect::<Vec<_>>(),
        "last": last,
        "too_old": is_late,
    })
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_for_people() {
        let shown = [0, 59, 60, 3_599, 3_600, 90_000, 864_000].map(age);
        assert_eq!(shown, ["0min", "0min", "1min", "59min", "1h 0min", "1d 1h", "10d 0h"]);
    }
}
