//! What is in force: the command line first, then the environment, then a profile of the configuration file, then what is
//! built in. After [`Global::settle`] the fields of [`Global`] hold what is in force, whoever said it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use zeroize::Zeroizing;

use super::output::complain;
use super::select::SelectArguments;
use super::{Failure, Global};
use crate::config::profile::{PassphraseSource, Place, Profile, Setting};
use crate::config::{Config, ConfigError, written_by_others};
use crate::credential::passphrase;
use crate::local::Dirs;
use crate::plugin::{KeptOptions, Limits};

/// Who said what is in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// An option of the command line.
    CommandLine,
    /// This environment variable.
    Environment(&'static str),
    /// The profile, here.
    Profile(Place),
    /// Nobody.
    #[default]
    Default,
}

/// Where the settings come from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The configuration file, if one was read.
    pub file: Option<PathBuf>,
    /// The profile in use.
    pub profile: Option<Profile>,
    /// Whether they are those of a repository that is copied into: then the environment means another one.
    pub is_target: bool,
    origins: BTreeMap<&'static str, Origin>,
}

/// The global options that a profile can give, and their variables if they have one.
const OPTIONS: [(&str, &str); 11] = [
    ("repo", "OBNAM_REPOSITORY"),
    ("backend", "OBNAM_BACKEND"),
    ("identity", "OBNAM_IDENTITY"),
    ("repository_id", "OBNAM_REPOSITORY_ID"),
    ("credential", "OBNAM_CREDENTIAL"),
    ("ca_file", ""),
    ("plain_http", ""),
    ("proxy", ""),
    ("connections", ""),
    ("limit_upload", ""),
    ("limit_download", ""),
];

impl Settings {
    /// Who has given a global option, by the name of its field.
    pub fn origin(&self, field: &str) -> Origin {
        self.origins.get(field).copied().unwrap_or_default()
    }

    /// Of a repository that is copied into.
    pub fn of_target() -> Self {
        Settings { is_target: true, ..Settings::default() }
    }

    /// Takes down that the command line gives a field.
    pub fn is_given(&mut self, field: &'static str) {
        self.origins.insert(field, Origin::CommandLine);
    }

    /// Gives a field the profile's value, where nobody has given it another.
    fn fill<T: Clone>(&mut self, name: &'static str, field: &mut Option<T>, setting: Option<&Setting<T>>) {
        if let (None, Some(setting)) = (&field, setting) {
            *field = Some(setting.value.clone());
            self.origins.insert(name, Origin::Profile(setting.place));
        }
    }
}

