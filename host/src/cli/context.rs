//! From options to an open store and an open repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, Global};
use crate::chunk::ChunkId;
use crate::credential::{Secret, identity, passphrase};
use crate::local::Dirs;
use crate::plugin::{self, PluginSource, StoreSpec};
use crate::repository::{Place, Repository, open};

impl Global {
    /// The location, as the user wrote it.
    fn location(&self) -> Result<&str, Failure> {
        let missing = "no repository: name it with --repo LOCATION or OBNAM_REPOSITORY";
        self.repo.as_deref().filter(|repo| !repo.is_empty()).ok_or_else(|| Failure::Input(missing.into()))
    }

    /// The directory of a local repository.
    pub fn local_directory(&self) -> Option<PathBuf> {
        let location = self.repo.as_deref()?;
        (plugin::bundled_for(location) == Some("local")).then(|| local_path(location))
    }

    /// The store, behind its plugin; nothing has been asked of the place yet.
    pub fn place(&self) -> Result<Place, Failure> {
        let location = self.location()?;
        let dirs = Dirs::from_environment()?;
        let mut options = Vec::new();
        for option in &self.options {
            let pair = option.split_once('=').filter(|(key, _)| !key.is_empty());
            let (key, value) =
                pair.ok_or_else(|| Failure::Input(format!("the option {option:?} is not of the form KEY=VALUE")))?;
            options.push((key.to_owned(), value.to_owned()));
        }
        let source = match &self.backend {
            Some(file) => PluginSource::File(file.clone()),
            None => StoreSpec::for_location(location)?.source,
        };
        let spec = StoreSpec {
            source,
            location: location.to_owned(),
            options,
            cache_dir: Some(dirs.plugin_cache()),
            limits: plugin::Limits::default(),
            workers: 4,
            create_dir: true,
        };
        let store = plugin::open_store(&spec)?;
        let location = match self.local_directory() {
            Some(path) => path.to_string_lossy().into_owned(),
            None => location.to_owned(),
        };
        Ok(Place { store: Arc::new(store), location, dirs })
    }

    /// What the user opens the repository with.
    pub fn secret(&self) -> Result<Secret, Failure> {
        if let Some(path) = &self.identity {
            return Ok(Secret::Identity(identity::load(path)?));
        }
        let passphrase = match passphrase::from_environment()? {
            Some(passphrase) => passphrase,
            None => passphrase::prompt("Passphrase: ")?,
        };
        Ok(Secret::Passphrase(passphrase))
    }

    /// The repository id that the user gave.
    fn expected_id(&self) -> Result<Option<ChunkId>, Failure> {
        let parse = |text: &String| text.parse().map_err(|error| Failure::Input(format!("--repository-id: {error}")));
        self.repository_id.as_ref().map(parse).transpose()
    }

    /// Opens the repository.
    pub fn repository(&self) -> Result<Repository, Failure> {
        let expected = self.expected_id()?;
        let place = self.place()?;
        // A missing repository is said before a passphrase is asked for.
        place.store.open()?;
        Ok(open::open(place, &self.secret()?, expected)?)
    }
}

/// The absolute path that a location without a scheme, or with `file:`, means.
fn local_path(location: &str) -> PathBuf {
    let path = location.strip_prefix("file:").unwrap_or(location);
    let path = Path::new(path.strip_prefix("//").filter(|_| location.starts_with("file:")).unwrap_or(path));
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
