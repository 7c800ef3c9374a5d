//! Data: reads chunks, opens packs, verifies blobs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Check, Part, Severity, place_key};
use crate::format::FormatError;
use crate::format::header::Header;
use crate::format::index::Record;
use crate::format::pack::{BlobOpener, BlobPlace, read_directory};
use crate::index::{Index, IndexedPack};
use crate::repository::blobs::{open_header, pack_label};
use crate::repository::{ChunkName, RepositoryError};
use crate::store::{StoreError, StoreErrorKind};

impl Check<'_> {
    /// Reads the chunks that are no packs, but for those that came from the store just now: of what this machine has a copy of, the
    /// store's may be damaged.
    pub(super) fn small_chunks(&self, index: &Index) -> Result<(), RepositoryError> {
        let is_copied = |name: &&ChunkName| !is_pack(name) && !self.repository.chunks.has_passed(&name.id);
        let names: Vec<&ChunkName> = self.listed.keys().filter(is_copied).collect();
        // They are read each time, so when that was is not remembered.
        self.each(&names, index, &HashMap::new(), |_, _| ())
    }

    /// Reads the chunks of this part, but for those that were verified within `max_age`. Returns how many there were.
    pub(super) fn data(&self, index: &Index, part: Part, max_age: Option<Duration>) -> Result<usize, RepositoryError> {
        let counts = records_per_pack(index)?;
        let names = {
            let verified = self.verified.lock().expect("no panic while the lock is held");
            part.choose(self.listed.iter().map(|(name, size)| (name, *size)), &verified, max_age)
        };
        self.watch.total.add(names.iter().map(|name| self.listed[*name]).sum());
        self.each(&names, index, &counts, |name, is_good| {
            let mut verified = self.verified.lock().expect("no panic while the lock is held");
            match is_good {
                true => verified.note(name.id, SystemTime::now()),
                false => verified.note_bad(name.id, SystemTime::now()),
            }
        })?;
        Ok(names.len())
    }

    /// Reads these chunks, and tells of each whether it is good; `counts`: how many records the index has of each pack.
    fn each(
        &self,
        names: &[&ChunkName],
        index: &Index,
        counts: &HashMap<ChunkName, usize>,
        told: impl Fn(&ChunkName, bool) + Sync,
    ) -> Result<(), RepositoryError> {
        let (next, failed) = (AtomicUsize::new(0), OnceLock::new());
        let threads = self.repository.store.parallelism().min(names.len().max(1));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut opener = BlobOpener::default();
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.watch.stop.load(Ordering::Relaxed) || failed.get().is_some() {
                            break;
                        }
                        match self.chunk(name, index, counts, &mut opener) {
                            Ok(Some(is_good)) => told(name, is_good),
                            Ok(None) => {}
                            Err(why) => drop(failed.set(why)),
                        }
                    }
                });
            }
        });
        match failed.into_inner() {
            Some(why) => Err(why.into()),
            None if self.watch.stop.load(Ordering::Relaxed) => Err(RepositoryError::Interrupted),
            None => Ok(()),
        }
    }

    /// Reads one chunk. Whether it is good, or none where it was not read; an error where the store fails as a whole, which says nothing about
    /// the chunk.
    fn chunk(
        &self,
        name: &ChunkName,
        index: &Index,
        counts: &HashMap<ChunkName, usize>,
        opener: &mut BlobOpener,
    ) -> Result<Option<bool>, StoreError> {
        let is_pack = is_pack(name);
        let expected = counts.get(name).copied().unwrap_or(0);
        let indexed = expected > 0;
        let bytes = match self.repository.store.get(&name.label, &name.id, None) {
            Ok(bytes) => bytes,
            Err(error) if error.is_outage() => return Err(error),
            Err(error) if error.kind == StoreErrorKind::Archived => {
                self.report(Severity::Warning, "chunk-archived", Some(name), format!("it was not read: {error}"));
                return Ok(None);
            }
            Err(error) => {
                // What is left of it may still open, blob by blob. What the index does not name nobody relies on: neither a pack that it
                // does not know, nor blobs between others that were dropped from it because they are damaged.
                let intact = indexed && self.salvage(name, index, opener) == 0;
                let was_repaired = intact && has_gap(name, index);
                let rest = match (intact, was_repaired) {
                    (false, _) => "",
                    (true, false) => "; all blobs that the index names in it are intact",
                    (true, true) => {
                        "; all blobs that the index still names in it are intact, so nothing more is lost with it"
                    }
                };
                let severity = if is_pack && (was_repaired || !indexed) { Severity::Warning } else { Severity::Error };
                self.report(severity, "chunk-damaged", Some(name), format!("{error}{rest}"));
                return Ok(Some(false));
            }
        };
        self.watch.chunks.add(1);
        self.watch.bytes.add(bytes.len() as u64);
        if !is_pack || !self.repository.can_read() {
            return Ok(Some(true));
        }
        let bad =
            || self.bad_places.lock().expect("no panic while the lock is held").iter().any(|place| place.0 == *name);
        match self.pack(name, &bytes, opener) {
            Ok(places) if right_records(name, &places, index) < expected => {
                let wrong = self.wrong_records(name, &places, index);
                let message =
                    format!("the index names {wrong} blobs in it that are not there: a damaged or forged index chunk");
                self.report(Severity::Warning, "index-wrong", Some(name), message);
            }
            Ok(_) => return Ok(Some(!bad())),
            Err(why) => {
                let severity = if indexed { Severity::Error } else { Severity::Warning };
                self.report(
                    severity,
                    "pack-unusable",
                    Some(name),
                    format!("its bytes are those that were stored, but {why}"),
                );
                if indexed {
                    self.salvage(name, index, opener);
                }
            }
        }
        Ok(Some(false))
    }

    /// Verifies all blobs of a pack. Returns where they stand.
    fn pack(&self, name: &ChunkName, bytes: &[u8], opener: &mut BlobOpener) -> Result<Vec<BlobPlace>, FormatError> {
        let header = Header::parse(bytes)?;
        let pack = open_header(self.repository, &name.label, &header)?;
        let places = read_directory(bytes, &header, &pack.cipher)?;
        for place in &places {
            let piece = &bytes[place.offset as usize..(place.offset + place.stored) as usize];
            match opener.open(&pack.cipher, &pack.hasher, place, piece) {
                Ok(_) => self.watch.blobs.add(1),
                Err(why) => self.bad_blob(name, place, &why.to_string()),
            }
        }
        Ok(places)
    }

    /// Counts the records of the index that name blobs which are not in the pack; nobody may rely on them.
    fn wrong_records(&self, name: &ChunkName, places: &[BlobPlace], index: &Index) -> usize {
        let right = |place: &BlobPlace| {
            let at = places.binary_search_by_key(&place.offset, |place| place.offset);
            at.is_ok_and(|at| places[at] == *place)
        };
        let mut wrong = 0;
        for (_, record) in records_of(index, name) {
            if !right(&record.place) {
                wrong += 1;
                let key = place_key(name, &record.place);
                self.bad_places.lock().expect("no panic while the lock is held").insert(key);
            }
        }
        wrong
    }

    fn bad_blob(&self, name: &ChunkName, place: &BlobPlace, why: &str) {
        let message = format!("{} blob {} does not open: {why}", place.kind.as_str(), place.id);
        self.report(Severity::Error, "blob-damaged", Some(name), message);
        self.bad_places.lock().expect("no panic while the lock is held").insert(place_key(name, place));
    }

    /// Tries every blob that the index names in a damaged pack, one range each. Returns how many do not open.
    fn salvage(&self, name: &ChunkName, index: &Index, opener: &mut BlobOpener) -> usize {
        let mut lost = 0;
        for (pack, record) in records_of(index, name) {
            let place = record.place;
            let range = u64::from(place.offset)..u64::from(place.offset) + u64::from(place.stored);
            let opened = self
                .repository
                .store
                .get(&name.label, &name.id, Some(range))
                .map_err(|error| error.to_string())
                .and_then(|piece| {
                    let header = Header::parse(&pack.info.header).map_err(|why| why.to_string())?;
                    let pack = open_header(self.repository, &name.label, &header).map_err(|why| why.to_string())?;
                    opener.open(&pack.cipher, &pack.hasher, &place, &piece).map_err(|why| why.to_string())?;
                    Ok(())
                });
            if let Err(why) = opened {
                lost += 1;
                self.bad_blob(name, &place, &why);
            }
        }
        lost
    }
}

