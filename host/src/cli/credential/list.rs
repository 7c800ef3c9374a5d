//! `obnam credential list`.

use clap::Args;
use serde_json::{Value, json};

use super::super::output::{Output, printable, size};
use super::super::{Failure, Global, exit};
use crate::credential::Kind;
use crate::format::Time;
use crate::repository::credentials::Listed;

/// List the credentials in the repository.
///
/// Which client and token are in one is told of those that the passphrase or identity in use opens.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(global: &Global, _: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, secret) = global.repository_and_secret()?;
    let credentials = repository.credentials(&secret)?;
    let root = repository.holds_root_key();
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let list: Vec<Value> = credentials.iter().map(|credential| document(credential, root)).collect();
        output.document("ok", &warnings, json!({ "credentials": list }))?;
        return Ok(exit::OK);
    }
    for credential in &credentials {
        output.line(line(credential, root))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

fn kind(credential: &Listed) -> &'static str {
    credential.kind.map_or("unknown", Kind::as_str)
}

/// `root`: whether the client that is open holds the root key.
fn document(credential: &Listed, root: bool) -> Value {
    let opened = credential.opened.as_ref();
    json!({
        "id": credential.id.to_string(),
        "kind": kind(credential),
        "key": credential.key,
        "size": credential.size,
        "stored": credential.stored.map(|time| Time::from(time).to_rfc3339()),
        "in_use": credential.in_use,
        "holds_root_key": credential.in_use.then_some(root),
        "opens": opened.is_some(),
        "client": opened.and_then(|opened| opened.client.as_ref()),
        "has_token": opened.map(|opened| opened.has_token),
        "token": opened.and_then(|opened| opened.token.as_ref()),
    })
}

fn line(credential: &Listed, root: bool) -> String {
    let stored = credential.stored.map_or_else(|| "-".into(), |time| Time::from(time).to_rfc3339());
    let mut words = Vec::new();
    if credential.in_use {
        words.push("in use".to_owned());
        words.extend(root.then(|| "with the root key".into()));
    }
    if let Some(opened) = &credential.opened {
        words.extend(opened.client.as_ref().map(|name| format!("client {}", printable(name.as_bytes()))));
        match &opened.token {
            Some(token) => words.push(format!("token {}", printable(token.as_bytes()))),
            None if opened.has_token => words.push("with a token".into()),
            None => {}
        }
    } else {
        words.push("does not open with this secret".into());
    }
    let size = size(credential.size);
    // What opens an identity's is told apart: a file of age, an SSH key, an age plugin.
    let key = credential.key.as_ref().filter(|_| credential.kind == Some(Kind::Identity));
    let kind = key.map_or_else(|| kind(credential).into(), |key| printable(key.as_bytes()));
    format!("{}  {kind:<11}  {size:>8}  {stored:<30}  {}", credential.id, words.join(", "))
}
