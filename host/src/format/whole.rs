//! Chunks whose contents are sealed as one piece: everything but packs (format section 3, "Whole contents").

use super::header::{Header, OpenWith, SealedHeader};
use super::padme::padme;
use super::{Fields, FormatError};
use crate::chunk::{ChunkId, Label};
use crate::crypto::aead::{Purpose, TAG_SIZE};

/// The longest body, after decompression.
pub const MAX_BODY: usize = 64 << 20;
/// Bodies shorter than this are not worth compressing.
const COMPRESS_FROM: usize = 512;
const PREFIX: usize = 8;

/// Seals a body behind a header; the result is the whole chunk.
pub fn seal(header: SealedHeader, body: &[u8]) -> Vec<u8> {
    let compressed = if body.len() >= COMPRESS_FROM { zstd::bulk::compress(body, 3).ok() } else { None };
    let (compression, stored) = match &compressed {
        Some(smaller) if smaller.len() < body.len() => (1, smaller.as_slice()),
        _ => (0, body),
    };
    let SealedHeader { bytes: mut chunk, cipher } = header;
    let start = chunk.len();
    chunk.extend_from_slice(&[compression, 0, 0, 0]);
    chunk.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    chunk.extend_from_slice(stored);
    let padded = padme((chunk.len() + TAG_SIZE) as u64) as usize - TAG_SIZE;
    chunk.resize(padded, 0);
    cipher.seal_tail(Purpose::Whole, 0, &mut chunk, start);
    chunk
}

/// Opens a chunk that stands under `label` and returns its body.
pub fn open(chunk: &[u8], repository: &ChunkId, label: &Label, with: &OpenWith<'_>) -> Result<Vec<u8>, FormatError> {
    let header = Header::parse(chunk)?;
    header.check_place(repository, label)?;
    open_behind(&header, chunk, with)
}

/// Opens the contents of a chunk whose header has been parsed and whose place has been checked.
pub fn open_behind(header: &Header, chunk: &[u8], with: &OpenWith<'_>) -> Result<Vec<u8>, FormatError> {
    let sealed = header.open(with)?;
    let mut piece = chunk[header.length()..].to_vec();
    let text = sealed.cipher.open(Purpose::Whole, 0, &mut piece)?;
    let mut fields = Fields(text);
    let compression = fields.take(4)?[0];
    let length = fields.u32()? as usize;
    let body = fields.take(length)?;
    debug_assert!(text.len() >= PREFIX);
    match compression {
        0 => Ok(body.to_vec()),
        1 => decompress(body),
        other => Err(FormatError::TooNew(format!("compression {other}"))),
    }
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, FormatError> {
    let malformed = FormatError::Malformed("a compressed body that does not decompress");
    let size = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().ok_or(malformed.clone())?;
    if size > MAX_BODY as u64 {
        return Err(FormatError::Malformed("a body of more than 64 MiB"));
    }
    zstd::bulk::decompress(body, size as usize).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::super::header::{SealFor, create};
    use super::*;
    use crate::crypto::Key;

    #[test]
    fn bodies_come_back_and_lengths_are_padded() {
        let repository = ChunkId::from_bytes([1; 32]);
        let label: Label = "snapshot.00".parse().expect("a label");
        let key = Key::random();
        for body in [vec![], vec![7; 10], vec![7; 100_000], crate::crypto::random::<3000>().to_vec()] {
            let header = create(&repository, &label, 1, &[0; 16], &SealFor::Metadata(&key)).expect("seals");
            let chunk = seal(header, &body);
            assert_eq!(padme(chunk.len() as u64), chunk.len() as u64);
            assert_eq!(open(&chunk, &repository, &label, &OpenWith::Metadata(&key)), Ok(body));
        }
    }
}
