//! The program on a terminal of its own (`script` of util-linux), where somebody types.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a command there; what it says, and what is echoed.
pub fn on_a_terminal(command: &mut Command, typed: &str) -> String {
    let quote = |word: &OsStr| format!("'{}'", word.to_str().unwrap());
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    script.env_clear().env("TERM", "dumb").stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(directory) = command.get_current_dir() {
        script.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        script.env(name, value.unwrap());
    }
    let mut running = script.spawn().unwrap();
    let mut keyboard = running.stdin.take().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    drop(keyboard);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
