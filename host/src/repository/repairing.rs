//! Repairing the index: entries that lead nowhere go, and packs that no index chunk names come in.
//!
//! Nothing is destroyed: packs stay as they are, and what an index chunk said of good ones stands in another one afterwards. The next
//! backup stores again what nobody has any more, where the files are still there. Index chunks, notes and tombstones whose bytes are
//! not those that were stored tell nobody anything; they are removed, once what can be found without them is in the index. But where
//! this machine has a copy of such a chunk, or of a snapshot or a client chunk, that is stored again.

use std::collections::{BTreeSet, HashMap};

use super::blobs::{open_header, pack_label};
use super::merging::{self, Merging};
use super::metadata::Listing;
use super::pruning::pack_labels;
use super::{ChunkName, Repository, RepositoryError, family};
use crate::chunk::{ChunkInfo, LabelFilter};
use crate::format::header::Header;
use crate::format::index::{IndexPayload, PackInfo, Record};
use crate::format::pack::{BlobOpener, BlobPlace, read_directory};
use crate::format::roster::Role;
use crate::format::signed::Context;
use crate::format::tombstone::Tombstone;
use crate::format::{FormatError, Time, to_cbor};
use crate::index::IndexedPack;
use crate::store::RemoveOutcome;

/// What a repair has done, or would do.
#[derive(Debug, Default)]
pub struct Repair {
    /// Packs that the index named and that are not there, or not as long as it says.
    pub missing: BTreeSet<ChunkName>,
    /// Entries of blobs that are not good where they should be, in packs that are there.
    pub dropped: u64,
    /// Packs that no index chunk named, all of whose blobs are good.
    pub found: BTreeSet<ChunkName>,
    /// Index chunks, notes and tombstones whose bytes are not those that were stored: they are removed.
    pub unreadable: BTreeSet<ChunkName>,
    /// Chunks whose bytes are not those that were stored: this machine's copies take their places.
    pub mended: BTreeSet<ChunkName>,
    /// Index chunks, and indexes of snapshots, that were replaced.
    pub replaced: u64,
    /// Index chunks that were written instead.
    pub written: u64,
}

impl Repository {
    /// Repairs the index. `is_bad` says of which blobs it is known that they do not open.
    pub fn repair_index(
        &self,
        is_bad: &(dyn Fn(&ChunkName, &BlobPlace) -> bool + Sync),
        dry_run: bool,
    ) -> Result<Repair, RepositoryError> {
        self.require(Role::Maintainer, "repair the index")?;
        let listing = self.listing()?;
        // Listed later than the index: what that names is there, or gone.
        let mut packs = HashMap::new();
        for label in pack_labels() {
            let listed = self.store.list(&LabelFilter::Exactly(label))?;
            packs.extend(listed.into_iter().map(|info| (ChunkName { label: info.label.clone(), id: info.id }, info)));
        }
        let mut repair = Repair { mended: self.mend(&listing, dry_run)?, ..Repair::default() };
        let mut merging = Merging::new(self, listing.looked);
        let mut named = BTreeSet::new();
        let mut replaced: Vec<&ChunkInfo> = Vec::new();
        let mut unreadable: Vec<&ChunkInfo> = Vec::new();
        let superseded = &self.buried(&listing)?.indexes;
        let all = listing.indexes.iter().chain(&listing.snapshots).filter(|info| !superseded.contains(&info.id));
        for info in all {
            let (signer, payload) = match self.index_payload(info) {
                Ok(read) => read,
                Err(why) => {
                    let why = why.about_chunk()?;
                    // What cannot be used otherwise is told by whoever loads the index. Of snapshots there is more to lose.
                    if why.is_corrupt() && info.label.family() == "index" {
                        unreadable.push(info);
                    }
                    continue;
                }
            };
            let Ok(records) = payload.records() else { continue };
            let name = |pack: &PackInfo| {
                let pack = IndexedPack { info: pack.clone(), signer };
                pack_label(&pack).map(|label| ChunkName { label, id: pack.info.id })
            };
            let names = payload.packs.iter().map(name).collect::<Result<Vec<_>, FormatError>>();
            let Ok(names) = names else { continue };
            let is_missing = |(name, pack): (&ChunkName, &PackInfo)| {
                packs.get(name).is_none_or(|info: &ChunkInfo| info.size != pack.size)
            };
            let gone: Vec<bool> = names.iter().zip(&payload.packs).map(is_missing).collect();
            let is_wrong = |record: &&Record| is_bad(&names[record.pack as usize], &record.place);
            let wrong = records.iter().filter(is_wrong).filter(|record| !gone[record.pack as usize]).count();
            for (name, gone) in names.iter().zip(&gone) {
                if *gone {
                    repair.missing.insert(name.clone())
                } else {
                    named.insert(name.clone())
                };
            }
            if wrong == 0 && !gone.contains(&true) {
                merging.stays(payload.packs.iter().map(merging::hash));
                continue;
            }
            let good: Vec<Record> = records.iter().filter(|record| !is_wrong(record)).copied().collect();
            let ids: BTreeSet<_> =
                names.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(name, _)| name.id).collect();
            if dry_run || merging.take(&signer, &payload, &good, |id| ids.contains(id), |_| true)? {
                repair.dropped += wrong as u64;
                replaced.push(info);
            }
        }
        let buried = &self.buried(&listing)?.packs;
        let unnamed = packs.values().filter(|info| !buried.contains(&info.id));
        let unnamed: Vec<&ChunkInfo> =
            unnamed.filter(|info| !named.contains(&ChunkName { label: info.label.clone(), id: info.id })).collect();
        for (info, read) in unnamed.iter().zip(self.in_parallel(&unnamed, |info| self.vouch_for(info))) {
            let (pack, records) = match read {
                Ok(read) => read,
                Err(why) => {
                    why.about_chunk()?;
                    continue;
                }
            };
            repair.found.insert(ChunkName { label: info.label.clone(), id: info.id });
            if !dry_run {
                let payload = IndexPayload { packs: vec![pack], ..IndexPayload::default() };
                merging.take(&self.client.tag, &payload, &records, |_| true, |_| true)?;
            }
        }
        let is_corrupt = |read: Result<(), RepositoryError>| read.is_err_and(|why| why.is_corrupt());
        unreadable.extend(listing.notes.iter().filter(|info| is_corrupt(self.note(info).map(drop))));
        unreadable.extend(listing.tombstones.iter().filter(|info| is_corrupt(self.tombstone(info).map(drop))));
        let name = |info: &&ChunkInfo| ChunkName { label: info.label.clone(), id: info.id };
        repair.unreadable = unreadable.iter().map(name).collect();
        repair.replaced = replaced.len() as u64;
        if !dry_run {
            merging.flush()?;
            repair.written = merging.written;
            self.replace(&listing, &replaced)?;
            let removed = self.in_parallel(&unreadable, |info| self.store.remove(&info.label, &info.id));
            removed.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(repair)
    }

