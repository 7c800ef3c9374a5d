//! Which objects beside chunks are Obnam's.

pub use obnam_plugin::chunk::{chunk, is_exact, is_label, passes, sha256};

/// The object that says that `init` was here. Upper case, so that it cannot be a label.
pub const MARKER: &str = "OBNAM-CHUNK-STORE";

/// Below this key `check` tries what the place honours. Upper case for the same reason.
pub const PROBE: &str = "OBNAM-PROBE/";
