//! `obnam check`: whether everything is there and good.

use std::time::Instant;

use clap::Args;
use jiff::Zoned;
use serde_json::json;

use super::output::{Output, count, size};
use super::progress::{State, shown};
use super::{Failure, Global, exit, interrupt, trial};
use crate::check::{FILE_LOST, Options, Part, Severity, Watch, run as look_through};
use crate::format::roster::Role;
use crate::retention::Age;
use crate::store;

/// Check that everything that snapshots need is there, and with --read-data that it is good.
///
/// An error means that something is lost, and the exit code is 4; a warning, that something was found and ignored.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Read every chunk and verify every blob
    #[arg(long)]
    read_data: bool,
    /// Read a part of the chunks: 2/7 (always the same ones), or 5% or 2G (those that this machine has not read for the longest time)
    #[arg(long, value_name = "PART", conflicts_with = "read_data")]
    read_data_subset: Option<Part>,
    /// Do not read again what this machine has read and found good within this time (12h, 30d, 6m; counted in days)
    #[arg(long, value_name = "AGE")]
    max_age: Option<Age>,
    /// Also try what the store honours, on scratch objects that are removed again
    #[arg(long)]
    store: bool,
}

impl Arguments {
    fn options(&self) -> Result<Options, Failure> {
        let read_data = self.read_data_subset.or(self.read_data.then_some(Part::All));
        if read_data.is_none() && self.max_age.is_some() {
            let message = "--max-age is about what is read; give --read-data or --read-data-subset too";
            return Err(Failure::Input(message.into()));
        }
        let now = Zoned::now();
        let before = |age: &Age| now.checked_sub(age.span()).ok().map(|then| now.duration_since(&then).unsigned_abs());
        let max_age = match &self.max_age {
            None => None,
            Some(age) => Some(before(age).ok_or_else(|| Failure::Input("--max-age: that is too long".into()))?),
        };
        Ok(Options { read_data, max_age })
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let options = arguments.options()?;
    let repository = global.repository()?;
    if options.read_data.is_some() {
        repository
            .require(Role::Reader, "verify data (check without --read-data shows whether all packs are there)")?;
    }
    let tried = if arguments.store { Some(repository.store.check()?) } else { None };
    let watch = Watch::stopped_by(interrupt::flag());
    let look = || {
        let total = Some(watch.total.get()).filter(|&total| total > 0);
        let text = format!("{}, {}", count(watch.chunks.get(), "chunk", "chunks"), size(watch.bytes.get()));
        let numbers =
            vec![("snapshots", watch.snapshots.get()), ("chunks", watch.chunks.get()), ("blobs", watch.blobs.get())];
        State { bytes: (watch.bytes.get(), total), text, numbers, ..State::default() }
    };
    let report = shown(output, look, || look_through(&repository, &options, &watch))?;
    let broken = tried.iter().flatten().filter(|finding| finding.severity == store::Severity::Error).count();
    let errors = report.errors() + broken;
    let status = if errors > 0 { "damaged" } else { "ok" };
    if output.json {
        let result = json!({
            "snapshots": report.snapshots,
            "packs": report.packs,
            "chunks": report.chunks,
            "bytes": report.bytes,
            "read_data": options.read_data.is_some(),
            "unread": report.unread,
            "blobs_verified": watch.blobs.get(),
            "errors": errors,
            "findings": report.findings,
            "store": tried.as_deref().map(trial::json),
            "seconds": begun.elapsed().as_secs_f64(),
        });
        output.document(status, &[], result)?;
    } else {
        for finding in &report.findings {
            let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
            output.line(format!("{severity}: {}", finding.message))?;
            match (finding.files, &finding.next) {
                (Some(files), Some(next)) => {
                    let files = count(files as u64, "file or directory", "files or directories");
                    output.line(format!("  {files} lost with it; next: {next}"))?;
                }
                (None, Some(next)) if finding.chunk.is_some() => output.line(format!("  next: {next}"))?,
                _ => {}
            }
        }
        for line in tried.as_deref().map(trial::lines).unwrap_or_default() {
            output.line(line)?;
        }
        let verified = match (options.read_data, report.unread) {
            (None, _) => String::new(),
            (Some(_), 0) => format!(", {} verified", count(watch.blobs.get(), "blob", "blobs")),
            (Some(_), unread) => format!(
                ", {} verified, {} not read",
                count(watch.blobs.get(), "blob", "blobs"),
                count(unread as u64, "chunk", "chunks")
            ),
        };
        output.summary(format!(
            "{}, {}, {} in {}{verified}; {:.1} s",
            count(report.snapshots as u64, "snapshot", "snapshots"),
            count(report.packs as u64, "pack", "packs"),
            size(report.bytes),
            count(report.chunks as u64, "chunk", "chunks"),
            begun.elapsed().as_secs_f64()
        ))?;
        if errors == 0 {
            output.summary("no errors were found")?;
        } else {
            output.line(format!(
                "{} found; what is intact can be restored",
                count(errors as u64, "error was", "errors were")
            ))?;
            let has_advice = report.findings.iter().any(|found| found.chunk.is_some() && found.next.is_some());
            if !has_advice && report.findings.iter().any(|found| found.code == "file-damaged") {
                output.line(format!("next: {FILE_LOST}"))?;
            }
        }
        output.flush()?;
    }
    Ok(if errors > 0 { exit::DAMAGE } else { exit::OK })
}
