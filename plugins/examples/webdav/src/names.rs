//! Which files and folders are Obnam's, and where a chunk lies.

pub use obnam_plugin::chunk::{is_exact, is_id, is_label, passes};

/// The file that says that `init` was here. Upper case, so that it cannot be a label.
pub const MARKER: &str = "OBNAM-CHUNK-STORE";

/// The folder of uploads that are not complete yet. Upper case for the same reason.
pub const INCOMING: &str = "OBNAM-INCOMING/";

/// The folder of a label.
pub fn label_folder(label: &str) -> String {
    format!("{label}/")
}

/// The folder of the chunks of a label whose ids begin with two digits. A folder of everything would be slow to list, and its
/// list could grow beyond all bounds.
pub fn shard_folder(label: &str, shard: &str) -> String {
    format!("{label}/{shard}/")
}

/// The first two digits of an id.
pub fn shard(id: &str) -> &str {
    id.get(..2).unwrap_or_default()
}

/// Whether this is the name of a folder of chunks.
pub fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The file of a chunk.
pub fn chunk_file(label: &str, id: &str) -> String {
    format!("{}{id}", shard_folder(label, shard(id)))
}
