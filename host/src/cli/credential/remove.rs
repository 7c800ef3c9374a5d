//! `obnam credential remove`.

use clap::Args;
use serde_json::json;

use super::super::output::Output;
use super::super::{Failure, Global, exit};
use crate::chunk::{ChunkId, LabelFilter};
use crate::format::Time;
use crate::repository::Repository;
use crate::repository::credentials::{Removed, TokenFate};
use crate::store::RemoveOutcome;

/// Remove a credential, and revoke the token in it.
///
/// The token is known where the credential opens with the passphrase or identity in use. Whoever has read a credential and
/// has its secret keeps what it opened: removing it takes nothing back but the token.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The credential: its id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    /// Also the last one, the one in use, and one whose token cannot be revoked now
    #[arg(long)]
    force: bool,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, secret) = global.repository_and_secret()?;
    let id = find(&repository, &arguments.id)?;
    let removed = repository.remove_credential(&id, &secret, arguments.force)?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    let until = match removed.outcome {
        RemoveOutcome::Removed => None,
        RemoveOutcome::Pending(until) => Some(time(until)),
    };
    if output.json {
        let (state, token, why) = match &removed.token {
            TokenFate::None => ("none", None, None),
            TokenFate::Revoked(token) => ("revoked", Some(token), None),
            TokenFate::Refused(why) => ("refused", None, Some(why)),
            TokenFate::Unknown => ("unknown", None, None),
        };
        let result = json!({
            "credential": id.to_string(),
            "until": until,
            "token": { "state": state, "id": token, "message": why },
        });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    for line in lines(&id, until.as_deref(), &removed) {
        output.summary(line)?;
    }
    output.flush()?;
    Ok(exit::OK)
}

/// The one credential whose id begins so.
fn find(repository: &Repository, text: &str) -> Result<ChunkId, Failure> {
    let label = "credential".parse().expect("a label");
    let all = repository.store.list(&LabelFilter::Exactly(label))?;
    let found: Vec<ChunkId> = all.iter().map(|info| info.id).filter(|id| id.to_string().starts_with(text)).collect();
    match found.as_slice() {
        [one] if !text.is_empty() => Ok(*one),
        [] => Err(Failure::Input(format!("there is no credential {text}; see: obnam credential list"))),
        _ => Err(Failure::Input(format!("{text:?} names several credentials; write more of the id"))),
    }
}

fn lines(id: &ChunkId, until: Option<&str>, removed: &Removed) -> Vec<String> {
    let mut lines = Vec::new();
    match &removed.token {
        TokenFate::None => {}
        TokenFate::Revoked(token) => lines.push(format!("token {token} revoked")),
        TokenFate::Refused(why) => lines.push(format!("its token was not revoked: {why}")),
        TokenFate::Unknown => lines.push(
            "it does not open with this secret, so whether it holds a token is not known; see: obnam-server token list"
                .into(),
        ),
    }
    match until {
        None => lines.push(format!("credential {id} removed")),
        Some(until) => lines.push(format!("credential {id} will be removed at {until}; until then it can be read")),
    }
    lines.push("Whoever has read it and has its secret keeps what it opened: the keys of its client.".into());
    lines
}

/// A time in seconds since 1970.
pub fn time(seconds: u64) -> String {
    Time { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanoseconds: 0 }.to_rfc3339()
}
