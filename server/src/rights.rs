//! What a token may do: for each verb, the labels that it covers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use obnam_chunk::Label;
use serde::{Deserialize, Serialize};

/// What can be done with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// List, and ask for the size and age.
    Find,
    /// Get an URL to read.
    Read,
    /// Get an URL to store.
    Create,
    /// Have it removed after the operator's delay.
    Delete,
    /// Manage tokens of the tenant. Not used by any call yet.
    Admin,
}

/// Text that names no labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no labels: give a label, a text that ends in a dot (all labels that begin with it), or *")]
pub struct LabelsError(String);

/// A label, all labels with a prefix, or all labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Labels {
    /// Exactly this one.
    One(Label),
    /// All that begin with this text, which ends in a dot.
    Prefix(String),
    /// All.
    All,
}

impl Labels {
    /// Whether this label is among them.
    pub fn contain(&self, label: &Label) -> bool {
        match self {
            Labels::One(one) => one == label,
            Labels::Prefix(prefix) => label.as_str().starts_with(prefix.as_str()),
            Labels::All => true,
        }
    }
}

impl FromStr for Labels {
    type Err = LabelsError;

    fn from_str(text: &str) -> Result<Self, LabelsError> {
        if text == "*" {
            return Ok(Labels::All);
        }
        let label: Label = text.parse().map_err(|_| LabelsError(text.to_owned()))?;
        Ok(if text.ends_with('.') { Labels::Prefix(text.to_owned()) } else { Labels::One(label) })
    }
}

impl TryFrom<String> for Labels {
    type Error = LabelsError;

    fn try_from(text: String) -> Result<Self, LabelsError> {
        text.parse()
    }
}

impl From<Labels> for String {
    fn from(labels: Labels) -> String {
        labels.to_string()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Labels::One(label) => write!(f, "{label}"),
            Labels::Prefix(prefix) => f.write_str(prefix),
            Labels::All => f.write_str("*"),
        }
    }
}

/// The rights of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rights(BTreeMap<Verb, Vec<Labels>>);

impl Rights {
    /// Whether this may be done with chunks of this label.
    pub fn allow(&self, verb: Verb, label: &Label) -> bool {
        self.labels(verb).iter().any(|labels| labels.contain(label))
    }

    /// The labels for which this may be done.
    pub fn labels(&self, verb: Verb) -> &[Labels] {
        self.0.get(&verb).map_or(&[], Vec::as_slice)
    }

    /// Whether this may be done with every chunk that passes the filter of a listing: empty (every label), a label, or a
    /// text that ends in a dot (all that begin with it).
    pub fn cover(&self, verb: Verb, filter: &str) -> bool {
        self.labels(verb).iter().any(|labels| match labels {
            Labels::All => true,
            Labels::Prefix(prefix) => filter.starts_with(prefix.as_str()),
            Labels::One(label) => label.as_str() == filter,
        })
    }

    /// Whether this may be done at all.
    pub fn have(&self, verb: Verb) -> bool {
        !self.labels(verb).is_empty()
    }

    /// Adds a right.
    pub fn grant(&mut self, verb: Verb, labels: Labels) {
        let granted = self.0.entry(verb).or_default();
        if !granted.contains(&labels) {
            granted.push(labels);
        }
    }
}

/// The usual sets of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// Stores backups; reads and lists everything but the contents of files and directories; removes nothing.
    Backup,
    /// Reads and lists everything.
    Restore,
    /// Reads and lists everything, stores and removes what pruning has to.
    Prune,
    /// Everything.
    All,
}

/// What tells how to read the rest; small, and of no use without a key.
const SMALL: [&str; 8] = ["repository", "roster", "credential", "client", "index.", "snapshot.", "note.", "tombstone"];

impl Preset {
    /// Its rights.
    pub fn rights(self) -> Rights {
        let everything: &[&str] = &["*"];
        let stored_by_backup: &[&str] = &["data", "tree", "index.", "snapshot."];
        let stored_by_prune: &[&str] = &["data", "tree", "index.", "tombstone"];
        let removed_by_prune: &[&str] = &["data", "tree", "index.", "snapshot.", "note.", "tombstone"];
        let rights: &[(Verb, &[&str])] = match self {
            Preset::Backup => &[(Verb::Find, &SMALL), (Verb::Read, &SMALL), (Verb::Create, stored_by_backup)],
            Preset::Restore => &[(Verb::Find, everything), (Verb::Read, everything)],
            Preset::Prune => &[
                (Verb::Find, everything),
                (Verb::Read, everything),
                (Verb::Create, stored_by_prune),
                (Verb::Delete, removed_by_prune),
            ],
            Preset::All => &[
                (Verb::Find, everything),
                (Verb::Read, everything),
                (Verb::Create, everything),
                (Verb::Delete, everything),
                (Verb::Admin, everything),
            ],
        };
        let mut granted = Rights::default();
        for (verb, labels) in rights {
            for text in *labels {
                granted.grant(*verb, text.parse().expect("presets name labels"));
            }
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Label {
        text.parse().expect("a label")
    }

    #[test]
    fn labels_cover_what_they_say() {
        let labels = |text: &str| text.parse::<Labels>().expect("labels");
        assert!(labels("data").contain(&label("data")));
        assert!(!labels("data").contain(&label("data.x")));
        assert!(labels("snapshot.").contain(&label("snapshot.00")));
        assert!(!labels("snapshot.").contain(&label("snapshot")));
        assert!(!labels("snapshot.").contain(&label("snapshots.00")));
        assert!(labels("*").contain(&label("x")));
        for bad in ["", "**", "Data", "data*", ".", "a/b"] {
            assert!(bad.parse::<Labels>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_backup_token_can_write_nothing_that_governs() {
        let rights = Preset::Backup.rights();
        for text in ["data", "tree", "index.00", "snapshot.00"] {
            assert!(rights.allow(Verb::Create, &label(text)), "{text}");
        }
        for text in ["roster", "credential", "client", "repository", "tombstone", "note.00", "index", "data.x"] {
            assert!(!rights.allow(Verb::Create, &label(text)), "{text}");
        }
        for text in ["data", "tree"] {
            assert!(!rights.allow(Verb::Read, &label(text)) && !rights.allow(Verb::Find, &label(text)), "{text}");
        }
        assert!(!rights.have(Verb::Delete) && !rights.have(Verb::Admin));
        assert!(!Preset::Restore.rights().have(Verb::Create));
        assert!(!Preset::Prune.rights().allow(Verb::Delete, &label("roster")));
        assert!(Preset::All.rights().allow(Verb::Delete, &label("roster")));
    }

    #[test]
    fn filters_are_covered_or_not() {
        let backup = Preset::Backup.rights();
        for filter in ["roster", "snapshot.", "snapshot.00", "index.0"] {
            assert!(backup.cover(Verb::Find, filter), "{filter}");
        }
        for filter in ["", "data", "snapshot", "s", "rosters"] {
            assert!(!backup.cover(Verb::Find, filter), "{filter}");
        }
        assert!(Preset::Restore.rights().cover(Verb::Find, ""));
    }

    #[test]
    fn rights_survive_their_text() {
        let rights = Preset::Prune.rights();
        let text = serde_json::to_string(&rights).expect("writes");
        assert!(text.contains(r#""find":["*"]"#), "{text}");
        assert_eq!(serde_json::from_str::<Rights>(&text).expect("reads"), rights);
        assert!(serde_json::from_str::<Rights>(r#"{"find":["A"]}"#).is_err());
        assert!(serde_json::from_str::<Rights>(r#"{"fly":["*"]}"#).is_err());
    }
}
