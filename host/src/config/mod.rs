//! The configuration file: named profiles, so that `obnam -p NAME backup` needs nothing else.
//!
//! [`read`] makes profiles ([`profile`]) of TOML and gathers all mistakes, each with its place; [`check`] looks whether
//! what a profile names is there; `extends` lets one profile build on another; [`example`] writes a first file. What a command line or the environment says besides
//! is no matter of this module, and nothing is printed here. `docs/configuration.md` is the documentation of the keys.
//!
//! What always holds: no secret stands in the file, a path in it means the same in every directory, and a command in it
//! is not run if somebody else could have written it.

pub mod check;
pub mod example;
mod extends;
pub mod keep;
mod path;
pub mod profile;
mod read;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use profile::{Place, Profile, Setting};

/// The profile that is used when nothing else is said.
pub const DEFAULT: &str = "default";

/// What is wrong in a configuration file, or only odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where; `None` for the file as a whole.
    pub place: Option<Place>,
    /// What, and what to do.
    pub message: String,
    /// Whether it is only odd, and works all the same.
    pub warning: bool,
}

/// Why there is no profile to use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A mistake.
    #[error("{path}:{mistake}{more}; see: obnam config check", path = path.display(), more = more_mistakes(*more))]
    Mistaken {
        /// The file.
        path: PathBuf,
        /// The first mistake: line, column, what.
        mistake: String,
        /// How many more there are.
        more: usize,
    },
    /// No file, but a profile is asked for.
    #[error("there is no profile {name:?}, because there is no configuration file {path}; obnam config init makes one", path = path.display())]
    NoFile {
        /// The profile.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Not in the file.
    #[error("there is no profile {name:?} in {path}; {hint}", path = path.display())]
    NoProfile {
        /// The profile.
        name: String,
        /// The file.
        path: PathBuf,
        /// What there is.
        hint: String,
    },
    /// Somebody else could have put a command into it.
    #[error("the key {key} of the profile {name:?} is not used: {why}; nothing was run")]
    Exposed {
        /// The profile.
        name: String,
        /// What would be run: a key.
        key: &'static str,
        /// Who, and what to do.
        why: String,
    },
}

fn more_mistakes(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " (and one more mistake)".into(),
        more => format!(" (and {more} more mistakes)"),
    }
}

/// A configuration file.
#[derive(Debug, Default)]
pub struct Config {
    /// Where it is.
    pub path: PathBuf,
    /// The name of the profile that is used when no other is asked for.
    pub default_profile: Option<Setting<String>>,
    /// The profiles by name.
    pub profiles: BTreeMap<String, Profile>,
}

impl Config {
    /// Reads a file that has to be without mistakes; `None` where there is none.
    pub fn load(path: &Path) -> Result<Option<Self>, ConfigError> {
        let Some(text) = read_text(path)? else { return Ok(None) };
        let (config, mistakes) = Config::parse(path, &text, std::env::home_dir().as_deref());
        match mistakes.first() {
            None => Ok(Some(config)),
            Some(first) => {
                let place = first.place.map_or_else(String::new, |place| format!("{}:{}:", place.line, place.column));
                Err(ConfigError::Mistaken {
                    path: path.to_owned(),
                    mistake: format!("{place} {}", first.message),
                    more: mistakes.len() - 1,
                })
            }
        }
    }

    /// Makes the best of a text, and gathers its mistakes in the order of their places.
    pub fn parse(path: &Path, text: &str, home: Option<&Path>) -> (Self, Vec<Mistake>) {
        read::file(path, text, home)
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Result<&Profile, ConfigError> {
        self.profiles.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let hint = match (nearest(name, &names), names.is_empty()) {
                (Some(near), _) => format!("did you mean {near:?}?"),
                (None, true) => format!("it has no profile at all; one begins with the line [profile.{name}]"),
                (None, false) => format!("there are {}", names.join(", ")),
            };
            ConfigError::NoProfile { name: name.to_owned(), path: self.path.clone(), hint }
        })
    }

    /// The profile to use when none is asked for: the one that the file names, or else the one called "default".
    pub fn default_profile(&self) -> Result<Option<&Profile>, ConfigError> {
        match &self.default_profile {
            Some(name) => self.profile(&name.value).map(Some),
            None => Ok(self.profiles.get(DEFAULT)),
        }
    }
}

/// The text of a file; `None` where there is none.
pub fn read_text(path: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The path that a text of the file means.
pub(crate) fn expand(text: &str) -> Result<PathBuf, String> {
    path::expand(text, std::env::home_dir().as_deref())
}

/// Why a command that stands in this file is not to be trusted; `None` if only its user and root can write to it.
pub fn written_by_others(path: &Path) -> Option<String> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("{shown} cannot be looked at: {error}")),
    };
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Some(format!("{shown} belongs to another user (uid {}); run: chown {user} {shown}", metadata.uid()));
    }
    let mode = metadata.mode() & 0o7777;
    (mode & 0o022 != 0).then(|| format!("others can write to {shown} (mode {mode:04o}); run: chmod go-w {shown}"))
}

/// The known word that is most like this one, if any is.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    /// As similar as a word with one letter wrong, missing, or in the wrong place.
    const ALIKE: f64 = 0.82;
    let likeness = |known: &&str| strsim::jaro_winkler(&word.to_lowercase().replace('_', "-"), known);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > ALIKE).then_some(*best)
}

#[cfg(test)]
mod tests;
