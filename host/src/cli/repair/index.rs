//! `obnam repair index`: entries that lead nowhere go, and packs without any come in.

use clap::Args;
use serde_json::json;

use super::super::output::{Output, count, size};
use super::super::progress::{State, shown};
use super::super::{Failure, Global, exit, interrupt};
use crate::check::{Options, Part, Watch, run as look_through};
use crate::repository::ChunkName;

/// Drop index entries that lead nowhere, and index packs that no index names.
///
/// Damaged snapshots, index chunks and the like are stored again where this machine has a copy of them.
/// Nothing is destroyed: packs stay as they are, and restore goes on to bring back what is intact. The next backup stores again what was
/// lost, where the files are still there. This needs a client with the roles reader and maintainer.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Read every chunk, and drop the entries of blobs that do not open
    #[arg(long)]
    read_data: bool,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let watch = Watch::stopped_by(interrupt::flag());
    let look = || {
        let total = Some(watch.total.get()).filter(|&total| total > 0);
        let text = format!("{}, {}", count(watch.chunks.get(), "chunk", "chunks"), size(watch.bytes.get()));
        State { bytes: (watch.bytes.get(), total), text, ..State::default() }
    };
    let repair = shown(output, look, || {
        let options = Options { read_data: arguments.read_data.then_some(Part::All), max_age: None };
        let report = if arguments.read_data { Some(look_through(&repository, &options, &watch)?) } else { None };
        let is_bad = |name: &ChunkName, place: &_| report.as_ref().is_some_and(|report| report.is_bad(name, place));
        repository.repair_index(&is_bad, arguments.dry_run)
    })?;
    let names = |chunks: &std::collections::BTreeSet<ChunkName>| {
        chunks.iter().map(|name| format!("{}/{}", name.label, name.id)).collect::<Vec<_>>()
    };
    let (missing, found, unreadable) = (names(&repair.missing), names(&repair.found), names(&repair.unreadable));
    let mended = names(&repair.mended);
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let result = json!({
            "dry_run": arguments.dry_run,
            "missing": missing,
            "dropped": repair.dropped,
            "found": found,
            "unreadable": unreadable,
            "mended": mended,
            "indexes_replaced": repair.replaced,
            "indexes_written": repair.written,
        });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    for name in &missing {
        output.line(format!("{name} is missing or cut short: the index does not name it any more"))?;
    }
    for name in &found {
        output.line(format!("{name} is good, and in the index now"))?;
    }
    for name in &unreadable {
        output.line(format!("{name} is damaged and of use to nobody: it is removed"))?;
    }
    for name in &mended {
        output.line(format!("{name} was damaged: this machine's copy is in its place"))?;
    }
    output.summary(format!(
        "{} and {} dropped, {} found{}",
        count(missing.len() as u64, "pack", "packs"),
        count(repair.dropped, "entry of a damaged blob", "entries of damaged blobs"),
        count(found.len() as u64, "pack", "packs"),
        if arguments.dry_run { "; nothing was done" } else { "" }
    ))?;
    let has_lost = !missing.is_empty() || repair.dropped > 0;
    let has_found = !found.is_empty() || !unreadable.is_empty() || !mended.is_empty();
    if arguments.dry_run && (has_lost || has_found) {
        output.summary("to do so: the same command without --dry-run")?;
    } else if has_lost {
        output.summary(
            "run obnam backup where the files are: it stores again what is lost and still there. \
             For what is not: obnam repair snapshots",
        )?;
    }
    output.flush()?;
    Ok(exit::OK)
}
