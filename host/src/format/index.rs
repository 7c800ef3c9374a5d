//! Index chunks: which blob stands where (format section 8).

use minicbor::{Decode, Encode};

use super::blob::{BlobId, BlobKind};
use super::ordinals::Ordinals;
use super::pack::BlobPlace;
use super::{Fields, FormatError, WriterTag};
use crate::chunk::{ChunkId, MAX_CHUNK_SIZE};

/// Length of one record.
pub const RECORD_SIZE: usize = 52;

/// A pack, as an index chunk describes it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PackInfo {
    /// `data` or `tree`.
    #[n(0)]
    pub label: String,
    /// The pack's chunk id.
    #[n(1)]
    pub id: ChunkId,
    /// Length of the whole pack.
    #[n(2)]
    pub size: u64,
    /// The pack's clear header.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub header: Vec<u8>,
    /// Who made the pack.
    #[n(4)]
    pub writer: WriterTag,
}

/// The payload of an index chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct IndexPayload {
    /// The packs that the records name by their place.
    #[cbor(n(0), default)]
    pub packs: Vec<PackInfo>,
    /// Records of [`RECORD_SIZE`] bytes, sorted; see [`Record`].
    #[cbor(n(1), default, with = "minicbor::bytes")]
    pub records: Vec<u8>,
    /// Index chunks that this one replaces.
    #[cbor(n(2), default)]
    pub supersedes: Vec<ChunkId>,
    /// A piece of a reference list, instead of all of the above.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub references: Option<Vec<u8>>,
    /// Which blobs of the packs in that piece are needed; see [`super::references`].
    #[cbor(n(4), with = "minicbor::bytes")]
    pub used: Option<Vec<u8>>,
    /// From where blobs came into the packs; of maintainers only.
    #[n(5)]
    pub moves: Option<Vec<Moved>>,
}

/// Blobs that a maintainer has moved from one pack into another. Snapshots that name the former need the latter.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Moved {
    /// The pack where they stood.
    #[n(0)]
    pub from: ChunkId,
    /// How many blobs that one has.
    #[n(1)]
    pub from_count: u32,
    /// Those that were moved: bits, as of [`Ordinals`].
    #[cbor(n(2), with = "minicbor::bytes")]
    pub bits: Vec<u8>,
    /// The pack where they stand now.
    #[n(3)]
    pub to: ChunkId,
    /// How many blobs that one has.
    #[n(4)]
    pub to_count: u32,
    /// The place of the first of them there; the others follow it, in the same order.
    #[n(5)]
    pub first: u32,
}

impl Moved {
    /// Those that were moved, by their places in the old pack; `None` if this makes no sense.
    pub fn ordinals(&self) -> Option<Ordinals> {
        let moved = Ordinals::from_bytes(self.from_count, &self.bits)?;
        let end = self.first.checked_add(moved.len())?;
        (end <= self.to_count && self.from != self.to).then_some(moved)
    }
}

/// One record: a blob and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The pack's place in the list of packs.
    pub pack: u32,
    /// The blob and where it stands in the pack.
    pub place: BlobPlace,
}

impl Record {
    /// The record's wire form.
    pub fn to_bytes(&self) -> [u8; RECORD_SIZE] {
        let mut bytes = [0; RECORD_SIZE];
        bytes[..32].copy_from_slice(&self.place.id.0);
        bytes[32..36].copy_from_slice(&self.pack.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.place.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.place.stored.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.place.raw.to_le_bytes());
        bytes[48] = self.place.kind as u8;
        bytes[49] = u8::from(self.place.compressed);
        bytes
    }

    /// Reads the wire form.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields(bytes);
        let id = BlobId(fields.array()?);
        let pack = fields.u32()?;
        let (offset, stored, raw) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let kind = BlobKind::try_from(fields.u8()?)?;
        let compressed = match fields.u8()? {
            0 => false,
            1 => true,
            other => return Err(FormatError::TooNew(format!("compression {other}"))),
        };
        Ok(Record { pack, place: BlobPlace { kind, id, compressed, offset, stored, raw } })
    }
}

