//! What a plugin wishes to use, as the user is told of it, and as his approval is kept.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that a plugin wishes to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wish {
    /// A directory.
    Directory {
        /// Its absolute path.
        path: String,
        /// Whether the plugin wants to read only.
        read_only: bool,
    },
    /// A place on the network.
    Origin {
        /// `https://host:port`.
        origin: String,
    },
}

impl Wish {
    /// Whether an approval of this one is one of the other too.
    pub(super) fn covers(&self, other: &Wish) -> bool {
        match (self, other) {
            (Wish::Directory { path, read_only }, Wish::Directory { path: wished, read_only: reads }) => {
                path == wished && (*reads || !*read_only)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Wish {
    /// For people; nothing in it plays with a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Directory { path, read_only: true } => write!(f, "the directory {path:?}, to read"),
            Wish::Directory { path, read_only: false } => write!(f, "the directory {path:?}, to read and write"),
            Wish::Origin { origin } => f.write_str(origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_covers_the_same_and_less() {
        let directory = |path: &str, read_only| Wish::Directory { path: path.into(), read_only };
        let origin = |origin: &str| Wish::Origin { origin: origin.into() };
        assert!(directory("/a", false).covers(&directory("/a", false)));
        assert!(directory("/a", false).covers(&directory("/a", true)));
        assert!(!directory("/a", true).covers(&directory("/a", false)));
        assert!(!directory("/a", false).covers(&directory("/a/b", true)));
        assert!(origin("https://a").covers(&origin("https://a")));
        assert!(!origin("https://a").covers(&origin("https://b")));
        assert!(!origin("https://a").covers(&directory("/a", true)));
    }

    #[test]
    fn what_is_shown_is_harmless() {
        let nasty = Wish::Directory { path: "/a\u{1b}[2K\n\u{202e}b".into(), read_only: true };
        let shown = nasty.to_string();
        assert!(shown.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{shown}");
    }
}
