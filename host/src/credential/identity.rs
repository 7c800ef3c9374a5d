//! Identity files: an age X25519 secret key in a file that only its owner may read, for unattended machines.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use zeroize::Zeroizing;

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
    #[error("{path} holds no age X25519 identity (a line that begins with AGE-SECRET-KEY-1)", path = path.display())]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
    },
}

/// Reads an identity file: the first line that is not empty and no comment.
pub fn load(path: &Path) -> Result<Identity, IdentityError> {
    let io = |source| IdentityError::Io { action: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.and_then(|line| Identity::from_str(line).ok())
        .ok_or_else(|| IdentityError::NotAnIdentity { path: path.to_owned() })
}

/// Makes a new identity and writes it to a file that must not exist, mode 0600.
pub fn create(path: &Path) -> Result<Identity, IdentityError> {
    let io = |source| IdentityError::Io { action: "create", path: path.to_owned(), source };
    let identity = Identity::generate();
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
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
        fs::write(&path, "# nothing\n").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(matches!(load(&path), Err(IdentityError::NotAnIdentity { .. })));
    }
}
