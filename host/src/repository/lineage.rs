//! Where a snapshot stands in history, and where what it relies on is: one that was made from another one takes the place of that one,
//! and needs packs that the other one needed.

use std::collections::{HashMap, HashSet};

use super::metadata::{Listing, SnapshotInfo};
use super::{Repository, RepositoryError};
use crate::chunk::ChunkId;
use crate::format::index::IndexPayload;
use crate::format::signed::Context;
use crate::format::{WriterTag, from_cbor};
use crate::index::Index;

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

    /// The packs that a snapshot needs, and those into which maintainers have moved what it needs, if any of the former are gone.
    pub fn relied_on(
        &self,
        info: &SnapshotInfo,
        listing: &Listing,
        index: &Index,
    ) -> Result<HashSet<ChunkId>, RepositoryError> {
        let mut relied: HashSet<ChunkId> = self.references(info)?.into_iter().map(|reference| reference.pack).collect();
        let mut missing = relied.clone();
        for pack in index.packs() {
            missing.remove(&pack?.info.id);
        }
        missing.extend(relied.intersection(&self.buried(listing)?.packs));
        if missing.is_empty() {
            return Ok(relied);
        }
        let moves = self.moves(listing)?;
        let mut waiting: Vec<ChunkId> = relied.iter().copied().collect();
        while let Some(pack) = waiting.pop() {
            let new = moves.get(&pack).into_iter().flatten().filter(|to| relied.insert(**to));
            waiting.extend(new);
        }
        Ok(relied)
    }

    /// From which packs maintainers have moved blobs, and into which. What cannot be used is told by whoever loads the index.
    fn moves(&self, listing: &Listing) -> Result<HashMap<ChunkId, Vec<ChunkId>>, RepositoryError> {
        let mut moves: HashMap<ChunkId, Vec<ChunkId>> = HashMap::new();
        for info in &listing.indexes {
            let (signer, payload) = match self.signed_payload(info, Context::Index) {
                Ok(read) => read,
                Err(why) => {
                    why.about_chunk()?;
                    continue;
                }
            };
            let Ok(payload) = from_cbor::<IndexPayload>(&payload) else { continue };
            for moved in payload.moves.iter().flatten().filter(|_| self.is_maintainer(&signer)) {
                moves.entry(moved.from).or_default().push(moved.to);
            }
        }
        Ok(moves)
    }
}
