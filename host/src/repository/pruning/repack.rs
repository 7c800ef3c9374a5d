//! Repacking: blobs that are needed go from packs that hold little else into new ones, so that the old ones can go.
//!
//! What is copied is opened first, and has to be what it is called; a pack with a blob that is not, or with other blobs than the index
//! says, stays as it is. New packs keep
//! the writer of the old ones, by whom everybody decides whether to rely on them. Index chunks say from where the blobs came
//! ([`Moved`]), so that reference lists that name the old packs lead to the new ones.
//!
//! Memory: [`AT_ONCE`] bytes of blobs, the packs that are being filled (one for each kind) or stored, and what
//! [`contents`] and the next index chunk hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;

use super::look::Look;
use super::needs::KnownMove;
use super::{Budget, Pruning, Sum, Unused, is_in_time};
use crate::chunk::ChunkId;
use crate::crypto::aead::TAG_SIZE;
use crate::format::blob::BlobKind;
use crate::format::header::{Header, KeyId};
use crate::format::index::{IndexPayload, Moved, PackInfo, Record};
use crate::format::ordinals::Ordinals;
use crate::format::pack::{BlobOpener, BlobPlace, FinishedPack, PackBuilder, read_directory_at};
use crate::format::signed::Context;
use crate::format::{FormatError, WriterTag, to_cbor};
use crate::index::{Index, IndexedPack, contents};
use crate::repository::blobs::{open_header, pack_label};
use crate::repository::{ChunkName, Repository, RepositoryError, family, tagged};

/// Blobs of so many bytes are read at a time.
const AT_ONCE: u64 = 32 << 20;
/// Ranges that are this near to each other are read as one.
const GAP: u32 = 128 << 10;
/// Packs of fewer bytes are small.
const SMALL: u64 = 1 << 20;
/// So many small packs are put together.
const MANY: usize = 32;
/// An index chunk is written for this many records, or packs.
const RECORDS: usize = 128 << 10;
const PACKS: usize = 64;

/// A pack that is worth repacking.
struct Candidate {
    id: ChunkId,
    size: u64,
    /// Bytes of its blobs that are needed.
    live: u64,
    /// And of those that are not.
    waste: u64,
}

/// What is to be repacked.
#[derive(Debug, Default)]
pub(super) struct Plan {
    chosen: HashSet<ChunkId>,
    /// The packs.
    pub(super) packs: Sum,
    /// Bytes of them that are needed.
    pub(super) live: u64,
    /// Bytes that nobody needs, in packs of which something is needed.
    pub(super) waste: u64,
}

impl Plan {
    /// What is worth repacking within this budget: first the packs with the largest part that is not needed.
    pub(super) fn new(pruning: &Pruning<'_>, look: &Look, budget: &Budget) -> Result<Self, RepositoryError> {
        let index = pruning.repository.load_index(&look.listing)?;
        let mut candidates = Vec::new();
        let mut plan = Plan::default();
        let mut all = 0;
        each_pack(
            pruning.repository,
            &index,
            look,
            |id| look.is_needed(id),
            |source| {
                let (live, waste) = (source.live(), source.waste());
                plan.waste += waste;
                all += source.pack.info.size;
                if pruning.is_old(look, &source.pack.info.id) {
                    candidates.push(Candidate { id: source.pack.info.id, size: source.pack.info.size, live, waste });
                }
                Ok(())
            },
        )?;
        let allowed = match budget.max_unused {
            Unused::Unlimited => return Ok(plan),
            Unused::Bytes(bytes) => bytes,
            Unused::Percent(percent) => (all as f64 * percent / 100.0) as u64,
        };
        plan.choose(candidates, allowed, budget.max_repack.unwrap_or(u64::MAX));
        Ok(plan)
    }

    fn choose(&mut self, mut candidates: Vec<Candidate>, allowed: u64, most: u64) {
        let share = |candidate: &Candidate| candidate.waste as f64 / candidate.size.max(1) as f64;
        candidates.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.id.cmp(&b.id)));
        let is_small = |candidate: &&Candidate| candidate.size < SMALL;
        let many_small = candidates.iter().filter(is_small).count() >= MANY;
        let mut waste = self.waste;
        for candidate in &candidates {
            let pays = waste > allowed && candidate.waste > candidate.size / 64;
            let wanted = pays || many_small && is_small(&candidate);
            if wanted && self.live + candidate.live <= most {
                self.chosen.insert(candidate.id);
                self.packs.add(candidate.size);
                self.live += candidate.live;
                waste = waste.saturating_sub(candidate.waste);
            }
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }
}

