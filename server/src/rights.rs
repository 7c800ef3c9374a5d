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
    /// Make, list and revoke tokens of the tenant that may do no more than this one, and that only under these labels.
    Admin,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 5] = [Verb::Find, Verb::Read, Verb::Create, Verb::Delete, Verb::Admin];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Find => "find",
            Verb::Read => "read",
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::Admin => "admin",
        })
    }
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

    /// Whether every label of the others is among these. No number of single labels makes up for a prefix: the text of the
    /// prefix is a label too, and cannot be written as a single one, since it ends in a dot.
    pub fn cover(&self, others: &Labels) -> bool {
        match (self, others) {
            (Labels::All, _) => true,
            (Labels::Prefix(prefix), Labels::Prefix(longer)) => longer.starts_with(prefix.as_str()),
            (_, Labels::One(label)) => self.contain(label),
            (_, Labels::All) | (Labels::One(_), Labels::Prefix(_)) => false,
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

    /// The first right of the others that this token, with these rights, may not hand out: one that it has not itself, or
    /// under labels for which it is no administrator.
    pub fn withhold<'o>(&self, others: &'o Rights) -> Option<(Verb, &'o Labels)> {
        let has = |verb, wanted: &Labels| self.labels(verb).iter().any(|own| own.cover(wanted));
        let all = others.0.iter().flat_map(|(verb, labels)| labels.iter().map(|labels| (*verb, labels)));
        all.into_iter().find(|(verb, labels)| !has(*verb, labels) || !has(Verb::Admin, labels))
    }

    /// The rights as answers have them.
    pub fn as_texts(&self) -> BTreeMap<Verb, Vec<String>> {
        let labels = |verb| self.labels(verb).iter().map(ToString::to_string).collect();
        Verb::ALL.into_iter().filter(|verb| self.have(*verb)).map(|verb| (verb, labels(verb))).collect()
    }

    /// How many labels it names altogether.
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether nothing may be done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Reads and lists what a credential is opened with, and nothing else: it may stand in a configuration file.
    Bootstrap,
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

/// What it takes to get from a secret to the token that a credential holds.
const BOOTSTRAP: [&str; 4] = ["repository", "roster", "credential", "client"];

impl Preset {
    /// Its rights.
    pub fn rights(self) -> Rights {
        let everything: &[&str] = &["*"];
        let stored_by_backup: &[&str] = &["data", "tree", "index.", "snapshot."];
        let stored_by_prune: &[&str] = &["data", "tree", "index.", "tombstone"];
        let removed_by_prune: &[&str] = &["data", "tree", "index.", "snapshot.", "note.", "tombstone"];
        let rights: &[(Verb, &[&str])] = match self {
            Preset::Bootstrap => &[(Verb::Find, &BOOTSTRAP), (Verb::Read, &BOOTSTRAP)],
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

    /// All texts of at most this length over a small alphabet that begin with a letter.
    fn texts(longest: usize) -> Vec<String> {
        let mut texts: Vec<String> = vec!["a".into(), "b".into()];
        let mut begin = 0;
        for _ in 1..longest {
            let end = texts.len();
            for at in begin..end {
                for letter in ["a", "b", "."] {
                    texts.push(format!("{}{letter}", texts[at]));
                }
            }
            begin = end;
        }
        texts
    }

    #[test]
    fn cover_means_what_contain_says() {
        let universe: Vec<Label> = texts(5).iter().map(|text| label(text)).collect();
        let mut sets: Vec<Labels> = texts(3).iter().map(|text| text.parse().expect("labels")).collect();
        sets.push(Labels::All);
        let holds = |own: &[&Labels], label: &Label| own.iter().any(|labels| labels.contain(label));
        let rights = |labels: &[&Labels]| {
            let mut rights = Rights::default();
            for labels in labels {
                rights.grant(Verb::Read, (*labels).clone());
            }
            rights
        };
        let mut covered = 0;
        for first in &sets {
            for second in &sets {
                let mut own = rights(&[first, second]);
                own.grant(Verb::Admin, Labels::All);
                for wanted in &sets {
                    let is_subset = universe
                        .iter()
                        .filter(|label| wanted.contain(label))
                        .all(|label| holds(&[first, second], label));
                    let is_granted = own.withhold(&rights(&[wanted])).is_none();
                    assert_eq!(is_granted, is_subset, "{wanted} out of {first}, {second}");
                    covered += usize::from(is_subset);
                }
            }
        }
        assert!(covered > sets.len(), "nothing was covered");
    }

    #[test]
    fn nothing_is_handed_out_beyond_ones_own() {
        let presets = [Preset::Bootstrap, Preset::Backup, Preset::Restore, Preset::Prune, Preset::All];
        for preset in presets {
            assert_eq!(Preset::All.rights().withhold(&preset.rights()), None, "{preset:?}");
            let mut administrator = preset.rights();
            administrator.grant(Verb::Admin, Labels::All);
            assert_eq!(administrator.withhold(&preset.rights()), None, "{preset:?}");
            assert_eq!(administrator.withhold(&administrator), None, "{preset:?}");
            if preset != Preset::All {
                assert!(administrator.withhold(&Preset::All.rights()).is_some(), "{preset:?}");
                // Without the right of an administrator nothing at all.
                assert!(preset.rights().withhold(&preset.rights()).is_some(), "{preset:?}");
            }
        }
        // An administrator of some labels hands out rights under these.
        let mut own = Preset::All.rights();
        own.0.insert(Verb::Admin, vec!["snapshot.".parse().expect("labels")]);
        let mut wanted = Rights::default();
        wanted.grant(Verb::Read, "snapshot.aa".parse().expect("labels"));
        assert_eq!(own.withhold(&wanted), None);
        wanted.grant(Verb::Read, "data".parse().expect("labels"));
        assert_eq!(own.withhold(&wanted), Some((Verb::Read, &Labels::One(label("data")))));
    }

    #[test]
    fn a_bootstrap_token_reads_four_labels() {
        let rights = Preset::Bootstrap.rights();
        for text in ["repository", "roster", "credential", "client"] {
            assert!(rights.allow(Verb::Find, &label(text)) && rights.allow(Verb::Read, &label(text)), "{text}");
        }
        for text in ["data", "tree", "index.00", "snapshot.00", "note.00", "tombstone"] {
            assert!(!rights.allow(Verb::Find, &label(text)) && !rights.allow(Verb::Read, &label(text)), "{text}");
        }
        assert!(!rights.have(Verb::Create) && !rights.have(Verb::Delete) && !rights.have(Verb::Admin));
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
