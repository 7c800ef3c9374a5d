//! From TOML to profiles. The text is walked key by key, and not handed to serde, so that one run finds all mistakes,
//! and each setting keeps its place.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::profile::{KEYS, PassphraseSource, Place, Profile, Setting};
use super::{Config, Mistake, extends, nearest, path};
use crate::chunk::ChunkId;
use crate::plugin::trust::parse_sha256;
use crate::plugin::{self, Limits};
use crate::retention::Policy;

/// A value with its place in the text.
type Value<'t> = Spanned<DeValue<'t>>;

/// What people write who know other programs, and what it is called here.
const OTHER_WORDS: [(&str, &str); 7] = [
    ("password", "passphrase-command"),
    ("password-command", "passphrase-command"),
    ("password-file", "passphrase-file"),
    ("paths", "sources"),
    ("path", "sources"),
    ("source", "sources"),
    ("repo", "repository"),
];

/// Makes the best of a text, and gathers its mistakes in the order of their places.
pub(super) fn file(path: &Path, text: &str, home: Option<&Path>) -> (Config, Vec<Mistake>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, home, mistakes: Vec::new(), table: String::new() };
    let mut config = Config { path: path.to_owned(), ..Config::default() };
    for error in errors {
        let place = error.span().map(|span| Place::of(text, span));
        // One missing quote is several mistakes to a parser, and one to a person.
        if reader.mistakes.last().is_none_or(|last| last.place.map(|p| p.line) != place.map(|p| p.line)) {
            let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(" ");
            reader.mistakes.push(Mistake { place, message, warning: false });
        }
    }
    if reader.mistakes.is_empty() {
        reader.document(document.get_ref(), &mut config);
    }
    let mut mistakes = reader.mistakes;
    mistakes.sort_by_key(|mistake| mistake.place);
    (config, mistakes)
}

/// Why a key is refused.
const SECRET: &str = "no passphrase is kept in this file, since it is copied and shown too easily; \
    use passphrase-command, passphrase-file or identity, or leave it out to be asked";

struct Reader<'r> {
    text: &'r str,
    home: Option<&'r Path>,
    mistakes: Vec<Mistake>,
    /// The profile that is being read, for messages: `[profile.home]`; empty outside of all.
    table: String,
}

