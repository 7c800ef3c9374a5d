//! A run: records of the index, sorted by blob id, in one file that is mapped into memory.
//!
//! Layout, little-endian: magic "OBNAMRUN" (8), BLAKE3 of all that follows (32), numbers of covered chunks, of packs, of
//! records (8 each), length of the pack table's text (8), fan-out bits (8); covered chunk ids (32 each), ends of the
//! packs' texts (8 each), the packs' texts (CBOR), padding to 8, fan-out (8 each: number of records whose id begins
//! with a value up to this one), records (52 each, as in index chunks). The file is a cache of this machine: its layout may change with any release,
//! and one that does not check out is thrown away.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::IndexedPack;
use crate::chunk::ChunkId;
use crate::format::blob::BlobId;
use crate::format::index::{PackInfo, RECORD_SIZE, Record};
use crate::format::{WriterTag, from_cbor, to_cbor};
use crate::mapped::Map;

const MAGIC: &[u8; 8] = b"OBNAMRUN";
const HEAD: usize = 8 + 32 + 5 * 8;
/// Records per fan-out slot, about.
const PER_SLOT: u64 = 16;
/// So many records are read at once to find one among them.
const NEAR: usize = 64;

/// Why a run cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file is not a run, or was changed.
    #[error("the index cache is damaged")]
    Damaged,
    /// The file cannot be read or written.
    #[error("the index cache cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// A mapped run.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    map: Map,
    covered: Range<usize>,
    pack_ends: Range<usize>,
    pack_texts: Range<usize>,
    fanout: Range<usize>,
    records: Range<usize>,
    fanout_bits: u32,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PackText {
    #[n(0)]
    info: PackInfo,
    #[n(1)]
    signer: WriterTag,
}

fn slot(id: &BlobId, bits: u32) -> usize {
    let front = u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]);
    if bits == 0 { 0 } else { (front >> (32 - bits)) as usize }
}

impl Run {
    /// Maps a run and checks it as a whole.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let map = Map::open(path)?;
        let number = |place: usize| -> Result<usize, RunError> {
            let bytes = map.get(place..place + 8).ok_or(RunError::Damaged)?;
            let number = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
            usize::try_from(number).ok().filter(|&n| n <= map.len()).ok_or(RunError::Damaged)
        };
        if map.len() < HEAD || map.at(0..8) != MAGIC || map.hash(40..map.len()).as_bytes() != map.at(8..40) {
            return Err(RunError::Damaged);
        }
        let (covered, packs, records) = (number(40)?, number(48)?, number(56)?);
        let (texts, fanout_bits) = (number(64)?, number(72)? as u32);
        let mut end = HEAD;
        let mut section = |length: usize| {
            let start = end;
            end += length;
            start..end
        };
        if fanout_bits > 24 {
            return Err(RunError::Damaged);
        }
        let covered = section(covered * 32);
        let pack_ends = section(packs * 8);
        let pack_texts = section(texts);
        section(pack_texts.end.next_multiple_of(8) - pack_texts.end);
        let fanout = section(8 << fanout_bits);
        let records = section(records * RECORD_SIZE);
        if end != map.len() {
            return Err(RunError::Damaged);
        }
        Ok(Run { path: path.to_owned(), map, covered, pack_ends, pack_texts, fanout, records, fanout_bits })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The index chunks and snapshots whose records are in here.
    pub fn covered(&self) -> impl Iterator<Item = ChunkId> {
        let id = |start| ChunkId::from_bytes(self.map.at(start..start + 32).try_into().expect("32 bytes"));
        self.covered.clone().step_by(32).map(id)
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len() / RECORD_SIZE
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of packs.
    pub fn pack_count(&self) -> u32 {
        (self.pack_ends.len() / 8) as u32
    }

    fn number(&self, section: &Range<usize>, place: usize) -> usize {
        let start = section.start + place * 8;
        u64::from_le_bytes(self.map.at(start..start + 8).try_into().expect("8 bytes")) as usize
    }

    /// One of the packs.
    pub fn pack(&self, place: u32) -> Result<IndexedPack, RunError> {
        if place >= self.pack_count() {
            return Err(RunError::Damaged);
        }
        let place = place as usize;
        let start = if place == 0 { 0 } else { self.number(&self.pack_ends, place - 1) };
        let end = self.number(&self.pack_ends, place);
        if start > end || end > self.pack_texts.len() {
            return Err(RunError::Damaged);
        }
        let text = self.map.at(self.pack_texts.start + start..self.pack_texts.start + end);
        let PackText { info, signer } = from_cbor(text).map_err(|_| RunError::Damaged)?;
        Ok(IndexedPack { info, signer })
    }

    /// Where these records are in the file.
    fn span(&self, places: Range<usize>) -> Range<usize> {
        self.records.start + places.start * RECORD_SIZE..self.records.start + places.end * RECORD_SIZE
    }

    fn record_bytes(&self, place: usize) -> &[u8] {
        self.map.at(self.span(place..place + 1))
    }

    /// One of the records; where several are wanted, in the order of their places.
    pub fn record(&self, place: usize) -> Record {
        parse(self.record_bytes(place))
    }

    /// The pack of one of the records.
    pub fn pack_of(&self, place: usize) -> u32 {
        u32::from_le_bytes(self.record_bytes(place)[32..36].try_into().expect("4 bytes"))
    }

    /// The records of a blob, with their places. One read, if the file is large.
    pub fn find<'r>(&'r self, id: &BlobId) -> impl Iterator<Item = (usize, Record)> + use<'r> {
        let id = *id;
        let slot = slot(&id, self.fanout_bits);
        let mut low = if slot == 0 { 0 } else { self.number(&self.fanout, slot - 1) };
        let end = self.number(&self.fanout, slot);
        let mut high = end;
        // Slots are short, unless somebody has made ids for one.
        while high - low > NEAR {
            let middle = low.midpoint(high);
            if self.record_bytes(middle)[..32] < id.0[..] { low = middle + 1 } else { high = middle }
        }
        let window = low..end.min(high + NEAR);
        let near = self.map.probe(self.span(window.clone()));
        let rows = near.as_chunks::<RECORD_SIZE>().0;
        let mut place = low + rows.partition_point(|row| row[..32] < id.0[..]);
        std::iter::from_fn(move || {
            let row = match near.get((place - window.start) * RECORD_SIZE..) {
                Some([]) | None if place < end => self.record_bytes(place),
                Some([]) | None => return None,
                Some(rows) => &rows[..RECORD_SIZE],
            };
            let found = (row[..32] == id.0).then(|| (place, parse(row)));
            place += 1;
            found
        })
    }
}

