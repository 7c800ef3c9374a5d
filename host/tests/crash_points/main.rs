//! Every point at which an operation can be cut off, by `kill -9` or a power cut. A store that works on several calls at a time records when
//! each change began and returned. Of every prefix of these events it makes the states that a crash can leave: what had returned is
//! there, and of what was in flight nothing, everything, or any one change. In each of them all committed snapshots restore, and the
//! machine that crashed (its local files as they were at that moment) and one that has lost them do the same again, back up, prune
//! and check, until nothing is left that nobody needs.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod mending;
mod removing;
mod storing;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::*;
use trial::{Kept, keep};

const HOUR: Duration = Duration::from_secs(3600);

/// Writes files that go into few packs, with contents by these numbers.
fn fill(source: &Path, contents: impl Fn(u64) -> u64) {
    for number in 0..10 {
        fs::write(source.join(format!("file {number}")), noise(1000 * number + contents(number), 1500)).unwrap();
    }
}

/// A source, and two backups of it that have most in common.
fn two_backups(world: &World) -> (PathBuf, Vec<Kept>) {
    let source = world.source("s", &[("dir/shared", noise(1, 20_000)), ("dir/words", b"some words".to_vec())]);
    fill(&source, |_| 0);
    let first = keep(&world.open(), &source);
    fill(&source, |number| number % 2);
    let second = keep(&world.open(), &source);
    (source, vec![first, second])
}

/// A source with what the first of those backups had, and more.
fn old_contents(world: &World) -> PathBuf {
    let source = world.source("old", &[("shared", noise(1, 20_000)), ("more", noise(7, 15_000))]);
    fill(&source, |_| 0);
    source
}
