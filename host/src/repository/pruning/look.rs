//! One look at the repository: what is there, and what of it snapshots need.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::{Options, Watch, pack_labels};
use crate::chunk::{ChunkId, ChunkInfo, LabelFilter};
use crate::format::index::IndexPayload;
use crate::format::roster::GroupId;
use crate::format::signed::Context;
use crate::format::snapshot::{Reference, Snapshot, decode_references};
use crate::format::tombstone::Tombstone;
use crate::format::{FormatError, Time, WriterTag, from_cbor};
use crate::repository::metadata::Listing;
use crate::repository::{Repository, RepositoryError, family, tagged};
use crate::store::StoreErrorKind;

/// A tombstone that can be used.
pub struct Known {
    pub(super) info: ChunkInfo,
    pub(super) signer: WriterTag,
    pub(super) tombstone: Tombstone,
}

/// What one look has found.
pub struct Look {
    /// The packs in the store. Listed first: what a backup stores later is not there yet.
    pub(super) packs: BTreeMap<ChunkId, ChunkInfo>,
    pub(super) listing: Listing,
    /// How many snapshots keep packs alive.
    pub(super) snapshots: u64,
    /// The packs that they need, with the most bytes of each that one of them needs.
    pub(super) live: HashMap<ChunkId, u64>,
    /// Index chunks with pieces of their reference lists.
    pub(super) pieces: HashSet<ChunkId>,
    pub(super) tombstones: Vec<Known>,
    /// Packs that the tombstones of maintainers name.
    pub(super) marked: HashSet<ChunkId>,
    /// Index chunks that they name.
    pub(super) superseded: HashSet<ChunkId>,
    /// The store's time: not later than it is there.
    now: SystemTime,
}

impl Look {
    pub(super) fn new(repository: &Repository, options: &Options, watch: &Watch) -> Result<Self, RepositoryError> {
        all_keys(repository)?;
        let packs =
            repository.in_parallel(&pack_labels(), |label| repository.store.list(&LabelFilter::Exactly(label.clone())));
        let packs = packs.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let packs: BTreeMap<ChunkId, ChunkInfo> = packs.map(|info| (info.id, info)).collect();
        let listing = repository.listing()?;
        let mut look = Look {
            now: SystemTime::UNIX_EPOCH,
            packs,
            snapshots: 0,
            live: HashMap::new(),
            pieces: HashSet::new(),
            marked: HashSet::new(),
            tombstones: tombstones(repository, &listing),
            superseded: repository.buried(&listing).indexes.clone(),
            listing,
        };
        for (id, snapshot) in snapshots(repository, &look.listing, options)? {
            watch.check()?;
            match look.add_references(repository, &snapshot) {
                Ok(()) => look.snapshots += 1,
                Err(_) if is_given_up(options, &id) => {}
                Err(why) => return Err(RepositoryError::Unprunable { snapshot: id, why: why.to_string() }),
            }
            watch.snapshots.add(1);
        }
        look.now = look.store_time(repository)?;
        let of_maintainers = look.tombstones.iter().filter(|known| repository.is_maintainer(&known.signer));
        look.marked = of_maintainers.flat_map(|known| known.tombstone.packs.iter().copied()).collect();
        Ok(look)
    }

    /// How long ago something was stored, by the store's clock; rather too little than too much.
    pub(super) fn age(&self, stored: SystemTime) -> Duration {
        self.now.duration_since(stored).unwrap_or_default()
    }

    pub(super) fn is_snapshot(&self, id: &ChunkId) -> bool {
        self.listing.snapshots.iter().any(|info| info.id == *id)
    }

    fn need(&mut self, references: Vec<Reference>) {
        for Reference { pack, live } in references {
            let most = self.live.entry(pack).or_default();
            *most = live.max(*most);
        }
    }

