//! `obnam restore`: brings a snapshot back.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::output::{self, Output, count, size};
use super::progress::{State, shown};
use super::{Failure, Global, exit, interrupt};
use crate::restore::{Watch, run as bring_back};

/// Restore a snapshot into a directory.
///
/// The paths of the backup are made below TARGET: /home/liw becomes TARGET/home/liw. What is damaged is reported, all
/// else is restored, and the exit code is 3.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot: its id, the beginning of it, or "latest"
    snapshot: String,
    /// An empty directory, or one that is not there yet
    target: PathBuf,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let repository = global.repository()?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let info = repository.resolve(&snapshots, &arguments.snapshot)?;
    let index = repository.load_index(&listing)?;
    let watch = Watch::stopped_by(interrupt::flag());
    let total = info.snapshot.statistics.bytes;
    let look = || {
        let text = format!("{}, {}", count(watch.files.get(), "file", "files"), size(watch.bytes.get()));
        State { bytes: (watch.bytes.get(), Some(total)), text, numbers: vec![("files", watch.files.get())] }
    };
    let restored =
        shown(output, look, || bring_back(&repository, &index, &info.snapshot.root, &arguments.target, &watch));
    let problems = watch.problems.all();
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if !output.json {
        output::problems(&problems);
    }
    restored?;
    let incomplete = !problems.is_empty();
    if output.json {
        let result = json!({
            "snapshot": info.id.to_string(),
            "target": arguments.target.to_string_lossy(),
            "files": watch.files.get(),
            "directories": watch.directories.get(),
            "others": watch.others.get(),
            "bytes": watch.bytes.get(),
            "seconds": begun.elapsed().as_secs_f64(),
            "problems": output::problems_json(&problems),
        });
        output.document(if incomplete { "incomplete" } else { "ok" }, &warnings, result)?;
    } else {
        output.summary(format!(
            "restored {} from snapshot {} ({}, {}) in {:.1} s",
            count(watch.files.get(), "file", "files"),
            info.id.short(),
            count(watch.directories.get(), "directory", "directories"),
            size(watch.bytes.get()),
            begun.elapsed().as_secs_f64()
        ))?;
        if incomplete {
            output.summary(format!("  {} (see above)", count(problems.len() as u64, "problem", "problems")))?;
        }
        output.flush()?;
    }
    Ok(if incomplete { exit::INCOMPLETE } else { exit::OK })
}
