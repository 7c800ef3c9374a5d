//! How age plugins talk to the user.

use std::fmt::Display;
use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use age::secrecy::SecretString;

/// Asks on the terminal, where there is one, and tells on standard error.
#[derive(Clone)]
pub(super) struct Terminal;

/// The words of a text of several lines, with nothing that plays with a terminal.
pub(super) fn words(text: &dyn Display) -> String {
    let text = text.to_string().replace(char::is_control, " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ask(question: &str) -> Option<String> {
    if !stdin().is_terminal() {
        return None;
    }
    let mut line = String::new();
    write!(stderr(), "{question}").and_then(|()| stderr().flush()).ok()?;
    stdin().lock().read_line(&mut line).ok().filter(|read| *read > 0)?;
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

impl age::Callbacks for Terminal {
    fn display_message(&self, message: &str) {
        let _ = writeln!(stderr(), "{}", words(&message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.map_or_else(|| "no".into(), |no| words(&no));
        let answer = ask(&format!("{} (y: {}, n: {no}) ", words(&message), words(&yes)))?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        ask(&format!("{}: ", words(&description)))
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if !stdin().is_terminal() {
            return None;
        }
        rpassword::prompt_password(format!("{}: ", words(&description))).ok().map(SecretString::from)
    }
}
