//! Tombstones: what a maintainer removes: packs, and snapshots (format section 11).

use minicbor::{Decode, Encode};

use super::Time;
use super::WriterTag;
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
    /// Snapshots that were forgotten.
    #[n(3)]
    pub snapshots: Option<Vec<Forgotten>>,
    /// Index chunks whose contents stand in others.
    #[n(4)]
    pub indexes: Option<Vec<ChunkId>>,
}

/// What stays of a snapshot that was forgotten: enough to tell it from one that somebody made vanish.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Forgotten {
    /// The snapshot's id.
    #[n(0)]
    pub id: ChunkId,
    /// Whose it was.
    #[n(1)]
    pub client: WriterTag,
    /// Its sequence number.
    #[n(2)]
    pub sequence: u64,
    /// The client's snapshot before it.
    #[n(3)]
    pub previous: Option<ChunkId>,
}
