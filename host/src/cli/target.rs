//! The second repository of a command that needs two: where snapshots are copied to.

use std::path::PathBuf;

use clap::Args;

use super::settings::{Origin, Settings};
use super::{Failure, Global};
use crate::config::{Config, ConfigError};
use crate::repository::Repository;

/// Where the copies go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where the copies go (its passphrase: OBNAM_TO_PASSPHRASE and so on, or its profile)")]
pub struct TargetArguments {
    /// Into the repository of this profile, opened as the profile says; without it, of the profile that the key sync-to names
    #[arg(long, value_name = "NAME")]
    to_profile: Option<String>,
    /// Into the repository at this location
    #[arg(long, value_name = "LOCATION", conflicts_with = "to_profile")]
    to: Option<String>,
    /// Open that one with the age X25519 identity in this file
    #[arg(long, value_name = "FILE")]
    to_identity: Option<PathBuf>,
    /// An option for the plugin of that one; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    to_option: Vec<String>,
}

impl Global {
    /// The settings of the repository that is copied into. Of the command line, what is about the network or trust counts for it
    /// too; of the environment, nothing does but the variables that are its own.
    pub fn target(&self, to: &TargetArguments) -> Result<Global, Failure> {
        let mut settings = Settings::of_target();
        let mut target = Global {
            profile: None,
            repo: to.to.clone(),
            backend: None,
            options: to.to_option.clone(),
            identity: to.to_identity.clone(),
            repository_id: None,
            credential: None,
            ..self.clone()
        };
        target.forget_profile_of_network();
        if target.repo.is_some() {
            settings.is_given("repo");
        } else {
            let name = self.target_profile(to)?;
            let (path, config) = self.loaded_config(&name)?;
            let profile = config.profile(&name)?.clone();
            target.profile = Some(profile.name.clone());
            settings.file = Some(path);
            settings.profile = Some(profile.clone());
            target.fill_in(&mut settings, &profile);
        }
        if to.to_identity.is_some() {
            settings.is_given("identity");
        }
        target.settings = settings;
        Ok(target)
    }

    /// The profile that the command line or the profile in use names.
    fn target_profile(&self, to: &TargetArguments) -> Result<String, Failure> {
        let profile = self.settings.profile.as_ref().filter(|_| self.is_of_profile());
        let named = profile.and_then(|profile| profile.sync_to.as_ref()).map(|setting| &setting.value);
        to.to_profile.as_ref().or(named).cloned().ok_or_else(|| {
            let ways =
                "name the target with --to-profile NAME or --to LOCATION, or with the key sync-to in the profile";
            Failure::Input(format!("no repository to copy into: {ways}"))
        })
    }

    fn loaded_config(&self, profile: &str) -> Result<(PathBuf, Config), Failure> {
        let Some(path) = self.config_file() else {
            return Err(Failure::Input(format!("no home directory, so there is no profile {profile:?}; set HOME")));
        };
        match Config::load(&path)? {
            Some(config) => Ok((path, config)),
            None => Err(ConfigError::NoFile { name: profile.to_owned(), path }.into()),
        }
    }

    /// What the source's profile says of the network is not about the target.
    fn forget_profile_of_network(&mut self) {
        let from_profile = |field| matches!(self.settings.origin(field), Origin::Profile(_));
        let network = &mut self.network;
        if from_profile("ca_file") {
            network.ca_file = None;
        }
        if from_profile("plain_http") {
            network.plain_http = false;
        }
        if from_profile("proxy") {
            network.proxy = None;
        }
        if from_profile("connections") {
            network.connections = None;
        }
        if from_profile("limit_upload") {
            network.limit_upload = None;
        }
        if from_profile("limit_download") {
            network.limit_download = None;
        }
    }

    /// Opens the repository that is copied into.
    pub fn target_repository(&self, to: &TargetArguments) -> Result<Repository, Failure> {
        let target = self.target(to)?;
        target.repository().map_err(|failure| Failure::Target {
            location: target.repo.clone().unwrap_or_default(),
            failure: Box::new(failure),
        })
    }
}
