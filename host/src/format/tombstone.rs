//! Tombstones: packs that a maintainer is going to remove (format section 11).

use minicbor::{Decode, Encode};

use super::Time;
use crate::chunk::ChunkId;

/// The payload of a tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tombstone {
    /// The packs.
    #[n(0)]
    pub packs: Vec<ChunkId>,
    /// When it was made.
    #[n(1)]
    pub created: Time,
    /// How long the packs stay, in seconds.
    #[n(2)]
    pub grace: u64,
}
