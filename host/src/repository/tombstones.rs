//! Tombstones: what maintainers have laid to rest (format section 11).

use std::collections::{HashMap, HashSet};

use super::metadata::Listing;
use super::{ChunkName, Repository, RepositoryError, family};
use crate::chunk::{ChunkId, ChunkInfo, LabelFilter};
use crate::format::roster::Role;
use crate::format::signed::Context;
use crate::format::tombstone::{Forgotten, Tombstone};
use crate::format::{WriterTag, from_cbor};

/// What the valid tombstones of a listing say.
#[derive(Debug, Default)]
pub struct Buried {
    /// Packs that are or will be removed: nobody relies on them any more.
    pub packs: HashSet<ChunkId>,
    /// Index chunks and snapshots' indexes whose contents stand in others.
    pub indexes: HashSet<ChunkId>,
    /// Snapshots that were forgotten.
    pub forgotten: HashMap<ChunkId, Forgotten>,
}

impl Repository {
    /// What the tombstones of a listing say, those that can be used. Who was a maintainer once can still keep others from relying on
    /// packs, which costs space at most; nothing vanishes by the word of one who was removed.
    pub fn buried<'l>(&self, listing: &'l Listing) -> Result<&'l Buried, RepositoryError> {
        if let Some(buried) = listing.buried.get() {
            return Ok(buried);
        }
        let buried = self.buried_by(&listing.tombstones)?;
        Ok(listing.buried.get_or_init(|| buried))
    }

    pub(super) fn buried_by(&self, listed: &[ChunkInfo]) -> Result<Buried, RepositoryError> {
        let mut buried = Buried::default();
        for (info, tombstone) in listed.iter().zip(self.in_parallel(listed, |info| self.tombstone(info))) {
            match tombstone {
                Ok((signer, tombstone)) => {
                    buried.packs.extend(tombstone.packs);
                    if self.is_maintainer(&signer) {
                        buried.indexes.extend(tombstone.indexes.into_iter().flatten());
                        let forgotten = tombstone.snapshots.into_iter().flatten();
                        buried.forgotten.extend(forgotten.map(|gone| (gone.id, gone)));
                    }
                }
                Err(why) => {
                    let why = why.about_chunk()?;
                    let name = ChunkName { label: info.label.clone(), id: info.id };
                    self.warnings.chunk("tombstone-unusable", &name, format!("it is ignored: {why}"));
                }
            }
        }
        Ok(buried)
    }

    /// The packs that valid tombstones name, those that are in the store now.
    pub fn tombstoned(&self) -> Result<HashSet<ChunkId>, RepositoryError> {
        let listed = self.store.list(&LabelFilter::Exactly(family("tombstone")))?;
        Ok(self.buried_by(&listed)?.packs)
    }

    /// Whether a member may prune, and has not been removed.
    pub(super) fn is_maintainer(&self, tag: &WriterTag) -> bool {
        self.roster.member(tag).is_some_and(|member| member.has(Role::Maintainer) && member.removed.is_none())
    }

    /// Reads a tombstone; who signed it, and what it says.
    pub(super) fn tombstone(&self, info: &ChunkInfo) -> Result<(WriterTag, Tombstone), RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let (signer, payload) = self.signed_payload(info, Context::Tombstone)?;
        Ok((signer, from_cbor(&payload).map_err(malformed)?))
    }
}