fn parse(record: &[u8]) -> Record {
    Record::parse(record).expect("records were checked when the run was made")
}

/// Something that a run can be made of: sorted records with their packs.
pub trait Source {
    /// Chunk ids that the records come from.
    fn covered(&self) -> Vec<ChunkId>;
    /// Number of packs.
    fn pack_count(&self) -> u32;
    /// One of the packs.
    fn pack(&self, place: u32) -> Result<IndexedPack, RunError>;
    /// Number of records.
    fn len(&self) -> usize;
    /// Whether there are no records.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One of the records, which are in ascending order of blob id.
    fn record(&self, place: usize) -> Record;
}

impl Source for Run {
    fn covered(&self) -> Vec<ChunkId> {
        Run::covered(self).collect()
    }
    fn pack_count(&self) -> u32 {
        Run::pack_count(self)
    }
    fn pack(&self, place: u32) -> Result<IndexedPack, RunError> {
        Run::pack(self, place)
    }
    fn len(&self) -> usize {
        Run::len(self)
    }
    fn record(&self, place: usize) -> Record {
        Run::record(self, place)
    }
}

/// The records of one index chunk, in memory.
pub struct Segment {
    /// The chunk that they come from; none for what a backup has just made.
    pub chunk: Option<ChunkId>,
    /// Who signed it.
    pub signer: WriterTag,
    /// Its packs.
    pub packs: Vec<PackInfo>,
    /// Its records, sorted.
    pub records: Vec<Record>,
}

impl Source for Segment {
    fn covered(&self) -> Vec<ChunkId> {
        self.chunk.into_iter().collect()
    }
    fn pack_count(&self) -> u32 {
        self.packs.len() as u32
    }
    fn pack(&self, place: u32) -> Result<IndexedPack, RunError> {
        let info = self.packs.get(place as usize).cloned().ok_or(RunError::Damaged)?;
        Ok(IndexedPack { info, signer: self.signer })
    }
    fn len(&self) -> usize {
        self.records.len()
    }
    fn record(&self, place: usize) -> Record {
        self.records[place]
    }
}

/// Merges sources into a new run file at `path`, in memory bounded by the number of packs.
pub fn merge(sources: &[&dyn Source], directory: &Path, path: &Path) -> Result<Arc<Run>, RunError> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    write(sources, file.as_file_mut())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(Arc::new(Run::open(path)?))
}

