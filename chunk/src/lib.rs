//! The names of stored chunks: [`Label`], [`ChunkId`], and what a store tells about a chunk ([`ChunkInfo`]).
//!
//! A chunk is `(label, id, bytes)`. Its id is the SHA-256 of the stored bytes, so that every layer can verify every
//! chunk, and an upload is idempotent. Both names parse once, here, at the edge; nothing else in the program handles
//! them as bare strings.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

/// The largest chunk that a store has to take, in bytes (64 MiB).
pub const MAX_CHUNK_SIZE: u64 = 64 << 20;

/// A text that is not a label or not a chunk id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `[a-z0-9][a-z0-9.-]{0,63}`.
    #[error(
        "{0:?} is not a label: labels are 1 to 64 characters from a-z, 0-9, '.' and '-', and begin with a letter or digit"
    )]
    Label(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("{0:?} is not a chunk id: ids are 64 lower-case hexadecimal digits")]
    ChunkId(String),
}

/// A chunk's label: `[a-z0-9][a-z0-9.-]{0,63}`, a family such as `data`, and for some families the random tag of the
/// writer behind a dot (`snapshot.5be0cd19137e2179`). It says nothing about contents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first dot: `snapshot` of `snapshot.5be0cd19137e2179`.
    pub fn family(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(family, _)| family)
    }

    /// The part behind the first dot, if any.
    pub fn tag(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, tag)| tag)
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ok = (1..=64).contains(&bytes.len())
            && fits(bytes[0])
            && bytes.iter().all(|&b| fits(b) || b == b'.' || b == b'-');
        if ok { Ok(Label(text.to_owned())) } else { Err(NameError::Label(text.to_owned())) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a listing asks for: one label, or all labels of a family (`snapshot.` finds `snapshot.TAG` of every writer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelFilter {
    /// Every chunk in the store.
    All,
    /// Chunks with exactly this label.
    Exactly(Label),
    /// Chunks whose label is this family, a dot, and any tag.
    Family(Label),
}

impl LabelFilter {
    /// The filter's text form at the plugin boundary: empty, a label, or a label prefix that ends in a dot.
    pub fn to_wire(&self) -> String {
        match self {
            LabelFilter::All => String::new(),
            LabelFilter::Exactly(label) => label.as_str().to_owned(),
            LabelFilter::Family(label) => format!("{label}."),
        }
    }

    /// Whether a label passes the filter.
    pub fn matches(&self, label: &Label) -> bool {
        match self {
            LabelFilter::All => true,
            LabelFilter::Exactly(wanted) => wanted == label,
            LabelFilter::Family(family) => {
                label.as_str().strip_prefix(family.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
        }
    }
}

/// The id of a chunk: the SHA-256 of its stored bytes. Its one text form is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId([u8; 32]);

impl ChunkId {
    /// The id of a chunk that consists of these bytes.
    pub fn of(stored: &[u8]) -> Self {
        ChunkId(Sha256::digest(stored).into())
    }

    /// The id whose 32 raw bytes are these.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        ChunkId(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 10 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..5])
    }
}

impl FromStr for ChunkId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::ChunkId(text.to_owned());
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(error());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| error())?;
        Ok(ChunkId(bytes))
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

/// In CBOR an id is a string of 32 bytes.
impl<C> Encode<C> for ChunkId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ChunkId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = d.bytes()?.try_into().map_err(|_| DecodeError::message("a chunk id has 32 bytes"))?;
        Ok(ChunkId::from_bytes(bytes))
    }
}

/// What a store knows of a chunk without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkInfo {
    /// The chunk's label.
    pub label: Label,
    /// The chunk's id.
    pub id: ChunkId,
    /// Length in bytes.
    pub size: u64,
    /// When the store took the chunk, where it knows.
    pub stored: Option<SystemTime>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels() {
        for good in ["data", "a", "0", "snapshot.5be0cd19137e2179", "a-b", "a..b", &"x".repeat(64)] {
            assert_eq!(good.parse::<Label>().map(|l| l.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".a", "-a", "A", "a/b", "a_b", "ä", "..", "a\0", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Label>(), Err(NameError::Label(bad.to_owned())));
        }
    }

    #[test]
    fn filters() {
        let label = |text: &str| text.parse::<Label>().expect("a label");
        let family = LabelFilter::Family(label("snapshot"));
        assert_eq!(family.to_wire(), "snapshot.");
        assert!(family.matches(&label("snapshot.0011")));
        assert!(!family.matches(&label("snapshot")));
        assert!(!family.matches(&label("snapshots.0011")));
        assert!(LabelFilter::Exactly(label("tree")).matches(&label("tree")));
        assert!(!LabelFilter::Exactly(label("tree")).matches(&label("tree.x")));
    }

    #[test]
    fn id_is_sha256_of_the_bytes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(ChunkId::of(b"").to_string(), empty);
        assert!(empty.to_uppercase().parse::<ChunkId>().is_err());
        assert!(empty[1..].parse::<ChunkId>().is_err());
    }

    proptest! {
        #[test]
        fn ids_survive_their_text_form(bytes: [u8; 32]) {
            let id = ChunkId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<ChunkId>(), Ok(id));
        }
    }
}