impl Reader<'_> {
    fn setting<T>(&self, span: Range<usize>, value: T) -> Setting<T> {
        Setting { value, place: Place::of(self.text, span) }
    }

    fn document(&mut self, document: &DeTable<'_>, config: &mut Config) {
        for (key, value) in document {
            self.table.clear();
            let name = key.get_ref().as_ref();
            match (name, value.get_ref()) {
                ("default-profile", _) => config.default_profile = self.string(name, value),
                ("profile", DeValue::Table(profiles)) => self.profiles(profiles, config),
                ("profile", _) => {
                    self.wrong(value.span(), "a profile begins with a line such as [profile.home]".into())
                }
                (_, DeValue::Table(_)) if nearest(name, &["profile"]).is_none() => {
                    self.wrong(key.span(), format!("unknown table [{name}]; a profile begins with [profile.{name}]"));
                }
                _ if KEYS.contains(&name) => {
                    let hint = "it belongs into a profile, below a line such as [profile.default]";
                    self.wrong(key.span(), format!("{name:?} stands outside of all profiles; {hint}"));
                }
                _ => self.unknown(key, &["default-profile", "profile"]),
            }
        }
        self.mistakes.extend(extends::resolve(config));
        if let Some(name) = &config.default_profile
            && let Err(error) = config.profile(&name.value)
        {
            let message = format!("default-profile: {error}");
            self.mistakes.push(Mistake { place: Some(name.place), message, warning: false });
        }
    }

    fn profiles(&mut self, profiles: &DeTable<'_>, config: &mut Config) {
        for (key, value) in profiles {
            let name = key.get_ref().to_string();
            match value.get_ref() {
                DeValue::Table(table) => {
                    self.table = format!("[profile.{name}]");
                    let profile = self.profile(&name, table);
                    config.profiles.insert(name, profile);
                }
                // `[profile]` instead of `[profile.NAME]`.
                _ => self.wrong(
                    key.span(),
                    format!("{name:?} belongs into a profile with a name, such as [profile.default]"),
                ),
            }
        }
    }

    fn profile(&mut self, name: &str, table: &DeTable<'_>) -> Profile {
        let mut profile = Profile { name: name.to_owned(), ..Profile::default() };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            profile.given.extend(KEYS.iter().find(|known| **known == name));
            match name {
                "extends" => profile.extends = self.string(name, value),
                "repository" => profile.repository = self.with(name, value, path::location),
                "backend" => profile.backend = self.path(name, value),
                "options" => profile.options = self.options(name, value),
                "plugin-limits" => {
                    let check = |name: &str, text: &str| Limits::default().adjust(name, text);
                    profile.plugin_limits = self.checked(name, value, check);
                }
                "keep" => {
                    let check = |rule: &str, text: &str| {
                        Policy::default().set(rule, text).map_err(|why| format!("{rule}: {why}"))
                    };
                    profile.keep = self.checked(name, value, check);
                }
                "trust" => profile.trust = self.list(name, value, |s, n, v| s.with(n, v, |text, _| parse_sha256(text))),
                "before" => profile.before = self.command(name, value),
                "after" => profile.after = self.command(name, value),
                "failed" => profile.failed = self.command(name, value),
                "hook-limit" => profile.hook_limit = self.with(name, value, |text, _| hook_limit(text)),
                "health-check" => {
                    profile.health_check =
                        self.with(name, value, |text, _| plugin::check_url(text).map(|()| text.to_owned()));
                }
                "metrics" => profile.metrics = self.path(name, value),
                "sync-to" => profile.sync_to = self.string(name, value),
                "identity" => profile.identity = self.path(name, value),
                "repository-id" => profile.repository_id = self.with(name, value, chunk_id),
                "credential" => profile.credential = self.with(name, value, chunk_id),
                "passphrase-command" => {
                    let source = self.with(name, value, |text, _| Ok(PassphraseSource::Command(text.to_owned())));
                    self.passphrase(&mut profile, key.span(), source);
                }
                "passphrase-file" => {
                    let source =
                        self.with(name, value, |text, home| path::expand(text, home).map(PassphraseSource::File));
                    self.passphrase(&mut profile, key.span(), source);
                }
                "host" => profile.host = self.string(name, value),
                "tags" => profile.tags = self.list(name, value, Self::string),
                "sources" => profile.sources = self.list(name, value, Self::path),
                "exclude" => profile.exclude = self.list(name, value, |s, n, v| s.with(n, v, path::pattern)),
                "exclude-from" => profile.exclude_from = self.list(name, value, Self::path),
                "exclude-if-present" => profile.exclude_if_present = self.list(name, value, Self::string),
                "ignore-file" => {
                    profile.ignore_file = self.list(name, value, |s, n, v| s.with(n, v, |text, _| Ok(text.into())));
                }
                "exclude-caches" => profile.exclude_caches = self.flag(name, value),
                "one-file-system" => profile.one_file_system = self.flag(name, value),
                "exclude-larger-than" => profile.exclude_larger_than = self.string(name, value),
                "ca-file" => profile.ca_file = self.path(name, value),
                "plain-http" => profile.plain_http = self.flag(name, value),
                "proxy" => profile.proxy = self.string(name, value),
                "connections" => profile.connections = self.count(name, value),
                "limit-upload" => profile.limit_upload = self.string(name, value),
                "limit-download" => profile.limit_download = self.string(name, value),
                "passphrase" => self.wrong(key.span(), SECRET.into()),
                _ => self.unknown(key, &KEYS),
            }
        }
        profile
    }
}

