//! `obnam credential passwd`.

use clap::Args;
use serde_json::json;

use super::super::output::{Output, complain};
use super::super::settings::Origin;
use super::super::{Failure, Global, exit};
use super::new::{new_passphrase, show_first};
use super::remove::time;
use crate::chunk::ChunkId;
use crate::config::keep;
use crate::credential::{Kind, Secret, keyring};
use crate::local::Dirs;
use crate::local::pin::Pin;
use crate::store::RemoveOutcome;

/// Change the passphrase of the credential that opens the repository.
///
/// A new credential with the same contents takes the place of the old one: it is stored and tried, then named where this machine names
/// the old one (also in the profiles of the configuration file), and only then the old one is removed. The new passphrase comes
/// from OBNAM_NEW_PASSPHRASE, OBNAM_NEW_PASSPHRASE_FILE, OBNAM_NEW_PASSPHRASE_COMMAND or the terminal. Who has copied the old
/// credential and knows its passphrase keeps what it opened: see "obnam client rotate".
#[derive(Debug, Args)]
pub struct Arguments {
    /// Make a random passphrase and print it
    #[arg(long)]
    generate_passphrase: bool,
}

const NO_SOURCE: &str = "nothing says what the new passphrase is: run obnam on a terminal to be asked, or set OBNAM_NEW_PASSPHRASE, \
    OBNAM_NEW_PASSPHRASE_FILE or OBNAM_NEW_PASSPHRASE_COMMAND, or give --generate-passphrase";

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, secret) = global.repository_and_secret()?;
    if secret.kind() != Kind::Passphrase {
        return Err(Failure::Input(
            "the repository was opened with an identity, which has no passphrase to change; give the passphrase instead of --identity"
                .into(),
        ));
    }
    let (passphrase, generated) = new_passphrase(arguments.generate_passphrase, NO_SOURCE)?;
    show_first(generated.as_ref(), output)?;
    let (old, new) = (repository.credential, repository.copy_credential(&Secret::Passphrase(passphrase))?);
    Pin::replace(&Dirs::from_environment()?, &repository.location, Kind::Passphrase, &new)?;
    let file = global.config_file().filter(|file| file.exists());
    let named = file.as_deref().map(|file| keep::credential(file, &old.to_string(), &new.to_string()));
    let changed = match &named {
        Some(Err(why)) => {
            return Err(Failure::Input(format!(
                "{why}; the new passphrase opens credential {new}, and the old one still opens {old}. Write the new id where the old one is \
                 named, then: obnam credential remove {old}"
            )));
        }
        Some(Ok(changed)) => *changed,
        None => false,
    };
    // The new one is not known to be wanted there.
    let forgotten = keyring::forget(&repository.location).unwrap_or(false);
    let removed = repository.give_up_credential();
    let until = match &removed {
        Ok(RemoveOutcome::Pending(until)) => Some(time(*until)),
        _ => None,
    };
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let result = json!({
            "credential": new.to_string(),
            "replaces": old.to_string(),
            "removed": removed.is_ok(),
            "until": until,
            "configuration": file.filter(|_| changed),
            "passphrase": generated.as_ref().map(|text| text.as_str()),
        });
        output.document("ok", &warnings, result)?;
    } else {
        output.line(format!("the new passphrase opens credential {new}, in the place of {old}"))?;
        if let Some(file) = file.filter(|_| changed) {
            output.line(format!("  named in    {}", file.display()))?;
        }
        if let Some(until) = until {
            output.line(format!(
                "The old one will be removed at {until}; until then the old passphrase opens the repository."
            ))?;
        }
        if forgotten {
            output.line("The kernel keeps the old one no more; once more: obnam credential remember")?;
        }
        output.line(
            "Write the new one on the recovery sheet, and change it where this machine gets it from: obnam config show",
        )?;
        output.flush()?;
    }
    named_elsewhere(global, &new);
    match removed {
        Ok(_) => Ok(exit::OK),
        Err(why) => {
            complain(format_args!(
                "the old credential {old} is still there, and the old passphrase opens it; remove it with the right to: obnam credential remove {old}"
            ));
            Err(why.into())
        }
    }
}

/// Says what names the old credential and cannot be changed from here.
fn named_elsewhere(global: &Global, new: &ChunkId) {
    match global.settings.origin("credential") {
        Origin::CommandLine => complain(format_args!("from now on give --credential {new}")),
        Origin::Environment(variable) => complain(format_args!("set {variable} to {new} from now on")),
        Origin::Profile(_) | Origin::Default => {}
    }
}