/// A pack, and what of it is needed.
struct Source {
    pack: IndexedPack,
    /// All of its blobs, in order.
    places: Vec<BlobPlace>,
    needed: Ordinals,
}

impl Source {
    fn live(&self) -> u64 {
        self.needed().map(|place| u64::from(place.stored)).sum()
    }

    fn waste(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.stored)).sum::<u64>() - self.live()
    }

    fn needed(&self) -> impl Iterator<Item = &BlobPlace> {
        self.needed.iter().filter_map(|number| self.places.get(number as usize))
    }

    /// The group's keys that it was sealed with.
    fn keys(&self) -> Result<(KeyId, u64), FormatError> {
        Header::parse(&self.pack.info.header).map(|header| (header.key_id, header.epoch))
    }
}

/// Calls `each` once for every pack that is wanted and that an index whose word counts describes without a gap.
fn each_pack(
    repository: &Repository,
    index: &Index,
    look: &Look,
    is_wanted: impl Fn(&ChunkId) -> bool,
    mut each: impl FnMut(Source) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let mut done = HashSet::new();
    for run in &index.runs {
        let counts = contents::counts(run);
        let mut wanted: Vec<(WriterTag, u32)> = Vec::new();
        for place in 0..run.pack_count() {
            let pack = run.pack(place)?;
            let speaks = pack.signer == pack.info.writer || repository.is_maintainer(&pack.signer);
            let is_there = look.packs.get(&pack.info.id).is_some_and(|info| info.size == pack.info.size);
            if speaks && is_there && is_wanted(&pack.info.id) && !done.contains(&pack.info.id) {
                wanted.push((pack.info.writer, place));
            }
        }
        wanted.sort_unstable();
        for group in contents::groups(&counts, wanted.into_iter().map(|(_, place)| place)) {
            let mut records = contents::records(run, &group);
            for number in group {
                let pack = run.pack(number)?;
                let records = records.remove(&number).unwrap_or_default();
                let Some(need) = look.needs.0.get(&pack.info.id) else { continue };
                let needed = need.used.clone().unwrap_or_else(|| Ordinals::all(records.len() as u32));
                let is_known = needed.count() as usize == records.len() && contents::is_gapless(&pack, &records);
                if is_known && done.insert(pack.info.id) {
                    let places = records.into_iter().map(|(_, record)| record.place).collect();
                    each(Source { pack, places, needed })?;
                }
            }
        }
    }
    Ok(())
}

/// What blobs are put together into one pack: those of one kind, one writer, and one set of keys.
type Class = (WriterTag, KeyId, u64, &'static str);

/// A pack that is being filled.
struct Filling {
    pack: PackBuilder,
    /// From where its blobs are.
    from: Vec<Part>,
}

/// Blobs of one pack in another.
struct Part {
    from: ChunkId,
    ordinals: Ordinals,
    first: u32,
}

/// Repacks what a plan has chosen.
pub(super) struct Repacking<'r> {
    repository: &'r Repository,
    look: &'r Look,
    /// The moves that lead to packs that are being repacked, by pack.
    before: HashMap<ChunkId, Vec<&'r KnownMove>>,
    filling: BTreeMap<Class, Filling>,
    full: Vec<(Class, FinishedPack, Vec<Part>)>,
    packs: Vec<PackInfo>,
    records: Vec<Record>,
    moves: Vec<Moved>,
    /// Packs all of whose needed blobs are copied.
    pub(super) done: HashSet<ChunkId>,
    /// Packs that were written.
    pub(super) written: Sum,
}

