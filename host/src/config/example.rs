//! A first configuration file, with comments, and with what is known already.

use std::io::Write;
use std::path::Path;

use toml::Value;

use crate::local::{LocalError, io_error, private_dir};

/// What is known when the file is made.
#[derive(Debug, Default)]
pub struct Known<'k> {
    /// The profile's name.
    pub profile: &'k str,
    /// The location of the repository.
    pub repository: Option<&'k str>,
    /// A plugin file.
    pub backend: Option<&'k Path>,
    /// An identity file.
    pub identity: Option<&'k Path>,
    /// The repository's id.
    pub repository_id: Option<&'k str>,
    /// What to back up.
    pub source: Option<&'k Path>,
}

/// The text of the file.
pub fn text(known: &Known<'_>) -> String {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let line = |key: &str, value: Option<String>, example: &str| match value {
        Some(value) => format!("{key} = {}", quoted(&value)),
        None => format!("# {key} = {example}"),
    };
    let name = match known.profile {
        name if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) && !name.is_empty() => {
            name.to_owned()
        }
        name => quoted(name),
    };
    let source = known.source.map_or_else(|| "/home".into(), path);
    TEMPLATE
        .replace("@NAME@", &name)
        .replace("@REPOSITORY@", &line("repository", known.repository.map(str::to_owned), "\"/mnt/disk/backup\""))
        .replace(
            "@BACKEND@",
            &known.backend.map_or_else(String::new, |file| line("backend", Some(path(file)), "") + "\n"),
        )
        .replace("@REPOSITORY-ID@", &line("repository-id", known.repository_id.map(str::to_owned), "\"...\""))
        .replace("@IDENTITY@", &line("identity", known.identity.map(path), "\"~/.config/obnam/identity\""))
        .replace("@SOURCE@", &quoted(&source))
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Writes a file that must not be there yet, mode 0600.
pub fn create(path: &Path, text: &str) -> Result<(), LocalError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_dir(directory.to_owned())?;
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(io_error("create the configuration file", path))
}

const TEMPLATE: &str = r#"# Configuration of obnam. Each profile says what one backup needs: where it goes, and what goes into it.
# `obnam config check` finds mistakes, `obnam config show` says what is in force.
# Paths begin with / or with ~/ for the home directory. No secret belongs in here.

# The profile that is used without -p; one that is called "default" needs no such line.
# default-profile = "home"

[profile.@NAME@]

# Where the backups go. `obnam init` makes a repository there.
@REPOSITORY@
@BACKEND@
# The id that `obnam init` prints on the recovery sheet. With it, no other repository is taken for yours, not even
# on the first use on a new machine.
@REPOSITORY-ID@

# The credential that is opened, and no other one tried: an id of `obnam credential list`.
# credential = "..."

# What opens the repository. Without any of these, the passphrase is asked for. A command's first line is the passphrase.
# passphrase-command = "secret-tool lookup obnam passphrase"
# passphrase-file = "~/.config/obnam/passphrase"
@IDENTITY@

# What `obnam backup` backs up.
sources = [@SOURCE@]

# What it leaves out: patterns as in .gitignore, those of a file, directories that hold a file of such a name,
# what files such as .gitignore say of their directories, directories that say that they are caches (CACHEDIR.TAG), other
# file systems, large files.
# exclude = ["*.tmp", "~/.cache/", "node_modules/"]
# exclude-from = ["~/.config/obnam/exclude"]
# exclude-if-present = [".nobackup"]
# ignore-file = [".obnamignore"]
exclude-caches = true
# one-file-system = true
# exclude-larger-than = "4G"

# How a store on the network is reached: certificate authorities of one's own, http: without encryption,
# a proxy, how many connections, how much of the line is taken.
# ca-file = "~/.config/obnam/ca.pem"
# plain-http = true
# proxy = "http://proxy.example:3128"
# connections = 8
# limit-upload = "2M"
# limit-download = "10M"

# What the snapshots are called.
# tags = ["daily"]
# host = "laptop"

# Which of them `obnam forget` keeps.
# keep = { daily = 7, weekly = 5, monthly = 12, yearly = "all" }

# The profile whose repository `obnam sync` copies all snapshots into that it lacks.
# sync-to = "home"

# Commands around a backup: programs with their arguments (no shell is asked, unless it is one), and how long each may take. One
# before it (if that fails, nothing is backed up), one after a backup that made a snapshot, one after a backup that made none.
# before = ["mount", "/mnt/disk"]
# after = ["sh", "-c", "sync; umount /mnt/disk"]
# failed = ["sh", "-c", "echo \"$OBNAM_HOOK_ERROR\" | mail -s 'no backup' root"]
# hook-limit = "10m"

# Who is told of each backup: a URL as of healthchecks.io (its start, its end, its failure), and a file for Prometheus' node exporter.
# health-check = "https://hc.example/ping/abc"
# metrics = "/var/lib/prometheus/node-exporter/obnam-home.prom"
"#;
