//! The keyring of the kernel: it keeps a passphrase in memory for the programs of a user, until the machine is restarted, the
//! last program of the user ends, or its time is up. No other user but root reads it, and no file holds it.

use std::time::Duration;

use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};
use zeroize::Zeroizing;

use crate::chunk::ChunkId;

/// Why the kernel does not keep a passphrase.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Not here.
    #[error(
        "the kernel keeps no passphrase here ({0}); containers often forbid it. Use passphrase-command, passphrase-file or an identity file"
    )]
    Refused(KeyError),
}

/// Keeps the passphrase of the repository at this location, in the place of an older one. `time`: for how long at most.
pub fn remember(location: &str, passphrase: &str, time: Option<Duration>) -> Result<(), KeyringError> {
    let keep = || {
        let ring = of_the_user()?;
        let key = ring.add_key(&description(location), passphrase)?;
        // Zero is for ever, also where an older one had its time.
        let seconds = time.map_or(0, |time| usize::try_from(time.as_secs()).unwrap_or(usize::MAX).max(1));
        key.set_timeout(seconds).inspect_err(|_| {
            // Rather not at all than without an end.
            let _ = ring.unlink_key(key);
        })
    };
    keep().map_err(KeyringError::Refused)
}

/// The passphrase that is kept for this location.
pub fn recall(location: &str) -> Option<Zeroizing<String>> {
    let bytes = find(location).and_then(|(_, key)| key.read_to_vec()).map(Zeroizing::new);
    let bytes =
        bytes.inspect_err(|error| tracing::debug!("the keyring of the kernel has no passphrase: {error}")).ok()?;
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

/// Forgets it; whether there was one.
pub fn forget(location: &str) -> Result<bool, KeyringError> {
    match find(location) {
        Ok((ring, key)) => ring.unlink_key(key).map(|()| true).map_err(KeyringError::Refused),
        Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => Ok(false),
        Err(error) => Err(KeyringError::Refused(error)),
    }
}

fn find(location: &str) -> Result<(KeyRing, Key), KeyError> {
    let ring = of_the_user()?;
    Ok((ring, ring.search(&description(location))?))
}

/// The user's keyring. It is linked into this process, which then has the rights of its owner, also where the session has not (a
/// service, say).
fn of_the_user() -> Result<KeyRing, KeyError> {
    let ring = KeyRing::from_special_id(KeyRingIdentifier::User, true)?;
    KeyRing::from_special_id(KeyRingIdentifier::Process, true)?.link_keyring(ring)?;
    Ok(ring)
}

/// What a key is called: nothing that tells where the repository is.
fn description(location: &str) -> String {
    format!("obnam:{}", ChunkId::of(location.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_until_it_is_forgotten() {
        let location = format!("/test/{}", std::process::id());
        assert!(recall(&location).is_none());
        // A kernel that refuses says so, and nothing is kept.
        if let Err(error) = remember(&location, "words", None) {
            assert!(error.to_string().contains("containers"), "{error}");
            assert!(recall(&location).is_none());
            return;
        }
        assert_eq!(recall(&location).expect("is kept").as_str(), "words");
        remember(&location, "other words", Some(Duration::from_secs(3600))).expect("keeps");
        assert_eq!(recall(&location).expect("is kept").as_str(), "other words");
        assert!(recall("/test/elsewhere").is_none());
        assert!(forget(&location).expect("forgets"));
        assert!(!forget(&location).expect("has none"));
        assert!(recall(&location).is_none());
    }
}