impl<'r> Repacking<'r> {
    /// Copies what is needed of the packs that were chosen; which were. Ends early when the time is over.
    pub(super) fn run(
        pruning: &Pruning<'r>,
        look: &'r Look,
        plan: &Plan,
        until: Option<Instant>,
    ) -> Result<Self, RepositoryError> {
        let repository = pruning.repository;
        let mut before: HashMap<ChunkId, Vec<&KnownMove>> = HashMap::new();
        // What a removed maintainer says of a pack that is there does not become the word of this one.
        for known in look.moves.iter().filter(|known| known.counts || !look.packs.contains_key(&known.moved.from)) {
            before.entry(known.moved.to).or_default().push(known);
        }
        let mut repacking = Repacking {
            repository,
            look,
            before,
            filling: BTreeMap::new(),
            full: Vec::new(),
            packs: Vec::new(),
            records: Vec::new(),
            moves: Vec::new(),
            done: HashSet::new(),
            written: Sum::default(),
        };
        // What was merged meanwhile stands elsewhere now.
        let index = repository.load_index(&repository.listing()?)?;
        let mut batch: Vec<Source> = Vec::new();
        let mut bytes = 0;
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        each_pack(
            repository,
            &index,
            look,
            |id| plan.chosen.contains(id),
            |source| {
                if is_over() {
                    return Ok(());
                }
                bytes += source.live();
                batch.push(source);
                if bytes >= AT_ONCE {
                    pruning.watch.check()?;
                    bytes = 0;
                    repacking.copy(&std::mem::take(&mut batch))?;
                    pruning.watch.repacked.add(repacking.done.len() as u64 - pruning.watch.repacked.get());
                }
                Ok(())
            },
        )?;
        pruning.watch.check()?;
        repacking.copy(&batch)?;
        repacking.close(None)?;
        repacking.store()?;
        repacking.write_index()?;
        pruning.watch.repacked.add(repacking.done.len() as u64 - pruning.watch.repacked.get());
        Ok(repacking)
    }

    fn copy(&mut self, sources: &[Source]) -> Result<(), RepositoryError> {
        let read = self.repository.in_parallel(sources, |source| read(self.repository, source));
        for (source, texts) in sources.iter().zip(read) {
            match texts {
                Ok(texts) => self.take(source, &texts)?,
                Err(why) => {
                    let Ok(label) = pack_label(&source.pack) else { continue };
                    let name = ChunkName { label, id: source.pack.info.id };
                    let message =
                        format!("it is not repacked, because not all that is needed of it can be read: {why}");
                    self.repository.warnings.chunk("pack-damaged", &name, message);
                }
            }
        }
        self.store()
    }

    /// Adds the needed blobs of a pack to those that are being filled.
    fn take(&mut self, source: &Source, texts: &[Vec<u8>]) -> Result<(), RepositoryError> {
        let malformed = |why| RepositoryError::Malformed { what: "the header of a pack".into(), why };
        let (group, epoch) = source.keys().map_err(malformed)?;
        // Sealed with the newest keys, if they give blobs the same names.
        let newest = self.repository.sealing_keys();
        let keys = self.repository.keys_of(&group, epoch).ok_or(malformed(FormatError::NoKey))?;
        let keys = if newest.group == keys.group && newest.names_alike(keys) { newest } else { keys };
        let class = (source.pack.info.writer, keys.group, keys.epoch, "");
        self.close(Some(class))?;
        for (number, text) in source.needed.iter().zip(texts) {
            let place = &source.places[number as usize];
            let (label, target) = match place.kind {
                BlobKind::Data => ("data", self.repository.roster.parameters.data_pack),
                _ => ("tree", self.repository.roster.parameters.tree_pack),
            };
            let class = (class.0, class.1, class.2, label);
            let filling = match self.filling.entry(class) {
                std::collections::btree_map::Entry::Occupied(filling) => filling.into_mut(),
                std::collections::btree_map::Entry::Vacant(empty) => {
                    let pack = self.repository.new_pack_under(keys, &family(label), target as usize + (1 << 20))?;
                    empty.insert(Filling { pack, from: Vec::new() })
                }
            };
            let at = filling.pack.add_stored(place, text);
            match filling.from.last_mut().filter(|part| part.from == source.pack.info.id) {
                Some(part) => part.ordinals.insert(number),
                None => {
                    let mut ordinals = Ordinals::none(source.needed.count());
                    ordinals.insert(number);
                    filling.from.push(Part { from: source.pack.info.id, ordinals, first: at });
                }
            }
            if filling.pack.size() >= target as usize {
                let Filling { pack, from } = self.filling.remove(&class).expect("it was filled just now");
                self.full.push((class, pack.finish(), from));
            }
        }
        self.done.insert(source.pack.info.id);
        Ok(())
    }

    /// Ends the packs that are being filled, but those of this writer and these keys.
    fn close(&mut self, but: Option<Class>) -> Result<(), RepositoryError> {
        let is_other = |class: &Class| but.is_none_or(|but| (class.0, class.1, class.2) != (but.0, but.1, but.2));
        let others: Vec<Class> = self.filling.keys().copied().filter(is_other).collect();
        for class in others {
            let Filling { pack, from } = self.filling.remove(&class).expect("it is there");
            self.full.push((class, pack.finish(), from));
        }
        Ok(())
    }