/// Counts the records of the index that fit the pack's directory.
fn right_records(name: &ChunkName, places: &[BlobPlace], index: &Index) -> usize {
    let count = |place: &BlobPlace| {
        let same = index.locations(&place.id).filter(|location| location.record.place == *place);
        same.filter(|location| location.pack().is_ok_and(|pack| is_called(&pack, name))).count()
    };
    places.iter().map(count).sum()
}

/// The records that the index has of a pack, with what it says of the pack.
fn records_of(index: &Index, name: &ChunkName) -> Vec<(Arc<IndexedPack>, Record)> {
    let mut found = Vec::new();
    for run in &index.runs {
        let named: HashMap<u32, Arc<IndexedPack>> = (0..run.pack_count())
            .filter_map(|place| Some((place, Arc::new(run.pack(place).ok()?))))
            .filter(|(_, pack)| is_called(pack, name))
            .collect();
        if named.is_empty() {
            continue;
        }
        for record in (0..run.len()).map(|place| run.record(place)) {
            if let Some(pack) = named.get(&record.pack) {
                found.push((pack.clone(), record));
            }
        }
    }
    found
}

/// Whether the index leaves out blobs between those that it names in a pack.
fn has_gap(name: &ChunkName, index: &Index) -> bool {
    let mut ranges: Vec<(u32, u32)> =
        records_of(index, name).into_iter().map(|(_, record)| (record.place.offset, record.place.stored)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    let header = records_of(index, name).first().and_then(|(pack, _)| Header::parse(&pack.info.header).ok());
    let mut end = header.map_or(0, |header| header.length() as u64);
    ranges.into_iter().any(|(offset, stored)| {
        let is_behind = u64::from(offset) > end;
        end = u64::from(offset) + u64::from(stored);
        is_behind
    })
}

fn is_called(pack: &IndexedPack, name: &ChunkName) -> bool {
    pack.info.id == name.id && pack.info.label == name.label.as_str()
}

fn is_pack(name: &ChunkName) -> bool {
    matches!(name.label.as_str(), "data" | "tree")
}

/// How many records the index has of each pack.
fn records_per_pack(index: &Index) -> Result<HashMap<ChunkName, usize>, RepositoryError> {
    let mut counts = HashMap::new();
    for run in &index.runs {
        let mut by_place = vec![0; run.pack_count() as usize];
        for place in 0..run.len() {
            by_place[run.record(place).pack as usize] += 1;
        }
        for (place, count) in by_place.into_iter().enumerate() {
            let pack = run.pack(place as u32)?;
            if let Ok(label) = pack_label(&pack) {
                *counts.entry(ChunkName { label, id: pack.info.id }).or_default() += count;
            }
        }
    }
    Ok(counts)
}
