//! `obnam snapshots`: lists snapshots, oldest first.

use clap::Args;
use serde_json::{Value, json};

use super::filter::Filter;
use super::output::{Output, count, printable, size};
use super::{Failure, Global, exit};
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;

/// List snapshots, oldest first.
///
/// Filters can be combined: a snapshot is listed if it passes all of them. Of a filter that is repeated, one has to fit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam snapshots --last 5
  obnam snapshots --tag keep --host laptop
  obnam snapshots --path /home/me")]
pub struct Arguments {
    /// Also partial snapshots that a later one has made obsolete, and forgotten ones that the store has not removed yet
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Of these, only the newest N
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

/// The name of a snapshot's client, where the roster knows it.
pub fn client_name<'r>(repository: &'r Repository, info: &SnapshotInfo) -> Option<&'r String> {
    repository.roster.member(&info.snapshot.client).map(|member| &member.name)
}

/// A snapshot in JSON.
pub fn to_json(repository: &Repository, info: &SnapshotInfo) -> Value {
    let snapshot = &info.snapshot;
    let mut value = json!({
        "id": info.id.to_string(),
        "client": { "tag": snapshot.client.to_string(), "name": client_name(repository, info) },
        "sequence": snapshot.sequence,
        "previous": snapshot.previous.map(|id| id.to_string()),
        "started": snapshot.started.to_rfc3339(),
        "finished": snapshot.finished.to_rfc3339(),
        "host": snapshot.host,
        "paths": snapshot.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect::<Vec<_>>(),
        "tags": info.tags,
        "partial": info.is_partial(),
        "forgotten": info.forgotten,
        "statistics": snapshot.statistics,
        "program": snapshot.program,
    });
    if let Some(origin) = &snapshot.origin {
        value["origin"] = json!({
            "repository": origin.repository.to_string(),
            "snapshot": origin.snapshot.to_string(),
            "client": origin.client,
        });
    }
    if let Some(first) = &snapshot.rewritten {
        value["rewritten"] = json!({
            "snapshot": first.snapshot.to_string(),
            "client": first.client.to_string(),
            "sequence": first.sequence,
        });
    }
    if info.tags != snapshot.tags {
        value["original_tags"] = json!(snapshot.tags);
    }
    value
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let mut snapshots = repository.snapshots(&repository.listing()?)?;
    snapshots.retain(|info| arguments.all || !(info.replaced || info.forgotten));
    let total = snapshots.len();
    snapshots.retain(|info| arguments.filter.passes(&repository, info));
    let unwanted = snapshots.len().saturating_sub(arguments.last.unwrap_or(usize::MAX));
    let snapshots = &snapshots[unwanted..];
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let listed: Vec<_> = snapshots.iter().map(|info| to_json(&repository, info)).collect();
        output.document("ok", &warnings, Value::Array(listed))?;
        return Ok(exit::OK);
    }
    table(snapshots, output)?;
    let counted = count(snapshots.len() as u64, "snapshot", "snapshots");
    output.summary(if snapshots.len() < total { format!("{counted} of {total}") } else { counted })?;
    output.flush()?;
    Ok(exit::OK)
}

fn table(snapshots: &[SnapshotInfo], output: &mut Output) -> Result<(), Failure> {
    let text = |text: &String| printable(text.as_bytes());
    let tags = |info: &SnapshotInfo| info.tags.iter().map(text).collect::<Vec<_>>().join(",");
    let wide = |texts: &mut dyn Iterator<Item = String>, least: usize, most: usize| {
        texts.map(|text| text.chars().count()).max().unwrap_or(0).clamp(least, most)
    };
    let hosts = wide(&mut snapshots.iter().map(|info| text(&info.snapshot.host)), 4, 24);
    let tagged = wide(&mut snapshots.iter().map(tags), 4, 24);
    output.line(format!(
        "{:<10}  {:<19}  {:<hosts$}  {:>9}  {:>10}  {:<tagged$}  PATHS",
        "ID", "TIME", "HOST", "FILES", "SIZE", "TAGS"
    ))?;
    for info in snapshots {
        let snapshot = &info.snapshot;
        let paths: Vec<_> = snapshot.paths.iter().map(|path| printable(&path.0)).collect();
        output.line(format!(
            "{:<10}  {:<19}  {:<hosts$}  {:>9}  {:>10}  {:<tagged$}  {}{}",
            info.id.short(),
            snapshot.started.to_local(),
            text(&snapshot.host),
            snapshot.statistics.files,
            size(snapshot.statistics.bytes),
            tags(info),
            paths.join(" "),
            match info {
                info if info.forgotten => " (forgotten)",
                info if info.is_partial() => " (partial)",
                _ if snapshot.rewritten.is_some() => " (rewritten)",
                _ => "",
            }
        ))?;
    }
    Ok(())
}
