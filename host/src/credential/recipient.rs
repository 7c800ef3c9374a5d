//! Whom a credential is sealed for: a passphrase, or a public key.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use age::plugin::RecipientPluginV1;
use zeroize::Zeroizing;

use super::terminal::{Terminal, words};
use super::{CredentialError, Kind, WORK_FACTOR, secret_string};
use crate::format::client::Credential;

/// What a credential is sealed for.
#[derive(Clone)]
pub enum Recipient {
    /// Whoever knows this passphrase.
    Passphrase(Zeroizing<String>),
    /// Whoever has the identity of this public key.
    Identity(PublicKey),
}

/// A public key.
#[derive(Clone)]
pub enum PublicKey {
    /// Of an X25519 identity of age.
    X25519(age::x25519::Recipient),
    /// Of an SSH key of the kind ssh-ed25519.
    Ssh(age::ssh::Recipient),
    /// Of a key in hardware, on the curve P-256, whose plugin is needed for opening only.
    Tag(age::tag::Recipient),
    /// The same with ML-KEM-768 besides.
    PostQuantumTag(Box<age::tagpq::Recipient>),
    /// Of an age plugin.
    Plugin(age::plugin::Recipient),
    /// Of an identity of an age plugin, which knows its public half.
    OfPluginIdentity(age::plugin::Identity),
}

impl FromStr for PublicKey {
    /// Why it is none, and what would be one.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
            return match text.parse() {
                Ok(key @ age::ssh::Recipient::SshEd25519(..)) => Ok(PublicKey::Ssh(key)),
                _ if !text.starts_with("ssh-ed25519 ") => {
                    Err("of SSH keys, only those of the kind ssh-ed25519 are taken".into())
                }
                _ => Err("it is no whole SSH key; give the line in the file that ends in .pub".into()),
            };
        }
        let own = text.parse().ok().map(PublicKey::X25519);
        let tag = || text.parse().ok().map(PublicKey::Tag);
        let post_quantum_tag = || text.parse().ok().map(|key| PublicKey::PostQuantumTag(Box::new(key)));
        let plugin = || text.parse().ok().map(PublicKey::Plugin);
        own.or_else(tag).or_else(post_quantum_tag).or_else(plugin).ok_or_else(|| {
            "it is neither a public key of age (age1...), nor one of an age plugin (age1NAME1...), nor a public SSH key (ssh-ed25519 ...)"
                .into()
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublicKey::X25519(key) => key.fmt(f),
            PublicKey::Ssh(key) => key.fmt(f),
            PublicKey::Tag(key) => key.fmt(f),
            PublicKey::PostQuantumTag(key) => key.fmt(f),
            PublicKey::Plugin(key) => key.fmt(f),
            PublicKey::OfPluginIdentity(identity) => write!(f, "an identity of the age plugin {:?}", identity.plugin()),
        }
    }
}

impl PublicKey {
    fn sealer(&self) -> Result<Box<dyn age::Recipient>, CredentialError> {
        let none =
            |name: &str| CredentialError::Plugin(format!("no program age-plugin-{name} is in the PATH; install it"));
        Ok(match self {
            PublicKey::X25519(key) => Box::new(key.clone()),
            PublicKey::Ssh(key) => Box::new(key.clone()),
            PublicKey::Tag(key) => Box::new(key.clone()),
            PublicKey::PostQuantumTag(key) => key.clone(),
            PublicKey::Plugin(key) => {
                let (name, keys) = (key.plugin(), std::slice::from_ref(key));
                Box::new(RecipientPluginV1::new(name, keys, &[], Terminal).map_err(|_| none(name))?)
            }
            PublicKey::OfPluginIdentity(identity) => {
                let (name, identities) = (identity.plugin(), std::slice::from_ref(identity));
                Box::new(RecipientPluginV1::new(name, &[], identities, Terminal).map_err(|_| none(name))?)
            }
        })
    }
}

impl Recipient {
    /// Which kind of secret opens what is sealed for it.
    pub fn kind(&self) -> Kind {
        match self {
            Recipient::Passphrase(_) => Kind::Passphrase,
            Recipient::Identity(_) => Kind::Identity,
        }
    }

    /// Makes a credential chunk. That fails where a plugin fails.
    pub fn seal(&self, credential: &Credential) -> Result<Vec<u8>, CredentialError> {
        let recipient: Box<dyn age::Recipient> = match self {
            Recipient::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(secret_string(passphrase));
                recipient.set_work_factor(WORK_FACTOR);
                Box::new(recipient)
            }
            Recipient::Identity(key) => key.sealer()?,
        };
        let failed = |error: &dyn fmt::Display| CredentialError::Plugin(words(error));
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&*recipient)).map_err(|error| failed(&error))?;
        let mut file = Vec::new();
        let mut writer = encryptor.wrap_output(&mut file).map_err(|error| failed(&error))?;
        writer.write_all(&credential.to_plaintext()).expect("writing into memory does not fail");
        writer.finish().expect("writing into memory does not fail");
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public SSH key that nobody has the other half of.
    const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    #[test]
    fn public_keys_are_read_and_shown() {
        let own = age::x25519::Identity::generate().to_public().to_string();
        let tag = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";
        for good in [own.as_str(), SSH, tag] {
            assert_eq!(good.parse::<PublicKey>().expect("is one").to_string(), good);
        }
        assert_eq!(format!(" {SSH} me@here\n").parse::<PublicKey>().expect("a line of a file").to_string(), SSH);
        assert!(matches!(tag.parse(), Ok(PublicKey::Tag(_))));
        for (bad, why) in [
            ("", "neither"),
            ("age1", "neither"),
            (&own[..own.len() - 1], "neither"),
            (&SSH[..40], "whole"),
            ("ssh-rsa AAAA", "only those"),
            ("ecdsa-sha2-nistp256 AAAA", "only those"),
        ] {
            let said = bad.parse::<PublicKey>().map(drop).expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
