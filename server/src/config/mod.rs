//! The configuration: one TOML file, and the environment for secrets. `docs/server.md` explains every key.

mod s3;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::store::Folder;

pub use s3::S3Config;

/// No URL lives longer.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(3600);

/// Where the file is when nobody says.
pub const DEFAULT_FILE: &str = "/etc/obnam-server.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {why}; name another file with --config")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The file is no TOML, or has unknown or wrong keys.
    #[error("the configuration {file} is wrong: {why}")]
    Form {
        /// The file.
        file: PathBuf,
        /// Why.
        why: toml::de::Error,
    },
    /// A value makes no sense.
    #[error("the configuration {file} is wrong: {why}")]
    Value {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where chunks are: what `s3` or `storage` say.
    #[serde(skip)]
    pub place: Place,
    /// Where the API listens.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where metrics (and health once more) are served, without TLS and tokens.
    pub management: Option<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// The database: `sqlite:FILE` or `postgres://…`.
    #[serde(default)]
    pub database: DatabaseUrl,
    /// The file of the audit log; standard output where there is none.
    pub audit_log: Option<PathBuf>,
    /// TLS.
    pub tls: Option<TlsConfig>,
    /// Whether chunks may come by way of this server.
    #[serde(default)]
    pub uploads: Uploads,
    /// The object store.
    s3: Option<S3Config>,
    /// The directory with chunks, where there is no object store.
    storage: Option<PathBuf>,
    /// Lifetimes of URLs.
    #[serde(default)]
    pub urls: UrlConfig,
    /// Removals.
    #[serde(default)]
    pub removal: RemovalConfig,
    /// Rates.
    #[serde(default)]
    pub limits: LimitConfig,
}

/// Where chunks are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In an object store.
    S3(S3Config),
    /// In a directory, given by an absolute path.
    Directory(PathBuf),
}

impl Default for Place {
    fn default() -> Self {
        Place::Directory(PathBuf::new())
    }
}

/// The URL of a database. Has no `Display`, and its `Debug` shows only the kind: it may hold a password.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        DatabaseUrl(url)
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:…", self.0.split(':').next().unwrap_or_default())
    }
}

/// A secret out of the file or the environment.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Secret(secret)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Whether chunks may come by way of this server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uploads {
    /// Where the store does not refuse wrong bytes.
    #[default]
    WhereNeeded,
    /// Then nothing can be stored there.
    Never,
}

/// Certificate and key, both PEM files; they are read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsConfig {
    /// The certificate and the chain behind it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Lifetimes of URLs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UrlConfig {
    /// How long an URL may be used.
    pub lifetime: Span,
}

/// Removals.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RemovalConfig {
    /// How long after it was asked for a chunk is removed.
    pub delay: Span,
    /// How old, by the store's clock, a chunk must be.
    pub minimum_age: Span,
}

/// Rates.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitConfig {
    /// Requests in a second with one token; a burst may be ten times this.
    pub token_requests: u32,
    /// Requests in a second from one address (IPv6: a /64); a burst may be ten times this.
    pub address_requests: u32,
    /// Requests that are answered at the same time; others wait.
    pub requests_at_once: usize,
    /// Chunks of the largest size, or as many bytes of smaller ones, that are taken at the same time; others wait.
    pub uploads_at_once: u32,
}

impl Default for UrlConfig {
    fn default() -> Self {
        UrlConfig { lifetime: Span(Duration::from_secs(15 * 60)) }
    }
}

impl Default for RemovalConfig {
    fn default() -> Self {
        RemovalConfig { delay: Span(Duration::from_secs(7 * 86_400)), minimum_age: Span(Duration::ZERO) }
    }
}

