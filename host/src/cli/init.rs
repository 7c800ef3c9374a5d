//! `obnam init`: makes a repository and prints its recovery sheet.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::context::host_name;
use super::output::{Output, complain};
use super::sheet::{Sheet, foreign_plugin};
use super::{Failure, Global, exit, trial};
use crate::chunk::ChunkId;
use crate::credential::{Secret, identity, passphrase};
use crate::format::roster::Parameters;
use crate::repository::init::init;

/// Make a new repository.
///
/// The passphrase comes from OBNAM_PASSPHRASE, OBNAM_PASSPHRASE_FILE, OBNAM_PASSPHRASE_COMMAND or the terminal. With
/// --identity, the repository can be opened with that file too; if there is no such file, it is made. Without any source
/// of a passphrase, the identity alone opens it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Make a random passphrase and print it
    #[arg(long)]
    generate_passphrase: bool,
    /// This machine's name in the repository
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let place = global.place()?;
    let location = place.location.clone();
    let mut generated = None;
    let mut secrets = Vec::new();
    let passphrase = if arguments.generate_passphrase { None } else { global.passphrase()? };
    match passphrase {
        Some(passphrase) => secrets.push(Secret::Passphrase(passphrase)),
        None if global.identity.is_some() && !arguments.generate_passphrase => {}
        None => {
            let chosen = if arguments.generate_passphrase { None } else { passphrase::prompt_new()? };
            let passphrase = chosen.unwrap_or_else(|| generated.insert(passphrase::generate()).clone());
            secrets.push(Secret::Passphrase(passphrase));
        }
    }
    let new_identity = global.identity.as_deref().filter(|path| !path.exists());
    if let Some(path) = &global.identity {
        secrets.push(Secret::Identity(load_or_create(path)?));
    }
    let name = arguments.name.clone().unwrap_or_else(host_name);
    let made = init(&place, &secrets, &name, Parameters::default()).map_err(|error| {
        let error = Failure::from(error);
        if let (exit::ALREADY_THERE, Some(path)) = (error.class().0, new_identity) {
            // Nothing was made that it could open.
            let _ = std::fs::remove_file(path);
        }
        error
    })?;
    let tried = place.store.check().map_err(|error| error.to_string());
    let credentials: Vec<(&str, ChunkId)> = secrets
        .iter()
        .zip(&made.credentials)
        .map(|(secret, id)| (if matches!(secret, Secret::Passphrase(_)) { "passphrase" } else { "identity" }, *id))
        .collect();
    if output.json {
        let credentials: Vec<_> =
            credentials.iter().map(|(kind, id)| json!({ "kind": kind, "id": id.to_string() })).collect();
        let result = json!({
            "location": location,
            "repository": made.repository.to_string(),
            "client": made.client.to_string(),
            "credentials": credentials,
            "passphrase": generated.as_ref().map(|text| text.as_str()),
            "store": tried.as_deref().ok().map(trial::json),
        });
        output.document("ok", &[], result)?;
    } else {
        let sheet = Sheet {
            client: None,
            location: &location,
            plugin: foreign_plugin(global)?,
            repository: made.repository,
            credentials,
            passphrase: generated.as_ref().map(|text| text.as_str()),
            reads: true,
        };
        sheet.print(output)?;
        output.flush()?;
    }
    match &tried {
        Ok(findings) if !output.quiet && !output.json => trial::lines(findings).iter().for_each(complain),
        Ok(_) => {}
        // The repository is made all the same.
        Err(why) => complain(format!("what the store honours was not tried: {why}; later: obnam check --store")),
    }
    Ok(exit::OK)
}

fn load_or_create(path: &Path) -> Result<identity::Identity, Failure> {
    Ok(if path.exists() { identity::load(path)? } else { identity::create(path)? })
}
