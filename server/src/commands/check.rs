//! `obnam-server check`: tries what the object store guarantees.

use std::sync::Arc;

use obnam_chunk::MAX_CHUNK_SIZE;
use serde_json::json;

use super::{Failure, Output};
use crate::config::{Config, Uploads};
use crate::probe::{Finding, probe};
use crate::server::StartError;
use crate::state::State;
use crate::store::{Folder, Store, blocking};

/// Opens the database, probes the store, and says what was seen.
pub async fn check(config: &Config, output: &Output) -> Result<(), Failure> {
    State::open(&config.database).await?.close().await;
    let verdict = match Store::open(config).map_err(StartError::from)? {
        Store::S3(s3) => probe(&s3).await?,
        Store::Directory(folder) => return check_directory(&folder, output).await,
    };
    let mark = |finding: &Finding| match (finding.good, verdict.binds) {
        (true, _) => "good",
        // Worth knowing, and explained below.
        (false, true) => "note",
        (false, false) => "BAD ",
    };
    let line = |finding: &Finding| format!("{} {}: {}", mark(finding), finding.tried, finding.saw);
    let mut lines: Vec<String> = verdict.findings.iter().map(line).collect();
    lines.push(match (verdict.binds, verdict.create_only) {
        (true, true) => "Signed URLs store the announced bytes only, and only once.".to_owned(),
        (true, false) => {
            "Signed URLs store the announced bytes only. The store takes the same bytes a second time, which \
                          changes nothing but the chunk's age."
                .to_owned()
        }
        (false, _) if config.uploads == Uploads::Never => {
            "The store accepts what was not announced, so nothing can be stored: uploads = \"never\" in the configuration \
             forbids that the server takes chunks itself."
                .to_owned()
        }
        (false, _) => format!(
            "The store accepts what was not announced, so the server takes chunks itself and checks them: they cross its \
             network, and take up to {} MiB of its memory (limits.uploads-at-once).",
            (u64::from(config.limits.uploads_at_once) * MAX_CHUNK_SIZE) >> 20
        ),
    });
    output.print(&lines.join("\n"), &json!({ "database": "ok", "store": verdict }))?;
    if verdict.binds || config.uploads == Uploads::WhereNeeded { Ok(()) } else { Err(Failure::Unfit) }
}

/// Everything that is stored in a directory was checked by the server; what the file system can do is left to try.
async fn check_directory(folder: &Arc<Folder>, output: &Output) -> Result<(), Failure> {
    let links = blocking(folder, Folder::try_links).await?;
    let text = if links {
        "good the directory can be written, and has hard links: nothing in it is ever replaced"
    } else {
        "note the file system has no hard links: two requests that store one chunk at the same moment replace each other's \
         copy by the same bytes"
    };
    output.print(text, &json!({ "database": "ok", "store": { "binds": true, "create_only": links, "findings": [] } }))
}
