//! Which names below the directory are Obnam's.

/// The file that says that `init` was here. Upper case, so that it cannot be a label.
pub const MARKER: &str = "OBNAM-CHUNK-STORE";

/// How the names of files that are being written begin.
pub const TEMPORARY: &str = ".tmp-";

/// What the file system itself puts into a fresh directory; not a foreign file.
pub const LOST_AND_FOUND: &str = "lost+found";

/// Whether this is `[a-z0-9][a-z0-9.-]{0,63}`.
pub fn is_label(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=64).contains(&name.len())
        && fits(name.as_bytes()[0])
        && name.bytes().all(|b| fits(b) || b == b'.' || b == b'-')
}

/// Whether this is the name of a directory between label and chunk: two lower-case hexadecimal digits.
pub fn is_shard(name: &str) -> bool {
    name.len() == 2 && is_hex(name)
}

/// Whether this is 64 lower-case hexadecimal digits.
pub fn is_id(name: &str) -> bool {
    name.len() == 64 && is_hex(name)
}

fn is_hex(name: &str) -> bool {
    name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The directory of a chunk between label and file: the first two digits of the id.
pub fn shard(id: &str) -> &str {
    id.get(..2).unwrap_or(id)
}

/// Whether a label passes the filter of a listing: empty, an exact label, or a prefix that ends in a dot.
pub fn passes(filter: &str, label: &str) -> bool {
    filter.is_empty() || filter == label || (filter.ends_with('.') && label.starts_with(filter))
}
