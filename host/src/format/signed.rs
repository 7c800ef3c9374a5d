//! Signed contents (format section 3): a payload, its signer, and a signature bound to a context and a repository.

use minicbor::{Decode, Encode};

use super::{FormatError, WriterTag, from_cbor, to_cbor};
use crate::chunk::ChunkId;
use crate::crypto::public::{SignKey, VerifyKey};

/// What a signature is for; no signature made for one fits another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A roster, by the root key.
    Roster,
    /// An index chunk.
    Index,
    /// A snapshot.
    Snapshot,
    /// A tombstone.
    Tombstone,
    /// A note.
    Note,
}

impl Context {
    fn as_str(self) -> &'static str {
        match self {
            Context::Roster => "obnam v1 roster",
            Context::Index => "obnam v1 index",
            Context::Snapshot => "obnam v1 snapshot",
            Context::Tombstone => "obnam v1 tombstone",
            Context::Note => "obnam v1 note",
        }
    }
}

/// The signed contents of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Signed {
    /// CBOR of the chunk's own kind.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Who signed; absent where it is the root key.
    #[n(1)]
    pub signer: Option<WriterTag>,
    /// Ed25519.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: Vec<u8>,
}

fn message(context: Context, repository: &ChunkId, payload: &[u8]) -> Vec<u8> {
    let mut message = context.as_str().as_bytes().to_vec();
    message.push(0);
    message.extend_from_slice(repository.as_bytes());
    message.extend_from_slice(payload);
    message
}

/// Signs a payload; the result is the body of a chunk.
pub fn sign(
    context: Context,
    repository: &ChunkId,
    signer: Option<WriterTag>,
    key: &SignKey,
    payload: Vec<u8>,
) -> Vec<u8> {
    let signature = key.sign(&message(context, repository, &payload)).to_vec();
    to_cbor(&Signed { payload, signer, signature })
}

impl Signed {
    /// Parses the body of a chunk. Nothing is verified yet.
    pub fn parse(body: &[u8]) -> Result<Self, FormatError> {
        from_cbor(body)
    }

    /// Returns the payload if this key signed it for this context and repository.
    pub fn verify(&self, context: Context, repository: &ChunkId, key: &VerifyKey) -> Result<&[u8], FormatError> {
        key.verify(&message(context, repository, &self.payload), &self.signature)?;
        Ok(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_to_context_repository_and_payload() {
        let key = SignKey::random();
        let (here, there) = (ChunkId::from_bytes([1; 32]), ChunkId::from_bytes([2; 32]));
        let body = sign(Context::Index, &here, Some(WriterTag([3; 8])), &key, b"payload".to_vec());
        let signed = Signed::parse(&body).expect("parses");
        assert_eq!(signed.verify(Context::Index, &here, &key.public()), Ok(b"payload".as_slice()));
        assert!(signed.verify(Context::Snapshot, &here, &key.public()).is_err());
        assert!(signed.verify(Context::Index, &there, &key.public()).is_err());
        assert!(signed.verify(Context::Index, &here, &SignKey::random().public()).is_err());
        let changed = Signed { payload: b"pailoads".to_vec(), ..signed };
        assert!(changed.verify(Context::Index, &here, &key.public()).is_err());
    }
}
