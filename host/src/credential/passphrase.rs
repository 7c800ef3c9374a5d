//! Where passphrases come from: the environment, a file, a command, the terminal, or a fresh random one. Other secrets come
//! from files and commands in the same way ([`line_of_file`], [`line_of_command`]).

use std::env;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::crypto::random;

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Nothing to ask.
    #[error(
        "no passphrase: run obnam on a terminal to be asked, or set OBNAM_PASSPHRASE, OBNAM_PASSPHRASE_FILE or OBNAM_PASSPHRASE_COMMAND, or name a passphrase-command or an identity in a profile, or type it once: obnam credential remember"
    )]
    NoSource,
    /// Nothing to ask for that of a target.
    #[error(
        "no passphrase: run obnam on a terminal to be asked, or set OBNAM_TO_PASSPHRASE, OBNAM_TO_PASSPHRASE_FILE or OBNAM_TO_PASSPHRASE_COMMAND, or name a passphrase-command or an identity in the target's profile"
    )]
    NoTargetSource,
    /// The file cannot be read.
    #[error("cannot read the {what} file {path}: {source}", path = path.display())]
    File {
        /// What it should hold: passphrase, or the name of an option.
        what: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The command failed.
    #[error("the {what} command {command:?} failed: {why}")]
    Command {
        /// What it should print.
        what: String,
        /// The command line.
        command: String,
        /// How it failed.
        why: String,
    },
    /// The terminal failed.
    #[error("cannot ask for the passphrase: {0}")]
    Prompt(std::io::Error),
    /// Not a passphrase.
    #[error("the {what} is empty{whence}")]
    Empty {
        /// What is empty.
        what: String,
        /// Where it was looked for.
        whence: String,
    },
    /// Two tries that differ.
    #[error("the two passphrases differ; nothing was changed")]
    Differ,
}

/// What the functions below ask for.
const PASSPHRASE: &str = "passphrase";

fn empty(what: &str, whence: String) -> PassphraseError {
    PassphraseError::Empty { what: what.to_owned(), whence }
}

/// `whence`: what gives nothing where there should be a secret.
fn first_line(what: &str, text: &str, whence: impl FnOnce() -> String) -> Result<Zeroizing<String>, PassphraseError> {
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(empty(what, whence())) } else { Ok(Zeroizing::new(line.to_owned())) }
}

/// The variables that [`from_environment`] looks at, in its order.
pub const VARIABLES: [&str; 3] = ["OBNAM_PASSPHRASE", "OBNAM_PASSPHRASE_FILE", "OBNAM_PASSPHRASE_COMMAND"];

/// The variables that [`new_from_environment`] looks at.
pub const NEW_VARIABLES: [&str; 3] =
    ["OBNAM_NEW_PASSPHRASE", "OBNAM_NEW_PASSPHRASE_FILE", "OBNAM_NEW_PASSPHRASE_COMMAND"];

/// The passphrase that the environment names: `OBNAM_PASSPHRASE`, `OBNAM_PASSPHRASE_FILE` (its first line) or
/// `OBNAM_PASSPHRASE_COMMAND` (the first line that the shell command prints), in this order.
pub fn from_environment() -> Result<Option<Zeroizing<String>>, PassphraseError> {
    from_variables(VARIABLES)
}

/// The passphrase for a new credential that the environment names in the same way: `OBNAM_NEW_PASSPHRASE` and so on.
pub fn new_from_environment() -> Result<Option<Zeroizing<String>>, PassphraseError> {
    from_variables(NEW_VARIABLES)
}

/// The variables that [`target_from_environment`] looks at.
pub const TARGET_VARIABLES: [&str; 3] =
    ["OBNAM_TO_PASSPHRASE", "OBNAM_TO_PASSPHRASE_FILE", "OBNAM_TO_PASSPHRASE_COMMAND"];

