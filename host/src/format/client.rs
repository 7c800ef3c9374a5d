//! Client chunks and the plaintext of credentials (format section 5).

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::header::KeyId;
use super::{FormatError, Time, WriterTag, from_cbor, to_cbor};
use crate::chunk::ChunkId;
use crate::crypto::Key;
use crate::crypto::public::{HpkePrivate, SignKey};

/// The private keys of one client.
#[derive(Clone)]
pub struct ClientKeys {
    /// Its name for people.
    pub name: String,
    /// Its random name.
    pub tag: WriterTag,
    /// Signs its snapshots and index chunks.
    pub signing: SignKey,
    /// Opens what rosters wrap for it.
    pub hpke: HpkePrivate,
    /// Signs rosters, where this client has it.
    pub root: Option<SignKey>,
    /// When the client was made.
    pub created: Time,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
struct ClientWire {
    #[n(0)]
    name: String,
    #[zeroize(skip)]
    #[n(1)]
    tag: WriterTag,
    #[cbor(n(2), with = "minicbor::bytes")]
    signing: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    hpke: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    root: Option<Vec<u8>>,
    #[zeroize(skip)]
    #[n(5)]
    created: Time,
}

impl ClientKeys {
    /// The body of the client chunk.
    pub fn to_body(&self) -> Zeroizing<Vec<u8>> {
        let wire = ClientWire {
            name: self.name.clone(),
            tag: self.tag,
            signing: self.signing.as_bytes().to_vec(),
            hpke: self.hpke.as_bytes().to_vec(),
            root: self.root.as_ref().map(|key| key.as_bytes().to_vec()),
            created: self.created,
        };
        Zeroizing::new(to_cbor(&wire))
    }

    /// Reads the body of a client chunk.
    pub fn from_body(body: &[u8]) -> Result<Self, FormatError> {
        let wire: ClientWire = from_cbor(body)?;
        let root = wire.root.as_ref().map(|seed| Key::from_slice(seed).map(SignKey::from_key)).transpose()?;
        Ok(ClientKeys {
            name: wire.name.clone(),
            tag: wire.tag,
            signing: SignKey::from_key(Key::from_slice(&wire.signing)?),
            hpke: HpkePrivate::from_key(Key::from_slice(&wire.hpke)?),
            root,
            created: wire.created,
        })
    }
}

/// What a credential opens.
#[derive(Clone)]
pub struct Credential {
    /// The repository that it belongs to.
    pub repository: ChunkId,
    /// The client chunk that the key opens.
    pub client: ChunkId,
    /// Names the client key in the client chunk's header.
    pub key_id: KeyId,
    /// The client key.
    pub key: Key,
    /// For obnam-server.
    pub api_token: Option<Zeroizing<String>>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
struct CredentialWire {
    #[n(0)]
    version: u32,
    #[zeroize(skip)]
    #[n(1)]
    repository: ChunkId,
    #[zeroize(skip)]
    #[n(2)]
    client: ChunkId,
    #[cbor(n(3), with = "minicbor::bytes")]
    key_id: KeyId,
    #[cbor(n(4), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[n(5)]
    api_token: Option<String>,
}

impl Credential {
    /// The plaintext of the age file.
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let wire = CredentialWire {
            version: 1,
            repository: self.repository,
            client: self.client,
            key_id: self.key_id,
            key: self.key.as_bytes().to_vec(),
            api_token: self.api_token.as_ref().map(|token| token.to_string()),
        };
        Zeroizing::new(to_cbor(&wire))
    }

    /// Reads the plaintext of an age file.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, FormatError> {
        let wire: CredentialWire = from_cbor(plaintext)?;
        if wire.version != 1 {
            return Err(FormatError::TooNew(format!("credential version {}", wire.version)));
        }
        Ok(Credential {
            repository: wire.repository,
            client: wire.client,
            key_id: wire.key_id,
            key: Key::from_slice(&wire.key)?,
            api_token: wire.api_token.clone().map(Zeroizing::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_credentials_come_back() {
        let keys = ClientKeys {
            name: "laptop".into(),
            tag: WriterTag::random(),
            signing: SignKey::random(),
            hpke: HpkePrivate::random(),
            root: Some(SignKey::random()),
            created: Time { seconds: 1, nanoseconds: 2 },
        };
        let read = ClientKeys::from_body(&keys.to_body()).expect("decodes");
        assert_eq!((&read.name, read.tag, read.created), (&keys.name, keys.tag, keys.created));
        assert_eq!(read.signing.as_bytes(), keys.signing.as_bytes());
        assert_eq!(read.hpke.as_bytes(), keys.hpke.as_bytes());
        assert_eq!(read.root.map(|key| *key.as_bytes()), keys.root.map(|key| *key.as_bytes()));
        let credential = Credential {
            repository: ChunkId::from_bytes([1; 32]),
            client: ChunkId::from_bytes([2; 32]),
            key_id: [3; 16],
            key: Key::random(),
            api_token: Some(Zeroizing::new("token".into())),
        };
        let read = Credential::from_plaintext(&credential.to_plaintext()).expect("decodes");
        assert_eq!((read.repository, read.client, read.key_id), (credential.repository, credential.client, [3; 16]));
        assert_eq!(read.key.as_bytes(), credential.key.as_bytes());
        assert_eq!(read.api_token, credential.api_token);
    }
}
