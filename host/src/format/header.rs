//! The clear header of a sealed chunk, and the key that it wraps (format section 3).

use sha2::{Digest, Sha256};

use super::{Fields, FormatError, WriterTag};
use crate::chunk::{ChunkId, Label};
use crate::crypto::aead::{self, PieceCipher};
use crate::crypto::public::{HPKE_OVERHEAD, HpkePrivate, HpkePublic};
use crate::crypto::{CryptoError, Key};

/// The first bytes of every sealed chunk.
pub const MAGIC: &[u8; 8] = b"OBNAMCHK";
const VERSION: u16 = 1;
const SUITE: u16 = 1;
const FIXED: usize = 80;
const COMMITMENT: usize = 32;
const MEMBER_WRAP: usize = 8 + HPKE_OVERHEAD + 32;

/// The longest header: a roster for some 20,000 members.
pub const MAX_HEADER: usize = 2 << 20;

/// 16 random bytes that name a group or a client key.
pub type KeyId = [u8; 16];

/// How the content key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Wrap {
    /// To the group's data public key.
    Data = 1,
    /// Under the group's metadata key.
    Metadata = 2,
    /// Under a client key.
    Client = 3,
    /// To each member's HPKE key.
    Members = 4,
}

/// The key for which a new chunk is sealed.
pub enum SealFor<'a> {
    /// For the readers of a group.
    Data(&'a HpkePublic),
    /// For the members of a group.
    Metadata(&'a Key),
    /// For the holder of a client key.
    Client(&'a Key),
    /// For these members.
    Members(&'a [(WriterTag, HpkePublic)]),
}

/// The key with which a chunk is opened.
pub enum OpenWith<'a> {
    /// A group's data private key.
    Data(&'a HpkePrivate),
    /// A group's metadata key.
    Metadata(&'a Key),
    /// A client key.
    Client(&'a Key),
    /// One member's tag and HPKE key.
    Member(WriterTag, &'a HpkePrivate),
}

/// A chunk header that has been parsed but not opened.
#[derive(Debug, Clone)]
pub struct Header {
    bytes: Vec<u8>,
    /// How the content key is wrapped.
    pub wrap: Wrap,
    /// The epoch of the key set.
    pub epoch: u64,
    /// The group or client key.
    pub key_id: KeyId,
    /// The repository that the chunk belongs to.
    pub repository: ChunkId,
    label_length: usize,
}

/// The cipher of a chunk, with its header's bytes.
pub struct SealedHeader {
    /// The header as it stands in the chunk.
    pub bytes: Vec<u8>,
    /// Seals and opens the pieces behind it.
    pub cipher: PieceCipher,
}

fn cipher(header: &[u8], content_key: &Key) -> PieceCipher {
    PieceCipher::new(&content_key.derive("obnam v1 content"), Sha256::digest(header).into())
}

/// Makes a header with a fresh content key.
pub fn create(
    repository: &ChunkId,
    label: &Label,
    epoch: u64,
    key_id: &KeyId,
    seal_for: &SealFor<'_>,
) -> Result<SealedHeader, CryptoError> {
    let (wrap, wrapped_length) = match seal_for {
        SealFor::Data(_) => (Wrap::Data, HPKE_OVERHEAD + 32),
        SealFor::Metadata(_) => (Wrap::Metadata, aead::WRAP_OVERHEAD + 32),
        SealFor::Client(_) => (Wrap::Client, aead::WRAP_OVERHEAD + 32),
        SealFor::Members(members) => (Wrap::Members, members.len() * MEMBER_WRAP),
    };
    let mut bytes = Vec::with_capacity(FIXED + 64 + wrapped_length + COMMITMENT);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&SUITE.to_le_bytes());
    bytes.push(wrap as u8);
    bytes.push(label.as_str().len() as u8);
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&(wrapped_length as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(key_id);
    bytes.extend_from_slice(repository.as_bytes());
    bytes.extend_from_slice(label.as_str().as_bytes());

    let content_key = Key::random();
    let secret = content_key.as_bytes();
    let wrapped = match seal_for {
        SealFor::Data(key) => key.seal(b"obnam v1 data wrap", &bytes, secret)?,
        SealFor::Metadata(key) => aead::wrap(&key.derive("obnam v1 metadata wrap"), &bytes, secret),
        SealFor::Client(key) => aead::wrap(&key.derive("obnam v1 client wrap"), &bytes, secret),
        SealFor::Members(members) => {
            let mut all = Vec::with_capacity(wrapped_length);
            for (tag, key) in *members {
                all.extend_from_slice(&tag.0);
                all.extend_from_slice(&key.seal(b"obnam v1 member wrap", &bytes, secret)?);
            }
            all
        }
    };
    debug_assert_eq!(wrapped.len(), wrapped_length);
    bytes.extend_from_slice(&wrapped);
    bytes.extend_from_slice(content_key.derive("obnam v1 key commitment").as_bytes());
    let cipher = cipher(&bytes, &content_key);
    Ok(SealedHeader { bytes, cipher })
}

impl Header {
    /// Parses the header at the front of a chunk.
    pub fn parse(chunk: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields(chunk);
        if fields.take(8)? != MAGIC {
            return Err(FormatError::Malformed("not a sealed chunk of obnam"));
        }
        let version = fields.u16()?;
        if version != VERSION {
            return Err(FormatError::TooNew(format!("chunk format {version}")));
        }
        let suite = fields.u16()?;
        if suite != SUITE {
            return Err(FormatError::TooNew(format!("cryptographic suite {suite}")));
        }
        let wrap = match fields.u8()? {
            1 => Wrap::Data,
            2 => Wrap::Metadata,
            3 => Wrap::Client,
            4 => Wrap::Members,
            other => return Err(FormatError::TooNew(format!("key wrap {other}"))),
        };
        let label_length = usize::from(fields.u8()?);
        fields.take(2)?;
        let wrapped_length = fields.u32()? as usize;
        fields.take(4)?;
        let epoch = fields.u64()?;
        let key_id = fields.array()?;
        let repository = ChunkId::from_bytes(fields.array()?);
        let length = FIXED + label_length + wrapped_length + COMMITMENT;
        if length > MAX_HEADER {
            return Err(FormatError::Malformed("a header longer than 2 MiB"));
        }
        let bytes = Fields(chunk).take(length)?.to_vec();
        Ok(Header { bytes, wrap, epoch, key_id, repository, label_length })
    }

    /// Length in bytes: where the first piece begins.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The header as it stands in the chunk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The label that the header names.
    pub fn label(&self) -> &[u8] {
        &self.bytes[FIXED..FIXED + self.label_length]
    }

    /// Refuses a chunk that stands under another label, belongs to another repository, or whose key is not wrapped as
    /// chunks of this label wrap it.
    pub fn check_place(&self, repository: &ChunkId, label: &Label) -> Result<(), FormatError> {
        if self.label() != label.as_str().as_bytes() {
            return Err(FormatError::Misplaced("its header has another label"));
        }
        if self.repository != *repository {
            return Err(FormatError::Misplaced("its header names another repository"));
        }
        let wrap = match label.family() {
            "data" | "tree" => Wrap::Data,
            "index" | "snapshot" | "tombstone" | "note" => Wrap::Metadata,
            "client" => Wrap::Client,
            "roster" => Wrap::Members,
            _ => return Err(FormatError::Misplaced("no sealed chunk has such a label")),
        };
        if self.wrap != wrap {
            return Err(FormatError::Misplaced("its key is wrapped in another way than its label asks for"));
        }
        let wrapped = self.bytes.len() - COMMITMENT - FIXED - self.label_length;
        let fits = match wrap {
            Wrap::Data => wrapped == HPKE_OVERHEAD + 32,
            Wrap::Metadata | Wrap::Client => wrapped == aead::WRAP_OVERHEAD + 32,
            Wrap::Members => wrapped.is_multiple_of(MEMBER_WRAP),
        };
        if fits { Ok(()) } else { Err(FormatError::Malformed("a wrapped key of a wrong length")) }
    }

    /// Unwraps the content key.
    pub fn open(&self, with: &OpenWith<'_>) -> Result<SealedHeader, FormatError> {
        let prefix = &self.bytes[..FIXED + self.label_length];
        let wrapped = &self.bytes[FIXED + self.label_length..self.bytes.len() - COMMITMENT];
        let secret = match (self.wrap, with) {
            (Wrap::Data, OpenWith::Data(key)) => key.open(b"obnam v1 data wrap", prefix, wrapped)?,
            (Wrap::Metadata, OpenWith::Metadata(key)) => {
                aead::unwrap(&key.derive("obnam v1 metadata wrap"), prefix, wrapped)?
            }
            (Wrap::Client, OpenWith::Client(key)) => {
                aead::unwrap(&key.derive("obnam v1 client wrap"), prefix, wrapped)?
            }
            (Wrap::Members, OpenWith::Member(tag, key)) => {
                let mine = wrapped.chunks_exact(MEMBER_WRAP).find(|wrap| wrap[..8] == tag.0);
                key.open(b"obnam v1 member wrap", prefix, &mine.ok_or(FormatError::NoKey)?[8..])?
            }
            _ => return Err(FormatError::NoKey),
        };
        let content_key = Key::from_slice(&zeroize::Zeroizing::new(secret))?;
        let commitment = &self.bytes[self.bytes.len() - COMMITMENT..];
        if content_key.derive("obnam v1 key commitment").as_bytes() != commitment {
            return Err(FormatError::Crypto(CryptoError::Seal));
        }
        Ok(SealedHeader { bytes: self.bytes.clone(), cipher: cipher(&self.bytes, &content_key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: ChunkId = ChunkId::from_bytes([9; 32]);

    fn label(text: &str) -> Label {
        text.parse().expect("a label")
    }

    #[test]
    fn each_wrap_opens_with_its_own_key_only() {
        let private = HpkePrivate::random();
        let key = Key::random();
        let tag = WriterTag::random();
        let public = private.public();
        let members = [(WriterTag::random(), HpkePrivate::random().public()), (tag, public)];
        let all = [SealFor::Data(&public), SealFor::Metadata(&key), SealFor::Client(&key), SealFor::Members(&members)];
        let openers = || {
            [
                OpenWith::Data(&private),
                OpenWith::Metadata(&key),
                OpenWith::Client(&key),
                OpenWith::Member(tag, &private),
            ]
        };
        let labels = ["data", "index.0011", "client", "roster"];
        for (made, seal_for) in all.iter().enumerate() {
            let sealed = create(&REPOSITORY, &label(labels[made]), 3, &[1; 16], seal_for).expect("seals");
            let header = Header::parse(&sealed.bytes).expect("parses");
            assert_eq!((header.epoch, header.key_id, header.length()), (3, [1; 16], sealed.bytes.len()));
            for other in labels.iter().chain(&["tree", "snapshot.0011", "repository"]) {
                assert_eq!(header.check_place(&REPOSITORY, &label(other)).is_ok(), *other == labels[made], "{other}");
            }
            let misused = create(&REPOSITORY, &label(labels[(made + 1) % 4]), 3, &[1; 16], seal_for).expect("seals");
            let misused = Header::parse(&misused.bytes).expect("parses");
            assert!(misused.check_place(&REPOSITORY, &label(labels[(made + 1) % 4])).is_err());
            for (opener, with) in openers().iter().enumerate() {
                assert_eq!(header.open(with).is_ok(), made == opener, "wrap {made}, opener {opener}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = Key::random();
        let sealed = create(&REPOSITORY, &label("tombstone"), 1, &[0; 16], &SealFor::Metadata(&key)).expect("seals");
        let mut piece = b"text".to_vec();
        sealed.cipher.seal_tail(aead::Purpose::Whole, 0, &mut piece, 0);
        for place in 0..sealed.bytes.len() {
            let mut bytes = sealed.bytes.clone();
            bytes[place] ^= 1;
            let opened = Header::parse(&bytes)
                .and_then(|header| header.open(&OpenWith::Metadata(&key)))
                .and_then(|sealed| Ok(sealed.cipher.open(aead::Purpose::Whole, 0, &mut piece.clone()).map(|_| ())?));
            assert!(opened.is_err(), "a flip of byte {place} went unnoticed");
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for length in 0..200 {
            assert!(Header::parse(&vec![0; length]).is_err());
            let mut magic = MAGIC.to_vec();
            magic.resize(8 + length, 0xff);
            assert!(Header::parse(&magic).is_err());
        }
    }
}