impl Global {
    /// Finds the profile, and fills in what neither the command line nor the environment says.
    pub fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        let mut settings = Settings::default();
        for (field, variable) in OPTIONS {
            let origin = match matches.value_source(field) {
                Some(ValueSource::EnvVariable) => Origin::Environment(variable),
                Some(ValueSource::CommandLine) => Origin::CommandLine,
                _ => Origin::Default,
            };
            settings.origins.insert(field, origin);
        }
        // A variable that is set to nothing says nothing; an option that is empty is a mistake in a script.
        if settings.origin("repo") == Origin::Environment("OBNAM_REPOSITORY") && self.repo.as_deref() == Some("") {
            self.repo = None;
        }
        if let Some((config, profile)) = self.find_profile()? {
            settings.file = Some(config);
            settings.profile = profile;
        }
        if let Some(profile) = settings.profile.clone() {
            self.fill_in(&mut settings, &profile);
        }
        self.settings = settings;
        Ok(())
    }

    /// The configuration file and the profile to use. The file is not read where a repository is named, and no profile:
    /// a mistake in it must not stand in the way of a rescue.
    fn find_profile(&self) -> Result<Option<(PathBuf, Option<Profile>)>, Failure> {
        if self.profile.is_none() && self.repo.is_some() {
            return Ok(None);
        }
        let Some(path) = self.config_file() else { return Ok(None) };
        let config = match (Config::load(&path)?, &self.profile) {
            (Some(config), _) => config,
            (None, Some(name)) => return Err(ConfigError::NoFile { name: name.clone(), path }.into()),
            (None, None) if self.config.is_some() => {
                let why = format!("there is no configuration file {}; obnam config init makes it", path.display());
                return Err(Failure::Input(why));
            }
            (None, None) => return Ok(None),
        };
        let profile = match &self.profile {
            Some(name) => Some(config.profile(name)?),
            None => config.default_profile()?,
        };
        Ok(Some((path, profile.cloned())))
    }

    /// Where the configuration file is, or would be; `None` without a home directory.
    pub fn config_file(&self) -> Option<PathBuf> {
        let usual = || Dirs::from_environment().ok().map(|dirs| dirs.config_file());
        self.config.clone().or_else(usual)
    }

    pub(super) fn fill_in(&mut self, settings: &mut Settings, profile: &Profile) {
        let elsewhere = self.repo.is_some();
        if let (Origin::Environment(variable), Some(_)) = (settings.origin("repo"), &profile.repository)
            && elsewhere
        {
            let name = &profile.name;
            complain(format_args!("warning: {variable} is set, so the repository of the profile {name:?} is not used"));
        }
        settings.fill("repo", &mut self.repo, profile.repository.as_ref());
        settings.fill("identity", &mut self.identity, profile.identity.as_ref());
        // What belongs to the profile's repository says nothing of another one.
        if !elsewhere {
            settings.fill("backend", &mut self.backend, profile.backend.as_ref());
            settings.fill("repository_id", &mut self.repository_id, profile.repository_id.as_ref());
            settings.fill("credential", &mut self.credential, profile.credential.as_ref());
            settings.fill("ca_file", &mut self.network.ca_file, profile.ca_file.as_ref());
            let mut plain = self.network.plain_http.then_some(true);
            settings.fill("plain_http", &mut plain, profile.plain_http.as_ref());
            self.network.plain_http = plain == Some(true);
        }
        settings.fill("proxy", &mut self.network.proxy, profile.proxy.as_ref());
        settings.fill("connections", &mut self.network.connections, profile.connections.as_ref());
        settings.fill("limit_upload", &mut self.network.limit_upload, profile.limit_upload.as_ref());
        settings.fill("limit_download", &mut self.network.limit_download, profile.limit_download.as_ref());
    }

    /// The options of the plugin on the command line.
    pub fn plugin_options(&self) -> Result<Vec<(String, String)>, Failure> {
        let parse = |option: &String| {
            let pair = option.split_once('=').filter(|(key, _)| !key.is_empty());
            let (key, value) =
                pair.ok_or_else(|| Failure::Input(format!("the option {option:?} is not of the form KEY=VALUE")))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        self.options.iter().map(parse).collect()
    }

    /// The options of the plugin in the configuration file.
    pub fn kept_options(&self) -> KeptOptions {
        KeptOptions {
            options: self.profile_options().iter().map(|option| option.value.clone()).collect(),
            distrust: self.settings.file.as_deref().and_then(written_by_others),
        }
    }

    /// The options of the plugin in the profile, if its repository is used.
    pub fn profile_options(&self) -> &[Setting<(String, String)>] {
        match &self.settings.profile {
            Some(profile) if self.is_of_profile() => &profile.options,
            _ => &[],
        }
    }

    /// What a plugin runs under: as built in, changed by the profile if its repository is used, changed by the command line.
    pub fn plugin_limits(&self) -> Result<Limits, Failure> {
        let mut limits = Limits::default();
        for Setting { value: (name, text), .. } in self.profile_limits() {
            limits.adjust(name, text).map_err(Failure::Input)?;
        }
        for given in &self.plugin_limits {
            let (name, text) = given.split_once('=').unwrap_or((given, ""));
            limits.adjust(name, text).map_err(|why| Failure::Input(format!("--plugin-limit {given}: {why}")))?;
        }
        Ok(limits)
    }

    /// The limits in the profile, if its repository is used.
    pub fn profile_limits(&self) -> &[Setting<(String, String)>] {
        match &self.settings.profile {
            Some(profile) if self.is_of_profile() => &profile.plugin_limits,
            _ => &[],
        }
    }

    /// The rules of `forget` in the profile, if its repository is used.
    pub fn profile_keep(&self) -> &[Setting<(String, String)>] {
        match &self.settings.profile {
            Some(profile) if self.is_of_profile() => &profile.keep,
            _ => &[],
        }
    }

    /// The SHA-256 of trusted plugins in the profile, if its repository is used.
    pub fn profile_trust(&self) -> &[Setting<String>] {
        match &self.settings.profile {
            Some(profile) if self.is_of_profile() => &profile.trust,
            _ => &[],
        }
    }

    /// Whether the repository is the one of the profile.
    pub fn is_of_profile(&self) -> bool {
        matches!(self.settings.origin("repo"), Origin::Profile(_))
    }

    /// The passphrase that the environment or the profile names; `None` where nobody does.
    pub fn passphrase(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let named = match self.settings.is_target {
            true => passphrase::target_from_environment()?,
            false => passphrase::from_environment()?,
        };
        if let Some(passphrase) = named {
            return Ok(Some(passphrase));
        }
        let Some(profile) = &self.settings.profile else { return Ok(None) };
        Ok(match profile.passphrase.as_ref().map(|source| &source.value) {
            None => None,
            Some(PassphraseSource::File(path)) => Some(passphrase::from_file(path)?),
            Some(PassphraseSource::Command(command)) => {
                let why = self.settings.file.as_deref().and_then(written_by_others);
                if let Some(why) = why {
                    let key = "passphrase-command";
                    return Err(ConfigError::Exposed { name: profile.name.clone(), key, why }.into());
                }
                Some(passphrase::from_command(command)?)
            }
        })
    }

    /// Whether the identity of the profile gives way to a passphrase of the environment.
    pub fn identity_is_overruled(&self) -> bool {
        let variables = if self.settings.is_target { passphrase::TARGET_VARIABLES } else { passphrase::VARIABLES };
        let set = variables.iter().any(|variable| std::env::var_os(variable).is_some());
        set && matches!(self.settings.origin("identity"), Origin::Profile(_))
    }

    /// What to back up: what the command line names, or else what the profile does.
    pub fn sources(&self, named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
        let why = match &self.settings.profile {
            Some(profile) if !profile.sources.is_empty() => {
                return Ok(profile.sources.iter().map(|source| source.value.clone()).collect());
            }
            Some(profile) => format!("the profile {:?} has no sources", profile.name),
            None => "no path is given, and no profile with sources is in use".into(),
        };
        Err(Failure::Input(format!("nothing to back up: {why}; name what to back up: obnam backup PATH")))
    }

    /// Tags for a snapshot: those of the profile, and those of the command line besides.
    pub fn tags(&self, named: &[String]) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        let profile = self.settings.profile.iter().flat_map(|profile| &profile.tags).map(|tag| &tag.value);
        for tag in profile.chain(named) {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }

    /// What to leave out: what the profile says, and what the command line says besides. Its patterns come last, so that
    /// they can take back those of the profile; a size replaces the profile's.
    pub fn select(&self, named: &SelectArguments) -> SelectArguments {
        let Some(profile) = &self.settings.profile else { return named.clone() };
        fn join<T: Clone>(profile: &[Setting<T>], named: &[T]) -> Vec<T> {
            profile.iter().map(|setting| setting.value.clone()).chain(named.iter().cloned()).collect()
        }
        let is_set = |flag: &Option<Setting<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
        let limit = profile.exclude_larger_than.as_ref().map(|limit| limit.value.clone());
        SelectArguments {
            exclude: join(&profile.exclude, &named.exclude),
            exclude_from: join(&profile.exclude_from, &named.exclude_from),
            exclude_if_present: join(&profile.exclude_if_present, &named.exclude_if_present),
            exclude_caches: named.exclude_caches || is_set(&profile.exclude_caches),
            exclude_larger_than: named.exclude_larger_than.clone().or(limit),
            ignore_file: join(&profile.ignore_file, &named.ignore_file),
            one_file_system: named.one_file_system || is_set(&profile.one_file_system),
        }
    }

    /// The machine's name in snapshots, if the command line or the profile says one.
    pub fn host(&self, named: Option<&str>) -> Option<String> {
        let profile = self.settings.profile.as_ref().and_then(|profile| profile.host.as_ref());
        named.map(str::to_owned).or_else(|| profile.map(|host| host.value.clone()))
    }
}
