//! `obnam credential remember` and `forget`: the passphrase in the keyring of the kernel.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::output::Output;
use super::super::{Failure, Global, exit};
use super::new::span;
use crate::credential::{Secret, keyring};

/// Keep the passphrase in the memory of the kernel, so that it is typed once and not for each command.
///
/// It is taken from where it usually comes from, or asked for, and tried. From then on it is used wherever it would be asked for,
/// by all programs of this user, until the machine is restarted, the last program of the user has ended, the time of --for is up, or it is
/// forgotten. No file holds it. Whoever runs programs as this user, or as root, can read it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam credential remember
  obnam -p home credential remember --for 8h")]
pub struct Arguments {
    /// For how long, such as 8h or 30m
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    time: Option<Duration>,
}

/// Forget the passphrase that the kernel keeps for the repository.
#[derive(Debug, Args)]
pub struct ForgetArguments {}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, secret) = global.repository_and_secret()?;
    let Secret::Passphrase(passphrase) = &secret else {
        let why =
            "the repository was opened with an identity, so there is no passphrase to remember; leave out --identity";
        return Err(Failure::Input(why.into()));
    };
    keyring::remember(&repository.location, passphrase, arguments.time)?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let result = json!({ "location": repository.location, "seconds": arguments.time.map(|time| time.as_secs()) });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    let until = match arguments.time {
        Some(time) => format!("for {} s", time.as_secs()),
        None => "until the machine is restarted or your last program ends".into(),
    };
    output.summary(format!("the kernel keeps the passphrase of {} {until}", repository.location))?;
    output.summary("earlier: obnam credential forget")?;
    output.flush()?;
    Ok(exit::OK)
}

pub fn forget(global: &Global, output: &mut Output) -> Result<u8, Failure> {
    let location = global.known_location()?;
    let was_there = keyring::forget(&location)?;
    if output.json {
        output.document("ok", &[], json!({ "location": location, "forgotten": was_there }))?;
        return Ok(exit::OK);
    }
    output.summary(match was_there {
        true => format!("the passphrase of {location} is forgotten"),
        false => format!("there was no passphrase of {location} to forget"),
    })?;
    output.flush()?;
    Ok(exit::OK)
}
