//! Metrics as a text file, for the textfile collector of Prometheus' node exporter.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Source;
use crate::chunk::ChunkId;
use crate::format::Time;
use crate::local::{LocalError, io_error};

/// What is said of each source: name, explanation.
const GAUGES: [(&str, &str); 4] = [
    ("obnam_last_backup_timestamp_seconds", "When the last complete backup of the source began; 0 if there is none."),
    ("obnam_last_backup_files", "Files in that backup."),
    ("obnam_last_backup_bytes", "Bytes of their contents."),
    ("obnam_last_backup_problems", "Files that could not be read for it."),
];

/// The text: gauges of each source, and when they were taken.
pub fn text(repository: &ChunkId, sources: &[Source], now: Time) -> String {
    let mut text = String::new();
    for (place, (name, help)) in GAUGES.iter().enumerate() {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for source in sources {
            let last = source.last.as_ref();
            let value = [
                last.map_or(0, |last| last.time.seconds.max(0) as u64),
                last.map_or(0, |last| last.files),
                last.map_or(0, |last| last.bytes),
                last.map_or(0, |last| last.problems),
            ][place];
            let _ = writeln!(text, "{name}{{{}}} {value}", labels(repository, source));
        }
    }
    let name = "obnam_status_timestamp_seconds";
    let _ = write!(text, "# HELP {name} When this was looked up.\n# TYPE {name} gauge\n");
    let _ = writeln!(text, "{name}{{repository=\"{repository}\"}} {}", now.seconds);
    text
}

fn labels(repository: &ChunkId, source: &Source) -> String {
    let paths: Vec<_> = source.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect();
    let (client, host, paths) = (escaped(&source.client), escaped(&source.host), escaped(&paths.join(" ")));
    let origin = source.origin.map_or_else(String::new, |origin| format!(",origin=\"{origin}\""));
    format!("repository=\"{repository}\",client=\"{client}\",host=\"{host}\",paths=\"{paths}\"{origin}")
}

/// As the text format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A backup that has ended, well or not.
pub struct Run {
    /// The profile.
    pub profile: String,
    /// When it began.
    pub started: Time,
    /// How long it took.
    pub seconds: f64,
    /// Its exit code.
    pub code: u8,
}

/// The gauge that a failed backup leaves as it was.
const LAST_SUCCESS: &str = "obnam_backup_last_success_timestamp_seconds";

impl Run {
    /// The text; `before` is that of the run before.
    pub fn text(&self, before: &str) -> String {
        let labels = format!("{{profile=\"{}\"}}", escaped(&self.profile));
        let old = before.lines().find_map(|line| line.strip_prefix(LAST_SUCCESS)?.strip_prefix(labels.as_str()));
        let old = old.and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0);
        // With a snapshot, though perhaps not of every file.
        let success = if matches!(self.code, 0 | 3) { self.started.seconds } else { old };
        let gauges = [
            ("obnam_backup_exit_code", "Exit code of the last backup.", self.code.to_string()),
            ("obnam_backup_timestamp_seconds", "When it began.", self.started.seconds.to_string()),
            ("obnam_backup_duration_seconds", "How long it took.", format!("{:.3}", self.seconds)),
            (LAST_SUCCESS, "When the last one that made a snapshot began; 0 if there was none.", success.to_string()),
        ];
        let gauge = |(name, help, value): &(&str, &str, String)| {
            format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}\n")
        };
        gauges.iter().map(gauge).collect()
    }
}

/// Writes a file so that whoever reads it sees the old text or the new one; mode 0644.
pub fn write(path: &Path, text: &str) -> Result<(), LocalError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(io_error("write the metrics", path))
}

#[cfg(test)]
mod tests {
    use super::super::Good;
    use super::*;
    use crate::format::snapshot::RawPath;

    #[test]
    fn names_cannot_break_the_text() {
        let last = Good {
            id: ChunkId::from_bytes([1; 32]),
            time: Time { seconds: 1_700_000_000, nanoseconds: 5 },
            files: 3,
            bytes: 4096,
            problems: 0,
        };
        let source = Source {
            client: "a\"b".into(),
            origin: None,
            host: "c\\d\ne".into(),
            paths: vec![RawPath(b"/x".to_vec()), RawPath(b"/y".to_vec())],
            last: Some(last),
        };
        let none = Source { last: None, host: "new".into(), ..source.clone() };
        let text = text(&ChunkId::from_bytes([2; 32]), &[source, none], Time { seconds: 9, nanoseconds: 0 });
        let line = "client=\"a\\\"b\",host=\"c\\\\d\\ne\",paths=\"/x /y\"} 1700000000";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("host=\"new\",paths=\"/x /y\"} 0\n"), "{text}");
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 9);
        assert!(text.ends_with("} 9\n"));
    }

    #[test]
    fn a_failure_keeps_the_last_success() {
        let run = |seconds, code| Run {
            profile: "home".into(),
            started: Time { seconds, nanoseconds: 0 },
            seconds: 1.5,
            code,
        };
        let first = run(100, 13).text("");
        assert!(first.contains("obnam_backup_last_success_timestamp_seconds{profile=\"home\"} 0\n"), "{first}");
        let good = run(200, 3).text(&first);
        assert!(good.contains("_success_timestamp_seconds{profile=\"home\"} 200\n"), "{good}");
        let bad = run(300, 13).text(&good);
        assert!(bad.contains("_success_timestamp_seconds{profile=\"home\"} 200\n"), "{bad}");
        assert!(bad.contains("obnam_backup_exit_code{profile=\"home\"} 13\n"), "{bad}");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("obnam.prom");
        for text in ["one\n", "two\n"] {
            write(&path, text).expect("writes");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), text);
        }
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o644);
        assert!(write(&root.path().join("none/obnam.prom"), "x").is_err());
    }
}
