//! Packs: many separately sealed blobs in one chunk, with a sealed directory at the end (format section 7).

use bytes::Bytes;

use super::blob::{BlobHasher, BlobId, BlobKind, MAX_BLOB};
use super::header::{Header, SealedHeader};
use super::padme::padme;
use super::{Fields, FormatError};
use crate::chunk::{ChunkId, Label};
use crate::crypto::aead::{PieceCipher, Purpose, TAG_SIZE};

/// Length of a pack's last piece.
pub const FOOTER_SIZE: usize = 4 + TAG_SIZE;
const RECORD: usize = 44;
/// Compression has to save at least this fraction, or the blob is stored as it is.
const WORTHWHILE: usize = 64;
/// From each stretch of this many bytes of a large blob, and from its end,
const SAMPLE_EACH: usize = 32 << 10;
/// so many are tried for whether they compress.
const SAMPLE: usize = 1 << 10;

/// Where a blob stands in a pack, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobPlace {
    /// What it is.
    pub kind: BlobKind,
    /// Its keyed name.
    pub id: BlobId,
    /// Whether it is a zstd frame.
    pub compressed: bool,
    /// Offset of its piece in the pack.
    pub offset: u32,
    /// Length of its piece, with the tag.
    pub stored: u32,
    /// Length of its plaintext.
    pub raw: u32,
}

/// Compresses; one per thread, because its working memory is worth keeping.
pub struct Compressor {
    compressor: zstd::bulk::Compressor<'static>,
    sampler: zstd::bulk::Compressor<'static>,
    sample: Vec<u8>,
}

impl Compressor {
    /// A compressor for this zstd level.
    pub fn new(level: i32) -> Self {
        let compressor = |level| zstd::bulk::Compressor::new(level).expect("zstd has memory for a compressor");
        Compressor { compressor: compressor(level), sampler: compressor(1), sample: vec![0; SAMPLE] }
    }

    /// Appends `plaintext` to `buffer`, compressed if that pays. Returns whether it was.
    fn append(&mut self, plaintext: &[u8], buffer: &mut Vec<u8>) -> bool {
        if self.is_noise(plaintext) {
            buffer.extend_from_slice(plaintext);
            return false;
        }
        let start = buffer.len();
        let most = plaintext.len() - plaintext.len().div_ceil(WORTHWHILE);
        buffer.resize(start + most, 0);
        match self.compressor.compress_to_buffer(plaintext, &mut buffer[start..]) {
            Ok(length) if length > 0 && length < plaintext.len() => {
                buffer.truncate(start + length);
                true
            }
            // "Destination buffer is too small" is how zstd says that it does not pay.
            _ => {
                buffer.truncate(start);
                buffer.extend_from_slice(plaintext);
                false
            }
        }
    }

    /// Whether a large blob is most likely compressed or encrypted already: no sample of it gets smaller. zstd would need a
    /// millisecond for each MiB to find that out.
    fn is_noise(&mut self, plaintext: &[u8]) -> bool {
        let end = plaintext.len().saturating_sub(SAMPLE);
        let mut samples = plaintext.chunks(SAMPLE_EACH).chain([&plaintext[end..]]);
        plaintext.len() >= 2 * SAMPLE_EACH
            && samples.all(|stretch| {
                let sample = &stretch[..stretch.len().min(SAMPLE)];
                let most = sample.len() - sample.len().div_ceil(WORTHWHILE);
                self.sampler.compress_to_buffer(sample, &mut self.sample[..most]).is_err()
            })
    }
}

/// A pack that blobs are being added to.
pub struct PackBuilder {
    label: Label,
    buffer: Vec<u8>,
    cipher: PieceCipher,
    header: Vec<u8>,
    blobs: Vec<BlobPlace>,
}

