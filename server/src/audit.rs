//! The audit log: one JSON object a line for every request that reached a token, and for every removal. No URLs, no
//! secrets, no ids of chunks.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// One line.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// When, in UTC.
    pub time: String,
    /// The token's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// Whose chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `list`, `read`, `create`, `stat`, `delete`, `undelete`, `self`, `init`, `removals`, `token-create`, `token-list`,
    /// `token-revoke`; `remove` for what the server did itself.
    pub action: &'a str,
    /// The id of the token that was made or revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// How many chunks.
    pub count: u64,
    /// How many bytes URLs to store were signed for, or were removed.
    pub bytes: u64,
    /// `ok`, or the code of the problem.
    pub outcome: &'a str,
}

/// Writes the log.
pub struct Audit(Mutex<Box<dyn Write + Send>>);

impl Audit {
    /// Appends to a file, or writes to standard output.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let writer: Box<dyn Write + Send> = match file {
            Some(file) => Box::new(OpenOptions::new().append(true).create(true).open(file)?),
            None => Box::new(io::stdout()),
        };
        Ok(Audit(Mutex::new(writer)))
    }

    /// Writes a line; sets its time. A log that cannot be written stops no backup, but is told.
    pub fn write(&self, line: Line<'_>) {
        let line = Line { time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), ..line };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = writer.write_all(&text).and_then(|()| writer.flush()) {
            tracing::error!("cannot write the audit log: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_and_is_appended() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit.jsonl");
        for _ in 0..2 {
            let audit = Audit::open(Some(&file)).expect("opens");
            audit.write(Line {
                token: Some("x"),
                action: "create",
                count: 2,
                bytes: 7,
                outcome: "ok",
                ..Line::default()
            });
        }
        let text = std::fs::read_to_string(file).expect("reads");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["bytes"], 7);
        assert!(lines[1]["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
}
