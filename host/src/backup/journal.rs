//! The journal: packs that are stored but in no index chunk yet, in a local file, so that a backup that was cut off (by
//! `kill -9`, or a power cut) does not store them again. The next backup begins by writing the index chunk that the cut-off
//! one had no time for. It is a cache: without it the packs are stored again, and nothing else happens.
//!
//! Layout, little-endian: magic "OBNAMJNL" (8), then for each pack: length (4), BLAKE3 (32), the payload of an index
//! chunk with this one pack. Whatever stands behind the first record that does not fit its hash is ignored.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::clock::Moment;
use crate::format::index::{IndexPayload, PackInfo, Record};
use crate::format::signed::Context;
use crate::format::{Fields, from_cbor, to_cbor};
use crate::repository::{Repository, RepositoryError, pruning, tagged};

const MAGIC: &[u8; 8] = b"OBNAMJNL";
/// An index chunk is written for this many records, as during a backup.
const SEGMENT: usize = super::session::SEGMENT;

fn path(repository: &Repository) -> PathBuf {
    repository.cache_dir().join("packs.journal")
}

/// Writes down packs. Failures lose the journal, not the backup.
pub struct Journal {
    path: PathBuf,
    /// Made for the first pack.
    file: Option<File>,
    broken: bool,
}

impl Journal {
    /// An empty journal. What one that was cut off has left has been recovered by now.
    pub fn new(repository: &Repository) -> Self {
        Journal { path: path(repository), file: None, broken: false }
    }

    /// Notes a pack that is durable.
    pub fn note(&mut self, pack: &PackInfo, records: &[Record]) {
        let records = records.iter().map(|record| Record { pack: 0, ..*record }).collect();
        let payload = to_cbor(&IndexPayload::new(vec![pack.clone()], records));
        let mut entry = (payload.len() as u32).to_le_bytes().to_vec();
        entry.extend_from_slice(blake3::hash(&payload).as_bytes());
        entry.extend_from_slice(&payload);
        if self.broken {
            return;
        }
        if let Err(error) = self.append(&entry) {
            tracing::info!("{} is not kept any more: {error}", self.path.display());
            self.broken = true;
        }
    }

    fn append(&mut self, entry: &[u8]) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
                file.write_all(MAGIC)?;
                none.insert(file)
            }
        };
        file.write_all(entry)
    }

    /// Forgets all packs: an index chunk has them now.
    pub fn clear(&mut self) {
        self.file = None;
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The packs in a journal, up to where it is damaged.
fn read(bytes: &[u8]) -> Vec<(PackInfo, Vec<Record>)> {
    let mut found = Vec::new();
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return found };
    let mut fields = Fields(rest);
    while let (Ok(length), Ok(hash)) = (fields.u32(), fields.array::<32>()) {
        let Ok(payload) = fields.take(length as usize) else { break };
        if blake3::hash(payload) != hash {
            break;
        }
        let Ok(mut payload) = from_cbor::<IndexPayload>(payload) else { break };
        let (Ok(records), Some(pack)) = (payload.records(), payload.packs.pop()) else { break };
        found.push((pack, records));
    }
    found
}

/// Writes index chunks for the packs that a backup which was cut off has left, as far as they are still there.
pub fn recover(repository: &Repository) -> Result<(), RepositoryError> {
    let Ok(bytes) = std::fs::read(path(repository)) else { return Ok(()) };
    let (found, looked) = (read(&bytes), Moment::now());
    let there = repository.in_parallel(&found, |(pack, _)| {
        let label = pack.label.parse().ok()?;
        repository.store.stat(&label, &pack.id).ok().filter(|info| info.size == pack.size)
    });
    let (mut packs, mut records) = (Vec::new(), Vec::new());
    for ((pack, of_pack), _) in found.into_iter().zip(there).filter(|(_, there)| there.is_some()) {
        let number = packs.len() as u32;
        packs.push(pack);
        records.extend(of_pack.into_iter().map(|record| Record { pack: number, ..record }));
        if records.len() >= SEGMENT {
            write(repository, &mut packs, &mut records, looked)?;
        }
    }
    if !packs.is_empty() {
        write(repository, &mut packs, &mut records, looked)?;
    }
    let _ = std::fs::remove_file(path(repository));
    Ok(())
}

fn write(
    repository: &Repository,
    packs: &mut Vec<PackInfo>,
    records: &mut Vec<Record>,
    looked: Moment,
) -> Result<(), RepositoryError> {
    pruning::is_in_time(looked)?;
    tracing::info!("{} packs of a backup that was cut off are taken over", packs.len());
    let payload = IndexPayload::new(std::mem::take(packs), std::mem::take(records));
    repository.put_signed(&tagged("index", &repository.client.tag), Context::Index, to_cbor(&payload))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;
    use crate::format::WriterTag;
    use crate::format::blob::{BlobId, BlobKind};
    use crate::format::pack::BlobPlace;

    fn pack(number: u8) -> (PackInfo, Vec<Record>) {
        let id = ChunkId::from_bytes([number; 32]);
        let info =
            PackInfo { label: "data".into(), id, size: 1 << 20, header: vec![number], writer: WriterTag([1; 8]) };
        let place = |n| BlobPlace {
            kind: BlobKind::Data,
            id: BlobId([n; 32]),
            compressed: false,
            offset: u32::from(n),
            stored: 20,
            raw: 4,
        };
        (info, (0..number).map(|n| Record { pack: 0, place: place(n) }).collect())
    }

    #[test]
    fn what_is_whole_comes_back() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("journal");
        let mut journal = Journal { path: path.clone(), file: None, broken: false };
        let packs = [pack(1), pack(9), pack(3)];
        for (info, records) in &packs {
            journal.note(info, records);
        }
        let bytes = std::fs::read(&path).expect("is there");
        assert_eq!(read(&bytes), packs);
        assert_eq!(read(&bytes[..bytes.len() - 1]), packs[..2], "the torn one is left out");
        let mut damaged = bytes;
        damaged[60] ^= 1;
        assert_eq!(read(&damaged), []);
        journal.clear();
        assert!(!path.exists());
        journal.note(&packs[0].0, &packs[0].1);
        assert_eq!(read(&std::fs::read(&path).expect("is there")), packs[..1]);
        assert_eq!(read(b""), []);
    }
}
