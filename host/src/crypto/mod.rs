//! The cryptography that the repository format is made of: typed keys, sealing, wrapping, signing.
//!
//! Only published algorithms through well-kept crates; `docs/format.md` section 1 names them. Secrets are
//! zeroed when dropped and have no `Debug`. Nothing here knows of chunks or repositories.

pub mod aead;
pub mod key;
pub mod public;

pub use key::{Key, random};

/// A key, seal or signature that does not fit. Says nothing about which bit was wrong, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Wrong key, or the bytes were changed.
    #[error("the seal does not fit: wrong key, or the bytes were changed")]
    Seal,
    /// Not signed by this key, or the bytes were changed.
    #[error("the signature does not fit")]
    Signature,
    /// Bytes that are no key.
    #[error("not a valid key")]
    BadKey,
}
