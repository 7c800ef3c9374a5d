//! Pins: which repository stands at a location, and with which credentials this machine opens it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Dirs, LocalError, read_file, write_file};
use crate::chunk::ChunkId;
use crate::credential::Kind;

/// What this machine knows of the repository at a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The repository's location, as the user named it, made absolute.
    pub location: String,
    /// The repository id.
    pub repository: ChunkId,
    /// The credential that a passphrase opens.
    pub passphrase_credential: Option<ChunkId>,
    /// The credential that an identity file opens.
    pub identity_credential: Option<ChunkId>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    location: String,
    repository: String,
    passphrase_credential: Option<String>,
    identity_credential: Option<String>,
}

fn path(dirs: &Dirs, location: &str) -> Result<PathBuf, LocalError> {
    let name = hex::encode(&Sha256::digest(location.as_bytes())[..16]);
    Ok(dirs.pins()?.join(format!("{name}.toml")))
}

impl Pin {
    /// The pin of a location, if there is one.
    pub fn load(dirs: &Dirs, location: &str) -> Result<Option<Self>, LocalError> {
        let path = path(dirs, location)?;
        let Some(contents) = read_file(&path)? else { return Ok(None) };
        let damaged = |why: String| LocalError::Damaged { path: path.clone(), why };
        let text = String::from_utf8(contents).map_err(|error| damaged(error.to_string()))?;
        let wire: Wire = toml::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let id = |text: &String| text.parse().map_err(|error: crate::chunk::NameError| damaged(error.to_string()));
        Ok(Some(Pin {
            repository: id(&wire.repository)?,
            passphrase_credential: wire.passphrase_credential.as_ref().map(id).transpose()?,
            identity_credential: wire.identity_credential.as_ref().map(id).transpose()?,
            location: wire.location,
        }))
    }

    /// From now on this machine opens the repository at a location with another credential for this kind of secret.
    pub fn replace(dirs: &Dirs, location: &str, kind: Kind, credential: &ChunkId) -> Result<(), LocalError> {
        let Some(mut pin) = Pin::load(dirs, location)? else { return Ok(()) };
        match kind {
            Kind::Passphrase => pin.passphrase_credential = Some(*credential),
            Kind::Identity => pin.identity_credential = Some(*credential),
        }
        pin.save(dirs)
    }

    /// Keeps the pin.
    pub fn save(&self, dirs: &Dirs) -> Result<(), LocalError> {
        let wire = Wire {
            location: self.location.clone(),
            repository: self.repository.to_string(),
            passphrase_credential: self.passphrase_credential.map(|id| id.to_string()),
            identity_credential: self.identity_credential.map(|id| id.to_string()),
        };
        let text = toml::to_string(&wire).expect("strings are TOML");
        let text = format!("# Pins the repository at this location; see docs/format.md, section 12.\n{text}");
        write_file(&path(dirs, &self.location)?, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_come_back() {
        let root = tempfile::tempdir().expect("a directory");
        let dirs = Dirs::below(root.path());
        assert_eq!(Pin::load(&dirs, "/mnt/x").expect("loads"), None);
        let pin = Pin {
            location: "/mnt/x".into(),
            repository: ChunkId::from_bytes([1; 32]),
            passphrase_credential: Some(ChunkId::from_bytes([2; 32])),
            identity_credential: None,
        };
        pin.save(&dirs).expect("saves");
        assert_eq!(Pin::load(&dirs, "/mnt/x").expect("loads"), Some(pin));
        std::fs::write(path(&dirs, "/mnt/x").expect("a path"), "location = 5").expect("writes");
        assert!(matches!(Pin::load(&dirs, "/mnt/x"), Err(LocalError::Damaged { .. })));
    }
}
