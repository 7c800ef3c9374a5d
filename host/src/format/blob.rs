//! Blobs: pieces of plaintext with a keyed name (format section 7).

use std::fmt;
use std::str::FromStr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use super::FormatError;
use crate::crypto::Key;

/// The longest blob, before compression.
pub const MAX_BLOB: usize = 16 << 20;

/// What a blob's plaintext is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobKind {
    /// A piece of a file.
    Data = 0,
    /// A piece of a directory stream.
    Tree = 1,
    /// A piece of a content list.
    List = 2,
}

impl BlobKind {
    /// The kind's name in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            BlobKind::Data => "data",
            BlobKind::Tree => "tree",
            BlobKind::List => "list",
        }
    }
}

impl TryFrom<u8> for BlobKind {
    type Error = FormatError;

    fn try_from(byte: u8) -> Result<Self, FormatError> {
        match byte {
            0 => Ok(BlobKind::Data),
            1 => Ok(BlobKind::Tree),
            2 => Ok(BlobKind::List),
            _ => Err(FormatError::TooNew(format!("blob kind {byte}"))),
        }
    }
}

/// The keyed hash of a blob's kind and plaintext. Appears only inside sealed structures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl FromStr for BlobId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id)?;
        Ok(BlobId(id))
    }
}

impl<C> Encode<C> for BlobId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for BlobId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        d.bytes()?.try_into().map(BlobId).map_err(|_| DecodeError::message("a blob id has 32 bytes"))
    }
}

/// Computes blob ids for one group.
#[derive(Clone)]
pub struct BlobHasher {
    data: Key,
    tree: Key,
    list: Key,
}

impl BlobHasher {
    /// The hasher for a group's blob id key.
    pub fn new(blob_id_key: &Key) -> Self {
        BlobHasher {
            data: blob_id_key.derive("obnam v1 blob id data"),
            tree: blob_id_key.derive("obnam v1 blob id tree"),
            list: blob_id_key.derive("obnam v1 blob id list"),
        }
    }

    /// The id of a blob.
    pub fn id(&self, kind: BlobKind, plaintext: &[u8]) -> BlobId {
        let key = match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.tree,
            BlobKind::List => &self.list,
        };
        BlobId(key.keyed_hash(plaintext))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_keys_separate_ids() {
        let hasher = BlobHasher::new(&Key::from_bytes([1; 32]));
        let data = hasher.id(BlobKind::Data, b"x");
        assert_eq!(data, hasher.id(BlobKind::Data, b"x"));
        assert_ne!(data, hasher.id(BlobKind::Tree, b"x"));
        assert_ne!(data, BlobHasher::new(&Key::from_bytes([2; 32])).id(BlobKind::Data, b"x"));
    }
}