    /// Stores chunks again that are damaged in the store, and of which this machine has a copy. Their ids say that it is a good one.
    fn mend(&self, listing: &Listing, dry_run: bool) -> Result<BTreeSet<ChunkName>, RepositoryError> {
        // No roster and not the repository chunk: were this cut off after the removal, nobody could open the repository any more.
        let clients = self.store.list(&LabelFilter::Exactly(family("client")))?;
        let listed = [&listing.snapshots, &listing.indexes, &listing.notes, &listing.tombstones, &clients];
        let copied: Vec<&ChunkInfo> = listed.into_iter().flatten().collect();
        let damaged = self.in_parallel(&copied, |info| {
            let Some(copy) = self.chunks.get(&info.id).filter(|_| !self.chunks.has_passed(&info.id)) else {
                return Ok(None);
            };
            match self.store.get(&info.label, &info.id, None).map_err(RepositoryError::from) {
                Ok(_) => Ok(None),
                Err(why) => why.about_chunk().map(|why| why.is_corrupt().then_some(copy)),
            }
        });
        let mut mended = BTreeSet::new();
        for (info, copy) in copied.into_iter().zip(damaged) {
            let Some(copy) = copy? else { continue };
            let is_removed = dry_run || self.store.remove(&info.label, &info.id)? == RemoveOutcome::Removed;
            if !is_removed {
                // The store keeps the damaged one for a time, and takes no other one meanwhile.
                continue;
            }
            if !dry_run {
                self.store.put(&info.label, &info.id, copy)?;
            }
            mended.insert(ChunkName { label: info.label.clone(), id: info.id });
        }
        Ok(mended)
    }

    /// The index chunks, and those of snapshots, are of no use any more; the former are removed.
    fn replace(&self, listing: &Listing, replaced: &[&ChunkInfo]) -> Result<(), RepositoryError> {
        if replaced.is_empty() {
            return Ok(());
        }
        let indexes = Some(replaced.iter().map(|info| info.id).collect());
        let tombstone = Tombstone { packs: Vec::new(), created: Time::now(), grace: 0, snapshots: None, indexes };
        self.put_signed(&family("tombstone"), Context::Tombstone, to_cbor(&tombstone))?;
        let is_index = |info: &&&ChunkInfo| listing.indexes.iter().any(|index| index.id == info.id);
        let chunks: Vec<&ChunkInfo> = replaced.iter().filter(is_index).copied().collect();
        let removed = self.in_parallel(&chunks, |info| self.store.remove(&info.label, &info.id));
        removed.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    /// Reads a pack that nobody has indexed. This client puts its name to it, so every blob in it has to be what it is called.
    fn vouch_for(&self, info: &ChunkInfo) -> Result<(PackInfo, Vec<Record>), RepositoryError> {
        let unusable = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let bytes = self.store.get(&info.label, &info.id, None)?;
        let header = Header::parse(&bytes).map_err(unusable)?;
        let pack = open_header(self, &info.label, &header).map_err(unusable)?;
        let places = read_directory(&bytes, &header, &pack.cipher).map_err(unusable)?;
        let mut opener = BlobOpener::default();
        for place in &places {
            let piece = &bytes[place.offset as usize..(place.offset + place.stored) as usize];
            opener.open(&pack.cipher, &pack.hasher, place, piece).map_err(unusable)?;
        }
        let pack = PackInfo {
            label: info.label.to_string(),
            id: info.id,
            size: bytes.len() as u64,
            header: header.bytes().to_vec(),
            writer: self.client.tag,
        };
        Ok((pack, places.into_iter().map(|place| Record { pack: 0, place }).collect()))
    }
}
