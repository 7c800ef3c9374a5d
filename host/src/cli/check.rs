//! `obnam check`: whether everything is there and good.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::output::{Output, count, size};
use super::progress::{State, shown};
use super::{Failure, Global, exit, interrupt, trial};
use crate::check::{Severity, Watch, run as look_through};
use crate::store;

/// Check that everything that snapshots need is there, and with --read-data that it is good.
///
/// An error means that something is lost, and the exit code is 4; a warning, that something was found and ignored.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Read every chunk and verify every blob
    #[arg(long)]
    read_data: bool,
    /// Also try what the store honours, on scratch objects that are removed again
    #[arg(long)]
    store: bool,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let repository = global.repository()?;
    let tried = if arguments.store { Some(repository.store.check()?) } else { None };
    let watch = Watch::stopped_by(interrupt::flag());
    let look = || {
        let total = Some(watch.total.get()).filter(|&total| total > 0);
        let text = format!("{}, {}", count(watch.chunks.get(), "chunk", "chunks"), size(watch.bytes.get()));
        let numbers =
            vec![("snapshots", watch.snapshots.get()), ("chunks", watch.chunks.get()), ("blobs", watch.blobs.get())];
        State { bytes: (watch.bytes.get(), total), text, numbers, ..State::default() }
    };
    let report = shown(output, look, || look_through(&repository, arguments.read_data, &watch))?;
    let broken = tried.iter().flatten().filter(|finding| finding.severity == store::Severity::Error).count();
    let errors = report.errors() + broken;
    let status = if errors > 0 { "damaged" } else { "ok" };
    if output.json {
        let result = json!({
            "snapshots": report.snapshots,
            "packs": report.packs,
            "chunks": report.chunks,
            "bytes": report.bytes,
            "read_data": arguments.read_data,
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
        }
        for line in tried.as_deref().map(trial::lines).unwrap_or_default() {
            output.line(line)?;
        }
        let verified = if arguments.read_data {
            format!(", {} verified", count(watch.blobs.get(), "blob", "blobs"))
        } else {
            String::new()
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
        }
        output.flush()?;
    }
    Ok(if errors > 0 { exit::DAMAGE } else { exit::OK })
}
