//! `obnam-server check`: tries what the object store guarantees.

use obnam_chunk::MAX_CHUNK_SIZE;
use serde_json::json;

use super::{Failure, Output};
use crate::config::{Config, Uploads};
use crate::probe::{Finding, probe};
use crate::server::StartError;
use crate::signing::Signer;
use crate::state::State;
use crate::store::S3Store;

/// Opens the database, probes the store, and says what was seen.
pub async fn check(config: &Config, output: &Output) -> Result<(), Failure> {
    State::open(&config.database).await?.close().await;
    let store = S3Store::new(&config.s3);
    let signer = Signer::new(&config.s3, config.urls.lifetime.0).map_err(StartError::from)?;
    let verdict = probe(&store, &signer).await?;
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
