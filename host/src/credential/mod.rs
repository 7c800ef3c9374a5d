//! Credentials: age files that a passphrase or an identity opens, and where passphrases and identities come from.
//!
//! What always holds: no word of a repository names a program. An age plugin is run when the user has an identity of it, or
//! names one of its public keys.

pub mod identity;
pub mod keyring;
pub mod passphrase;
pub mod recipient;
mod terminal;

use std::io::Read;

use age::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::format::FormatError;
use crate::format::client::Credential;
use identity::Identity;
pub use recipient::{PublicKey, Recipient};
use terminal::words;

/// scrypt's N is 2 to this: 64 MiB of memory. Fixed, not calibrated; see `docs/threat-model.md`.
pub const WORK_FACTOR: u8 = 16;
/// Foreign age files that ask for more work than this are refused.
pub const MAX_WORK_FACTOR: u8 = 18;
/// The longest age file that is looked at, in bytes.
pub const MAX_AGE_FILE: u64 = 64 << 10;

/// What the user has to open a credential with.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// An identity, unlocked.
    Identity(Identity),
}

/// Why a credential does not open.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Not this passphrase or identity.
    #[error("it does not open")]
    DoesNotOpen,
    /// For a passphrase where an identity was given, or the reverse.
    #[error("it is for another kind of secret")]
    OtherKind,
    /// Not an age file, or one that asks for too much work.
    #[error("it is not a usable age file: {0}")]
    Unusable(String),
    /// An age plugin did not do its work.
    #[error("the age plugin has failed: {0}")]
    Plugin(String),
    /// It opens, but its contents are not those of a credential.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What kind of secret opens a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A passphrase.
    Passphrase,
    /// An identity.
    Identity,
}

impl Kind {
    /// What the header of an age file says; none for what is no such file.
    pub fn of(file: &[u8]) -> Option<Self> {
        let decryptor = age::Decryptor::new(file).ok()?;
        Some(if decryptor.is_scrypt() { Kind::Passphrase } else { Kind::Identity })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Passphrase => "passphrase",
            Kind::Identity => "identity",
        }
    }
}

fn secret_string(passphrase: &Zeroizing<String>) -> SecretString {
    SecretString::from(passphrase.as_str().to_owned())
}

/// What age calls the keys that an age file is sealed for (`X25519`, `scrypt`, `ssh-ed25519`, or what a plugin calls its own), going by
/// its header.
fn keys_of(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let header = file.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    let keys = header.filter_map(|line| line.strip_prefix(b"-> ")?.split(|byte| *byte == b' ').next());
    // Noise, which any age file may have.
    keys.filter(|key| !key.ends_with(b"-grease"))
}

/// What age calls the first key that an age file is sealed for.
pub fn key_of(file: &[u8]) -> Option<String> {
    keys_of(file).next().map(|key| String::from_utf8_lossy(key).into_owned())
}

/// Whether something else than age's own keys opens an age file.
fn is_for_a_plugin(file: &[u8]) -> bool {
    const OWN: [&[u8]; 4] = [b"X25519", b"scrypt", b"ssh-ed25519", b"ssh-rsa"];
    keys_of(file).any(|key| !OWN.contains(&key))
}

impl Secret {
    /// What this secret opens is sealed for it.
    pub fn recipient(&self) -> Recipient {
        match self {
            Secret::Passphrase(passphrase) => Recipient::Passphrase(passphrase.clone()),
            Secret::Identity(identity) => Recipient::Identity(identity.to_public()),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Secret::Passphrase(_) => Kind::Passphrase,
            Secret::Identity(_) => Kind::Identity,
        }
    }

    /// Whether trying it on a credential takes a while, or somebody's finger on a key.
    pub fn is_costly(&self) -> bool {
        match self {
            Secret::Passphrase(_) => true,
            Secret::Identity(identity) => identity.is_costly(),
        }
    }

