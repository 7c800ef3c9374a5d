//! Identity files: a secret key in a file that only its owner may read. Made here are X25519 keys of age; also read are SSH keys
//! and what age plugins write.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::plugin::IdentityPluginV1;
use age::secrecy::ExposeSecret;
use age::ssh::UnsupportedKey;
use zeroize::Zeroizing;

use super::passphrase::{self, PassphraseError};
use super::recipient::PublicKey;
use super::secret_string;
use super::terminal::Terminal;

/// Why an identity file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading or writing failed.
    #[error("cannot {action} the identity file {path}: {source}", path = path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("the identity file {path} may be read by others (mode {mode:04o}); run: chmod 600 {path}", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No identity in it.
    #[error("{path} holds no identity: neither an age one (a line that begins with AGE-SECRET-KEY-1 or AGE-PLUGIN-) nor a private SSH key", path = path.display())]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
    },
    /// An SSH key of another kind.
    #[error("the SSH key {path} cannot be used: {why}", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// An SSH key with a passphrase of its own, and nobody to ask for it.
    #[error("the SSH key {path} has a passphrase of its own, and there is no terminal to ask for it; run obnam on one, or give a machine that runs unattended an identity file: obnam credential add --new-identity FILE", path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Not the passphrase of the SSH key.
    #[error("wrong passphrase: it does not open the SSH key {path}", path = path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase of the SSH key could not be asked for.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The program that an identity is for is not there.
    #[error("the identity is for the age plugin {name:?}, but no program age-plugin-{name} is in the PATH; install it")]
    NoPlugin {
        /// The plugin's name.
        name: String,
    },
}

/// A secret key.
#[derive(Clone)]
pub enum Identity {
    /// One of age's own.
    X25519(age::x25519::Identity),
    /// An SSH key, always of the kind ssh-ed25519.
    Ssh(Box<SshKey>),
    /// What an age plugin knows its key by, which may be in hardware.
    Plugin(age::plugin::Identity),
}

/// A private SSH key, which may be locked with a passphrase.
#[derive(Clone)]
pub struct SshKey {
    key: age::ssh::Identity,
    public: age::ssh::Recipient,
    path: PathBuf,
}

impl From<age::x25519::Identity> for Identity {
    fn from(identity: age::x25519::Identity) -> Self {
        Identity::X25519(identity)
    }
}

impl Identity {
    /// Whom a credential that this one opens is sealed for. An SSH key need not be unlocked for that.
    pub fn to_public(&self) -> PublicKey {
        match self {
            Identity::X25519(identity) => PublicKey::X25519(identity.to_public()),
            Identity::Ssh(key) => PublicKey::Ssh(key.public.clone()),
            Identity::Plugin(identity) => PublicKey::OfPluginIdentity(identity.clone()),
        }
    }

    /// The same, ready to open something: a locked SSH key is unlocked with a passphrase from the terminal, and the program of a
    /// plugin is looked for.
    pub fn unlocked(self) -> Result<Self, IdentityError> {
        match self {
            Identity::Ssh(key) => Ok(Identity::Ssh(Box::new(key.unlocked()?))),
            Identity::Plugin(identity) => {
                let name = identity.plugin().to_owned();
                match IdentityPluginV1::new(&name, std::slice::from_ref(&identity), Terminal) {
                    Ok(_) => Ok(Identity::Plugin(identity)),
                    Err(_) => Err(IdentityError::NoPlugin { name }),
                }
            }
            Identity::X25519(identity) => Ok(Identity::X25519(identity)),
        }
    }

    /// Whether trying it on something takes a while, or somebody's finger on a key.
    pub fn is_costly(&self) -> bool {
        matches!(self, Identity::Plugin(_))
    }

    /// What opens age files with it; none where the program of a plugin has vanished.
    pub(super) fn opener(&self) -> Option<Box<dyn age::Identity>> {
        Some(match self {
            Identity::X25519(identity) => Box::new(identity.clone()),
            Identity::Ssh(key) => Box::new(key.key.clone()),
            Identity::Plugin(identity) => {
                let identities = std::slice::from_ref(identity);
                Box::new(IdentityPluginV1::new(identity.plugin(), identities, Terminal).ok()?)
            }
        })
    }
}

impl SshKey {
    fn unlocked(self) -> Result<Self, IdentityError> {
        let SshKey { key: age::ssh::Identity::Encrypted(locked), public, path } = self else { return Ok(self) };
        let passphrase = match passphrase::prompt(&format!("Passphrase of the SSH key {}: ", path.display())) {
            Ok(passphrase) => passphrase,
            Err(PassphraseError::NoSource) => return Err(IdentityError::Locked { path }),
            Err(error) => return Err(error.into()),
        };
        match locked.decrypt(secret_string(&passphrase)) {
            Ok(key) => Ok(SshKey { key: key.into(), public, path }),
            Err(_) => Err(IdentityError::WrongPassphrase { path }),
        }
    }
}