fn write(sources: &[&dyn Source], file: &mut File) -> Result<(), RunError> {
    let covered: Vec<ChunkId> = sources.iter().flat_map(|source| source.covered()).collect();
    // By all that is said of a pack, so that two index chunks that say different things of it stay apart.
    let mut places: HashMap<blake3::Hash, u32> = HashMap::new();
    let mut renumbered: Vec<Vec<u32>> = Vec::new();
    let (mut ends, mut texts) = (Vec::<u8>::new(), Vec::<u8>::new());
    for source in sources {
        let mut numbers = Vec::with_capacity(source.pack_count() as usize);
        for place in 0..source.pack_count() {
            let IndexedPack { info, signer } = source.pack(place)?;
            let next = places.len() as u32;
            let text = to_cbor(&PackText { info, signer });
            let place = *places.entry(blake3::hash(&text)).or_insert_with(|| {
                texts.extend_from_slice(&text);
                ends.extend_from_slice(&(texts.len() as u64).to_le_bytes());
                next
            });
            numbers.push(place);
        }
        renumbered.push(numbers);
    }
    let total: u64 = sources.iter().map(|source| source.len() as u64).sum();
    let bits = (total / PER_SLOT).max(1).ilog2().min(24);
    let text_length = texts.len();
    let before = HEAD + covered.len() * 32 + ends.len() + text_length;
    texts.resize(text_length + before.next_multiple_of(8) - before, 0);

    file.seek(SeekFrom::Start(HEAD as u64))?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut *file);
    for id in &covered {
        out.write_all(id.as_bytes())?;
    }
    out.write_all(&ends)?;
    out.write_all(&texts)?;
    let fanout_at = out.stream_position()?;
    let mut fanout = vec![0u64; 1 << bits];
    out.seek(SeekFrom::Current(8 << bits))?;
    let mut written = 0u64;
    let mut last: Option<Record> = None;
    let mut cursors = vec![0; sources.len()];
    loop {
        let next = (0..sources.len())
            .filter(|&n| cursors[n] < sources[n].len())
            .map(|n| (n, sources[n].record(cursors[n])))
            .min_by_key(|(_, record)| record.place.id);
        let Some((n, mut record)) = next else { break };
        cursors[n] += 1;
        record.pack = *renumbered[n].get(record.pack as usize).ok_or(RunError::Damaged)?;
        if last == Some(record) {
            continue;
        }
        out.write_all(&record.to_bytes())?;
        fanout[slot(&record.place.id, bits)] += 1;
        written += 1;
        last = Some(record);
    }
    let mut sum = 0;
    out.seek(SeekFrom::Start(fanout_at))?;
    for count in fanout {
        sum += count;
        out.write_all(&u64::to_le_bytes(sum))?;
    }
    out.seek(SeekFrom::Start(40))?;
    for number in [covered.len() as u64, places.len() as u64, written, text_length as u64, u64::from(bits)] {
        out.write_all(&number.to_le_bytes())?;
    }
    out.flush()?;
    drop(out);
    seal(file)?;
    Ok(())
}

/// Writes the head: the magic and the hash of all that follows it.
fn seal(file: &mut File) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    file.seek(SeekFrom::Start(40))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(MAGIC)?;
    file.write_all(hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::blob::BlobKind;
    use crate::format::pack::BlobPlace;

    fn segment(number: u8, ids: impl Iterator<Item = u32>) -> Segment {
        let id = |n: u32| BlobId(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let place = |n| BlobPlace { kind: BlobKind::Data, id: id(n), compressed: false, offset: n, stored: 1, raw: 1 };
        let mut records: Vec<_> = ids.map(|n| Record { pack: 0, place: place(n) }).collect();
        records.sort_by_key(|record| record.place.id);
        let info = PackInfo {
            label: "data".into(),
            id: ChunkId::from_bytes([number; 32]),
            size: 9,
            header: vec![number],
            writer: WriterTag([2; 8]),
        };
        let chunk = Some(ChunkId::from_bytes([number + 100; 32]));
        Segment { chunk, signer: WriterTag([number; 8]), packs: vec![info], records }
    }

    #[test]
    fn merged_runs_find_everything() {
        let directory = tempfile::tempdir().expect("a directory");
        let (a, b) = (segment(1, 0..3000), segment(2, 2000..5000));
        let path = directory.path().join("run");
        let run = merge(&[&a, &b], directory.path(), &path).expect("merges");
        let again = merge(&[&*run, &segment(3, 0..0)], directory.path(), &directory.path().join("b")).expect("merges");
        for run in [run, again] {
            assert_eq!(run.len(), 6000);
            for n in 0..5100u32 {
                let id = BlobId(*blake3::hash(&n.to_le_bytes()).as_bytes());
                let mut packs: Vec<_> = run
                    .find(&id)
                    .map(|(place, record)| {
                        assert_eq!(run.record(place), record);
                        run.pack(record.pack).expect("a pack").info.header[0]
                    })
                    .collect();
                packs.sort();
                let expected: &[u8] = match n {
                    0..2000 => &[1],
                    2000..3000 => &[1, 2],
                    3000..5000 => &[2],
                    _ => &[],
                };
                assert_eq!(packs, expected, "{n}");
            }
        }
    }

    #[test]
    fn a_changed_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run");
        merge(&[&segment(1, 0..20)], directory.path(), &path).expect("merges");
        let good = std::fs::read(&path).expect("reads");
        for place in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(directory.path().join("bad"), bad).expect("writes");
            assert!(matches!(Run::open(&directory.path().join("bad")), Err(RunError::Damaged)), "{place}");
        }
        std::fs::write(directory.path().join("bad"), &good[..50]).expect("writes");
        assert!(Run::open(&directory.path().join("bad")).is_err());
    }
}