/// The passphrase of the repository that is copied into: `OBNAM_TO_PASSPHRASE` and so on.
pub fn target_from_environment() -> Result<Option<Zeroizing<String>>, PassphraseError> {
    from_variables(TARGET_VARIABLES)
}

fn from_variables([value, file, command]: [&str; 3]) -> Result<Option<Zeroizing<String>>, PassphraseError> {
    if let Ok(passphrase) = env::var(value).map(Zeroizing::new) {
        return if passphrase.is_empty() {
            Err(empty(PASSPHRASE, format!(": {value} is set to nothing")))
        } else {
            Ok(Some(passphrase))
        };
    }
    if let Some(path) = env::var_os(file) {
        return from_file(Path::new(&path)).map(Some);
    }
    if let Ok(command) = env::var(command) {
        return from_command(&command).map(Some);
    }
    Ok(None)
}

/// The passphrase in the first line of a file.
pub fn from_file(path: &Path) -> Result<Zeroizing<String>, PassphraseError> {
    line_of_file(PASSPHRASE, path)
}

/// The passphrase that a shell command prints.
pub fn from_command(command: &str) -> Result<Zeroizing<String>, PassphraseError> {
    line_of_command(PASSPHRASE, command)
}

/// The first line of a file; `what` it should hold, for messages.
pub fn line_of_file(what: &str, path: &Path) -> Result<Zeroizing<String>, PassphraseError> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|source| PassphraseError::File { what: what.to_owned(), path: path.to_owned(), source })?;
    first_line(what, &text, || format!(": the first line of {} holds none", path.display()))
}

/// The first line that a shell command prints; `what` it should print, for messages.
pub fn line_of_command(what: &str, command: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let failed = |why: String| PassphraseError::Command { what: what.to_owned(), command: command.to_owned(), why };
    let output = Command::new("sh").arg("-c").arg(command).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = Zeroizing::new(String::from_utf8(output.stdout).map_err(|_| failed("it printed no text".into()))?);
    first_line(what, &text, || format!(": the command {command:?} printed none"))
}

/// Asks on the terminal.
pub fn prompt(question: &str) -> Result<Zeroizing<String>, PassphraseError> {
    if !std::io::stdin().is_terminal() {
        return Err(PassphraseError::NoSource);
    }
    let passphrase = rpassword::prompt_password(question).map(Zeroizing::new).map_err(PassphraseError::Prompt)?;
    if passphrase.is_empty() { Err(empty(PASSPHRASE, String::new())) } else { Ok(passphrase) }
}

/// Asks twice on the terminal for a new passphrase; an empty answer asks for a generated one (`None`).
pub fn prompt_new() -> Result<Option<Zeroizing<String>>, PassphraseError> {
    match prompt("New passphrase (empty: generate one): ") {
        Err(PassphraseError::Empty { .. }) => Ok(None),
        Err(error) => Err(error),
        Ok(first) if *first == *prompt("The same again: ")? => Ok(Some(first)),
        Ok(_) => Err(PassphraseError::Differ),
    }
}

/// A random passphrase of 125 bits: 25 characters that are hard to mistake, in groups of five.
pub fn generate() -> Zeroizing<String> {
    // Crockford's base 32, in lower case: no i, l, o, u.
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bytes: Zeroizing<[u8; 25]> = Zeroizing::new(random());
    let mut text = Zeroizing::new(String::with_capacity(29));
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 && place % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(LETTERS[usize::from(byte & 31)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passphrases() {
        let (a, b) = (generate(), generate());
        assert_ne!(*a, *b);
        assert_eq!(a.len(), 29);
        assert_eq!(a.split('-').map(str::len).collect::<Vec<_>>(), [5; 5]);
    }

    #[test]
    fn commands() {
        assert_eq!(*from_command("echo secret; echo more").expect("runs"), "secret");
        assert!(matches!(from_command("exit 3"), Err(PassphraseError::Command { .. })));
        assert!(matches!(from_command("true"), Err(PassphraseError::Empty { .. })));
    }
}
