//! A profile: what a command needs to know of one repository and of what goes into it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// How many characters, at least 1, none of them in the next line.
    pub width: usize,
}

impl Place {
    /// The place of these bytes of a text.
    pub(super) fn of(text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text[start..].split('\n').next().unwrap_or_default();
        let width = rest.char_indices().take_while(|(at, _)| start + at < span.end).count();
        Place {
            line: text[..start].matches('\n').count() + 1,
            column: text[begin..start].chars().count() + 1,
            width: width.max(1),
        }
    }
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// Where a profile gets the passphrase from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a shell command prints.
    Command(String),
}

/// A profile. What is not set is `None` or empty.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The profile that gives what this one does not say.
    pub extends: Option<Setting<String>>,
    /// The keys that it says, itself or by inheritance.
    pub(super) given: BTreeSet<&'static str>,
    /// Which profile an inherited value stands in, by its place.
    pub(super) inherited: BTreeMap<Place, String>,
    /// The location of the repository.
    pub repository: Option<Setting<String>>,
    /// A plugin file.
    pub backend: Option<Setting<PathBuf>>,
    /// Options of the plugin: name and value.
    pub options: Vec<Setting<(String, String)>>,
    /// The SHA-256 of plugin files that are trusted.
    pub trust: Vec<Setting<String>>,
    /// Limits that plugins run under: name and value.
    pub plugin_limits: Vec<Setting<(String, String)>>,
    /// Which snapshots `forget` keeps: rule and value.
    pub keep: Vec<Setting<(String, String)>>,
    /// A command that runs before a backup: program and arguments.
    pub before: Option<Setting<Vec<String>>>,
    /// One that runs after a backup that made a snapshot.
    pub after: Option<Setting<Vec<String>>>,
    /// One that runs after a backup that made none.
    pub failed: Option<Setting<Vec<String>>>,
    /// How long each of them may take.
    pub hook_limit: Option<Setting<Duration>>,
    /// A URL that is told of each backup.
    pub health_check: Option<Setting<String>>,
    /// A file for metrics of each backup.
    pub metrics: Option<Setting<PathBuf>>,
    /// The profile whose repository `copy` copies into.
    pub sync_to: Option<Setting<String>>,
    /// An identity file.
    pub identity: Option<Setting<PathBuf>>,
    /// The repository's id.
    pub repository_id: Option<Setting<String>>,
    /// The one credential to open.
    pub credential: Option<Setting<String>>,
    /// A file of certificate authorities.
    pub ca_file: Option<Setting<PathBuf>>,
    /// Whether unencrypted connections may leave this computer.
    pub plain_http: Option<Setting<bool>>,
    /// A proxy.
    pub proxy: Option<Setting<String>>,
    /// How many calls of the store are in flight.
    pub connections: Option<Setting<u16>>,
    /// How many bytes a second are sent at most.
    pub limit_upload: Option<Setting<String>>,
    /// How many bytes a second are received at most.
    pub limit_download: Option<Setting<String>>,
    /// Where the passphrase comes from.
    pub passphrase: Option<Setting<PassphraseSource>>,
    /// The machine's name in snapshots.
    pub host: Option<Setting<String>>,
    /// Tags of new snapshots.
    pub tags: Vec<Setting<String>>,
    /// What is backed up.
    pub sources: Vec<Setting<PathBuf>>,
    /// Patterns of what is left out.
    pub exclude: Vec<Setting<String>>,
    /// Files with such patterns.
    pub exclude_from: Vec<Setting<PathBuf>>,
    /// Directories that contain a file of such a name are left out.
    pub exclude_if_present: Vec<Setting<String>>,
    /// Files of such names hold patterns for their own directory.
    pub ignore_file: Vec<Setting<OsString>>,
    /// Whether directories with a CACHEDIR.TAG are left out.
    pub exclude_caches: Option<Setting<bool>>,
    /// Whether other file systems are left out.
    pub one_file_system: Option<Setting<bool>>,
    /// Files larger than this are left out.
    pub exclude_larger_than: Option<Setting<String>>,
}

impl Profile {
    /// The name of the profile in which the value of this place stands: this one, or one that it extends.
    pub fn owner(&self, place: Place) -> &str {
        self.inherited.get(&place).unwrap_or(&self.name)
    }

    /// The commands around a backup, by their keys.
    pub fn hooks(&self) -> impl Iterator<Item = (&'static str, &Setting<Vec<String>>)> {
        let all = [("before", &self.before), ("after", &self.after), ("failed", &self.failed)];
        all.into_iter().filter_map(|(key, command)| Some((key, command.as_ref()?)))
    }

    /// The keys that want something to be done around a backup.
    pub fn around(&self) -> impl Iterator<Item = &'static str> {
        let others = [("health-check", self.health_check.is_some()), ("metrics", self.metrics.is_some())];
        let others = others.into_iter().filter_map(|(key, is_set)| is_set.then_some(key));
        self.hooks().map(|(key, _)| key).chain(others)
    }
}

/// The keys of a profile, as they are written in the file.
pub const KEYS: [&str; 35] = [
    "repository",
    "extends",
    "backend",
    "options",
    "trust",
    "plugin-limits",
    "keep",
    "sync-to",
    "identity",
    "repository-id",
    "credential",
    "passphrase-command",
    "passphrase-file",
    "sources",
    "tags",
    "host",
    "exclude",
    "exclude-from",
    "exclude-if-present",
    "exclude-caches",
    "exclude-larger-than",
    "ignore-file",
    "one-file-system",
    "ca-file",
    "plain-http",
    "proxy",
    "connections",
    "limit-upload",
    "limit-download",
    "before",
    "after",
    "failed",
    "hook-limit",
    "health-check",
    "metrics",
];