impl Default for LimitConfig {
    fn default() -> Self {
        LimitConfig { token_requests: 50, address_requests: 100, requests_at_once: 256, uploads_at_once: 4 }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

/// A stretch of time, written as a number and a unit: `90s`, `15m`, `2h`, `7d`, `4w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl Span {
    /// In whole seconds.
    pub fn seconds(self) -> u64 {
        self.0.as_secs()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || format!("{text:?} is no stretch of time; write a number and a unit, such as 90s, 15m, 2h, 7d or 4w");
        let unit = text.chars().last().ok_or_else(error)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(error()),
        };
        let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| error())?;
        // A hundred years: sums with times of today stay far from any end.
        let longest = 100 * 366 * 86_400;
        let seconds = number.checked_mul(seconds).filter(|&seconds| seconds <= longest).ok_or_else(error)?;
        Ok(Span(Duration::from_secs(seconds)))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Config {
    /// Reads and checks the file; `variable` reads the environment.
    pub fn read(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|why| ConfigError::Read { file: file.to_owned(), why })?;
        Config::parse(file, &text, variable)
    }

    /// All defaults, and chunks in a directory.
    pub fn for_directory(directory: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let storage = toml::Value::String(directory.display().to_string());
        Config::parse(Path::new("of --storage"), &format!("storage = {storage}"), variable)
    }

    fn parse(file: &Path, text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config: Config =
            toml::from_str(text).map_err(|why| ConfigError::Form { file: file.to_owned(), why })?;
        if let Some(url) = variable("OBNAM_SERVER_DATABASE") {
            config.database = DatabaseUrl(url);
        }
        config
            .complete(variable)
            .and_then(|()| config.check())
            .map_err(|why| ConfigError::Value { file: file.to_owned(), why })?;
        Ok(config)
    }

    /// Finds out where chunks are, and where the database and the audit log are if nobody says it.
    fn complete(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let database;
        (self.place, database) = match (self.s3.take(), &self.storage) {
            (Some(mut s3), None) => {
                s3.complete(variable)?;
                (Place::S3(s3), "sqlite:/var/lib/obnam-server/state.db".to_owned())
            }
            (None, Some(directory)) => {
                let directory = std::path::absolute(directory).map_err(|why| format!("storage: {why}"))?;
                let own = Folder::own(&directory);
                self.audit_log.get_or_insert(own.join("audit.jsonl"));
                let database = sqlite(&own.join("state.db"))?;
                (Place::Directory(directory), database)
            }
            (Some(_), Some(_)) => return Err("it has both [s3] and storage; chunks are in one place only".to_owned()),
            (None, None) => {
                return Err(
                    "it does not say where chunks are: write [s3] for an object store, or storage = \"DIR\" for a \
                            directory"
                        .to_owned(),
                );
            }
        };
        if self.database.0.is_empty() {
            self.database = DatabaseUrl(database);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let lifetime = self.urls.lifetime.0;
        if lifetime < Duration::from_secs(10) || lifetime > LONGEST_LIFETIME {
            return Err("urls.lifetime must be 10 seconds to one hour".to_owned());
        }
        if self.removal.delay.0 < LONGEST_LIFETIME {
            return Err(
                "removal.delay must be at least one hour: an URL to store a chunk may be valid that long".to_owned()
            );
        }
        if self.limits.token_requests == 0 || self.limits.address_requests == 0 || self.limits.requests_at_once == 0 {
            return Err("the limits must be at least 1".to_owned());
        }
        if matches!(self.place, Place::Directory(_)) && self.uploads == Uploads::Never {
            return Err(
                "uploads = \"never\" goes with [s3] only: into a directory, all chunks come by way of the server"
                    .to_owned(),
            );
        }
        if !(1..=1024).contains(&self.limits.uploads_at_once) {
            return Err("limits.uploads-at-once must be 1 to 1024: each takes 64 MiB of memory".to_owned());
        }
        let database = self.database.reveal();
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| database.starts_with(scheme)) {
            return Err("database must begin with sqlite: or postgres:".to_owned());
        }
        Ok(())
    }
}

