//! `obnam config show`: what is in force, and where each value comes from.

use std::ffi::OsStr;

use serde_json::{Value, json};

use super::file;
use crate::cli::context::host_name;
use crate::cli::network::shown_proxy;
use crate::cli::output::{Output, printable};
use crate::cli::settings::{Origin, Settings};
use crate::cli::{Failure, Global, exit};
use crate::config::profile::{PassphraseSource, Place, Profile, Setting};
use crate::credential::{keyring, passphrase};
use crate::plugin;

/// A value in force.
struct Entry {
    key: String,
    value: Value,
    origin: Origin,
}

pub fn run(global: &Global, output: &mut Output) -> Result<u8, Failure> {
    let path = file(global)?;
    let settings = &global.settings;
    let entries = entries(global)?;
    if output.json {
        let entry =
            |entry: &Entry| json!({ "key": entry.key, "value": entry.value, "origin": origin(entry.origin, settings) });
        let result = json!({
            "file": settings.file.as_ref().map(|path| path.to_string_lossy()),
            "profile": settings.profile.as_ref().map(|profile| &profile.name),
            "settings": entries.iter().map(entry).collect::<Vec<_>>(),
        });
        output.document("ok", &[], result)?;
        return Ok(exit::OK);
    }
    let file = match &settings.file {
        Some(path) => path.display().to_string(),
        None if path.exists() => format!("{} (not read: the repository is named otherwise)", path.display()),
        None => format!("none ({} is not there; obnam config init makes it)", path.display()),
    };
    output.line(format!("configuration file: {file}"))?;
    let profile = settings.profile.as_ref().map_or("none".into(), |profile| printable(profile.name.as_bytes()));
    output.line(format!("profile: {profile}"))?;
    output.line("")?;
    let rows: Vec<_> = entries.iter().map(|entry| (&entry.key, shown(&entry.value), entry.origin)).collect();
    let width = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let keys = width(&mut rows.iter().map(|row| row.0));
    let values = width(&mut rows.iter().map(|row| &row.1)).min(60);
    for (key, value, from) in rows {
        let from = match from {
            Origin::CommandLine => "command line".into(),
            Origin::Environment(variable) => format!("environment variable {variable}"),
            Origin::Profile(place) => match owner(place, settings) {
                (profile, true) => format!("line {}, profile {}", place.line, printable(profile.as_bytes())),
                (_, false) => format!("line {}", place.line),
            },
            Origin::Default => "default".into(),
        };
        output.line(format!("{key:<keys$}  {value:<values$}  {from}"))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text.as_bytes()),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// The profile in which a value stands, and whether the one in use extends it.
fn owner(place: Place, settings: &Settings) -> (&str, bool) {
    let profile = settings.profile.as_ref();
    profile.map_or(("", false), |profile| (profile.owner(place), profile.owner(place) != profile.name))
}

fn origin(origin: Origin, settings: &Settings) -> Value {
    match origin {
        Origin::CommandLine => json!({ "kind": "command-line" }),
        Origin::Environment(variable) => json!({ "kind": "environment", "variable": variable }),
        Origin::Profile(place) => {
            json!({ "kind": "profile", "line": place.line, "profile": owner(place, settings).0 })
        }
        Origin::Default => json!({ "kind": "default" }),
    }
}

fn entries(global: &Global) -> Result<Vec<Entry>, Failure> {
    let settings = &global.settings;
    let mut entries = Vec::new();
    let mut add = |key: &str, value: Value, origin: Origin| entries.push(Entry { key: key.into(), value, origin });
    add("repository", json!(global.repo), settings.origin("repo"));
    let bundled = || global.repo.as_deref().and_then(plugin::bundled_for).map(|name| format!("bundled plugin {name}"));
    let backend = global.backend.as_ref().map(|path| path.display().to_string());
    add("backend", json!(backend.or_else(bundled)), settings.origin("backend"));
    let given = global.options.iter().filter_map(|option| option.split_once('='));
    for (name, _) in given.clone() {
        // It may be a secret.
        add(&format!("options.{name}"), json!("(not shown)"), Origin::CommandLine);
    }
    for option in global.profile_options() {
        let (name, value) = &option.value;
        if !given.clone().any(|(known, _)| known == name) {
            // A bootstrap token may stand in the file, but need not stand in what is shown around.
            let value = if name.ends_with("-token") { "(not shown)" } else { value };
            add(&format!("options.{name}"), json!(value), Origin::Profile(option.place));
        }
    }
    for digest in &global.trust {
        add("trust", json!(digest), Origin::CommandLine);
    }
    for digest in global.profile_trust() {
        add("trust", json!(digest.value), Origin::Profile(digest.place));
    }
    let given: Vec<(&str, &str)> = global.plugin_limits.iter().filter_map(|limit| limit.split_once('=')).collect();
    for (name, value) in &given {
        add(&format!("plugin-limits.{name}"), json!(value), Origin::CommandLine);
    }
    for Setting { value: (name, value), place } in global.profile_limits() {
        if !given.iter().any(|(known, _)| known == name) {
            add(&format!("plugin-limits.{name}"), json!(value), Origin::Profile(*place));
        }
    }
    for Setting { value: (rule, value), place } in global.profile_keep() {
        add(&format!("keep.{rule}"), json!(value), Origin::Profile(*place));
    }
    add("repository-id", json!(global.repository_id), settings.origin("repository_id"));
    if global.credential.is_some() {
        add("credential", json!(global.credential), settings.origin("credential"));
    }
    if let Some(identity) = &global.identity {
        let unused = if global.identity_is_overruled() { " (only for init: the passphrase below is used)" } else { "" };
        let text = format!("{}{unused}", identity.display());
        add("identity", json!(text), settings.origin("identity"));
    }
    let none = Profile::default();
    let profile = settings.profile.as_ref().unwrap_or(&none);
    let (value, from) = secret(global, profile);
    add("passphrase", value, from);
    let host = global.host(None).unwrap_or_else(host_name);
    add("host", json!(host), profile.host.as_ref().map_or(Origin::Default, |host| Origin::Profile(host.place)));
    let mut list = |key: &str, items: &[Setting<String>]| {
        for item in items {
            add(key, json!(item.value), Origin::Profile(item.place));
        }
    };
    list("tags", &profile.tags);
    list("sources", &texts(&profile.sources));
    list("exclude", &profile.exclude);
    list("exclude-from", &texts(&profile.exclude_from));
    list("exclude-if-present", &profile.exclude_if_present);
    list("ignore-file", &texts(&profile.ignore_file));
    for (key, flag) in [("exclude-caches", &profile.exclude_caches), ("one-file-system", &profile.one_file_system)] {
        let from = flag.as_ref().map_or(Origin::Default, |flag| Origin::Profile(flag.place));
        add(key, json!(flag.as_ref().is_some_and(|flag| flag.value)), from);
    }
    if let Some(limit) = &profile.exclude_larger_than {
        add("exclude-larger-than", json!(limit.value), Origin::Profile(limit.place));
    }
    around(profile, &mut add);
    network(global, &mut add);
    Ok(entries)
}

/// What happens around a backup; nothing about what nobody has set.
fn around(profile: &Profile, add: &mut impl FnMut(&str, Value, Origin)) {
    for (key, command) in profile.hooks() {
        add(key, json!(command.value), Origin::Profile(command.place));
    }
    if let Some(Setting { value, place }) = &profile.hook_limit {
        add("hook-limit", json!(format!("{}s", value.as_secs())), Origin::Profile(*place));
    }
    if let Some(Setting { place, .. }) = &profile.health_check {
        // Whoever has it can tell lies there.
        add("health-check", json!("(not shown)"), Origin::Profile(*place));
    }
    if let Some(Setting { value, place }) = &profile.metrics {
        add("metrics", json!(value.display().to_string()), Origin::Profile(*place));
    }
}

/// What is said of the network; nothing about what nobody has set.
fn network(global: &Global, add: &mut impl FnMut(&str, Value, Origin)) {
    let network = &global.network;
    let values = [
        ("ca-file", network.ca_file.as_ref().map(|path| json!(path.display().to_string()))),
        ("plain-http", network.plain_http.then_some(json!(true))),
        ("proxy", network.proxy.as_deref().map(|proxy| json!(shown_proxy(proxy)))),
        ("connections", network.connections.map(|count| json!(count))),
        ("limit-upload", network.limit_upload.as_ref().map(|rate| json!(rate))),
        ("limit-download", network.limit_download.as_ref().map(|rate| json!(rate))),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            add(key, value, global.settings.origin(&key.replace('-', "_")));
        }
    }
}

