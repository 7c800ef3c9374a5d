//! Which snapshots a command is about.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::snapshots::client_name;
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;

/// A snapshot passes if it passes each of these that is given.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only those with this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only those of this machine; may be repeated
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Only backups of this path; may be repeated
    #[arg(long, value_name = "PATH")]
    pub path: Vec<PathBuf>,
    /// Only those of this client, by its name or tag; may be repeated
    #[arg(long, value_name = "CLIENT")]
    pub client: Vec<String>,
}

impl Filter {
    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        self.tag.is_empty() && self.host.is_empty() && self.path.is_empty() && self.client.is_empty()
    }

    /// Refuses a filter through which nothing passes: who goes on after it would believe that something was done.
    pub fn refuse_nothing(&self, chosen: &[&SnapshotInfo]) -> Result<(), Failure> {
        if self.is_empty() || !chosen.is_empty() {
            return Ok(());
        }
        let words = |option: &str, values: Vec<String>| {
            values.into_iter().map(|value| format!("{option} {value}")).collect::<Vec<_>>()
        };
        let paths = self.path.iter().map(|path| path.display().to_string()).collect();
        let all = [
            words("--tag", self.tag.clone()),
            words("--host", self.host.clone()),
            words("--path", paths),
            words("--client", self.client.clone()),
        ];
        Err(Failure::Input(format!("no snapshot passes {}; see: obnam snapshots", all.concat().join(" "))))
    }

    /// Whether this snapshot passes.
    pub fn passes(&self, repository: &Repository, info: &SnapshotInfo) -> bool {
        let snapshot = &info.snapshot;
        let has_path = |path: &PathBuf| {
            // As a backup takes it: absolute, without a slash at its end.
            let path: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.clone()).components().collect();
            snapshot.paths.iter().any(|raw| raw.0 == path.as_os_str().as_bytes())
        };
        let (name, tag) = (client_name(repository, info), snapshot.client.to_string());
        (self.tag.is_empty() || self.tag.iter().any(|tag| info.tags.contains(tag)))
            && (self.host.is_empty() || self.host.contains(&snapshot.host))
            && (self.path.is_empty() || self.path.iter().any(has_path))
            && (self.client.is_empty() || self.client.iter().any(|client| *client == tag || Some(client) == name))
    }
}
