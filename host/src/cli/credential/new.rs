//! What opens a new credential, and the token in it: the options of all commands that make one.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::Failure;
use super::super::output::{Output, complain, printable};
use super::remove::time;
use crate::credential::passphrase::PassphraseError;
use crate::credential::{PublicKey, Recipient, identity, passphrase};
use crate::repository::{Repository, RepositoryError};
use crate::store::{MadeToken, TokenWish, Tokens};

/// What a new credential is for. Where nothing of it is given, a passphrase from the environment or the terminal.
#[derive(Debug, Args)]
pub struct NewArguments {
    /// Make a random passphrase and print it
    #[arg(long)]
    generate_passphrase: bool,
    /// For the identity in this file, which may be an SSH key (ssh-ed25519); if there is no such file, one of age is made
    #[arg(long, value_name = "FILE", conflicts_with = "generate_passphrase")]
    new_identity: Option<PathBuf>,
    /// For the identity with this public key: age1..., that of an age plugin, or ssh-ed25519 ...
    #[arg(long, value_name = "PUBLIC-KEY", conflicts_with_all = ["generate_passphrase", "new_identity"])]
    recipient: Option<String>,
    /// Put the token in the first line of this file into it
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    token: Option<PathBuf>,
    /// Ask the server for a token that may do this, and put that into it
    #[arg(long, value_name = "PRESET", value_parser = ["backup", "restore", "prune", "all"])]
    preset: Option<String>,
    /// How long that token lives, such as 365d or 12h; without it as long as the one in use
    #[arg(long, value_name = "TIME", requires = "preset", value_parser = span)]
    expires: Option<Duration>,
}

const NO_SOURCE: &str = "nothing says what the new credential is for: run obnam on a terminal to be asked for a passphrase, or set \
    OBNAM_NEW_PASSPHRASE, OBNAM_NEW_PASSPHRASE_FILE or OBNAM_NEW_PASSPHRASE_COMMAND, or give --generate-passphrase, \
    --new-identity or --recipient";

/// What opens a new credential, and what has to be shown.
pub struct New {
    /// Whom it is for.
    pub recipient: Recipient,
    /// A passphrase that was made just now.
    pub generated: Option<Zeroizing<String>>,
    /// An identity file that was made just now.
    pub made_file: Option<PathBuf>,
    /// The token in it.
    pub token: Option<MadeToken>,
}

impl NewArguments {
    /// Asks for what it takes, lets `store` store a credential with it, and takes back what was made where that fails. `client`: whose
    /// credential it is.
    pub fn make<T>(
        &self,
        repository: &Repository,
        client: &str,
        store: impl FnOnce(&New) -> Result<T, Failure>,
    ) -> Result<(New, T), Failure> {
        let mut new = self.new_secret()?;
        let stored = self.token(repository, client).and_then(|token| {
            new.token = token;
            store(&new).inspect_err(|error| {
                if is_unsure(error) {
                    return;
                }
                if let (Some(token), Some(tokens), true) =
                    (&new.token, repository.store.tokens(), self.preset.is_some())
                {
                    // Nobody has it.
                    let _ = tokens.give_up(&token.token);
                }
            })
        });
        let stored = stored.inspect_err(|error| match (&new.made_file, &new.generated) {
            (_, Some(passphrase)) if is_unsure(error) => {
                complain(format_args!("passphrase of the new credential, if that was stored: {}", passphrase.as_str()));
            }
            (Some(path), _) if !is_unsure(error) => {
                // It opens nothing.
                let _ = std::fs::remove_file(path);
            }
            _ => {}
        })?;
        Ok((new, stored))
    }

    fn new_secret(&self) -> Result<New, Failure> {
        let new = |recipient| New { recipient, generated: None, made_file: None, token: None };
        if let Some(text) = &self.recipient {
            let key = PublicKey::from_str(text);
            let key = key.map_err(|why| Failure::Input(format!("--recipient {text:?}: {why}")))?;
            return Ok(new(Recipient::Identity(key)));
        }
        if let Some(path) = &self.new_identity {
            let is_new = !path.exists();
            let identity = if is_new { identity::create(path)? } else { identity::load(path)? };
            let made_file = is_new.then(|| path.clone());
            return Ok(New { made_file, ..new(Recipient::Identity(identity.to_public())) });
        }
        let (passphrase, generated) = new_passphrase(self.generate_passphrase, NO_SOURCE)?;
        Ok(New { generated, ..new(Recipient::Passphrase(passphrase)) })
    }

