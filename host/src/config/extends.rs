//! Inheritance: a profile with `extends = "OTHER"` takes from the other one what it does not say itself.
//!
//! A key that it has counts alone: lists are not joined. Only `options` are taken one by one. What belongs to a repository
//! ([`OF_REPOSITORY`]) comes with that repository, and not to another one.

use std::collections::BTreeMap;

use super::profile::{Profile, Setting};
use super::{Config, Mistake};

/// What says nothing of another repository.
const OF_REPOSITORY: [&str; 12] = [
    "backend",
    "options",
    "trust",
    "plugin-limits",
    "keep",
    "sync-to",
    "health-check",
    "metrics",
    "repository-id",
    "credential",
    "ca-file",
    "plain-http",
];

/// Gives every profile what it inherits.
pub(super) fn resolve(config: &mut Config) -> Vec<Mistake> {
    let own = config.profiles.clone();
    let mut mistakes = Vec::new();
    for profile in config.profiles.values_mut() {
        let mut line = vec![profile.name.clone()];
        let mut extends = profile.extends.clone();
        while let Some(Setting { value: name, place }) = extends {
            if line.contains(&name) {
                // Told once, by the first of the circle.
                if line[0] == name && line.iter().min() == Some(&name) {
                    let message = format!("extends goes in a circle: {} -> {name}", line.join(" -> "));
                    let place = profile.extends.as_ref().map(|setting| setting.place);
                    mistakes.push(Mistake { place, message, warning: false });
                }
                break;
            }
            let Some(parent) = own.get(&name) else {
                if line.len() == 1 {
                    let message = format!("extends in [profile.{}]: {}", line[0], unknown(&name, &own));
                    mistakes.push(Mistake { place: Some(place), message, warning: false });
                }
                break;
            };
            inherit(profile, parent);
            extends = parent.extends.clone();
            line.push(name);
        }
    }
    mistakes
}

fn unknown(name: &str, profiles: &BTreeMap<String, Profile>) -> String {
    let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
    match super::nearest(name, &names) {
        Some(near) => format!("there is no profile {name:?}; did you mean {near:?}?"),
        None => format!("there is no profile {name:?}; there are {}", names.join(", ")),
    }
}

/// Fills in what `profile` does not say.
fn inherit(profile: &mut Profile, parent: &Profile) {
    let Profile { name, extends: _, given: _, inherited: _, .. } = parent;
    let mut heir = Heir { own_repository: profile.given.contains("repository"), profile, name };
    macro_rules! take {
        ($($key:literal $field:ident),* $(,)?) => {
            $(if heir.takes($key, parent) {
                heir.profile.$field = parent.$field.clone();
                heir.note($key, parent.$field.iter().map(|setting| setting.place));
            })*
        };
    }
    heir.options(parent);
    // Both of them say where the passphrase comes from.
    let passphrase = ["passphrase-command", "passphrase-file"];
    if passphrase.iter().any(|key| parent.given.contains(key))
        && !passphrase.iter().any(|key| heir.profile.given.contains(key))
    {
        heir.profile.passphrase = parent.passphrase.clone();
        for key in passphrase {
            heir.note(key, parent.passphrase.iter().map(|setting| setting.place));
        }
    }
    take!(
        "backend" backend,
        "trust" trust,
        "plugin-limits" plugin_limits,
        "keep" keep,
        "sync-to" sync_to,
        "health-check" health_check,
        "metrics" metrics,
        "before" before,
        "after" after,
        "failed" failed,
        "hook-limit" hook_limit,
        "repository-id" repository_id,
        "credential" credential,
        "ca-file" ca_file,
        "plain-http" plain_http,
        "repository" repository,
        "identity" identity,
        "host" host,
        "tags" tags,
        "sources" sources,
        "exclude" exclude,
        "exclude-from" exclude_from,
        "exclude-if-present" exclude_if_present,
        "ignore-file" ignore_file,
        "exclude-caches" exclude_caches,
        "one-file-system" one_file_system,
        "exclude-larger-than" exclude_larger_than,
        "proxy" proxy,
        "connections" connections,
        "limit-upload" limit_upload,
        "limit-download" limit_download,
    );
}

struct Heir<'p> {
    profile: &'p mut Profile,
    /// Whether it had a repository before.
    own_repository: bool,
    /// Of whom it inherits.
    name: &'p str,
}

impl Heir<'_> {
    fn takes(&self, key: &'static str, parent: &Profile) -> bool {
        let fits = !(self.own_repository && OF_REPOSITORY.contains(&key));
        fits && parent.given.contains(key) && !self.profile.given.contains(key)
    }

    /// Writes down where it has a key from.
    fn note(&mut self, key: &'static str, places: impl Iterator<Item = super::profile::Place>) {
        self.profile.given.insert(key);
        self.profile.inherited.extend(places.map(|place| (place, self.name.to_owned())));
    }

    fn options(&mut self, parent: &Profile) {
        if self.own_repository {
            return;
        }
        for option in &parent.options {
            if !self.profile.options.iter().any(|own| own.value.0 == option.value.0) {
                self.profile.options.push(option.clone());
                self.note("options", [option.place].into_iter());
            }
        }
    }
}
