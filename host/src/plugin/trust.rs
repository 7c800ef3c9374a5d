//! Which plugin files the user trusts, and with what beyond the locations that he names. Kept in a file of his
//! configuration, by the SHA-256 of the plugin: whatever else is in its place is another plugin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{PluginInfo, Wish};
use crate::config::written_by_others;
use crate::local::{Dirs, LocalError, private_dir, read_file, write_file};

/// The version of the file.
const VERSION: u32 = 1;

/// The plugins that the user trusts, by SHA-256.
#[derive(Debug)]
pub struct Trust {
    path: PathBuf,
    plugins: BTreeMap<String, TrustedPlugin>,
}

/// A plugin that the user trusts: what it was when he said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedPlugin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it says of itself.
    pub summary: String,
    /// The schemes of its locations.
    pub schemes: Vec<String>,
    /// Where the file was.
    pub file: String,
    /// When the user said so, in UTC (RFC 3339).
    pub since: String,
    /// What it may use besides what a location names.
    pub wishes: Vec<Wish>,
}

impl TrustedPlugin {
    /// A plugin as it is now.
    pub fn new(info: &PluginInfo, file: &Path, wishes: Vec<Wish>) -> Self {
        TrustedPlugin {
            name: info.name.clone(),
            version: info.version.clone(),
            summary: info.summary.clone(),
            schemes: info.schemes.clone(),
            file: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).to_string_lossy().into_owned(),
            since: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            wishes,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    plugins: BTreeMap<String, TrustedPlugin>,
}

impl Trust {
    /// What the user has said so far. A file that others could have written says nothing for him.
    pub fn load(dirs: &Dirs) -> Result<Self, LocalError> {
        let path = dirs.trusted_plugins();
        let Some(contents) = read_file(&path)? else { return Ok(Trust { path, plugins: BTreeMap::new() }) };
        if let Some(why) = written_by_others(&path) {
            return Err(LocalError::Exposed { what: "the list of trusted plugins", why });
        }
        let damaged = |why: String| LocalError::Damaged { path: path.clone(), why };
        let wire: Wire = serde_json::from_slice(&contents).map_err(|error| damaged(error.to_string()))?;
        if wire.version != VERSION {
            return Err(damaged(format!("it is of version {}, and not {VERSION}", wire.version)));
        }
        Ok(Trust { path, plugins: wire.plugins })
    }

    /// The file that it is kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of them, with their SHA-256.
    pub fn plugins(&self) -> impl Iterator<Item = (&String, &TrustedPlugin)> {
        self.plugins.iter()
    }

    /// The plugin with this SHA-256.
    pub fn get(&self, sha256: &str) -> Option<&TrustedPlugin> {
        self.plugins.get(sha256)
    }

    /// What the user approved for the plugin with this SHA-256.
    pub fn approved(&self, sha256: &str) -> &[Wish] {
        self.get(sha256).map_or(&[], |plugin| &plugin.wishes)
    }

    /// The plugins that were at this place when they were trusted.
    pub fn all_at(&self, file: &Path) -> impl Iterator<Item = (&String, &TrustedPlugin)> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        self.plugins.iter().filter(move |(_, plugin)| Path::new(&plugin.file) == file)
    }

    /// The last one of them.
    pub fn at(&self, file: &Path) -> Option<(&String, &TrustedPlugin)> {
        self.all_at(file).max_by(|(_, one), (_, other)| one.since.cmp(&other.since))
    }

    /// Trusts a plugin from now on. What was approved for it before stays. Takes effect in this process also where it
    /// cannot be written down.
    pub fn add(&mut self, sha256: &str, mut plugin: TrustedPlugin) -> Result<(), LocalError> {
        for wish in self.approved(sha256) {
            if !plugin.wishes.iter().any(|new| new.covers(wish)) {
                plugin.wishes.push(wish.clone());
            }
        }
        self.plugins.insert(sha256.to_owned(), plugin);
        self.save()
    }