/// Where the passphrase comes from, and never what it is.
fn secret(global: &Global, profile: &Profile) -> (Value, Origin) {
    let is_kept = || global.known_location().is_ok_and(|location| keyring::recall(&location).is_some());
    if let Some(variable) = passphrase::VARIABLES.into_iter().find(|variable| std::env::var_os(variable).is_some()) {
        return (json!("(not shown)"), Origin::Environment(variable));
    }
    match &profile.passphrase {
        Some(Setting { value: PassphraseSource::File(path), place }) => {
            (json!(format!("the first line of {}", path.display())), Origin::Profile(*place))
        }
        Some(Setting { value: PassphraseSource::Command(command), place }) => {
            (json!(format!("what this prints: {command}")), Origin::Profile(*place))
        }
        None if global.identity.is_some() => (json!("none: the identity is used"), Origin::Default),
        None if is_kept() => (json!("kept by the kernel: obnam credential forget"), Origin::Default),
        None => (json!("asked on the terminal"), Origin::Default),
    }
}

fn texts<T: AsRef<OsStr>>(paths: &[Setting<T>]) -> Vec<Setting<String>> {
    let text =
        |path: &Setting<T>| Setting { value: path.value.as_ref().to_string_lossy().into_owned(), place: path.place };
    paths.iter().map(text).collect()
}
