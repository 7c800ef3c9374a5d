//! Where a snapshot stands in history: one that was made from another one takes the place of that one.

use super::Repository;
use super::metadata::SnapshotInfo;
use crate::chunk::ChunkId;
use crate::format::WriterTag;

/// A place in the history of a client. In the order of these, its snapshots were made by backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The client.
    pub client: WriterTag,
    /// The number.
    pub sequence: u64,
    /// The snapshot that stood there first; several ones with one number are forked history.
    pub first: ChunkId,
    /// Whether this one was made from it.
    pub is_rewritten: bool,
    /// The number in the history of whoever made this one.
    pub own: u64,
}

impl Repository {
    /// Where a snapshot stands. Only a maintainer, who may forget snapshots, can put one in the place of another one: else whoever may write
    /// could make policies drop what is real.
    pub fn place(&self, info: &SnapshotInfo) -> Place {
        let snapshot = &info.snapshot;
        let counted = snapshot.rewritten.as_ref().filter(|_| self.is_maintainer(&snapshot.client));
        let (client, sequence, first) = counted.map_or((snapshot.client, snapshot.sequence, info.id), |first| {
            (first.client, first.sequence, first.snapshot)
        });
        Place { client, sequence, first, is_rewritten: counted.is_some(), own: snapshot.sequence }
    }
}