    /// The token that goes into it.
    fn token(&self, repository: &Repository, client: &str) -> Result<Option<MadeToken>, Failure> {
        if self.token.is_none() && self.preset.is_none() {
            return Ok(None);
        }
        let tokens = repository.store.tokens().ok_or_else(|| {
            let location = &repository.location;
            Failure::Input(format!("{location} knows no tokens: only an obnam-server has them; leave out the token"))
        })?;
        let token = match (&self.token, &self.preset) {
            (Some(path), _) => given(tokens, path)?,
            (None, preset) => tokens.create(&self.wish(client, preset.as_deref().unwrap_or_default()))?,
        };
        Ok(Some(token))
    }

    fn wish(&self, client: &str, preset: &str) -> TokenWish {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TokenWish {
            name: format!("{client} ({preset})"),
            preset: preset.to_owned(),
            expires: self.expires.map(|span| (now + span).as_secs()),
        }
    }

    /// What is in it and opens it, line by line; and the option that opens the repository with it.
    pub fn lines(&self, new: &New) -> (Vec<String>, String) {
        let mut lines = Vec::new();
        let mut option = String::new();
        match (&new.generated, &self.new_identity, &self.recipient) {
            (Some(passphrase), ..) => lines.push(format!("  passphrase  {}", passphrase.as_str())),
            (_, Some(path), _) => {
                let made = if new.made_file.is_some() { " (made)" } else { "" };
                lines.push(format!("  identity    {}{made}", path.display()));
                option = format!(" --identity {}", path.display());
            }
            (.., Some(recipient)) => {
                lines.push(format!("  identity    of {recipient}"));
                option = " --identity FILE".into();
            }
            _ => {}
        }
        if let Some(token) = &new.token {
            let preset = self.preset.as_ref().map_or_else(String::new, |preset| format!(", for {preset}"));
            let end = token.expires.map_or_else(String::new, |end| format!(", until {}", time(end)));
            lines.push(format!("  token       {}{preset}{end}", printable(token.id.as_bytes())));
        }
        (lines, option)
    }
}

impl New {
    /// The token that goes into the credential.
    pub fn held(&self) -> Option<Zeroizing<String>> {
        self.token.as_ref().map(|token| token.token.clone())
    }

    /// For JSON: what opens it, and the token's id and end.
    pub fn document(&self, credential: &str) -> Value {
        let token = self.token.as_ref().map(|token| json!({ "id": token.id, "expires": token.expires.map(time) }));
        json!({
            "credential": credential,
            "kind": self.recipient.kind().as_str(),
            "token": token,
            "passphrase": self.generated.as_ref().map(|text| text.as_str()),
            "identity": self.made_file.as_ref().map(|path| path.to_string_lossy()),
        })
    }
}

/// Whether what was made may be needed although storing it has failed.
fn is_unsure(error: &Failure) -> bool {
    matches!(error, Failure::Repository(RepositoryError::RosterUnsure(_)))
}

/// Shows a passphrase that was made just now, before the old one opens nothing any more: whatever happens then, somebody has seen it.
pub fn show_first(generated: Option<&Zeroizing<String>>, output: &mut Output) -> Result<(), Failure> {
    let Some(passphrase) = generated else { return Ok(()) };
    if output.json {
        complain(format_args!("new passphrase: {}", passphrase.as_str()));
        return Ok(());
    }
    output.line(format!("new passphrase, which counts once this is done: {}", passphrase.as_str()))?;
    output.flush()
}

/// A new passphrase, from the environment or the terminal, or made now; in that case it is there twice, to be shown.
pub fn new_passphrase(
    generate: bool,
    no_source: &str,
) -> Result<(Zeroizing<String>, Option<Zeroizing<String>>), Failure> {
    let chosen = match generate {
        true => None,
        false => match passphrase::new_from_environment()? {
            Some(passphrase) => Some(passphrase),
            None => passphrase::prompt_new().map_err(|error| match error {
                PassphraseError::NoSource => Failure::Input(no_source.into()),
                error => error.into(),
            })?,
        },
    };
    Ok(match chosen {
        Some(passphrase) => (passphrase, None),
        None => {
            let made = passphrase::generate();
            (made.clone(), Some(made))
        }
    })
}

/// A token that the user has.
fn given(tokens: &dyn Tokens, path: &Path) -> Result<MadeToken, Failure> {
    let token = passphrase::line_of_file("token", path).map_err(|error| Failure::Input(error.to_string()))?;
    Ok(MadeToken { id: tokens.id_of(&token)?, token, expires: None })
}

/// A stretch of time: a number and a unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no stretch of time; write a number and s, m, h, d or w, such as 365d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u32>().map_err(|_| wrong())?;
    if number == 0 { Err(wrong()) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_time() {
        assert_eq!(span("365d"), Ok(Duration::from_secs(365 * 86_400)));
        assert_eq!(span("2w"), span("14d"));
        for bad in ["", "d", "1", "1y", "-1d", "0d", "1.5d", "9999999999d", "1ü"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
