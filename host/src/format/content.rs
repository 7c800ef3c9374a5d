//! Contents: a byte stream as a tree of blobs (format section 9). A file of any size, a directory of any length.

use minicbor::{Decode, Encode};

use super::FormatError;
use super::blob::BlobId;

/// Length of one item: blob id and the number of content bytes below it.
pub const ITEM_SIZE: usize = 40;
/// Writers keep up to this many items inline.
pub const MAX_INLINE: usize = 128;
/// Readers refuse deeper contents.
pub const MAX_DEPTH: u8 = 8;

/// One blob of a content or list, with the number of content bytes below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The blob.
    pub id: BlobId,
    /// Bytes of content below it.
    pub size: u64,
}

/// A byte stream: its size, and the blobs that it consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Content {
    /// Length in bytes.
    #[n(0)]
    pub size: u64,
    /// 0: the items are the content's own blobs; d > 0: they are lists of depth d - 1.
    #[n(1)]
    pub depth: u8,
    #[cbor(n(2), with = "minicbor::bytes")]
    items: Vec<u8>,
}

impl Content {
    /// A content of these items.
    pub fn new(depth: u8, items: &[Item]) -> Self {
        let size = items.iter().map(|item| item.size).sum();
        Content { size, depth, items: encode_items(items) }
    }

    /// The items, in order.
    pub fn items(&self) -> Result<impl Iterator<Item = Item> + '_, FormatError> {
        if self.depth > MAX_DEPTH {
            return Err(FormatError::Malformed("a content deeper than 8 lists"));
        }
        decode_items(&self.items)
    }
}

/// The wire form of items: the contents of a list blob.
pub fn encode_items(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.len() * ITEM_SIZE);
    for item in items {
        bytes.extend_from_slice(&item.id.0);
        bytes.extend_from_slice(&item.size.to_le_bytes());
    }
    bytes
}

/// Reads the wire form of items.
pub fn decode_items(bytes: &[u8]) -> Result<impl Iterator<Item = Item> + '_, FormatError> {
    if !bytes.len().is_multiple_of(ITEM_SIZE) {
        return Err(FormatError::Malformed("a list that is no multiple of 40 bytes"));
    }
    Ok(bytes.chunks_exact(ITEM_SIZE).map(|record| {
        let (id, size) = record.split_at(32);
        Item {
            id: BlobId(id.try_into().expect("32 of 40 bytes")),
            size: u64::from_le_bytes(size.try_into().expect("8 of 40 bytes")),
        }
    }))
}