/// A sealed pack, ready to be stored.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// `data` or `tree`.
    pub label: Label,
    /// SHA-256 of the bytes.
    pub id: ChunkId,
    /// The whole chunk.
    pub bytes: Bytes,
    /// The clear header, as the index repeats it.
    pub header: Vec<u8>,
    /// What is in it, in order of offset.
    pub blobs: Vec<BlobPlace>,
}

impl PackBuilder {
    /// An empty pack behind this header, with room for `capacity` bytes.
    pub fn new(label: Label, header: SealedHeader, capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.extend_from_slice(&header.bytes);
        PackBuilder { label, buffer, cipher: header.cipher, header: header.bytes, blobs: Vec::new() }
    }

    /// Compresses and seals a blob into the pack.
    pub fn add(&mut self, kind: BlobKind, id: BlobId, plaintext: &[u8], compressor: &mut Compressor) -> BlobPlace {
        assert!(plaintext.len() <= MAX_BLOB, "no caller cuts blobs above the maximum");
        let offset = self.buffer.len();
        let compressed = compressor.append(plaintext, &mut self.buffer);
        self.cipher.seal_tail(Purpose::Blob, offset as u64, &mut self.buffer, offset);
        let place = BlobPlace {
            kind,
            id,
            compressed,
            offset: offset as u32,
            stored: (self.buffer.len() - offset) as u32,
            raw: plaintext.len() as u32,
        };
        self.blobs.push(place);
        place
    }

    /// Seals a blob into the pack that is compressed already, if it is to be. Answers with its place in the order of the pack.
    pub fn add_stored(&mut self, place: &BlobPlace, stored: &[u8]) -> u32 {
        let offset = self.buffer.len();
        self.buffer.extend_from_slice(stored);
        self.cipher.seal_tail(Purpose::Blob, offset as u64, &mut self.buffer, offset);
        let stored = (self.buffer.len() - offset) as u32;
        self.blobs.push(BlobPlace { offset: offset as u32, stored, ..*place });
        (self.blobs.len() - 1) as u32
    }

    /// The length so far, with the directory that it would get.
    pub fn size(&self) -> usize {
        self.buffer.len() + 4 + self.blobs.len() * RECORD + TAG_SIZE + FOOTER_SIZE
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Writes directory and footer and gives the chunk.
    pub fn finish(self) -> FinishedPack {
        let padding = padme(self.size() as u64) as usize - self.size();
        let PackBuilder { label, mut buffer, cipher, header, blobs } = self;
        let start = buffer.len();
        buffer.extend_from_slice(&(blobs.len() as u32).to_le_bytes());
        for blob in &blobs {
            buffer.extend_from_slice(&[blob.kind as u8, u8::from(blob.compressed), 0, 0]);
            buffer.extend_from_slice(&blob.stored.to_le_bytes());
            buffer.extend_from_slice(&blob.raw.to_le_bytes());
            buffer.extend_from_slice(&blob.id.0);
        }
        buffer.resize(buffer.len() + padding, 0);
        cipher.seal_tail(Purpose::Directory, 0, &mut buffer, start);
        let directory = (buffer.len() - start) as u32;
        let start = buffer.len();
        buffer.extend_from_slice(&directory.to_le_bytes());
        cipher.seal_tail(Purpose::Footer, 0, &mut buffer, start);
        FinishedPack { label, id: ChunkId::of(&buffer), bytes: buffer.into(), header, blobs }
    }
}

/// Reads the directory of a whole pack.
pub fn read_directory(pack: &[u8], header: &Header, cipher: &PieceCipher) -> Result<Vec<BlobPlace>, FormatError> {
    read_directory_at(pack, 0, header, cipher)
}

/// Reads the directory out of the end of a pack, which begins at this offset.
pub fn read_directory_at(
    end: &[u8],
    at: usize,
    header: &Header,
    cipher: &PieceCipher,
) -> Result<Vec<BlobPlace>, FormatError> {
    let short = FormatError::Malformed("a pack without a footer");
    let footer_at = end.len().checked_sub(FOOTER_SIZE).ok_or(short.clone())?;
    let mut footer = end[footer_at..].to_vec();
    let length = Fields(cipher.open(Purpose::Footer, 0, &mut footer)?).u32()? as usize;
    let start = footer_at.checked_sub(length).ok_or(short)?;
    let mut directory = end[start..footer_at].to_vec();
    let mut fields = Fields(cipher.open(Purpose::Directory, 0, &mut directory)?);
    let count = fields.u32()? as usize;
    let mut records = Fields(fields.take(count.saturating_mul(RECORD))?);
    let mut offset = header.length();
    let mut blobs = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = BlobKind::try_from(records.u8()?)?;
        let compressed = match records.u8()? {
            0 => false,
            1 => true,
            other => return Err(FormatError::TooNew(format!("compression {other}"))),
        };
        records.u16()?;
        let (stored, raw) = (records.u32()?, records.u32()?);
        let id = BlobId(records.array()?);
        blobs.push(BlobPlace { kind, id, compressed, offset: offset as u32, stored, raw });
        offset += stored as usize;
    }
    if offset == at + start { Ok(blobs) } else { Err(FormatError::Malformed("a directory that does not fit its pack")) }
}

