//! `obnam snapshots`: lists snapshots, oldest first.

use clap::Args;
use serde_json::{Value, json};

use super::output::{Output, count, printable, size};
use super::{Failure, Global, exit};
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;

/// List snapshots, oldest first.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Also partial snapshots that a later one has made obsolete
    #[arg(long)]
    all: bool,
}

/// A snapshot in JSON.
pub fn to_json(repository: &Repository, info: &SnapshotInfo) -> Value {
    let snapshot = &info.snapshot;
    let client = repository.roster.member(&snapshot.client).map(|member| member.name.clone());
    json!({
        "id": info.id.to_string(),
        "client": { "tag": snapshot.client.to_string(), "name": client },
        "sequence": snapshot.sequence,
        "previous": snapshot.previous.map(|id| id.to_string()),
        "started": snapshot.started.to_rfc3339(),
        "finished": snapshot.finished.to_rfc3339(),
        "host": snapshot.host,
        "paths": snapshot.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect::<Vec<_>>(),
        "tags": snapshot.tags,
        "partial": info.is_partial(),
        "statistics": snapshot.statistics,
        "program": snapshot.program,
    })
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let mut snapshots = repository.snapshots(&repository.listing()?)?;
    snapshots.retain(|info| arguments.all || !info.replaced);
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let all: Vec<_> = snapshots.iter().map(|info| to_json(&repository, info)).collect();
        output.document("ok", &warnings, Value::Array(all))?;
        return Ok(exit::OK);
    }
    output.line(format!("{:<10}  {:<19}  {:<16}  {:>9}  {:>10}  PATHS", "ID", "TIME", "HOST", "FILES", "SIZE"))?;
    for info in &snapshots {
        let snapshot = &info.snapshot;
        let paths: Vec<_> = snapshot.paths.iter().map(|path| printable(&path.0)).collect();
        let mut notes: Vec<String> =
            snapshot.tags.iter().map(|tag| format!(" #{}", printable(tag.as_bytes()))).collect();
        notes.extend(info.is_partial().then(|| " (partial)".to_owned()));
        output.line(format!(
            "{:<10}  {:<19}  {:<16}  {:>9}  {:>10}  {}{}",
            info.id.short(),
            snapshot.started.to_local(),
            printable(snapshot.host.as_bytes()),
            snapshot.statistics.files,
            size(snapshot.statistics.bytes),
            paths.join(" "),
            notes.concat()
        ))?;
    }
    output.summary(count(snapshots.len() as u64, "snapshot", "snapshots"))?;
    output.flush()?;
    Ok(exit::OK)
}
