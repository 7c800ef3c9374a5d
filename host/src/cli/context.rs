//! From options to an open store and an open repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::approval::Approved;
use super::{Failure, Global};
use crate::credential::passphrase::PassphraseError;
use crate::credential::{Secret, identity, keyring, passphrase};
use crate::local::Dirs;
use crate::plugin::trust::Trust;
use crate::plugin::{self, PluginSource, PluginStore, StoreSpec};
use crate::repository::open::{self, Known};
use crate::repository::{Place, Repository};
use crate::store::ChunkStore;

impl Global {
    /// The location, as the user wrote it.
    fn location(&self) -> Result<&str, Failure> {
        self.repo.as_deref().filter(|repo| !repo.is_empty()).ok_or_else(|| {
            let profile = self.settings.profile.as_ref();
            let lacks =
                profile.map_or_else(String::new, |profile| format!(" (the profile {:?} has none)", profile.name));
            let ways = "name it with --repo LOCATION, OBNAM_REPOSITORY, or in a profile: obnam config init";
            Failure::Input(format!("no repository{lacks}: {ways}"))
        })
    }

    /// The directory of a local repository.
    pub fn local_directory(&self) -> Option<PathBuf> {
        let location = self.repo.as_deref()?;
        (plugin::bundled_for(location) == Some("local")).then(|| local_path(location))
    }

    /// The location as pins and recovery sheets have it: a path is made absolute.
    pub fn absolute_location(&self) -> Option<String> {
        let path = self.local_directory().map(|path| path.to_string_lossy().into_owned());
        path.or_else(|| self.repo.clone()).filter(|location| !location.is_empty())
    }

    /// The same; without one, the error says how to name one.
    pub fn known_location(&self) -> Result<String, Failure> {
        let location = self.location()?;
        Ok(self.absolute_location().unwrap_or_else(|| location.to_owned()))
    }

    /// The store, behind its plugin. Nothing has been asked of the place yet, unless it can name hosts of its own: then it
    /// was opened, and the user asked about them.
    pub fn place(&self) -> Result<Place, Failure> {
        let (mut approved, mut trust) = (Approved::default(), None);
        let store = loop {
            let store = self.store(&approved, &mut trust)?;
            if !self.may_have_to_approve(&store) {
                break store;
            }
            match store.open() {
                Err(error) if self.approve(&store, error.kind, &mut approved)? => {}
                // Whoever opens it next sees the same.
                _ => break store,
            }
        };
        self.keep_approved(&approved);
        let location = self.known_location()?;
        Ok(Place { store: Arc::new(store), location, dirs: Dirs::from_environment()? })
    }

    fn store(&self, approved: &Approved, trust: &mut Option<Trust>) -> Result<PluginStore, Failure> {
        let location = self.location()?;
        let dirs = Dirs::from_environment()?;
        let mut options = self.plugin_options()?;
        let kept = self.kept_options();
        approved.add_to(&mut options, &kept.options);
        let source = match &self.backend {
            Some(file) => PluginSource::File(file.clone()),
            None => StoreSpec::for_location(location)?.source,
        };
        let spec = StoreSpec {
            source,
            location: location.to_owned(),
            options,
            kept,
            cache_dir: Some(dirs.plugin_cache()),
            limits: self.plugin_limits()?,
            http: self.http_settings()?,
            workers: self.connections().into(),
            create_dir: true,
        };
        self.open_store(&spec, trust)
    }

    /// What the user opens the repository with.
    pub fn secret(&self) -> Result<Secret, Failure> {
        if let Some(path) = self.identity.as_ref().filter(|_| !self.identity_is_overruled()) {
            return Ok(Secret::Identity(identity::load(path)?.unlocked()?));
        }
        let kept = || self.known_location().ok().and_then(|location| keyring::recall(&location));
        let passphrase = match self.passphrase()?.or_else(kept) {
            Some(passphrase) => passphrase,
            None if self.settings.is_target => {
                passphrase::prompt("Passphrase of the target: ").map_err(|error| match error {
                    PassphraseError::NoSource => PassphraseError::NoTargetSource,
                    error => error,
                })?
            }
            None => passphrase::prompt("Passphrase: ")?,
        };
        Ok(Secret::Passphrase(passphrase))
    }

    /// The ids that the user gave.
    fn known(&self) -> Result<Known, Failure> {
        let parse = |option: &str, text: &Option<String>| {
            let parse = |text: &String| text.parse().map_err(|error| Failure::Input(format!("{option}: {error}")));
            text.as_ref().map(parse).transpose()
        };
        Ok(Known {
            repository: parse("--repository-id", &self.repository_id)?,
            credential: parse("--credential", &self.credential)?,
        })
    }

    /// Opens the repository.
    pub fn repository(&self) -> Result<Repository, Failure> {
        Ok(self.repository_and_secret()?.0)
    }

    /// Opens the repository; with what it was opened.
    pub fn repository_and_secret(&self) -> Result<(Repository, Secret), Failure> {
        let known = self.known()?;
        let place = self.place()?;
        // A missing repository is said before a passphrase is asked for.
        place.store.open()?;
        let secret = self.secret()?;
        Ok((open::open(place, &secret, known)?, secret))
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
