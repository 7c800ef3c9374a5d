//! Public-key cryptography: HPKE key pairs (X25519) and signing key pairs (Ed25519).

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};

use super::{CryptoError, Key};

/// Length of the encapsulated key in front of an HPKE ciphertext.
const ENCAPSULATED: usize = 32;

/// Bytes that [`HpkePublic::seal`] adds: encapsulated key and tag.
pub const HPKE_OVERHEAD: usize = ENCAPSULATED + super::aead::TAG_SIZE;

/// The public half of an HPKE key pair: whoever has it can seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpkePublic([u8; 32]);

/// The private half of an HPKE key pair.
#[derive(Clone)]
pub struct HpkePrivate(Key);

impl HpkePublic {
    /// The key with these bytes, if they are 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        bytes.try_into().map(HpkePublic).map_err(|_| CryptoError::BadKey)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals to the holder of the private half: encapsulated key (32 bytes), ciphertext with tag.
    pub fn seal(&self, info: &[u8], associated: &[u8], secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| CryptoError::BadKey)?;
        let (encapsulated, text) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            info,
            secret,
            associated,
        )
        .map_err(|_| CryptoError::BadKey)?;
        let mut out = encapsulated.to_bytes().to_vec();
        out.extend_from_slice(&text);
        Ok(out)
    }
}

impl HpkePrivate {
    /// A fresh random key.
    pub fn random() -> Self {
        let (private, _) = X25519HkdfSha256::gen_keypair();
        let bytes: [u8; 32] = private.to_bytes().into();
        HpkePrivate(Key::from_bytes(bytes))
    }

    /// The key with these bytes.
    pub fn from_key(key: Key) -> Self {
        HpkePrivate(key)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    fn key(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(self.as_bytes()).expect("32 bytes are an X25519 private key")
    }

    /// The public half.
    pub fn public(&self) -> HpkePublic {
        HpkePublic(X25519HkdfSha256::sk_to_pk(&self.key()).to_bytes().into())
    }

    /// Opens what [`HpkePublic::seal`] made.
    pub fn open(&self, info: &[u8], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if sealed.len() < HPKE_OVERHEAD {
            return Err(CryptoError::Seal);
        }
        let (encapsulated, text) = sealed.split_at(ENCAPSULATED);
        let encapsulated =
            <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| CryptoError::Seal)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.key(),
            &encapsulated,
            info,
            text,
            associated,
        )
        .map_err(|_| CryptoError::Seal)
    }
}

/// The public half of a signing key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyKey([u8; 32]);

/// The private half of a signing key pair (an Ed25519 seed).
#[derive(Clone)]
pub struct SignKey(Key);

impl SignKey {
    /// A fresh random key.
    pub fn random() -> Self {
        SignKey(Key::random())
    }

    /// The key with this seed.
    pub fn from_key(seed: Key) -> Self {
        SignKey(seed)
    }

    /// The seed.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn public(&self) -> VerifyKey {
        VerifyKey(SigningKey::from_bytes(self.as_bytes()).verifying_key().to_bytes())
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(self.as_bytes()).sign(message).to_bytes()
    }
}

impl VerifyKey {
    /// The key with these bytes, if they are 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        bytes.try_into().map(VerifyKey).map_err(|_| CryptoError::BadKey)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks a signature; refuses the malleable forms.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| CryptoError::BadKey)?;
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| CryptoError::Signature)?;
        key.verify_strict(message, &signature).map_err(|_| CryptoError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hpke_opens_only_with_the_private_half_and_the_same_context() {
        let private = HpkePrivate::random();
        let sealed = private.public().seal(b"info", b"aad", b"secret").expect("seals");
        assert_eq!(sealed.len(), 6 + HPKE_OVERHEAD);
        assert_eq!(private.open(b"info", b"aad", &sealed), Ok(b"secret".to_vec()));
        assert_eq!(private.open(b"other", b"aad", &sealed), Err(CryptoError::Seal));
        assert_eq!(private.open(b"info", b"other", &sealed), Err(CryptoError::Seal));
        assert_eq!(HpkePrivate::random().open(b"info", b"aad", &sealed), Err(CryptoError::Seal));
    }

    #[test]
    fn signatures_fit_one_message_and_one_key() {
        let key = SignKey::random();
        let signature = key.sign(b"message");
        assert_eq!(key.public().verify(b"message", &signature), Ok(()));
        assert_eq!(key.public().verify(b"massage", &signature), Err(CryptoError::Signature));
        assert_eq!(SignKey::random().public().verify(b"message", &signature), Err(CryptoError::Signature));
        assert_eq!(key.public().verify(b"message", &signature[..63]), Err(CryptoError::Signature));
    }
}