/// Values.
impl Reader<'_> {
    /// A text that is made into something.
    fn with<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        make: impl FnOnce(&str, Option<&Path>) -> Result<T, String>,
    ) -> Option<Setting<T>> {
        let Some(text) = value.get_ref().as_str() else {
            self.kind(key, value, "text in quotation marks");
            return None;
        };
        match if text.is_empty() { Err("is empty".into()) } else { make(text, self.home) } {
            Ok(made) => Some(self.setting(value.span(), made)),
            Err(why) => {
                self.wrong(value.span(), format!("{key} in {}: {why}", self.table));
                None
            }
        }
    }

    fn string(&mut self, key: &str, value: &Value<'_>) -> Option<Setting<String>> {
        self.with(key, value, |text, _| Ok(text.to_owned()))
    }

    fn path(&mut self, key: &str, value: &Value<'_>) -> Option<Setting<PathBuf>> {
        self.with(key, value, path::expand)
    }

    fn flag(&mut self, key: &str, value: &Value<'_>) -> Option<Setting<bool>> {
        let flag = value.get_ref().as_bool().map(|flag| self.setting(value.span(), flag));
        if flag.is_none() {
            self.kind(key, value, "true or false");
        }
        flag
    }

    /// A whole number from 1 to 256.
    fn count(&mut self, key: &str, value: &Value<'_>) -> Option<Setting<u16>> {
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse::<u16>().ok());
        let count = number.filter(|number| (1..=256).contains(number)).map(|count| self.setting(value.span(), count));
        if count.is_none() {
            self.kind(key, value, "a whole number from 1 to 256");
        }
        count
    }

    fn list<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        one: impl Fn(&mut Self, &str, &Value<'_>) -> Option<Setting<T>>,
    ) -> Vec<Setting<T>> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| one(self, key, item)).collect(),
            DeValue::String(text) => {
                self.kind(key, value, &format!("a list; write {key} = [{text:?}]"));
                Vec::new()
            }
            _ => {
                self.kind(key, value, "a list of texts in quotation marks");
                Vec::new()
            }
        }
    }

    /// A program with its arguments; none where the list is empty. What is not looked for in the PATH is a path.
    fn command(&mut self, key: &str, value: &Value<'_>) -> Option<Setting<Vec<String>>> {
        if let DeValue::String(text) = value.get_ref() {
            let words: Vec<&str> = text.split_whitespace().collect();
            self.kind(key, value, &format!("a list, the program and its arguments; write {key} = {words:?}"));
            return None;
        }
        let words = self.list(key, value, Self::argument);
        let mut words: Vec<String> = words.into_iter().map(|word| word.value).collect();
        let program = words.first_mut()?;
        match path::program(program, self.home) {
            Ok(path) => *program = path,
            Err(why) => {
                self.wrong(value.span(), format!("{key} in {}: the program {why}", self.table));
                return None;
            }
        }
        Some(self.setting(value.span(), words))
    }

    /// A word of a command, which may be empty.
    fn argument(&mut self, key: &str, value: &Value<'_>) -> Option<Setting<String>> {
        match value.get_ref().as_str() {
            Some("") => Some(self.setting(value.span(), String::new())),
            _ => self.string(key, value),
        }
    }

    /// Names that there are, each with a value that fits it.
    fn checked(
        &mut self,
        key: &str,
        value: &Value<'_>,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Vec<Setting<(String, String)>> {
        let mut given = self.options(key, value);
        given.retain(|Setting { value: (name, text), place }| {
            let checked = check(name, text);
            if let Err(why) = &checked {
                let message = format!("{key} in {}: {why}", self.table);
                self.mistakes.push(Mistake { place: Some(*place), message, warning: false });
            }
            checked.is_ok()
        });
        given
    }

    fn options(&mut self, key: &str, value: &Value<'_>) -> Vec<Setting<(String, String)>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.kind(key, value, &format!("a table; write {key} = {{ name = \"value\" }}"));
            return Vec::new();
        };
        let whole = key;
        let mut options = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.as_str().to_owned(),
                DeValue::Boolean(flag) => flag.to_string(),
                _ => {
                    self.kind(&format!("{whole}.{name}"), value, "text in quotation marks");
                    continue;
                }
            };
            options.push(self.setting(value.span(), (name, text)));
        }
        options
    }

    fn passphrase(&mut self, profile: &mut Profile, key: Range<usize>, source: Option<Setting<PassphraseSource>>) {
        if let Some(other) = &profile.passphrase {
            // The keys come in the order of the alphabet; the second one in the file is too many.
            let place = Some(other.place.max(Place::of(self.text, key)));
            let message = "passphrase-command and passphrase-file exclude each other; remove one of them";
            let message = format!("{message} from {}", self.table);
            self.mistakes.push(Mistake { place, message, warning: false });
        } else {
            profile.passphrase = source;
        }
    }
}

/// Complaints.
impl Reader<'_> {
    fn wrong(&mut self, span: Range<usize>, message: String) {
        let place = Some(Place::of(self.text, span));
        self.mistakes.push(Mistake { place, message, warning: false });
    }

    /// A value of the wrong kind.
    fn kind(&mut self, key: &str, value: &Value<'_>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.wrong(value.span(), format!("{key} in {} is of the type {found}, but has to be {wanted}", self.table));
    }

    fn unknown(&mut self, key: &Spanned<toml::de::DeString<'_>>, known: &[&str]) {
        let name = key.get_ref().as_ref();
        let other = OTHER_WORDS.iter().find(|(other, meant)| *other == name && known.contains(meant));
        let hint = match other.map(|(_, meant)| *meant).or_else(|| nearest(name, known)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known.join(", ")),
        };
        let table = if self.table.is_empty() { String::new() } else { format!(" in {}", self.table) };
        self.wrong(key.span(), format!("unknown key {name:?}{table}; {hint}"));
    }
}

/// At most a day.
fn hook_limit(text: &str) -> Result<Duration, String> {
    match plugin::seconds(text)? {
        seconds @ 1..=86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text} is outside of what is allowed: 1s to 24h")),
    }
}

fn chunk_id(text: &str, _: Option<&Path>) -> Result<String, String> {
    text.parse::<ChunkId>().map(|id| id.to_string()).map_err(|error| error.to_string())
}