impl IndexPayload {
    /// A payload for these packs; sorts the records.
    pub fn new(packs: Vec<PackInfo>, mut records: Vec<Record>) -> Self {
        records.sort_unstable_by_key(|record| (record.place.id, record.pack, record.place.offset));
        let records = records.iter().flat_map(Record::to_bytes).collect();
        IndexPayload { packs, records, ..IndexPayload::default() }
    }

    /// The records. Refuses a payload whose records are not sorted, or name packs or ranges that are not there, or whose
    /// packs cannot be packs.
    pub fn records(&self) -> Result<Vec<Record>, FormatError> {
        for pack in &self.packs {
            if !matches!(pack.label.as_str(), "data" | "tree") {
                return Err(FormatError::Malformed("an index of a pack with another label than data or tree"));
            }
            if pack.size > MAX_CHUNK_SIZE {
                return Err(FormatError::Malformed("an index of a pack of more than 64 MiB"));
            }
        }
        if !self.records.len().is_multiple_of(RECORD_SIZE) {
            return Err(FormatError::Malformed("index records that are no multiple of 52 bytes"));
        }
        let mut records: Vec<Record> = Vec::with_capacity(self.records.len() / RECORD_SIZE);
        for bytes in self.records.chunks_exact(RECORD_SIZE) {
            let record = Record::parse(bytes)?;
            let pack = self.packs.get(record.pack as usize);
            let pack = pack.ok_or(FormatError::Malformed("an index record of a pack that is not listed"))?;
            if u64::from(record.place.offset) + u64::from(record.place.stored) > pack.size {
                return Err(FormatError::Malformed("an index record behind the end of its pack"));
            }
            if records.last().is_some_and(|last| last.place.id > record.place.id) {
                return Err(FormatError::Malformed("index records out of order"));
            }
            records.push(record);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{from_cbor, to_cbor};
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn place(id: [u8; 32], offset: u32) -> BlobPlace {
        BlobPlace { kind: BlobKind::Tree, id: BlobId(id), compressed: true, offset, stored: 40, raw: 99 }
    }

    fn pack() -> PackInfo {
        PackInfo {
            label: "data".into(),
            id: ChunkId::from_bytes([5; 32]),
            size: 1 << 20,
            header: vec![1, 2],
            writer: WriterTag([1; 8]),
        }
    }

    proptest! {
        #[test]
        fn payloads_come_back_sorted(ids in proptest::collection::vec(any::<[u8; 32]>(), 0..50)) {
            let records: Vec<_> =
                ids.iter().enumerate().map(|(n, id)| Record { pack: 0, place: place(*id, n as u32) }).collect();
            let payload = IndexPayload::new(vec![pack()], records.clone());
            let read: IndexPayload = from_cbor(&to_cbor(&payload)).expect("decodes");
            prop_assert_eq!(&read, &payload);
            let mut sorted = records;
            sorted.sort_by_key(|record| (record.place.id, record.place.offset));
            prop_assert_eq!(read.records().expect("valid"), sorted);
        }
    }

    #[test]
    fn lies_are_refused() {
        let good = IndexPayload::new(vec![pack()], vec![Record { pack: 0, place: place([1; 32], 0) }]);
        assert!(good.records().is_ok());
        assert!(IndexPayload { packs: vec![], ..good.clone() }.records().is_err());
        let behind = IndexPayload::new(vec![pack()], vec![Record { pack: 0, place: place([1; 32], 1 << 20) }]);
        assert!(behind.records().is_err());
        let unsorted =
            [place([2; 32], 0), place([1; 32], 0)].map(|place| Record { pack: 0, place }.to_bytes()).concat();
        assert!(IndexPayload { records: unsorted, ..good.clone() }.records().is_err());
        assert!(IndexPayload { records: vec![0; 51], ..good }.records().is_err());
    }
}