/// Reads an identity file: a private SSH key, or the first line that is not empty and no comment. Nothing is asked.
pub fn load(path: &Path) -> Result<Identity, IdentityError> {
    let io = |source| IdentityError::Io { action: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
    if text.starts_with("-----BEGIN ") {
        return ssh_key(path, &text).map(|key| Identity::Ssh(Box::new(key)));
    }
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let own = age::x25519::Identity::from_str(line).ok().map(Identity::X25519);
    own.or_else(|| age::plugin::Identity::from_str(line).ok().map(Identity::Plugin))
        .ok_or_else(|| IdentityError::NotAnIdentity { path: path.to_owned() })
}

fn ssh_key(path: &Path, text: &str) -> Result<SshKey, IdentityError> {
    let unsupported = |why: String| IdentityError::Unsupported { path: path.to_owned(), why };
    let other = |kind: &str| {
        unsupported(format!(
            "it is of the kind {kind}, and only ssh-ed25519 is taken; make one with: ssh-keygen -t ed25519"
        ))
    };
    let key = age::ssh::Identity::from_buffer(text.as_bytes(), None);
    let key = key.map_err(|_| IdentityError::NotAnIdentity { path: path.to_owned() })?;
    match &key {
        age::ssh::Identity::Unsupported(UnsupportedKey::EncryptedPem) => return Err(other("ssh-rsa")),
        age::ssh::Identity::Unsupported(UnsupportedKey::Type(kind) | UnsupportedKey::Hardware(kind)) => {
            return Err(other(kind));
        }
        age::ssh::Identity::Unsupported(UnsupportedKey::EncryptedSsh(cipher)) => {
            let path = path.display();
            return Err(unsupported(format!(
                "it is locked with {cipher}, which is not known here; lock it anew with: ssh-keygen -p -f {path}"
            )));
        }
        _ => {}
    }
    match age::ssh::Recipient::try_from(key.clone()) {
        Ok(public @ age::ssh::Recipient::SshEd25519(..)) => Ok(SshKey { key, public, path: path.to_owned() }),
        // See `deny.toml`.
        Ok(age::ssh::Recipient::SshRsa(..)) => Err(other("ssh-rsa")),
        Err(_) => Err(other("another key")),
    }
}

/// Makes a new identity and writes it to a file that must not exist, mode 0600.
pub fn create(path: &Path) -> Result<Identity, IdentityError> {
    let io = |source| IdentityError::Io { action: "create", path: path.to_owned(), source };
    let identity = age::x25519::Identity::generate();
    let text = Zeroizing::new(format!(
        "# identity of obnam; whoever has this file can open the repository\n# public key: {}\n{}\n",
        identity.to_public(),
        identity.to_string().expose_secret()
    ));
    // Under a temporary name first (mode 0600), so that it is there whole or not at all.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    file.persist_noclobber(path).map_err(|error| io(error.error))?;
    Ok(Identity::X25519(identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).expect("writes");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    #[test]
    fn comes_back_and_is_kept_private() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("identity");
        assert!(matches!(load(&path), Err(IdentityError::Io { .. })));
        let made = create(&path).expect("creates");
        assert_eq!(load(&path).expect("loads").to_public().to_string(), made.to_public().to_string());
        assert!(matches!(create(&path), Err(IdentityError::Io { .. })), "never overwrites");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(load(&path), Err(IdentityError::Exposed { mode: 0o640, .. })));
        for bad in ["# nothing\n", "AGE-SECRET-KEY-1X\n", "AGE-PLUGIN-1\n", "-----BEGIN OPENSSH PRIVATE KEY-----\n"] {
            write(&path, bad);
            assert!(matches!(load(&path), Err(IdentityError::NotAnIdentity { .. })), "{bad}");
        }
    }

    #[test]
    fn plugins_are_looked_for_when_they_are_needed() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("identity");
        let line = age::plugin::Identity::default_for_plugin("obnam-nowhere").expect("a name").to_string();
        write(&path, &format!("# comment\n\n{line}\n"));
        let identity = load(&path).expect("loads");
        assert!(identity.is_costly());
        assert!(matches!(identity.unlocked(), Err(IdentityError::NoPlugin { name }) if name == "obnam-nowhere"));
    }
}