/// The URL of a SQLite database in this file.
fn sqlite(file: &Path) -> Result<String, String> {
    let path = file.to_str().ok_or("storage: the path must be UTF-8")?;
    Ok(format!("sqlite:{}", path.replace('%', "%25").replace('?', "%3F").replace('#', "%23")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S3: &str =
        "[s3]\nbucket = \"b\"\nregion = \"garage\"\naccess-key-id = \"k\"\nsecret-access-key = \"hidden\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("x.toml"), text, |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults() {
        let config = parse(S3).expect("a configuration");
        assert_eq!(config.urls.lifetime.seconds(), 900);
        assert_eq!(config.removal.delay.seconds(), 7 * 86_400);
        let Place::S3(s3) = config.place else { panic!("not S3") };
        assert_eq!(s3.endpoint(), "https://s3.garage.amazonaws.com");
        assert!(!s3.path_style());
        assert_eq!(config.database.reveal(), "sqlite:/var/lib/obnam-server/state.db");
    }

    #[test]
    fn a_directory_needs_nothing_else() {
        let config = Config::for_directory(Path::new("/srv/it's \"100%\"?"), |_| None).expect("a configuration");
        let Place::Directory(directory) = config.place else { panic!("no directory") };
        assert_eq!(directory, Path::new("/srv/it's \"100%\"?"));
        assert_eq!(config.database.reveal(), "sqlite:/srv/it's \"100%25\"%3F/.obnam-server/state.db");
        assert_eq!(config.audit_log.as_deref(), Some(Path::new("/srv/it's \"100%\"?/.obnam-server/audit.jsonl")));
        for (text, word) in [
            ("", "storage = "),
            (&format!("storage = \"/srv\"\n{S3}"), "both [s3] and storage"),
            ("storage = \"/srv\"\nuploads = \"never\"", "uploads"),
        ] {
            let error = parse(text).expect_err("is refused");
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = format!("database = \"postgres://u:hidden@h/d\"\n{S3}");
        let shown = format!("{:?}", parse(&text).expect("a configuration"));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, word) in [
            ("[urls]\nlifetime = \"2h\"\n", "urls.lifetime"),
            ("[urls]\nlifetime = \"1s\"\n", "urls.lifetime"),
            ("[urls]\nlifetime = \"soon\"\n", "\"soon\""),
            ("[removal]\ndelay = \"59m\"\n", "removal.delay"),
            ("[limits]\ntoken-requests = 0\n", "limits"),
            ("colour = 1\n", "colour"),
            ("database = \"mysql://x\"\n", "database"),
        ] {
            let error = parse(&if text.starts_with('[') { format!("{S3}{text}") } else { format!("{text}{S3}") });
            let error = error.expect_err("is refused");
            assert!(error.contains(word), "{error}");
        }
        let error = parse("[s3]\nbucket = \"b\"\nregion = \"r\"\n").expect_err("is refused");
        assert!(error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    }

    #[test]
    fn the_environment_gives_what_the_file_lacks() {
        let environment = |name: &str| match name {
            "OBNAM_SERVER_DATABASE" => Some("sqlite:other".to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("from-environment".to_owned()),
            "AWS_REGION" => Some("garage".to_owned()),
            _ => None,
        };
        let config = Config::parse(Path::new("x"), "[s3]\nbucket = \"b\"\n", environment).expect("a configuration");
        let Place::S3(s3) = &config.place else { panic!("not S3") };
        assert_eq!(s3.credentials(), ("garage", "from-environment", "from-environment"));
        assert_eq!(config.database.reveal(), "sqlite:other");
    }

    #[test]
    fn spans() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("1w", 604_800)] {
            assert_eq!(text.parse::<Span>().map(Span::seconds), Ok(seconds));
        }
        for bad in ["", "s", "7", "7x", "-1s", "1.5h", "99999999999999999999w", "9999w9", "1é", "5000000w"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
