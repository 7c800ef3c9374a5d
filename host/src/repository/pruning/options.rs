//! What a prune is to do, and how far it goes.

use std::str::FromStr;
use std::time::Duration;

use crate::size;

/// How much may be left in packs that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unused {
    /// Bytes.
    Bytes(u64),
    /// A part of what is in the store.
    Percent(f64),
    /// Anything: nothing is repacked.
    Unlimited,
}

impl FromStr for Unused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no limit; give a percentage (5%), an amount (2G) or \"unlimited\"");
        match text.strip_suffix('%') {
            _ if text == "unlimited" => Ok(Unused::Unlimited),
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if (0.0..=100.0).contains(&percent) { Ok(Unused::Percent(percent)) } else { Err(wrong()) }
            }
            None => size::parse(text).map(Unused::Bytes).map_err(|_| wrong()),
        }
    }
}

impl Default for Unused {
    fn default() -> Self {
        Unused::Percent(5.0)
    }
}

/// How far packs that are needed in part are repacked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Repacking goes on until no more than this is unused,
    pub max_unused: Unused,
    /// or so many bytes would have to be copied,
    pub max_repack: Option<u64>,
    /// or it took so long.
    pub max_time: Option<Duration>,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Options {
    /// How far to repack.
    pub budget: Budget,
    /// How long marked packs stay; by default [`GRACE`](super::GRACE), or nothing where no other client backs up.
    pub grace: Option<Duration>,
    /// Do nothing but look.
    pub dry_run: bool,
    /// Beginnings of the ids of snapshots that cannot be read: they are lost, and what only they need may go.
    pub give_up: Vec<String>,
}
