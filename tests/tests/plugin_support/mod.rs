//! What the tests of plugins share.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use obnam::chunk::{ChunkId, Label};
use obnam::plugin::{HttpSettings, KeptOptions, Limits, PluginSource, PluginStore, StoreSpec, open_store};
use obnam::store::{ChunkStore, StoreError};

/// The name of a directory, as text.
pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary directories are UTF-8").to_owned()
}

/// A label.
pub fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

/// Some bytes that differ by seed, and their id.
pub fn chunk(seed: u64, size: usize) -> (ChunkId, Bytes) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    (ChunkId::of(&bytes), bytes.into())
}

/// Limits for guests that misbehave: generous in time, since the machine may be busy; a test of one of them lowers it.
pub fn test_limits() -> Limits {
    Limits {
        cpu: Duration::from_secs(20),
        idle: Duration::from_secs(20),
        call: Duration::from_secs(60),
        memory: 64 << 20,
        unavailable_tries: 5,
        retry_pause: Duration::from_millis(5),
        retry_pause_max: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// A spec of the local plugin for a directory, without waiting for the disk.
pub fn local(directory: &Path) -> StoreSpec {
    StoreSpec {
        options: vec![("fsync".into(), "no".into())],
        cache_dir: Some(cache()),
        ..StoreSpec::for_location(&text(directory)).expect("a path")
    }
}

/// An initialised local store.
pub fn local_store(directory: &Path) -> PluginStore {
    let store = open_store(&local(directory)).expect("the local plugin opens");
    store.init().expect("init works");
    store
}

/// The store of the misbehaving guest.
pub fn misbehaving(directory: &Path, manner: &str) -> Result<PluginStore, StoreError> {
    open_store(&misbehaving_spec(directory, manner))
}

/// The spec of the misbehaving guest, on one worker: it keeps chunks in the memory of its instance.
pub fn misbehaving_spec(directory: &Path, manner: &str) -> StoreSpec {
    StoreSpec {
        source: PluginSource::File(PathBuf::from(env!("GUEST_MISBEHAVING"))),
        location: text(directory),
        options: vec![("do".into(), manner.into())],
        kept: KeptOptions::default(),
        cache_dir: Some(cache()),
        limits: test_limits(),
        http: HttpSettings::default(),
        workers: 1,
        create_dir: true,
    }
}

/// Where the tests keep compiled plugins.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins")
}
