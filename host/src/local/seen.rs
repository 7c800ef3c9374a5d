//! What has been seen of a repository, to notice when a store shows less than it did (format section 12).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LocalError, read_file, write_file};
use crate::chunk::ChunkId;

/// The newest snapshot that was seen of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSnapshot {
    /// Its sequence number.
    pub sequence: u64,
    /// Its id.
    pub id: String,
}

/// What has been seen of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// The highest roster epoch.
    #[serde(default)]
    pub roster_epoch: u64,
    /// The newest snapshot of each client, by writer tag.
    #[serde(default)]
    pub snapshots: BTreeMap<String, SeenSnapshot>,
}

fn path(state: &Path) -> PathBuf {
    state.join("seen.json")
}

impl Seen {
    /// What was remembered in this state directory.
    pub fn load(state: &Path) -> Result<Self, LocalError> {
        let path = path(state);
        let Some(contents) = read_file(&path)? else { return Ok(Seen::default()) };
        serde_json::from_slice(&contents).map_err(|error| LocalError::Damaged { path, why: error.to_string() })
    }

    /// Remembers it.
    pub fn save(&self, state: &Path) -> Result<(), LocalError> {
        let text = serde_json::to_vec_pretty(self).expect("strings and numbers are JSON");
        write_file(&path(state), &text)
    }

    /// Takes note of a snapshot. Returns whether that changed anything.
    pub fn note(&mut self, client: &str, sequence: u64, id: &ChunkId) -> bool {
        let newer = self.snapshots.get(client).is_none_or(|seen| seen.sequence < sequence);
        if newer {
            self.snapshots.insert(client.to_owned(), SeenSnapshot { sequence, id: id.to_string() });
        }
        newer
    }
}
