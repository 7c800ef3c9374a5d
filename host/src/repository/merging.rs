//! Merging: index chunks that take over what stands in others.
//!
//! The words of a hostile client must not become the word of a maintainer: a pack is taken over only from the client that
//! made it, or from a maintainer who has taken it over before, and it keeps its writer, by whom everybody decides whether
//! to rely on it.

use std::collections::{HashMap, HashSet};

use super::{Repository, RepositoryError, pruning, tagged};
use crate::chunk::ChunkId;
use crate::clock::Moment;
use crate::format::index::{IndexPayload, Moved, PackInfo, Record};
use crate::format::signed::Context;
use crate::format::{WriterTag, to_cbor};

/// An index chunk is written for this many records (7 MB).
const RECORDS: usize = 128 << 10;

/// Takes over index payloads and stores them as few index chunks.
pub(super) struct Merging<'r> {
    repository: &'r Repository,
    packs: Vec<PackInfo>,
    records: Vec<Record>,
    moves: Vec<Moved>,
    known_moves: HashSet<blake3::Hash>,
    /// Hashes of the packs' descriptions that stand in index chunks which stay, or were taken over.
    known: HashSet<blake3::Hash>,
    /// When what is taken over was listed.
    looked: Moment,
    /// How many chunks were written.
    pub(super) written: u64,
}

impl<'r> Merging<'r> {
    pub(super) fn new(repository: &'r Repository, looked: Moment) -> Self {
        Merging {
            repository,
            packs: Vec::new(),
            records: Vec::new(),
            moves: Vec::new(),
            known_moves: HashSet::new(),
            known: HashSet::new(),
            looked,
            written: 0,
        }
    }

    /// Takes note of packs in an index chunk that stays, by the hashes of what it says of them.
    pub(super) fn stays(&mut self, packs: impl IntoIterator<Item = blake3::Hash>) {
        self.known.extend(packs);
    }

    /// Takes over the packs that `keep` wants, with their records and with the moves that matter. If there is something among them that
    /// may not become the word of this client, nothing is taken over: that index chunk has to stay. Whether it was.
    pub(super) fn take(
        &mut self,
        signer: &WriterTag,
        payload: &IndexPayload,
        records: &[Record],
        keep: impl Fn(&ChunkId) -> bool,
        matters: impl Fn(&Moved) -> bool,
    ) -> Result<bool, RepositoryError> {
        let may_quote = self.repository.is_maintainer(signer);
        let packs: Vec<(u32, &PackInfo)> = (0..).zip(&payload.packs).filter(|(_, pack)| keep(&pack.id)).collect();
        let moves: Vec<&Moved> =
            payload.moves.iter().flatten().filter(|moved| keep(&moved.to) && matters(moved)).collect();
        let is_own = |pack: &PackInfo| pack.writer == *signer || self.known.contains(&hash(pack));
        if !may_quote && (!moves.is_empty() || !packs.iter().all(|(_, pack)| is_own(pack))) {
            self.stays(packs.iter().map(|(_, pack)| hash(pack)));
            return Ok(false);
        }
        if self.records.len() + records.len() > RECORDS {
            self.flush()?;
        }
        let mut places = HashMap::new();
        for (place, pack) in packs {
            if self.known.insert(hash(pack)) {
                places.insert(place, u32::try_from(self.packs.len()).unwrap_or(u32::MAX));
                self.packs.push(pack.clone());
            }
        }
        let taken = records.iter().filter_map(|record| Some(Record { pack: *places.get(&record.pack)?, ..*record }));
        self.records.extend(taken);
        let is_new = |moved: &&Moved| self.known_moves.insert(blake3::hash(&to_cbor(*moved)));
        self.moves.extend(moves.into_iter().filter(is_new).cloned());
        Ok(true)
    }

    /// Stores what has been taken over and is in no index chunk yet.
    pub(super) fn flush(&mut self) -> Result<(), RepositoryError> {
        if self.packs.is_empty() && self.moves.is_empty() {
            return Ok(());
        }
        pruning::is_in_time(self.looked)?;
        let payload = IndexPayload::new(std::mem::take(&mut self.packs), std::mem::take(&mut self.records));
        let moves = std::mem::take(&mut self.moves);
        let payload = IndexPayload { moves: (!moves.is_empty()).then_some(moves), ..payload };
        let label = tagged("index", &self.repository.client.tag);
        self.repository.put_signed(&label, Context::Index, to_cbor(&payload))?;
        self.written += 1;
        Ok(())
    }
}

/// By all that is said of a pack.
pub(super) fn hash(pack: &PackInfo) -> blake3::Hash {
    blake3::hash(&to_cbor(pack))
}
