//! Reference lists: the packs that a snapshot needs, and what of them (format section 10).

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use super::index::IndexPayload;
use super::ordinals::Ordinals;
use super::{Fields, FormatError};
use crate::chunk::ChunkId;

/// Length of one record of a reference list.
pub const REFERENCE_SIZE: usize = 40;
/// Up to this many records stand inline.
pub const MAX_INLINE: usize = 1024;
/// And up to so many bytes that say which blobs are needed.
const MAX_INLINE_USED: usize = 64 << 10;
/// So many bytes say it for a piece, at most. Packs for which there is no room count as needed whole.
const MAX_USED: usize = 4 << 20;

/// A piece of a long reference list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReferencePiece {
    /// SHA-256 of the records, and of what says which blobs are needed.
    #[n(0)]
    pub digest: ChunkId,
    /// The index chunk that holds them.
    #[n(1)]
    pub chunk: ChunkId,
}

/// The packs that a snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct References {
    /// A short list.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub inline: Option<Vec<u8>>,
    /// A long one.
    #[n(1)]
    pub pieces: Option<Vec<ReferencePiece>>,
    /// Which blobs of the packs in the short list are needed.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub used: Option<Vec<u8>>,
}

/// One record of a reference list: a pack, and what of it the snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The pack.
    pub pack: ChunkId,
    /// Sum of the lengths of the pieces that are needed.
    pub live: u64,
    /// The blobs; none: all of them.
    pub used: Option<Ordinals>,
}

impl Reference {
    /// Adds what is needed of the same pack for something else.
    pub fn add(&mut self, other: Reference) {
        self.live = self.live.saturating_add(other.live);
        self.used = match (self.used.take(), other.used) {
            (Some(mut some), Some(more)) if some.count() == more.count() => {
                some.add(&more);
                Some(some)
            }
            _ => None,
        };
    }
}

/// The wire form of a reference list, or of a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Packs and bytes.
    pub records: Vec<u8>,
    /// Which blobs; none: all of all packs.
    pub used: Option<Vec<u8>>,
    /// What a [`ReferencePiece`] calls it.
    pub digest: ChunkId,
}

impl Encoded {
    /// The wire form of a list.
    pub fn of(references: &[Reference]) -> Self {
        let mut records = Vec::with_capacity(references.len() * REFERENCE_SIZE);
        let mut used = Vec::new();
        for reference in references {
            records.extend_from_slice(reference.pack.as_bytes());
            records.extend_from_slice(&reference.live.to_le_bytes());
            let room = MAX_USED - references.len().saturating_mul(4).min(MAX_USED);
            let fits = |part: &&Ordinals| used.len() + 4 + part.as_bytes().len() <= room;
            match reference.used.as_ref().filter(fits) {
                Some(part) => {
                    used.extend_from_slice(&part.count().to_le_bytes());
                    used.extend_from_slice(part.as_bytes());
                }
                None => used.extend_from_slice(&0u32.to_le_bytes()),
            }
        }
        let used = used.iter().any(|byte| *byte != 0).then_some(used);
        let digest = digest(&records, used.as_deref());
        Encoded { records, used, digest }
    }

    /// Whether it may stand in a snapshot.
    pub fn is_short(&self) -> bool {
        let used = self.used.as_ref().map_or(0, Vec::len);
        self.records.len() <= MAX_INLINE * REFERENCE_SIZE && used <= MAX_INLINE_USED
    }
}

fn digest(records: &[u8], used: Option<&[u8]>) -> ChunkId {
    let hasher = Sha256::new().chain_update(records).chain_update(used.unwrap_or_default());
    ChunkId::from_bytes(hasher.finalize().into())
}

fn malformed(what: &'static str) -> FormatError {
    FormatError::Malformed(what)
}

/// Reads a piece of a reference list out of the index chunk that holds it.
pub fn decode_piece(payload: &IndexPayload, piece: &ReferencePiece) -> Result<Vec<Reference>, FormatError> {
    let (records, used) = (payload.references.as_deref().unwrap_or_default(), payload.used.as_deref());
    if digest(records, used) != piece.digest {
        return Err(malformed("a piece of a reference list that does not fit its digest"));
    }
    decode(records, used)
}

