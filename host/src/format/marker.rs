//! The repository chunk: the root public key, in the clear; its chunk id is the repository id (format section 4).

use minicbor::{Decode, Encode};

use super::{Fields, FormatError, Time, from_cbor, to_cbor};
use crate::crypto::public::VerifyKey;
use crate::crypto::random;

const MAGIC: &[u8; 8] = b"OBNAMREP";
const VERSION: u16 = 1;

/// The contents of the repository chunk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Marker {
    #[cbor(n(0), with = "minicbor::bytes")]
    root_key: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    salt: Vec<u8>,
    /// When the repository was made.
    #[n(2)]
    pub created: Time,
}

impl Marker {
    /// A new repository's marker.
    pub fn new(root_key: &VerifyKey) -> Self {
        let salt: [u8; 32] = random();
        Marker { root_key: root_key.as_bytes().to_vec(), salt: salt.to_vec(), created: Time::now() }
    }

    /// The key that signs rosters.
    pub fn root_key(&self) -> Result<VerifyKey, FormatError> {
        Ok(VerifyKey::from_slice(&self.root_key)?)
    }

    /// The chunk.
    pub fn to_chunk(&self) -> Vec<u8> {
        let mut chunk = MAGIC.to_vec();
        chunk.extend_from_slice(&VERSION.to_le_bytes());
        chunk.extend_from_slice(&to_cbor(self));
        chunk
    }

    /// Reads the chunk.
    pub fn from_chunk(chunk: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields(chunk);
        if fields.take(8)? != MAGIC {
            return Err(FormatError::Malformed("not a repository chunk of obnam"));
        }
        let version = fields.u16()?;
        if version != VERSION {
            return Err(FormatError::TooNew(format!("repository format {version}")));
        }
        from_cbor(fields.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::public::SignKey;

    #[test]
    fn comes_back() {
        let key = SignKey::random().public();
        let marker = Marker::new(&key);
        let read = Marker::from_chunk(&marker.to_chunk()).expect("decodes");
        assert_eq!(read, marker);
        assert_eq!(read.root_key(), Ok(key));
        let mut newer = marker.to_chunk();
        newer[8] = 2;
        assert!(matches!(Marker::from_chunk(&newer), Err(FormatError::TooNew(_))));
    }
}
