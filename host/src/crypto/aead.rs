//! Sealing: ChaCha20-Poly1305 (RFC 8439) for pieces of a chunk, XChaCha20-Poly1305 for wrapped keys.
//!
//! The pieces are all the data that there is, so their cipher is `ring`'s, which takes half the time of the crate
//! `chacha20poly1305` for pieces of 64 KiB and more, and a third for those of 4 KiB. It has no XChaCha20.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{CryptoError, Key, random};

/// Bytes that a seal adds.
pub const TAG_SIZE: usize = 16;

/// Bytes that [`wrap`] adds: a nonce of 24 and a tag of 16.
pub const WRAP_OVERHEAD: usize = 24 + TAG_SIZE;

/// What a sealed piece of a chunk is; the first byte of its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A blob in a pack.
    Blob = 1,
    /// A pack's directory.
    Directory = 2,
    /// A pack's footer.
    Footer = 3,
    /// The whole contents of a chunk that is no pack.
    Whole = 4,
}

/// Seals and opens the pieces of one chunk, under the chunk's own key and bound to its header.
pub struct PieceCipher {
    cipher: LessSafeKey,
    associated: [u8; 32],
}

impl PieceCipher {
    /// The cipher for a chunk with this content encryption key and this SHA-256 of its header.
    pub fn new(key: &Key, associated: [u8; 32]) -> Self {
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).expect("a key has the 32 bytes that the cipher takes");
        PieceCipher { cipher: LessSafeKey::new(key), associated }
    }

    fn nonce(purpose: Purpose, position: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[0] = purpose as u8;
        nonce[4..].copy_from_slice(&position.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals in place what stands in `buffer` from `start` on, and appends the tag.
    pub fn seal_tail(&self, purpose: Purpose, position: u64, buffer: &mut Vec<u8>, start: usize) {
        let nonce = Self::nonce(purpose, position);
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(self.associated), &mut buffer[start..])
            .expect("a piece is far below the cipher's limit of 256 GiB");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Opens a piece in place and returns its plaintext. After an error its bytes are of no use any more.
    pub fn open<'a>(&self, purpose: Purpose, position: u64, piece: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        let opened = self.cipher.open_in_place(Self::nonce(purpose, position), Aad::from(self.associated), piece);
        opened.map_err(|_| CryptoError::Seal)
    }
}

/// Wraps a secret under a long-lived key: nonce (24, random), ciphertext, tag.
pub fn wrap(key: &Key, associated: &[u8], secret: &[u8]) -> Vec<u8> {
    let nonce: [u8; 24] = random();
    let mut out = nonce.to_vec();
    out.extend_from_slice(secret);
    let tag = XChaCha20Poly1305::new(key.as_bytes().into())
        .encrypt_inout_detached(&XNonce::from(nonce), associated, (&mut out[24..]).into())
        .expect("a wrapped secret is short");
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`wrap`] made.
pub fn unwrap(key: &Key, associated: &[u8], wrapped: &[u8]) -> Result<Vec<u8>, CryptoError> {
    if wrapped.len() < WRAP_OVERHEAD {
        return Err(CryptoError::Seal);
    }
    let (nonce, rest) = wrapped.split_at(24);
    let (text, tag) = rest.split_at(rest.len() - TAG_SIZE);
    let nonce = XNonce::try_from(nonce).map_err(|_| CryptoError::Seal)?;
    let tag = Tag::try_from(tag).map_err(|_| CryptoError::Seal)?;
    let mut text = text.to_vec();
    XChaCha20Poly1305::new(key.as_bytes().into())
        .decrypt_inout_detached(&nonce, associated, text.as_mut_slice().into(), &tag)
        .map_err(|_| CryptoError::Seal)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_open_only_where_they_belong() {
        let cipher = PieceCipher::new(&Key::from_bytes([7; 32]), [1; 32]);
        let mut buffer = b"head".to_vec();
        buffer.extend_from_slice(b"text");
        cipher.seal_tail(Purpose::Blob, 4, &mut buffer, 4);
        assert_eq!(buffer.len(), 4 + 4 + TAG_SIZE);
        let open = |cipher: &PieceCipher, purpose, position| {
            cipher.open(purpose, position, &mut buffer.clone()[4..]).map(|text| text.to_vec())
        };
        assert_eq!(open(&cipher, Purpose::Blob, 4), Ok(b"text".to_vec()));
        assert_eq!(open(&cipher, Purpose::Blob, 5), Err(CryptoError::Seal));
        assert_eq!(open(&cipher, Purpose::Directory, 4), Err(CryptoError::Seal));
        let other = PieceCipher::new(&Key::from_bytes([7; 32]), [2; 32]);
        assert_eq!(open(&other, Purpose::Blob, 4), Err(CryptoError::Seal));
        assert_eq!(cipher.open(Purpose::Blob, 0, &mut [0; 15]).err(), Some(CryptoError::Seal));
    }

    #[test]
    fn wraps_are_bound_to_key_and_context() {
        let key = Key::random();
        let wrapped = wrap(&key, b"context", b"secret");
        assert_eq!(unwrap(&key, b"context", &wrapped), Ok(b"secret".to_vec()));
        assert_eq!(unwrap(&key, b"other", &wrapped), Err(CryptoError::Seal));
        assert_eq!(unwrap(&Key::random(), b"context", &wrapped), Err(CryptoError::Seal));
        assert_eq!(unwrap(&key, b"context", &wrapped[..10]), Err(CryptoError::Seal));
    }
}
