//! The bundled plugin for local directories, through the plugin host.

#![allow(clippy::unwrap_used)]

mod chunks;
mod directory;
mod disks;
#[path = "../plugin_support/mod.rs"]
mod plugin_support;

use std::path::Path;

use obnam::chunk::ChunkId;

const MARKER: &str = "OBNAM-CHUNK-STORE";

/// A fresh directory for a store, below a temporary one.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let top = tempfile::tempdir().unwrap();
    let place = top.path().join("store");
    (top, place)
}

/// The file of a chunk.
fn file_of(place: &Path, label: &str, id: &ChunkId) -> std::path::PathBuf {
    let id = id.to_string();
    place.join(label).join(&id[..2]).join(&id)
}
