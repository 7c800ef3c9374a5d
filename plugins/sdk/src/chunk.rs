//! The names of chunks, and of what lies beside them.

/// Whether this is `[a-z0-9][a-z0-9.-]{0,63}`.
pub fn is_label(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=64).contains(&name.len())
        && fits(name.as_bytes()[0])
        && name.bytes().all(|b| fits(b) || b == b'.' || b == b'-')
}

/// Whether this is 64 lower-case hexadecimal digits.
pub fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Label and id of a key without its prefix; `None` when the object is no chunk.
pub fn chunk(key: &str) -> Option<(&str, &str)> {
    key.split_once('/').filter(|(label, id)| is_label(label) && is_id(id))
}

/// Whether a label passes the filter of a listing: empty, an exact label, or a prefix that ends in a dot.
pub fn passes(filter: &str, label: &str) -> bool {
    filter.is_empty() || filter == label || (filter.ends_with('.') && label.starts_with(filter))
}

/// Whether a filter means one label only.
pub fn is_exact(filter: &str) -> bool {
    !filter.is_empty() && !filter.ends_with('.')
}

/// The bytes that an id stands for; `None` when it is no id.
pub fn sha256(id: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(id.get(2 * position..2 * position + 2)?, 16).ok()?;
    }
    is_id(id).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunks_are_chunks() {
        let id = "0a".repeat(32);
        assert_eq!(chunk(&format!("data/{id}")), Some(("data", id.as_str())));
        assert_eq!(chunk(&format!("snapshot.x-1/{id}")), Some(("snapshot.x-1", id.as_str())));
        for key in ["X-Y", "", "/", "data/", "data", "Data/0a", &format!("data/x/{id}"), &format!("data/{id}0")] {
            assert_eq!(chunk(key), None, "{key}");
        }
        assert_eq!(chunk(&format!("X/{id}")), None);
        assert_eq!(sha256(&id), Some([0x0a; 32]));
        assert_eq!(sha256(&id[1..]), None);
    }

    #[test]
    fn filters() {
        assert!(passes("", "data") && passes("data", "data") && passes("snapshot.", "snapshot.ab"));
        assert!(!passes("data", "data.x") && !passes("snapshot.", "snapshot") && !passes("snapshot.", "snapshots"));
        assert!(is_exact("data") && !is_exact("") && !is_exact("snapshot."));
    }
}