/// Opens blobs; one per thread, because its working memory is worth keeping.
pub struct BlobOpener {
    decompressor: zstd::bulk::Decompressor<'static>,
    piece: Vec<u8>,
    text: Vec<u8>,
}

impl Default for BlobOpener {
    fn default() -> Self {
        let decompressor = zstd::bulk::Decompressor::new().expect("zstd has memory for a decompressor");
        BlobOpener { decompressor, piece: Vec::new(), text: Vec::new() }
    }
}

impl BlobOpener {
    /// Opens one piece, decompresses it and checks that it is the blob that `place` names.
    pub fn open(
        &mut self,
        cipher: &PieceCipher,
        hasher: &BlobHasher,
        place: &BlobPlace,
        piece: &[u8],
    ) -> Result<&[u8], FormatError> {
        self.piece.clear();
        self.piece.extend_from_slice(piece);
        open_in_place(&mut self.decompressor, &mut self.text, cipher, hasher, place, &mut self.piece)
    }

    /// Like [`open`](Self::open), and decrypts the piece where it stands: a copy less.
    pub fn open_in_place<'a>(
        &'a mut self,
        cipher: &PieceCipher,
        hasher: &BlobHasher,
        place: &BlobPlace,
        piece: &'a mut [u8],
    ) -> Result<&'a [u8], FormatError> {
        open_in_place(&mut self.decompressor, &mut self.text, cipher, hasher, place, piece)
    }
}

