//! `obnam client remove`.

use clap::Args;
use serde_json::json;

use super::super::output::Output;
use super::super::{Failure, Global, exit};
use super::{accepted, last, name};

/// Remove a client: what it stores from now on counts no more, and it cannot read what others store from now on.
///
/// Its snapshots stay, up to the last one that there is now (or --last), and so does what it has read: whoever holds its credential
/// keeps the keys of what was stored until now. The other clients get new keys, and go on as before; files that only this
/// client had stored are stored again when another one has them.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The client: its name, or the beginning of its tag
    #[arg(value_name = "NAME")]
    name: String,
    /// The last of its snapshots that counts, or "none", where its machine was in other hands since
    #[arg(long, value_name = "SNAPSHOT")]
    last: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let member = repository.find_client(&arguments.name)?;
    let snapshots = repository.snapshots(&repository.listing()?)?;
    let last = last(&repository, member, &snapshots, arguments.last.as_deref())?;
    let roster = repository.remove_client(&member.tag, last)?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let result = json!({
            "client": { "tag": member.tag.to_string(), "name": member.name },
            "last": last.map(|info| info.id.to_string()),
            "epoch": roster.epoch,
        });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    output.summary(format!("client {} removed; {}", name(member), accepted(&repository, member, &snapshots, last)))?;
    if repository.store.tokens().is_some() {
        output.summary("At an obnam-server revoke its token, too: obnam-server token list")?;
    }
    output.flush()?;
    Ok(exit::OK)
}
