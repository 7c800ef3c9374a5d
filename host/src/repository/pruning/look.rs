//! One look at the repository: what is there, and what of it snapshots need.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::needs::{KnownMove, Needs};
use super::{Options, Watch, pack_labels};
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use crate::format::index::IndexPayload;
use crate::format::references;
use crate::format::roster::{GroupId, Role};
use crate::format::signed::Context;
use crate::format::snapshot::Snapshot;
use crate::format::tombstone::Tombstone;
use crate::format::{FormatError, Time, WriterTag, from_cbor};
use crate::repository::metadata::{Listing, SnapshotInfo};
use crate::repository::{Repository, RepositoryError, family, merging};
use crate::store::StoreErrorKind;

/// So many snapshots, or index chunks, are read between two looks at whether to stop.
const AT_ONCE: usize = 64;

/// A tombstone that can be used.
pub struct Known {
    pub(super) info: ChunkInfo,
    pub(super) signer: WriterTag,
    pub(super) tombstone: Tombstone,
}

/// An index chunk, or a snapshot with an index of its own, that can be used.
pub struct KnownIndex {
    pub(super) info: ChunkInfo,
    /// The packs that it names, and hashes of what it says of them.
    pub(super) packs: Vec<(ChunkId, blake3::Hash)>,
    /// Whether it is a piece of a reference list instead.
    pub(super) is_piece: bool,
}

/// What one look has found.
pub struct Look {
    /// The packs in the store. Listed first: what a backup stores later is not there yet.
    pub(super) packs: BTreeMap<ChunkId, ChunkInfo>,
    pub(super) listing: Listing,
    /// How many snapshots keep packs alive.
    pub(super) snapshots: u64,
    /// The packs that they name.
    pub(super) named: HashSet<ChunkId>,
    /// What they need, where it is now.
    pub(super) needs: Needs,
    /// The index chunks that can be used, and the indexes of snapshots.
    pub(super) indexes: Vec<KnownIndex>,
    /// The packs that those name.
    pub(super) indexed: HashSet<ChunkId>,
    /// How many packs snapshots need that are not there.
    pub(super) missing: u64,
    /// Blobs that were moved from packs that snapshots name, or that are still there.
    pub(super) moves: Vec<KnownMove>,
    /// Index chunks with pieces of their reference lists.
    pub(super) pieces: HashSet<ChunkId>,
    pub(super) tombstones: Vec<Known>,
    /// Packs that the tombstones of maintainers name.
    pub(super) marked: HashSet<ChunkId>,
    /// Index chunks that they name.
    pub(super) superseded: HashSet<ChunkId>,
    /// Snapshots that cannot be read, and that the user gives up.
    pub(super) given_up: Vec<ChunkInfo>,
    /// The store's time: not later than it is there.
    now: SystemTime,
}

