//! Data: reads every chunk, opens every pack, verifies every blob.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Check, Severity};
use crate::chunk::ChunkId;
use crate::format::FormatError;
use crate::format::header::Header;
use crate::format::pack::{BlobOpener, BlobPlace, read_directory};
use crate::index::Index;
use crate::repository::blobs::open_header;
use crate::repository::{ChunkName, RepositoryError};

impl Check<'_> {
    /// Reads every chunk in the store.
    pub(super) fn data(&self, index: &Index) -> Result<(), RepositoryError> {
        let counts = records_per_pack(index)?;
        let mut names: Vec<ChunkName> =
            self.listed.iter().map(|(id, listed)| ChunkName { label: listed.label.clone(), id: *id }).collect();
        names.sort();
        let next = AtomicUsize::new(0);
        let threads = self.repository.store.parallelism().min(names.len().max(1));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut opener = BlobOpener::default();
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.watch.stop.load(Ordering::Relaxed) {
                            break;
                        }
                        self.chunk(name, index, &counts, &mut opener);
                    }
                });
            }
        });
        if self.watch.stop.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    fn chunk(&self, name: &ChunkName, index: &Index, counts: &HashMap<ChunkId, usize>, opener: &mut BlobOpener) {
        let is_pack = matches!(name.label.as_str(), "data" | "tree");
        let indexed = counts.contains_key(&name.id);
        let bytes = match self.repository.store.get(&name.label, &name.id, None) {
            Ok(bytes) => bytes,
            Err(error) => {
                let severity = if is_pack && !indexed { Severity::Warning } else { Severity::Error };
                self.report(severity, "chunk-damaged", Some(name), error.to_string());
                // What is left of it may still open, blob by blob.
                if indexed {
                    self.salvage(name, index, opener);
                }
                return;
            }
        };
        self.watch.chunks.add(1);
        self.watch.bytes.add(bytes.len() as u64);
        if !is_pack || !self.repository.can_read() {
            return;
        }
        match self.pack(name, &bytes, index, opener) {
            Ok(found) if indexed && found < counts[&name.id] => {
                let message = format!(
                    "the index names {} blobs in it that are not there: a damaged or forged index chunk",
                    counts[&name.id] - found
                );
                self.report(Severity::Warning, "index-wrong", Some(name), message);
            }
            Ok(_) => {}
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
    }

    /// Verifies all blobs of a pack. Returns how many of them the index has right.
    fn pack(
        &self,
        name: &ChunkName,
        bytes: &[u8],
        index: &Index,
        opener: &mut BlobOpener,
    ) -> Result<usize, FormatError> {
        let header = Header::parse(bytes)?;
        let pack = open_header(self.repository, &name.label, &header)?;
        let mut matching = 0;
        for place in read_directory(bytes, &header, &pack.cipher)? {
            let piece = &bytes[place.offset as usize..(place.offset + place.stored) as usize];
            match opener.open(&pack.cipher, &pack.hasher, &place, piece) {
                Ok(_) => self.watch.blobs.add(1),
                Err(why) => self.bad_blob(name, &place, &why.to_string()),
            }
            matching += index
                .locations(&place.id)
                .filter(|location| location.record.place == place)
                .filter(|location| location.pack().is_ok_and(|pack| pack.info.id == name.id))
                .count();
        }
        Ok(matching)
    }

    fn bad_blob(&self, name: &ChunkName, place: &BlobPlace, why: &str) {
        let message = format!("{} blob {} does not open: {why}", place.kind.as_str(), place.id);
        self.report(Severity::Error, "blob-damaged", Some(name), message);
        self.bad_blobs.lock().expect("no panic while the lock is held").insert((name.id, place.id));
    }

    /// Tries every blob that the index names in a damaged pack, one range each.
    fn salvage(&self, name: &ChunkName, index: &Index, opener: &mut BlobOpener) {
        for run in &index.runs {
            let named: Vec<_> = (0..run.pack_count())
                .filter_map(|place| Some((place, run.pack(place).ok()?)))
                .filter(|(_, pack)| pack.info.id == name.id)
                .collect();
            for record in (0..run.len()).map(|place| run.record(place)) {
                let Some((_, pack)) = named.iter().find(|(place, _)| *place == record.pack) else { continue };
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
                    self.bad_blob(name, &place, &why);
                }
            }
        }
    }
}

/// How many records the index has of each pack.
fn records_per_pack(index: &Index) -> Result<HashMap<ChunkId, usize>, RepositoryError> {
    let mut counts = HashMap::new();
    for run in &index.runs {
        let mut by_place = vec![0; run.pack_count() as usize];
        for place in 0..run.len() {
            by_place[run.record(place).pack as usize] += 1;
        }
        for (place, count) in by_place.into_iter().enumerate() {
            *counts.entry(run.pack(place as u32)?.info.id).or_default() += count;
        }
    }
    Ok(counts)
}
