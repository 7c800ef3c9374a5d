//! `obnam backup --dry-run`: what a backup would do.

use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use serde_json::{Value, json};

use super::output::{self, Output, count, printable, size};
use super::{Failure, exit};
use crate::backup::rehearsal::{Change, ChangeKind, rehearse};
use crate::backup::{Options, Watch};
use crate::format::entry::EntryType;
use crate::repository::Repository;

/// Runs it. With `listing`, each change is named.
pub fn run(
    repository: &Repository,
    options: &Options,
    watch: &Watch,
    listing: bool,
    output: &mut Output,
) -> Result<u8, Failure> {
    let begun = Instant::now();
    let mut removed = 0;
    let mut changes = Vec::new();
    let mut failure = None;
    let each = |change: Change| {
        removed += u64::from(change.kind == ChangeKind::Removed);
        if listing && output.json {
            changes.push(in_json(&change));
        } else if listing && failure.is_none() {
            failure = output.line(in_words(&change)).err();
        }
    };
    let result = rehearse(repository, options, watch, each);
    let problems = watch.problems.all();
    let warnings = repository.warnings.all();
    if !output.json {
        output::problems(&problems);
    }
    output.warnings(&warnings);
    result?;
    failure.map_or(Ok(()), Err)?;
    let incomplete = !problems.is_empty();
    if output.json {
        let numbers = &watch.counters;
        let mut result = json!({
            "dry_run": true,
            "files": numbers.files.get(),
            "directories": numbers.directories.get(),
            "others": numbers.others.get(),
            "new_files": numbers.new_files.get(),
            "changed_files": numbers.changed_files.get(),
            "unchanged_files": numbers.unchanged_files.get(),
            "removed": removed,
            "bytes_to_read": numbers.bytes_to_read.get(),
            "excluded_files": numbers.excluded_files.get(),
            "excluded_directories": numbers.excluded_directories.get(),
            "seconds": begun.elapsed().as_secs_f64(),
            "problems": output::problems_json(&problems),
        });
        if listing {
            result["changes"] = changes.into();
        }
        output.document(if incomplete { "incomplete" } else { "ok" }, &warnings, result)?;
    } else {
        summary(output, watch, removed)?;
    }
    Ok(if incomplete { exit::INCOMPLETE } else { exit::OK })
}

fn in_words(change: &Change) -> String {
    let sign = match change.kind {
        ChangeKind::New => "+",
        ChangeKind::Changed => "M",
        ChangeKind::Removed => "-",
    };
    let slash = if change.entry == EntryType::Directory { "/" } else { "" };
    format!("{sign} {}{slash}", printable(change.path.as_os_str().as_bytes()))
}

fn in_json(change: &Change) -> Value {
    let kind = match change.kind {
        ChangeKind::New => "new",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => "removed",
    };
    let bytes = change.path.as_os_str().as_bytes();
    json!({
        "change": kind,
        "path": change.path.to_string_lossy(),
        "path_hex": std::str::from_utf8(bytes).is_err().then(|| hex::encode(bytes)),
        "type": change.entry.as_str(),
    })
}

fn summary(output: &mut Output, watch: &Watch, removed: u64) -> Result<(), Failure> {
    let numbers = &watch.counters;
    output.summary("dry run: nothing was read, nothing was stored")?;
    output.summary(format!(
        "  {}: {} new, {} changed, {} unchanged; {}",
        count(numbers.files.get(), "file", "files"),
        numbers.new_files.get(),
        numbers.changed_files.get(),
        numbers.unchanged_files.get(),
        count(numbers.directories.get(), "directory", "directories"),
    ))?;
    output.summary(format!(
        "  {} to read; {} removed or left out since the backup before",
        size(numbers.bytes_to_read.get()),
        count(removed, "entry", "entries")
    ))?;
    super::backup::excluded(output, numbers)?;
    let problems = watch.problems.all().len() as u64;
    if problems > 0 {
        output.summary(format!("  {} (see above)", count(problems, "problem", "problems")))?;
    }
    output.flush()
}
