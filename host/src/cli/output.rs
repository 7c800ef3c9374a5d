//! What is printed: results on standard output, warnings and progress on standard error. With `--json`, standard output
//! holds JSON only: one document, or for listings one object per line (`docs/json.md`).

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::styling::{AnsiColor, Style};
use clap::{ColorChoice, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::progress::beside;
use super::{Failure, Global};
use crate::problem::Problem;
use crate::repository::Warning;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// A line on standard error where that is a terminal
    Auto,
    /// Not at all
    Never,
    /// JSON lines on standard error, about one per second (see docs/json.md)
    Json,
}

/// Colours, for what they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Added.
    Green,
    /// Removed, and errors.
    Red,
    /// Changed, and warnings.
    Yellow,
    /// Changed in little.
    Cyan,
    /// A heading.
    Bold,
}

impl Colour {
    fn paint(self, text: &str) -> String {
        let style = match self {
            Colour::Green => AnsiColor::Green.on_default(),
            Colour::Red => AnsiColor::Red.on_default(),
            Colour::Yellow => AnsiColor::Yellow.on_default(),
            Colour::Cyan => AnsiColor::Cyan.on_default(),
            Colour::Bold => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Whether to use colours: as the user says; else on terminals that have them, unless `NO_COLOR` (<https://no-color.org>)
/// is set to anything.
fn colours(choice: ColorChoice, is_terminal: bool) -> bool {
    let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && !unwanted() && !dumb(),
    }
}

/// Whether standard error gets colours.
static COLOURED_COMPLAINTS: AtomicBool = AtomicBool::new(false);

/// Where a command prints.
pub struct Output {
    /// The command's name.
    pub command: &'static str,
    /// Whether to print JSON.
    pub json: bool,
    /// Whether to leave out summaries and progress.
    pub quiet: bool,
    /// Whether the program ends when nobody reads its output any more: `obnam ls | head`.
    pub ends_unread: bool,
    /// How to show progress.
    pub progress: Progress,
    coloured: bool,
    out: BufWriter<io::Stdout>,
}

impl Output {
    /// The output of a command.
    pub fn new(command: &'static str, global: &Global) -> Self {
        COLOURED_COMPLAINTS.store(colours(global.color, io::stderr().is_terminal()), Ordering::Relaxed);
        Output {
            command,
            json: global.json,
            quiet: global.quiet,
            progress: global.progress,
            ends_unread: true,
            coloured: colours(global.color, io::stdout().is_terminal()),
            out: BufWriter::new(io::stdout()),
        }
    }

    /// The text in a colour, where standard output has colours.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if self.coloured { colour.paint(text) } else { text.to_owned() }
    }

    fn done(ends_unread: bool, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            // Whoever reads has enough: `obnam ls | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && ends_unread => std::process::exit(0),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(Failure::Output),
        }
    }

    /// Prints a line for people.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        Self::done(self.ends_unread, writeln!(self.out, "{}", text.as_ref()))
    }

    /// Prints a line for people, unless they want quiet.
    pub fn summary(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Writes raw bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Self::done(self.ends_unread, self.out.write_all(bytes))
    }

    /// Prints one object of a JSON listing.
    pub fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).expect("values are JSON");
        self.line(text)
    }

    /// Prints the JSON document of a command that has ended: `status` is `ok`, `incomplete` or `damaged`.
    pub fn document(&mut self, status: &str, warnings: &[Warning], result: Value) -> Result<(), Failure> {
        let document = json!({ "command": self.command, "status": status, "warnings": warnings, "result": result });
        let text = serde_json::to_string_pretty(&document).expect("values are JSON");
        self.line(text)?;
        self.flush()
    }

    /// Sees to it that all is printed.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Self::done(self.ends_unread, self.out.flush())
    }

    /// Prints warnings on standard error; with `--json` they are in the document.
    pub fn warnings(&mut self, warnings: &[Warning]) {
        if !self.json {
            for warning in warnings {
                complain(format_args!("warning: {}", warning.message));
            }
        }
    }

    /// Prints why the command failed and returns its exit code.
    pub fn failure(&mut self, failure: &Failure) -> u8 {
        let (code, name) = failure.class();
        let _ = self.out.flush();
        if self.json {
            let document = json!({
                "command": self.command,
                "status": "error",
                "error": { "code": name, "exit": code, "message": failure.to_string() },
            });
            let _ = writeln!(self.out, "{document}").and_then(|()| self.out.flush());
        } else {
            complain(format_args!("obnam: {failure}"));
        }
        code
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.out.write(bytes) {
            // As for text.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Prints a line on standard error, beside the progress if that is shown. Unlike `eprintln!` it does not panic when nobody
/// listens, or the disk that standard error goes to is full: what the command has done is worth more than the complaint.
pub fn complain(line: impl Display) {
    let mut line = line.to_string();
    if COLOURED_COMPLAINTS.load(Ordering::Relaxed) {
        for (front, colour) in [("warning:", Colour::Yellow), ("obnam:", Colour::Red)] {
            if let Some(rest) = line.strip_prefix(front) {
                line = format!("{}{rest}", colour.paint(front));
                break;
            }
        }
    }
    beside(|| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}

/// Prints problems with files on standard error.
pub fn problems(problems: &[Problem]) {
    for problem in problems {
        let path = printable(problem.path.as_os_str().as_bytes());
        complain(format_args!("warning: {path}: {}", problem.message));
    }
}

/// Problems with files in JSON.
pub fn problems_json(problems: &[Problem]) -> Vec<Value> {
    let one = |problem: &Problem| json!({ "path": problem.path.to_string_lossy(), "message": problem.message });
    problems.iter().map(one).collect()
}

/// A number of bytes for people: `1.4 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count with its noun: `1 file`, `2 files`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Bytes that are text, mostly, for people: control characters are escaped, so that no name can play with a terminal.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        assert_eq!([0, 1023, 1024, 1_500_000].map(size), ["0 B", "1023 B", "1.0 KiB", "1.4 MiB"]);
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(Colour::Red.paint("x"), "\x1b[31mx\x1b[0m");
        assert_eq!(printable(b"a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
    }
}
