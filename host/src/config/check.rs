//! Whether what a profile names is there and usable. Only local files are looked at: no storage is asked, and no command
//! is run unless that is wished for.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::profile::{PassphraseSource, Place, Profile, Setting};
use super::{Config, DEFAULT, Mistake, written_by_others};
use crate::credential::{identity, passphrase};
use crate::plugin;
use crate::select::{Marker, Patterns, argument, read_file};

/// Everything that is wrong or odd with what the profiles name, in the order of the file. `run`: passphrase commands are
/// run.
pub fn profiles<'c>(config: &'c Config, profiles: impl IntoIterator<Item = &'c Profile>, run: bool) -> Vec<Mistake> {
    let extended = config.profiles.values().filter_map(|profile| profile.extends.as_ref());
    let extended = extended.map(|name| name.value.as_str()).collect();
    let mut checker = Checker { path: &config.path, run, extended, mistakes: Vec::new() };
    for profile in profiles {
        if let Some(Setting { value: name, place }) = &profile.sync_to
            && let Err(error) = config.profile(name)
        {
            checker.wrong(*place, format!("sync-to in [profile.{}]: {error}", profile.name));
        }
        checker.profile(profile);
    }
    checker.mistakes.sort_by_key(|mistake| mistake.place);
    // What is inherited stands in the file once.
    checker.mistakes.dedup();
    checker.mistakes
}

struct Checker<'c> {
    path: &'c Path,
    run: bool,
    /// The profiles that others build on. They need not be whole.
    extended: BTreeSet<&'c str>,
    mistakes: Vec<Mistake>,
}

impl Checker<'_> {
    fn wrong(&mut self, place: Place, message: String) {
        self.mistakes.push(Mistake { place: Some(place), message, warning: false });
    }

    fn odd(&mut self, place: Place, message: String) {
        self.mistakes.push(Mistake { place: Some(place), message, warning: true });
    }

    fn profile(&mut self, profile: &Profile) {
        self.repository(profile);
        if let Some(identity) = &profile.identity {
            if !identity.value.exists() {
                let path = identity.value.display();
                self.odd(identity.place, format!("the identity file {path} is not there; obnam init makes it"));
            } else if let Err(error) = identity::load(&identity.value) {
                self.wrong(identity.place, error.to_string());
            }
        }
        if let Some(file) = &profile.ca_file
            && let Err(error) = fs::File::open(&file.value)
        {
            self.wrong(file.place, format!("cannot read the CA file {}: {error}", file.value.display()));
        }
        if let Some(source) = &profile.passphrase {
            self.passphrase(source);
        }
        for source in &profile.sources {
            if let Err(error) = fs::symlink_metadata(&source.value) {
                let path = source.value.display();
                self.wrong(source.place, format!("the source {path} cannot be backed up: {error}"));
            }
        }
        self.excludes(profile);
        self.around(profile);
    }

    /// What is to happen around a backup.
    fn around(&mut self, profile: &Profile) {
        let written_by_others = profile.around().next().and_then(|key| Some((key, written_by_others(self.path)?)));
        for (key, Setting { value: words, place }) in profile.hooks() {
            if let Some(program) = words.first().filter(|program| !is_program(program)) {
                self.odd(*place, format!("{key} in [profile.{}]: there is no program {program} here", profile.name));
            }
        }
        if let Some(Setting { value: file, place }) = &profile.metrics
            && let Some(folder) = file.parent().filter(|folder| !folder.is_dir())
        {
            let folder = folder.display();
            self.wrong(*place, format!("metrics in [profile.{}]: there is no directory {folder}", profile.name));
        }
        if let Some((key, why)) = written_by_others {
            let message = format!("{key} in [profile.{}] is not used, and no backup made: {why}", profile.name);
            self.mistakes.push(Mistake { place: None, message, warning: false });
        }
    }

    fn excludes(&mut self, profile: &Profile) {
        for pattern in &profile.exclude {
            if let Err(error) = Patterns::parse([argument(&pattern.value)]) {
                self.wrong(pattern.place, error.to_string());
            }
        }
        for file in &profile.exclude_from {
            if let Err(error) = read_file(&file.value) {
                self.wrong(file.place, error.to_string());
            }
        }
        for name in &profile.exclude_if_present {
            if let Err(error) = Marker::parse(&name.value) {
                self.wrong(name.place, error.to_string());
            }
        }
    }

    fn repository(&mut self, profile: &Profile) {
        if let Some(backend) = &profile.backend
            && let Err(error) = fs::File::open(&backend.value)
        {
            self.wrong(backend.place, format!("cannot read the plugin {}: {error}", backend.value.display()));
        }
        let name = &profile.name;
        match &profile.repository {
            None if self.extended.contains(name.as_str()) => {}
            None => self.mistakes.push(Mistake {
                place: None,
                message: format!("the profile {name:?} has no repository; it has to be named by --repo each time"),
                warning: true,
            }),
            Some(Setting { value, place }) if profile.backend.is_none() => {
                if let Err(error) = plugin::require_bundled_for(value) {
                    self.wrong(*place, error.to_string());
                } else if plugin::bundled_for(value) == Some("local") && !Path::new(value).is_dir() {
                    let option = if name == DEFAULT { String::new() } else { format!("-p {name} ") };
                    let hint = format!("is its disk mounted? A new one is made by: obnam {option}init");
                    self.odd(*place, format!("the repository {value} is not there; {hint}"));
                }
            }
            Some(_) => {}
        }
    }

    fn passphrase(&mut self, source: &Setting<PassphraseSource>) {
        match &source.value {
            PassphraseSource::File(path) => {
                if let Err(error) = passphrase::from_file(path) {
                    self.wrong(source.place, error.to_string());
                }
                let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o7777);
                if mode & 0o077 != 0 {
                    let shown = path.display();
                    let advice = format!("(mode {mode:04o}); run: chmod 600 {shown}");
                    self.odd(source.place, format!("the passphrase file {shown} may be read by others {advice}"));
                }
            }
            PassphraseSource::Command(command) => {
                if let Some(why) = written_by_others(self.path) {
                    self.wrong(source.place, format!("passphrase-command is not run: {why}"));
                } else if self.run
                    && let Err(error) = passphrase::from_command(command)
                {
                    self.wrong(source.place, error.to_string());
                }
            }
        }
    }
}

/// Whether a program of this name can be run: a path, or something in the PATH.
fn is_program(name: &str) -> bool {
    let is_executable = |path: &Path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0);
    match name.contains('/') {
        true => is_executable(Path::new(name)),
        false => env::var_os("PATH").is_some_and(|all| env::split_paths(&all).any(|at| is_executable(&at.join(name)))),
    }
}