    /// Takes note of what a snapshot needs. A piece of a list that others have too is looked at once.
    fn add_references(&mut self, repository: &Repository, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        let malformed = |why| RepositoryError::Malformed { what: "its reference list".into(), why };
        if let Some(inline) = &snapshot.references.inline {
            self.need(decode_references(inline).map_err(malformed)?);
        }
        let label = tagged("index", &snapshot.client);
        for piece in snapshot.references.pieces.iter().flatten() {
            if self.pieces.contains(&piece.chunk) {
                continue;
            }
            let info = ChunkInfo { label: label.clone(), id: piece.chunk, size: 0, stored: None };
            let (_, payload) = repository.signed_payload(&info, Context::Index)?;
            let payload: IndexPayload = from_cbor(&payload).map_err(malformed)?;
            let records = payload.references.unwrap_or_default();
            if ChunkId::of(&records) != piece.digest {
                return Err(malformed(FormatError::Malformed("a piece that does not fit its digest")));
            }
            self.need(decode_references(&records).map_err(malformed)?);
            self.pieces.insert(piece.chunk);
        }
        Ok(())
    }

    /// The time at the store, as far as it shows: the newest thing there. Where that leaves open whether some grace is over, though
    /// this machine's clock says so, something is stored to see when.
    fn store_time(&self, repository: &Repository) -> Result<SystemTime, RepositoryError> {
        let all = [&self.listing.snapshots, &self.listing.indexes, &self.listing.notes, &self.listing.tombstones];
        let stored = all.into_iter().flatten().chain(self.packs.values()).filter_map(|info| info.stored);
        let local = SystemTime::now();
        let Some(shown) = stored.max() else { return Ok(local) };
        let is_over = |known: &Known, now: SystemTime| {
            now.duration_since(known.since()).is_ok_and(|age| age.as_secs() >= known.tombstone.grace)
        };
        if self.tombstones.iter().all(|known| is_over(known, shown) || !is_over(known, local)) {
            return Ok(shown);
        }
        let nothing = Tombstone { packs: Vec::new(), created: Time::now(), grace: 0, snapshots: None, indexes: None };
        let label = family("tombstone");
        let probe = repository.put_signed(&label, Context::Tombstone, crate::format::to_cbor(&nothing))?.id;
        let stored = repository.store.stat(&label, &probe)?.stored;
        repository.store.remove(&label, &probe)?;
        Ok(stored.unwrap_or(shown))
    }
}

/// Refuses to go on where chunks may be needed that this client cannot even read.
fn all_keys(repository: &Repository) -> Result<(), RepositoryError> {
    for group in &repository.roster.groups {
        let GroupId(id) = group.id;
        if group.key_sets.iter().any(|set| repository.keys_of(&id, set.epoch).is_none()) {
            return Err(RepositoryError::NotAllowed {
                action: "prune what clients of another group have stored, whose keys it does not have",
            });
        }
    }
    Ok(())
}

fn tombstones(repository: &Repository, listing: &Listing) -> Vec<Known> {
    let read = repository.in_parallel(&listing.tombstones, |info| repository.tombstone(info));
    let usable = listing.tombstones.iter().zip(read);
    usable
        .filter_map(|(info, read)| read.ok().map(|(signer, tombstone)| Known { info: info.clone(), signer, tombstone }))
        .collect()
}

fn is_given_up(options: &Options, id: &ChunkId) -> bool {
    options.give_up.iter().any(|name| name.len() >= 4 && id.to_string().starts_with(name.as_str()))
}

/// The snapshots that keep packs alive. One that cannot be read because it is damaged, out of reach or of a later version may need any
/// pack; what no member has signed needs none.
fn snapshots(
    repository: &Repository,
    listing: &Listing,
    options: &Options,
) -> Result<Vec<(ChunkId, std::sync::Arc<Snapshot>)>, RepositoryError> {
    let snapshots = repository.snapshots(listing)?;
    let known: HashSet<ChunkId> = snapshots.iter().map(|info| info.id).collect();
    for info in listing.snapshots.iter().filter(|info| !known.contains(&info.id) && !is_given_up(options, &info.id)) {
        match repository.snapshot(info) {
            // Of a client that was removed.
            Ok(_) => {}
            Err(RepositoryError::Unusable { why, .. })
                if !matches!(why, FormatError::TooNew(_) | FormatError::Cbor(_)) => {}
            // Somebody has forgotten it meanwhile.
            Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
            Err(why) => return Err(RepositoryError::Unprunable { snapshot: info.id, why: why.to_string() }),
        }
    }
    let living = snapshots.into_iter().filter(|info| !info.forgotten);
    Ok(living.map(|info| (info.id, info.snapshot)).collect())
}