impl Look {
    pub(super) fn new(repository: &Repository, options: &Options, watch: &Watch) -> Result<Self, RepositoryError> {
        all_keys(repository)?;
        let packs = listed_packs(repository)?.collect();
        let listing = repository.listing()?;
        let mut look = Look {
            now: SystemTime::UNIX_EPOCH,
            packs,
            snapshots: 0,
            named: HashSet::new(),
            needs: Needs::default(),
            indexes: Vec::new(),
            indexed: HashSet::new(),
            missing: 0,
            moves: Vec::new(),
            pieces: HashSet::new(),
            marked: HashSet::new(),
            tombstones: tombstones(repository, &listing)?,
            superseded: repository.buried(&listing)?.indexes.clone(),
            given_up: Vec::new(),
            listing,
        };
        let (snapshots, given_up) = snapshots(repository, &look.listing, options)?;
        look.given_up = given_up;
        let listed: HashMap<ChunkId, ChunkInfo> =
            look.listing.snapshots.iter().map(|info| (info.id, info.clone())).collect();
        for some in snapshots.chunks(AT_ONCE) {
            watch.check()?;
            for (info, whole) in some.iter().zip(repository.in_parallel(some, |info| repository.whole(info))) {
                let noted = whole.and_then(|snapshot| {
                    let has_index = !look.superseded.contains(&info.id);
                    let index = listed.get(&info.id).filter(|_| has_index);
                    look.indexes.extend(index.and_then(|info| index_of(info.clone(), &snapshot)));
                    look.add_references(repository, &snapshot)
                });
                match noted {
                    Ok(()) => look.snapshots += 1,
                    Err(_) if is_given_up(options, &info.id) => {}
                    Err(why) => {
                        let why = why.about_chunk()?.to_string();
                        return Err(RepositoryError::Unprunable { snapshot: info.id, why });
                    }
                }
                watch.snapshots.add(1);
            }
        }
        look.read_indexes(repository, watch)?;
        look.needs.follow(&look.moves, |pack| look.packs.contains_key(pack));
        look.indexed = look.indexes.iter().flat_map(|index| index.packs.iter().map(|(pack, _)| *pack)).collect();
        let mut missing = look.missing();
        if !missing.is_empty() {
            // A backup may have stored them meanwhile, and committed.
            let new: Vec<_> = listed_packs(repository)?.filter(|(id, _)| missing.remove(id)).collect();
            look.packs.extend(new);
        }
        look.missing = missing.len() as u64;
        if !missing.is_empty() {
            look.keep_what_is_left(repository, &snapshots, &missing, watch)?;
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

    /// Whether a snapshot needs something of a pack.
    pub(super) fn is_needed(&self, pack: &ChunkId) -> bool {
        self.needs.0.contains_key(pack)
    }

    /// Takes note of what a snapshot needs. A piece of a list that others have too is looked at once.
    fn add_references(&mut self, repository: &Repository, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        let malformed = |why| RepositoryError::Malformed { what: "its reference list".into(), why };
        let list = &snapshot.references;
        let inline = references::decode(list.inline.as_deref().unwrap_or_default(), list.used.as_deref());
        let mut add = |all: Vec<references::Reference>| {
            for reference in all {
                self.named.insert(reference.pack);
                self.needs.add(reference);
            }
        };
        add(inline.map_err(malformed)?);
        for piece in list.pieces.iter().flatten() {
            if self.pieces.insert(piece.chunk) {
                add(repository.reference_piece(&snapshot.client, piece)?);
            }
        }
        Ok(())
    }

    /// Reads all index chunks: which packs they name, and what was moved. What cannot be used is told by whoever loads the index.
    fn read_indexes(&mut self, repository: &Repository, watch: &Watch) -> Result<(), RepositoryError> {
        let listed: Vec<&ChunkInfo> =
            self.listing.indexes.iter().filter(|info| !self.superseded.contains(&info.id)).collect();
        for some in listed.chunks(AT_ONCE) {
            watch.check()?;
            for read in repository.in_parallel(some, |info| read_index(repository, info)) {
                let (index, moves) = match read {
                    Ok(read) => read,
                    Err(RepositoryError::Unusable { .. }) => continue,
                    // What it said of where blobs were moved may be needed: then packs are missing, and what is left of them is kept.
                    Err(why) if why.is_corrupt() => continue,
                    Err(why) => return Err(why),
                };
                let matters = |known: &KnownMove| {
                    self.named.contains(&known.moved.from) || self.packs.contains_key(&known.moved.from)
                };
                self.moves.extend(moves.into_iter().filter(matters));
                self.indexes.push(index);
            }
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

fn listed_packs(repository: &Repository) -> Result<impl Iterator<Item = (ChunkId, ChunkInfo)>, RepositoryError> {
    let list = |label: &Label| repository.store.list(&LabelFilter::Exactly(label.clone()));
    let packs = repository.in_parallel(&pack_labels(), list).into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(packs.into_iter().flatten().map(|info| (info.id, info)))
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

fn tombstones(repository: &Repository, listing: &Listing) -> Result<Vec<Known>, RepositoryError> {
    let mut usable = Vec::new();
    let read = repository.in_parallel(&listing.tombstones, |info| repository.tombstone(info));
    for (info, read) in listing.tombstones.iter().zip(read) {
        match read {
            Ok((signer, tombstone)) => usable.push(Known { info: info.clone(), signer, tombstone }),
            Err(why) => drop(why.about_chunk()?),
        }
    }
    Ok(usable)
}

fn is_given_up(options: &Options, id: &ChunkId) -> bool {
    options.give_up.iter().any(|name| name.len() >= 4 && id.to_string().starts_with(name.as_str()))
}

/// What prune has to know of an index chunk.
fn read_index(repository: &Repository, info: &ChunkInfo) -> Result<(KnownIndex, Vec<KnownMove>), RepositoryError> {
    let unusable = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
    let (signer, payload) = repository.signed_payload(info, Context::Index)?;
    let payload: IndexPayload = from_cbor(&payload).map_err(unusable)?;
    // Only maintainers move, whether they still are some or not.
    let may_move = repository.roster.member(&signer).is_some_and(|member| member.has(Role::Maintainer));
    let counts = repository.is_maintainer(&signer);
    let moves =
        payload.moves.iter().flatten().filter(|_| may_move).filter_map(|moved| KnownMove::new(moved.clone(), counts));
    let moves: Vec<KnownMove> = moves.collect();
    let index = KnownIndex { info: info.clone(), packs: described(&payload), is_piece: payload.references.is_some() };
    Ok((index, moves))
}

/// The index that stands in a snapshot.
fn index_of(info: ChunkInfo, snapshot: &Snapshot) -> Option<KnownIndex> {
    let payload: IndexPayload = from_cbor(snapshot.index.as_deref()?).ok()?;
    Some(KnownIndex { info, packs: described(&payload), is_piece: false })
}

fn described(payload: &IndexPayload) -> Vec<(ChunkId, blake3::Hash)> {
    payload.packs.iter().map(|pack| (pack.id, merging::hash(pack))).collect()
}

/// The snapshots that keep packs alive, and those that the user gives up. One that cannot be read because it is damaged, out of reach or of a later version may need any
/// pack; what no member has signed needs none.
fn snapshots(
    repository: &Repository,
    listing: &Listing,
    options: &Options,
) -> Result<(Vec<SnapshotInfo>, Vec<ChunkInfo>), RepositoryError> {
    let snapshots = repository.snapshots(listing)?;
    let known: HashSet<ChunkId> = snapshots.iter().map(|info| info.id).collect();
    let unknown = listing.snapshots.iter().filter(|info| !known.contains(&info.id));
    let mut given_up = Vec::new();
    for info in unknown {
        match repository.snapshot(info) {
            Err(_) if is_given_up(options, &info.id) => given_up.push(info.clone()),
            // Of a client that was removed.
            Ok(_) => {}
            Err(RepositoryError::Unusable { why, .. })
                if !matches!(why, FormatError::TooNew(_) | FormatError::Cbor(_)) => {}
            // Somebody has forgotten it meanwhile.
            Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
            Err(why) => {
                let why = why.about_chunk()?.to_string();
                return Err(RepositoryError::Unprunable { snapshot: info.id, why });
            }
        }
    }
    Ok((snapshots.into_iter().filter(|info| !info.forgotten).collect(), given_up))
}
