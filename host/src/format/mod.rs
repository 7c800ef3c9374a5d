//! The repository format: one file per kind of chunk, as specified in `docs/format.md`.
//!
//! Everything here is pure: bytes in, typed values out, and back. Readers ignore keys that they do not know and never
//! panic on foreign bytes. Which keys open what is decided by the callers in [`crate::repository`].

pub mod blob;
pub mod client;
pub mod content;
pub mod entry;
pub mod header;
pub mod index;
pub mod marker;
pub mod note;
pub mod ordinals;
pub mod pack;
pub mod padme;
pub mod references;
pub mod roster;
pub mod signed;
pub mod snapshot;
pub mod tombstone;
pub mod value;
pub mod whole;

pub use value::{Time, WriterTag};

use crate::crypto::CryptoError;

/// Bytes that are not what the format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too short, or a field out of its range.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// CBOR that does not have the shape that the format asks for.
    #[error("malformed: {0}")]
    Cbor(String),
    /// A version or suite of a later program.
    #[error("{0} is unknown to this version of obnam; use a newer one")]
    TooNew(String),
    /// Stored under another label, or for another repository, than its header says.
    #[error("not the chunk that it is stored as: {0}")]
    Misplaced(&'static str),
    /// No key that this client holds opens it.
    #[error("this client holds no key for it")]
    NoKey,
    /// Signed by nobody whom the roster knows, or by somebody else than its label says.
    #[error("not signed by a member of this repository: {0}")]
    Unsigned(&'static str),
    /// A seal or signature does not fit.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl From<minicbor::decode::Error> for FormatError {
    fn from(error: minicbor::decode::Error) -> Self {
        FormatError::Cbor(error.to_string())
    }
}

/// Encodes a value as CBOR.
pub fn to_cbor<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into memory does not fail")
}

/// Decodes a CBOR value that fills all of `bytes`.
pub fn from_cbor<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, FormatError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode()?;
    if decoder.position() == bytes.len() {
        Ok(value)
    } else {
        Err(FormatError::Malformed("bytes behind the CBOR value"))
    }
}

/// Reads fixed-width fields off the front of a slice.
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        if self.0.len() < length {
            return Err(FormatError::Malformed("too short"));
        }
        let (front, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(self.take(N)?.try_into().expect("take gives as many as asked"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }
}