    /// Stores the packs that are full.
    fn store(&mut self) -> Result<(), RepositoryError> {
        let full = std::mem::take(&mut self.full);
        let put = |(_, pack, _): &(Class, FinishedPack, Vec<Part>)| {
            self.repository.store.put(&pack.label, &pack.id, pack.bytes.clone())
        };
        for stored in self.repository.in_parallel(&full, put) {
            stored?;
        }
        for ((writer, ..), pack, from) in full {
            self.note(writer, pack, from);
        }
        if self.records.len() >= RECORDS || self.packs.len() >= PACKS { self.write_index() } else { Ok(()) }
    }

    /// Takes note of a pack that is stored, for the next index chunk.
    fn note(&mut self, writer: WriterTag, pack: FinishedPack, from: Vec<Part>) {
        let (to, to_count) = (pack.id, pack.blobs.len() as u32);
        for Part { from, ordinals, first } in from {
            let before = self.before.get(&from).into_iter().flatten();
            self.moves.extend(before.filter_map(|known| known.then(&ordinals, (to, to_count, first))));
            let (from_count, bits) = (ordinals.count(), ordinals.as_bytes().to_vec());
            self.moves.push(Moved { from, from_count, bits, to, to_count, first });
        }
        let number = self.packs.len() as u32;
        self.records.extend(pack.blobs.iter().map(|place| Record { pack: number, place: *place }));
        self.written.add(pack.bytes.len() as u64);
        self.packs.push(PackInfo {
            label: pack.label.to_string(),
            id: pack.id,
            size: pack.bytes.len() as u64,
            header: pack.header,
            writer,
        });
    }

    fn write_index(&mut self) -> Result<(), RepositoryError> {
        if self.packs.is_empty() {
            return Ok(());
        }
        is_in_time(self.look.listing.looked)?;
        let payload = IndexPayload::new(std::mem::take(&mut self.packs), std::mem::take(&mut self.records));
        let payload = IndexPayload { moves: Some(std::mem::take(&mut self.moves)), ..payload };
        let label = tagged("index", &self.repository.client.tag);
        self.repository.put_signed(&label, Context::Index, to_cbor(&payload)).map(drop)
    }
}

/// Reads the needed blobs of a pack, each as it was before it was sealed; all of them are what they are called.
fn read(repository: &Repository, source: &Source) -> Result<Vec<Vec<u8>>, RepositoryError> {
    let label =
        pack_label(&source.pack).map_err(|why| RepositoryError::Malformed { what: "an index entry".into(), why })?;
    let id = &source.pack.info.id;
    let unusable = |why| RepositoryError::Unusable { label: label.clone(), id: *id, why };
    let header = Header::parse(&source.pack.info.header).map_err(unusable)?;
    let pack = open_header(repository, &label, &header).map_err(unusable)?;
    // What the pack says of itself decides which blob is which: whoever wrote it once may say something else in the index by now.
    let size = source.pack.info.size;
    let end = source.places.last().map_or(0, |place| place.offset + place.stored);
    let mut wanted: Vec<(u32, u32)> = source.needed().map(|place| (place.offset, place.stored)).collect();
    wanted.push((end, u32::try_from(size).unwrap_or(u32::MAX).saturating_sub(end)));
    let mut pieces: Vec<Bytes> = Vec::with_capacity(wanted.len());
    for near in wanted.chunk_by(|a, b| b.0 - (a.0 + a.1) <= GAP) {
        let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
        let bytes =
            repository.store.get(&label, id, Some(u64::from(first.0)..u64::from(last.0) + u64::from(last.1)))?;
        pieces.extend(near.iter().map(|(offset, length)| {
            let at = (offset - first.0) as usize;
            bytes.slice(at..at + *length as usize)
        }));
    }
    let directory = pieces.pop().unwrap_or_default();
    let places = read_directory_at(&directory, end as usize, &header, &pack.cipher).map_err(unusable)?;
    if places != source.places {
        return Err(unusable(FormatError::Malformed("a pack that holds something else than an index says")));
    }
    let mut opener = BlobOpener::default();
    let open = |(place, piece): (&BlobPlace, &Bytes)| {
        let mut text = piece.to_vec();
        opener.open_in_place(&pack.cipher, &pack.hasher, place, &mut text).map_err(unusable)?;
        text.truncate(text.len() - TAG_SIZE);
        Ok(text)
    };
    source.needed().zip(&pieces).map(open).collect()
}
