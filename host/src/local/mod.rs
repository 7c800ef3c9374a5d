//! What stays on this machine: where files go ([`Dirs`]), which repository a location is pinned to ([`pin`]), what has
//! been seen of it ([`seen`]), copies of small chunks ([`chunks`]), and the lock that keeps a client to one backup at a
//! time ([`lock`]).

pub mod chunks;
pub mod lock;
pub mod pin;
pub mod seen;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::chunk::ChunkId;

/// A local file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No home directory.
    #[error(
        "there is no home directory to keep configuration in; set HOME, or XDG_CONFIG_HOME, XDG_STATE_HOME and XDG_CACHE_HOME"
    )]
    NoHome,
    /// Reading or writing failed.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was being done: a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of this program that does not parse.
    #[error("{path} is damaged ({why}); move it away to start again without it", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file of this program that somebody else could have written.
    #[error("{what} is not believed: {why}")]
    Exposed {
        /// What the file is.
        what: &'static str,
        /// Who, and what to do.
        why: String,
    },
    /// Another backup runs.
    #[error("another backup of this client into this repository is running (lock {path}); wait for it to end", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LocalError {
    move |source| LocalError::Io { action, path: path.to_owned(), source }
}

/// The directories of this program, made when first asked for, with mode 0700.
#[derive(Debug, Clone)]
pub struct Dirs {
    config: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

impl Dirs {
    /// The directories of the XDG Base Directory Specification: `$XDG_CONFIG_HOME/obnam` and so on.
    pub fn from_environment() -> Result<Self, LocalError> {
        let dirs = directories::ProjectDirs::from("", "", "obnam").ok_or(LocalError::NoHome)?;
        let state = dirs.state_dir().unwrap_or(dirs.data_local_dir());
        Ok(Dirs { config: dirs.config_dir().to_owned(), state: state.to_owned(), cache: dirs.cache_dir().to_owned() })
    }

    /// All directories below one, for tests.
    pub fn below(root: &Path) -> Self {
        Dirs { config: root.join("config"), state: root.join("state"), cache: root.join("cache") }
    }

    /// The configuration file that is read when no other is named.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The list of the plugin files that the user trusts.
    pub fn trusted_plugins(&self) -> PathBuf {
        self.config.join("trusted-plugins.json")
    }

    /// Where pins are.
    pub fn pins(&self) -> Result<PathBuf, LocalError> {
        private_dir(self.config.join("repositories"))
    }

    /// What was seen of a repository.
    pub fn state(&self, repository: &ChunkId) -> Result<PathBuf, LocalError> {
        private_dir(self.state.join(&repository.to_string()[..32]))
    }

    /// Copies and indexes of a repository; may be deleted at any time.
    pub fn cache(&self, repository: &ChunkId) -> Result<PathBuf, LocalError> {
        private_dir(self.cache.join(&repository.to_string()[..32]))
    }

    /// Where all caches are.
    pub fn cache_root(&self) -> &Path {
        &self.cache
    }

    /// Compiled plugins; may be deleted at any time.
    pub fn plugin_cache(&self) -> PathBuf {
        self.cache.join("plugins")
    }
}

/// Makes a directory, and those above it, for the user alone.
pub(crate) fn private_dir(path: PathBuf) -> Result<PathBuf, LocalError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&path).map_err(io_error("create the directory", &path))?;
    Ok(path)
}

/// Writes a file so that it is there whole or not at all, mode 0600.
pub(crate) fn write_file(path: &Path, contents: &[u8]) -> Result<(), LocalError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(contents)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(io_error("write", path))
}

/// Reads a file; `None` where there is none.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, LocalError> {
    match fs::read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}