    /// Trusts these no more; those that were trusted before.
    pub fn remove(&mut self, digests: &[String]) -> Result<Vec<(String, TrustedPlugin)>, LocalError> {
        let removed: Vec<_> = digests.iter().filter_map(|sha256| self.plugins.remove_entry(sha256)).collect();
        if !removed.is_empty() {
            self.save()?;
        }
        Ok(removed)
    }

    fn save(&self) -> Result<(), LocalError> {
        let wire = Wire { version: VERSION, plugins: self.plugins.clone() };
        let mut text = serde_json::to_string_pretty(&wire).expect("texts are JSON");
        text.push('\n');
        private_dir(self.path.parent().unwrap_or(Path::new(".")).to_owned())?;
        write_file(&self.path, text.as_bytes())
    }
}

/// A SHA-256 as people copy it: 64 hexadecimal digits.
pub fn parse_sha256(text: &str) -> Result<String, String> {
    let digits = text.trim().to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(format!("{text:?} is no SHA-256 (64 hexadecimal digits); obnam plugin inspect FILE shows that of a plugin"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn plugin(file: &str, since: &str, wishes: Vec<Wish>) -> TrustedPlugin {
        let text = |text: &str| text.to_owned();
        TrustedPlugin {
            name: text("dav"),
            version: text("1"),
            summary: text("Keeps."),
            schemes: vec![text("dav")],
            file: text(file),
            since: text(since),
            wishes,
        }
    }

    fn origin(origin: &str) -> Wish {
        Wish::Origin { origin: origin.into() }
    }

    #[test]
    fn what_was_said_comes_back() {
        let root = tempfile::tempdir().expect("a directory");
        let dirs = Dirs::below(root.path());
        let mut trust = Trust::load(&dirs).expect("loads");
        assert!(trust.get("aa").is_none() && trust.approved("aa").is_empty());
        let read = |path: &str, read_only| Wish::Directory { path: path.into(), read_only };
        trust
            .add("aa", plugin("/p", "2026-01-01T00:00:00Z", vec![origin("https://a"), read("/d", true)]))
            .expect("adds");
        trust.add("aa", plugin("/p", "2026-01-02T00:00:00Z", vec![read("/d", false)])).expect("adds");
        trust.add("bb", plugin("/p", "2026-01-03T00:00:00Z", Vec::new())).expect("adds");
        let mode = fs::metadata(trust.path()).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let mut trust = Trust::load(&dirs).expect("loads");
        assert_eq!(trust.approved("aa"), [read("/d", false), origin("https://a")]);
        assert_eq!(trust.at(Path::new("/p")).expect("is known").0, "bb");
        assert!(trust.at(Path::new("/q")).is_none());
        assert_eq!(trust.remove(&["bb".into(), "cc".into()]).expect("removes").len(), 1);
        assert_eq!(Trust::load(&dirs).expect("loads").plugins().count(), 1);
    }

    #[test]
    fn a_list_that_is_not_the_users_is_not_believed() {
        let root = tempfile::tempdir().expect("a directory");
        let dirs = Dirs::below(root.path());
        let mut trust = Trust::load(&dirs).expect("loads");
        trust.add("aa", plugin("/p", "", Vec::new())).expect("adds");
        fs::set_permissions(trust.path(), fs::Permissions::from_mode(0o666)).expect("sets the mode");
        let error = Trust::load(&dirs).expect_err("is not believed").to_string();
        assert!(error.contains("others can write") && error.contains("chmod go-w"), "{error}");
        fs::set_permissions(trust.path(), fs::Permissions::from_mode(0o600)).expect("sets the mode");
        for bad in ["", "{}", "{\"version\":2,\"plugins\":{}}", "{\"version\":1,\"plugins\":{\"aa\":{}}}"] {
            fs::write(trust.path(), bad).expect("writes");
            assert!(matches!(Trust::load(&dirs), Err(LocalError::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn digests() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(parse_sha256(&digits.to_uppercase()), Ok(digits.clone()));
        for bad in ["", &digits[1..], &digits.replace('f', "g"), "sha256:00"] {
            assert!(parse_sha256(bad).is_err(), "{bad}");
        }
    }
}