    /// Makes a credential chunk that this secret opens.
    pub fn seal(&self, credential: &Credential) -> Result<Vec<u8>, CredentialError> {
        self.recipient().seal(credential)
    }

    /// Opens a credential chunk.
    pub fn open(&self, file: &[u8]) -> Result<Credential, CredentialError> {
        let unusable = |error: &dyn std::fmt::Display| CredentialError::Unusable(error.to_string());
        let decryptor = age::Decryptor::new(file).map_err(|error| unusable(&error))?;
        let is_scrypt = decryptor.is_scrypt();
        let identity: Box<dyn age::Identity> = match self {
            Secret::Passphrase(_) if !is_scrypt => return Err(CredentialError::OtherKind),
            Secret::Identity(_) if is_scrypt => return Err(CredentialError::OtherKind),
            Secret::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(secret_string(passphrase));
                identity.set_max_work_factor(MAX_WORK_FACTOR);
                Box::new(identity)
            }
            // What its program could not open anyway does not start it.
            Secret::Identity(Identity::Plugin(_)) if !is_for_a_plugin(file) => return Err(CredentialError::OtherKind),
            Secret::Identity(identity) => identity.opener().ok_or(CredentialError::DoesNotOpen)?,
        };
        let mut reader = decryptor.decrypt(std::iter::once(&*identity)).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys
            | age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed => CredentialError::DoesNotOpen,
            // Not by its own `Display`, which overflows where this machine is fast.
            age::DecryptError::ExcessiveWork { required, .. } => CredentialError::Unusable(format!(
                "it asks for scrypt work of 2^{required}, and at most 2^{MAX_WORK_FACTOR} is done"
            )),
            error if matches!(self, Secret::Identity(Identity::Plugin(_))) => CredentialError::Plugin(words(&error)),
            error => unusable(&error),
        })?;
        let mut plaintext = Zeroizing::new(Vec::new());
        reader.read_to_end(&mut plaintext).map_err(|error| unusable(&error))?;
        Ok(Credential::from_plaintext(&plaintext)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;
    use crate::crypto::Key;

    fn credential() -> Credential {
        Credential {
            repository: ChunkId::from_bytes([1; 32]),
            client: ChunkId::from_bytes([2; 32]),
            key_id: [3; 16],
            key: Key::random(),
            api_token: None,
        }
    }

    fn passphrase(text: &str) -> Secret {
        Secret::Passphrase(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn each_secret_opens_its_own() {
        let identity = Secret::Identity(age::x25519::Identity::generate().into());
        let secrets = [passphrase("one"), identity];
        let files: Vec<_> = secrets.iter().map(|secret| secret.seal(&credential()).expect("seals")).collect();
        for (secret, file) in secrets.iter().zip(&files) {
            assert_eq!(secret.open(file).expect("opens").client, credential().client);
            assert!(secret.open(&file[..file.len() - 1]).is_err());
            assert!(matches!(secret.open(b"junk"), Err(CredentialError::Unusable(_))));
        }
        assert!(matches!(passphrase("two").open(&files[0]), Err(CredentialError::DoesNotOpen)));
        let stranger = Secret::Identity(age::x25519::Identity::generate().into());
        assert!(matches!(stranger.open(&files[1]), Err(CredentialError::DoesNotOpen)));
        assert!(matches!(secrets[0].open(&files[1]), Err(CredentialError::OtherKind)));
        assert!(matches!(secrets[1].open(&files[0]), Err(CredentialError::OtherKind)));
    }

    #[test]
    fn work_without_end_is_refused() {
        let mut recipient = age::scrypt::Recipient::new(SecretString::from("one".to_owned()));
        recipient.set_work_factor(MAX_WORK_FACTOR + 1);
        let file = age::encrypt(&recipient, b"x").expect("encrypts");
        assert!(matches!(passphrase("one").open(&file), Err(CredentialError::Unusable(_))));
    }
}
