//! The plugin host: storage backends as sandboxed WebAssembly components.
//!
//! A plugin exports the interface `obnam:chunk-store/chunk-store` (`wit/chunk-store.wit`, which is the contract). It is
//! not trusted for anything but keeping bytes. What must always hold:
//!
//! - A plugin can touch nothing that the user did not name or approve (`grants`, `wish`, `trust`, `sandbox`, `http`).
//! - The bytes that are run are those that were read and hashed, once (`component`).
//! - Whatever a plugin does, its caller gets an answer or an error in bounded time and memory, and other plugins and
//!   stores of the process do not notice (`limits`, `worker`, `progress`).
//! - Everything that it answers is checked (`verify`, `streams`, `store`).
//! - Nobody else repeats calls (`retry`, `waiting`).
//! - WebAssembly costs nothing before the first store is opened (`engine`).
//!
//! The way of a call: [`PluginStore`] (a [`ChunkStore`](crate::store::ChunkStore)) -> `retry` -> `pool` -> `worker` (a
//! thread) -> `instance` -> the guest. `opening` puts all of it together, with `component`, `location`, `options`, `fit` and
//! `component_cache`; `aws` reads keys for S3, `tokens` is about those of obnam-server.

mod adjustable;
mod aws;
mod bindings;
mod component;
mod component_cache;
pub mod conformance;
mod engine;
mod failure;
mod fit;
mod grants;
mod http;
mod instance;
mod limits;
mod location;
mod opening;
mod options;
mod output;
mod pool;
mod progress;
mod random;
mod retry;
mod sandbox;
mod store;
mod streams;
mod tokens;
pub mod trust;
mod verify;
mod waiting;
mod wish;
mod worker;

use std::path::PathBuf;

pub use adjustable::{ADJUSTABLE, Adjustable, seconds};
pub use component::{Component, inspect};
pub use grants::DATA_HOST;
pub use http::{HttpSettings, check_url, ping};
pub use limits::Limits;
pub use location::{bundled_for, require_bundled_for};
pub use opening::{Candidate, StoreSpec, open_store};
pub use options::KeptOptions;
pub use store::PluginStore;
pub use waiting::{give_up, waiting_for};
pub use wish::Wish;

/// The plugins that are part of this program.
pub const BUNDLED: [&str; 3] = ["local", "s3-direct", "presign-client"];

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSource {
    /// One that is part of this program, by name: `local`.
    Bundled(String),
    /// A component in a file.
    File(PathBuf),
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// The URL schemes of its locations; `file` stands for paths too.
    pub schemes: Vec<String>,
    /// The options that it understands.
    pub options: Vec<OptionInfo>,
    /// Whether it takes contents as streams.
    pub put_streams: bool,
    /// The SHA-256 of the component, in hexadecimal.
    pub wasm_sha256: String,
    /// The interfaces that it imports. An import is not a wish: it has no effect without a grant.
    pub imports: Vec<String>,
}

/// An option of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub help: String,
    /// Whether it must be given.
    pub required: bool,
    /// Whether its value must not be shown.
    pub secret: bool,
    /// The environment variable that stands for it when it is not given. For plugins that are not bundled only
    /// those that begin with `OBNAM_PLUGIN_` are read.
    pub environment: Option<String>,
}