/// Reads the wire form of a reference list.
pub fn decode(records: &[u8], used: Option<&[u8]>) -> Result<Vec<Reference>, FormatError> {
    if !records.len().is_multiple_of(REFERENCE_SIZE) {
        return Err(malformed("a reference list that is no multiple of 40 bytes"));
    }
    let mut fields = Fields(used.unwrap_or_default());
    let mut part = || {
        let count = if used.is_some() { fields.u32()? } else { 0 };
        if count == 0 {
            return Ok(None);
        }
        let bits = fields.take((count as usize).div_ceil(8))?;
        Ordinals::from_bytes(count, bits).map(Some).ok_or(malformed("needed blobs behind the end of a pack"))
    };
    let read = |record: &[u8]| {
        let (pack, live) = record.split_at(32);
        Ok(Reference {
            pack: ChunkId::from_bytes(pack.try_into().expect("32 of 40 bytes")),
            live: u64::from_le_bytes(live.try_into().expect("8 of 40 bytes")),
            used: part()?,
        })
    };
    let all = records.chunks_exact(REFERENCE_SIZE).map(read).collect();
    if fields.0.is_empty() { all } else { all.and(Err(malformed("a reference list with needed blobs of no pack"))) }
}

/// Cuts a long reference list where equal stretches of two lists are cut alike.
pub fn cut(references: &[Reference]) -> Vec<&[Reference]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (place, reference) in references.iter().enumerate() {
        let id = reference.pack.as_bytes();
        let cut = u16::from_le_bytes([id[2], id[3]]) < 128 || place + 1 - start >= 4096;
        if cut || place + 1 == references.len() {
            pieces.push(&references[start..=place]);
            start = place + 1;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(count: u32) -> Vec<Reference> {
        let pack = |n: u32| ChunkId::of(&n.to_le_bytes());
        let used = |n: u32| {
            let mut part = Ordinals::none(n % 100);
            (0..n % 100).filter(|place| place % 3 == n % 3).for_each(|place| part.insert(place));
            (!n.is_multiple_of(100) && !n.is_multiple_of(2)).then_some(part)
        };
        let mut all: Vec<_> = (0..count).map(|n| Reference { pack: pack(n), live: n.into(), used: used(n) }).collect();
        all.sort_by_key(|reference| reference.pack);
        all
    }

    fn piece(encoded: &Encoded) -> IndexPayload {
        let (references, used) = (Some(encoded.records.clone()), encoded.used.clone());
        IndexPayload { references, used, ..IndexPayload::default() }
    }

    #[test]
    fn long_lists_share_pieces() {
        let all = references(20_000);
        let encoded = Encoded::of(&all);
        assert_eq!(decode(&encoded.records, encoded.used.as_deref()), Ok(all.clone()));
        let pieces = cut(&all);
        assert_eq!(pieces.concat(), all);
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() <= 4096));
        let mut fewer = all.clone();
        fewer.remove(10_000);
        let shared = cut(&fewer).iter().filter(|piece| pieces.contains(piece)).count();
        assert!(shared + 2 >= pieces.len(), "{shared} of {} pieces are shared", pieces.len());
        assert!(cut(&[]).is_empty());
        assert!(Encoded::of(&references(100)).is_short() && !encoded.is_short());
    }

    #[test]
    fn a_piece_has_to_fit_its_digest() {
        let all = references(50);
        let encoded = Encoded::of(&all);
        let named = ReferencePiece { digest: encoded.digest, chunk: ChunkId::of(b"") };
        assert_eq!(decode_piece(&piece(&encoded), &named), Ok(all.clone()));
        let whole: Vec<_> = all.iter().map(|reference| Reference { used: None, ..reference.clone() }).collect();
        assert_eq!(Encoded::of(&whole).used, None);
        assert!(decode_piece(&piece(&Encoded::of(&whole)), &named).is_err());
        assert!(decode_piece(&piece(&Encoded::of(&all[1..])), &named).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let encoded = Encoded::of(&references(50));
        let used = encoded.used.as_deref();
        assert!(decode(&encoded.records[1..], used).is_err());
        assert!(decode(&encoded.records[40..], used).is_err(), "too many sets");
        assert!(decode(&[&encoded.records[..], &[0; 40]].concat(), used).is_err(), "too few");
        let stray = [&3u32.to_le_bytes()[..], &[0xff]].concat();
        assert!(decode(&[0; 40], Some(&stray)).is_err());
    }
}
