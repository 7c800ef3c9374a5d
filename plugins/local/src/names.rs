//! Which names below the directory are Obnam's.

pub use obnam_plugin::chunk::{is_id, is_label};

/// The file that says that `init` was here. Upper case, so that it cannot be a label.
pub const MARKER: &str = "OBNAM-CHUNK-STORE";

/// How the names of files that are being written begin.
pub const TEMPORARY: &str = ".tmp-";

/// What the file system itself puts into a fresh directory; not a foreign file.
pub const LOST_AND_FOUND: &str = "lost+found";

/// Whether this is the name of a directory between label and chunk: two lower-case hexadecimal digits.
pub fn is_shard(name: &str) -> bool {
    name.len() == 2 && is_hex(name)
}

fn is_hex(name: &str) -> bool {
    name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The directory of a chunk between label and file: the first two digits of the id.
pub fn shard(id: &str) -> &str {
    id.get(..2).unwrap_or(id)
}
