//! The index by packs: what stands in one, in the order of the pack. The index itself is sorted by blobs, so this goes through all of
//! it, for as many packs at a time as memory is meant for.

use std::collections::HashMap;

use super::IndexedPack;
use super::run::Run;
use crate::format::header::Header;
use crate::format::index::Record;

/// So many records are looked at together, at most, but for a pack that has more (72 bytes of memory each).
const AT_ONCE: usize = 512 << 10;

/// How many records each pack of a run has.
pub fn counts(run: &Run) -> Vec<u32> {
    let mut counts = vec![0u32; run.pack_count() as usize];
    for place in 0..run.len() {
        if let Some(count) = counts.get_mut(run.pack_of(place) as usize) {
            *count += 1;
        }
    }
    counts
}

/// These packs in groups whose records fit into memory together.
pub fn groups(counts: &[u32], packs: impl IntoIterator<Item = u32>) -> Vec<Vec<u32>> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut room = 0;
    for pack in packs {
        let count = counts.get(pack as usize).copied().unwrap_or_default() as usize;
        match groups.last_mut() {
            Some(group) if count <= room => {
                group.push(pack);
                room -= count;
            }
            _ => {
                groups.push(vec![pack]);
                room = AT_ONCE.saturating_sub(count);
            }
        }
    }
    groups
}

/// The records of each of these packs with their places in the run, in the order of the pack.
pub fn records(run: &Run, packs: &[u32]) -> HashMap<u32, Vec<(usize, Record)>> {
    let mut wanted: HashMap<u32, Vec<(usize, Record)>> = packs.iter().map(|pack| (*pack, Vec::new())).collect();
    for place in 0..run.len() {
        if let Some(records) = wanted.get_mut(&run.pack_of(place)) {
            records.push((place, run.record(place)));
        }
    }
    for records in wanted.values_mut() {
        records.sort_unstable_by_key(|(place, record)| (record.place.offset, *place));
    }
    wanted
}

/// Whether these records follow each other without a gap from the beginning of the pack, so that the place of each among them is its
/// place in the pack.
pub fn is_gapless(pack: &IndexedPack, records: &[(usize, Record)]) -> bool {
    let Ok(header) = Header::parse(&pack.info.header) else { return false };
    let mut end = header.length() as u64;
    for (_, record) in records {
        if u64::from(record.place.offset) != end {
            return false;
        }
        end += u64::from(record.place.stored);
    }
    true
}
