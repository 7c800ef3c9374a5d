//! `obnam stats`: what a repository holds, and what snapshots cost.

use clap::Args;
use serde_json::json;

use super::output::{Output, count, size};
use super::progress::{State, shown};
use super::{Failure, Global, exit, interrupt};
use crate::repository::metadata::SnapshotInfo;
use crate::stats::{self, Needs, Watch};

/// Show what the repository holds and what snapshots cost.
///
/// First the chunks in the storage, by label. Then for all snapshots together, or for those that are named: how much a
/// restore of them would bring back, how much of it is stored after equal pieces are stored once, and how much after
/// compression.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam stats
  obnam stats latest")]
pub struct Arguments {
    /// Snapshots: ids, beginnings of ids, or "latest"
    #[arg(value_name = "SNAP")]
    snapshots: Vec<String>,
}

/// What the snapshots say of themselves, added up.
#[derive(Debug, Default, serde::Serialize)]
struct Restored {
    files: u64,
    directories: u64,
    others: u64,
    bytes: u64,
}

impl Restored {
    fn of(snapshots: &[&SnapshotInfo]) -> Self {
        let sum = |number: fn(&SnapshotInfo) -> u64| {
            snapshots.iter().fold(0u64, |sum, info| sum.saturating_add(number(info)))
        };
        Restored {
            files: sum(|info| info.snapshot.statistics.files),
            directories: sum(|info| info.snapshot.statistics.directories),
            others: sum(|info| info.snapshot.statistics.others),
            bytes: sum(|info| info.snapshot.statistics.bytes),
        }
    }
}

/// How many times larger the first number is; nothing where that says nothing.
fn ratio(large: u64, small: u64) -> Option<f64> {
    (small > 0).then(|| large as f64 / small as f64)
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let families = stats::stored(&repository)?;
    let listing = repository.listing()?;
    let all = repository.snapshots(&listing)?;
    let mut snapshots: Vec<&SnapshotInfo> = Vec::new();
    for name in &arguments.snapshots {
        let info = repository.resolve(&all, name)?;
        if snapshots.iter().all(|other| other.id != info.id) {
            snapshots.push(info);
        }
    }
    if arguments.snapshots.is_empty() {
        snapshots = all.iter().collect();
    }
    let restored = Restored::of(&snapshots);
    let watch = Watch { stop: interrupt::flag(), ..Watch::default() };
    let needs = if repository.can_read() {
        let index = repository.load_index(&listing)?;
        let look = || {
            let blobs = watch.blobs.get();
            State { text: count(blobs, "blob", "blobs"), numbers: vec![("blobs", blobs)], ..State::default() }
        };
        Some(shown(output, look, || stats::needs(&repository, &index, &snapshots, &watch))?)
    } else {
        let message = "this client cannot read trees, so what snapshots need was not counted";
        repository.warnings.general("not-a-reader", message);
        None
    };
    if let Some(needs) = needs.filter(|needs| needs.missing > 0) {
        let message = format!("{} blobs are missing or cannot be read; see: obnam check", needs.missing);
        repository.warnings.general("blobs-missing", message);
    }
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    let packs: u64 = ["data", "tree"].iter().filter_map(|label| families.get(*label)).map(|amount| amount.chunks).sum();
    let chunks: u64 = families.values().map(|amount| amount.chunks).sum();
    let bytes: u64 = families.values().map(|amount| amount.bytes).sum();
    let damaged = needs.is_some_and(|needs| needs.missing > 0);
    if output.json {
        let needs = needs.map(|needs| {
            json!({
                "blobs": needs.blobs,
                "bytes": needs.bytes,
                "stored_bytes": needs.stored_bytes,
                "tree_bytes": needs.tree_bytes,
                "missing": needs.missing,
                "deduplication": ratio(restored.bytes, needs.bytes - needs.tree_bytes),
                "compression": ratio(needs.bytes, needs.stored_bytes),
            })
        });
        let ids: Vec<_> = snapshots.iter().map(|info| info.id.to_string()).collect();
        let result = json!({
            "repository": {
                "snapshots": all.len(),
                "packs": packs,
                "chunks": chunks,
                "bytes": bytes,
                "labels": families,
            },
            "snapshots": { "ids": ids, "restored": restored, "needs": needs },
        });
        output.document(if damaged { "incomplete" } else { "ok" }, &warnings, result)?;
    } else {
        output.line(format!(
            "repository: {}, {}, {} in {}",
            count(all.len() as u64, "snapshot", "snapshots"),
            count(packs, "pack", "packs"),
            size(bytes),
            count(chunks, "chunk", "chunks")
        ))?;
        for (family, amount) in &families {
            output.line(format!("  {family:<12} {:>9} {:>12}", amount.chunks, size(amount.bytes)))?;
        }
        output.line(match snapshots.as_slice() {
            [one] => format!("snapshot {}:", one.id.short()),
            many => format!("{} together:", count(many.len() as u64, "snapshot", "snapshots")),
        })?;
        print(&restored, needs, output)?;
        output.flush()?;
    }
    Ok(if damaged { exit::INCOMPLETE } else { exit::OK })
}

fn print(restored: &Restored, needs: Option<Needs>, output: &mut Output) -> Result<(), Failure> {
    output.line(format!(
        "  to restore         {:>12} in {}, {}, {}",
        size(restored.bytes),
        count(restored.files, "file", "files"),
        count(restored.directories, "directory", "directories"),
        count(restored.others, "other", "others")
    ))?;
    let Some(needs) = needs else { return Ok(()) };
    let text = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!(" (1 : {ratio:.2})"));
    let data = needs.bytes - needs.tree_bytes;
    output.line(format!("  equal pieces once  {:>12}{}", size(data), text(ratio(restored.bytes, data))))?;
    output.line(format!(
        "  with directories   {:>12} in {}",
        size(needs.bytes),
        count(needs.blobs, "blob", "blobs")
    ))?;
    let compression = text(ratio(needs.bytes, needs.stored_bytes));
    output.line(format!("  compressed         {:>12}{compression}", size(needs.stored_bytes)))
}
