//! Reading index chunks, the indexes that stand in snapshots, and reference lists.

use std::collections::HashSet;

use super::metadata::{Listing, SnapshotInfo};
use super::{ChunkName, Repository, RepositoryError};
use crate::chunk::{ChunkId, ChunkInfo};
use crate::format::index::IndexPayload;
use crate::format::references::{self, Reference, ReferencePiece};
use crate::format::signed::Context;
use crate::format::snapshot::Snapshot;
use crate::format::{WriterTag, from_cbor};
use crate::index::Index;
use crate::index::cache::IndexCache;
use crate::index::run::Segment;

/// Index chunks of so many bytes together are read at a time, and so many of them at most.
const INDEXES_AT_ONCE: u64 = 16 << 20;
const MOST_INDEXES: usize = 1024;

impl Repository {
    /// The index of what the listing names. Index chunks that cannot be used are warned about and left out.
    pub fn load_index(&self, listing: &Listing) -> Result<Index, RepositoryError> {
        let cache = IndexCache::new(&self.cache)?;
        let superseded = &self.buried(listing)?.indexes;
        let wanted = listing.indexes.iter().chain(&listing.snapshots);
        let wanted: Vec<&ChunkInfo> = wanted.filter(|info| !superseded.contains(&info.id)).collect();
        let ids: HashSet<ChunkId> = wanted.iter().map(|info| info.id).collect();
        let mut runs = cache.load(&ids)?;
        let covered: HashSet<ChunkId> = runs.iter().flat_map(|run| run.covered()).collect();
        let missing: Vec<&ChunkInfo> = wanted.into_iter().filter(|info| !covered.contains(&info.id)).collect();
        let mut rest = &missing[..];
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_of(rest));
            rest = later;
            let segments = self.in_parallel(batch, |info| match self.segment(info) {
                Ok(segment) => Ok(Some(segment)),
                Err(why) => {
                    let why = why.about_chunk()?;
                    let name = ChunkName { label: info.label.clone(), id: info.id };
                    if name.label.family() == "index" {
                        self.warnings.chunk("index-unusable", &name, format!("it is ignored: {why}"));
                    }
                    Ok(None)
                }
            });
            let segments =
                segments.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, RepositoryError>>()?;
            runs = cache.add(runs, segments)?;
        }
        Ok(Index { runs })
    }

    /// The records that an index chunk or a snapshot brings.
    fn segment(&self, info: &&ChunkInfo) -> Result<Segment, RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let (signer, payload) = self.index_payload(info)?;
        let records = payload.records().map_err(malformed)?;
        Ok(Segment { chunk: Some(info.id), signer, packs: payload.packs, records })
    }

    /// What an index chunk says, or the index of a snapshot, and who signed it.
    pub(super) fn index_payload(&self, info: &ChunkInfo) -> Result<(WriterTag, IndexPayload), RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        if info.label.family() != "snapshot" {
            let (signer, payload) = self.signed_payload(info, Context::Index)?;
            return Ok((signer, from_cbor(&payload).map_err(malformed)?));
        }
        let snapshot = self.snapshot(info)?;
        let payload = snapshot.index.as_deref().map(from_cbor::<IndexPayload>).transpose();
        let payload = payload.and_then(|payload| {
            payload.as_ref().map_or(Ok(vec![]), IndexPayload::records)?;
            Ok(payload)
        });
        if let Err(why) = &payload {
            let name = ChunkName { label: info.label.clone(), id: info.id };
            self.warnings.chunk("index-unusable", &name, format!("its index is ignored: {why}"));
        }
        Ok((snapshot.client, payload.map_err(malformed)?.unwrap_or_default()))
    }

    /// The packs that a snapshot needs.
    pub fn references(&self, info: &SnapshotInfo) -> Result<Vec<Reference>, RepositoryError> {
        self.references_of(&self.whole(info)?)
    }

    /// The packs that a whole snapshot needs.
    pub fn references_of(&self, snapshot: &Snapshot) -> Result<Vec<Reference>, RepositoryError> {
        let inline = references::decode(
            snapshot.references.inline.as_deref().unwrap_or_default(),
            snapshot.references.used.as_deref(),
        );
        let malformed = |why| RepositoryError::Malformed { what: "the reference list of a snapshot".into(), why };
        let mut all = inline.map_err(malformed)?;
        for piece in snapshot.references.pieces.iter().flatten() {
            all.extend(self.reference_piece(&snapshot.client, piece)?);
        }
        Ok(all)
    }

    /// A piece of the reference list of a snapshot of this client.
    pub(super) fn reference_piece(
        &self,
        client: &WriterTag,
        piece: &ReferencePiece,
    ) -> Result<Vec<Reference>, RepositoryError> {
        let malformed = |why| RepositoryError::Malformed { what: "the reference list of a snapshot".into(), why };
        let info = ChunkInfo { label: super::tagged("index", client), id: piece.chunk, size: 0, stored: None };
        let (_, payload) = self.signed_payload(&info, Context::Index)?;
        let payload: IndexPayload = from_cbor(&payload).map_err(malformed)?;
        references::decode_piece(&payload, piece).map_err(malformed)
    }
}

/// How many of these index chunks are read together: at least one, and all of them shorter than [`INDEXES_AT_ONCE`] together.
fn batch_of(chunks: &[&ChunkInfo]) -> usize {
    let mut sum = 0;
    let fits = chunks.iter().take_while(|info| {
        sum += info.size;
        sum <= INDEXES_AT_ONCE
    });
    fits.count().clamp(1, MOST_INDEXES)
}
