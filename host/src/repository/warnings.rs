//! What was found unusable and skipped: kept until a command reports it.

use std::sync::Mutex;

use serde::Serialize;

use super::ChunkName;

/// One thing that was skipped or looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A stable name for its kind: `[a-z-]+`.
    pub code: &'static str,
    /// The chunk, as `label/id`, where it is about one.
    pub chunk: Option<String>,
    /// A sentence for people.
    pub message: String,
}

/// The warnings of a run, without repetitions.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<Warning>>);

impl Warnings {
    /// Notes a warning about a chunk.
    pub fn chunk(&self, code: &'static str, chunk: &ChunkName, message: impl Into<String>) {
        let chunk = format!("{}/{}", chunk.label, chunk.id);
        self.push(Warning { code, message: format!("{chunk}: {}", message.into()), chunk: Some(chunk) });
    }

    /// Notes a warning that is about no single chunk.
    pub fn general(&self, code: &'static str, message: impl Into<String>) {
        self.push(Warning { code, chunk: None, message: message.into() });
    }

    fn push(&self, warning: Warning) {
        let mut warnings = self.0.lock().expect("no panic while the lock is held");
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// All warnings so far.
    pub fn all(&self) -> Vec<Warning> {
        self.0.lock().expect("no panic while the lock is held").clone()
    }
}