fn open_in_place<'a>(
    decompressor: &mut zstd::bulk::Decompressor<'static>,
    buffer: &'a mut Vec<u8>,
    cipher: &PieceCipher,
    hasher: &BlobHasher,
    place: &BlobPlace,
    piece: &'a mut [u8],
) -> Result<&'a [u8], FormatError> {
    let text = cipher.open(Purpose::Blob, u64::from(place.offset), piece)?;
    let raw = place.raw as usize;
    if raw > MAX_BLOB {
        return Err(FormatError::Malformed("a blob of more than 16 MiB"));
    }
    let plaintext: &[u8] = if place.compressed {
        buffer.clear();
        buffer.reserve(raw);
        decompressor
            .decompress_to_buffer(&*text, buffer)
            .map_err(|_| FormatError::Malformed("a blob that does not decompress to its length"))?;
        buffer
    } else {
        text
    };
    if plaintext.len() != raw {
        return Err(FormatError::Malformed("a blob of another length than its directory says"));
    }
    if hasher.id(place.kind, plaintext) != place.id {
        return Err(FormatError::Malformed("a blob whose contents do not fit its id"));
    }
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use super::super::header::{OpenWith, SealFor, create};
    use super::*;
    use crate::crypto::Key;
    use crate::crypto::public::HpkePrivate;
    use proptest::prelude::*;

    fn build(private: &HpkePrivate, hasher: &BlobHasher, blobs: &[Vec<u8>]) -> FinishedPack {
        let label: Label = "data".parse().expect("a label");
        let repository = ChunkId::from_bytes([1; 32]);
        let header = create(&repository, &label, 1, &[0; 16], &SealFor::Data(&private.public())).expect("seals");
        let mut pack = PackBuilder::new(label, header, 0);
        let mut compressor = Compressor::new(3);
        for blob in blobs {
            pack.add(BlobKind::Data, hasher.id(BlobKind::Data, blob), blob, &mut compressor);
        }
        pack.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn packs_come_back(blobs in proptest::collection::vec(
            prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), (any::<u8>(), 0..5000usize).prop_map(|(b, n)| vec![b; n])], 0..20)
        ) {
            let private = HpkePrivate::random();
            let hasher = BlobHasher::new(&Key::random());
            let pack = build(&private, &hasher, &blobs);
            prop_assert_eq!(padme(pack.bytes.len() as u64), pack.bytes.len() as u64);
            prop_assert_eq!(ChunkId::of(&pack.bytes), pack.id);
            let header = Header::parse(&pack.bytes).expect("parses");
            let sealed = header.open(&OpenWith::Data(&private)).expect("opens");
            let directory = read_directory(&pack.bytes, &header, &sealed.cipher).expect("a directory");
            prop_assert_eq!(&directory, &pack.blobs);
            let mut opener = BlobOpener::default();
            for (place, blob) in directory.iter().zip(&blobs) {
                let piece = &pack.bytes[place.offset as usize..(place.offset + place.stored) as usize];
                prop_assert_eq!(opener.open(&sealed.cipher, &hasher, place, piece).expect("opens"), blob.as_slice());
                let other = BlobPlace { id: BlobId([0; 32]), ..*place };
                prop_assert!(opener.open(&sealed.cipher, &hasher, &other, piece).is_err());
            }
        }
    }

    #[test]
    fn noise_is_stored_as_it_is_and_text_among_noise_is_found() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let mut compressor = Compressor::new(3);
        assert!(compressor.is_noise(&noise));
        assert!(!compressor.append(&noise, &mut Vec::new()));
        let half = noise.len() / 2;
        for text in [640 << 10..672 << 10, half - 20_000..half] {
            let mut mixed = noise[..half.max(text.end)].to_vec();
            mixed[text].fill(b'x');
            assert!(!compressor.is_noise(&mixed));
            assert!(compressor.append(&mixed, &mut Vec::new()));
        }
        assert!(!compressor.is_noise(&noise[..2 * SAMPLE_EACH - 1]), "small blobs are compressed to find out");
    }

    #[test]
    fn every_damage_is_noticed() {
        let private = HpkePrivate::random();
        let hasher = BlobHasher::new(&Key::random());
        let pack = build(&private, &hasher, &[vec![1; 100], b"second".to_vec()]);
        let open_all = |bytes: &[u8]| -> Result<(), FormatError> {
            let header = Header::parse(bytes)?;
            let sealed = header.open(&OpenWith::Data(&private))?;
            let mut opener = BlobOpener::default();
            for place in read_directory(bytes, &header, &sealed.cipher)? {
                let piece = &bytes[place.offset as usize..(place.offset + place.stored) as usize];
                opener.open(&sealed.cipher, &hasher, &place, piece)?;
            }
            Ok(())
        };
        assert_eq!(open_all(&pack.bytes), Ok(()));
        for place in 0..pack.bytes.len() {
            let mut bytes = pack.bytes.to_vec();
            bytes[place] ^= 0x40;
            assert!(open_all(&bytes).is_err(), "a flip of byte {place} went unnoticed");
            assert!(open_all(&pack.bytes[..place]).is_err(), "a cut at {place} went unnoticed");
        }
    }
}
