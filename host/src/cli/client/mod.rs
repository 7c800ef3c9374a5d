//! `obnam client`: who backs up into the repository, and what each may do.

mod add;
mod list;
mod remove;
mod rotate;
mod trust;

use clap::{Args, Subcommand};

use super::output::{Output, printable};
use super::{Failure, Global};
use crate::format::roster::{Member, Role};
use crate::repository::metadata::SnapshotInfo;
use crate::repository::{Repository, RepositoryError};

/// List, add and remove the clients of the repository.
///
/// Each machine has keys of its own, and a role: a full client backs up and restores, a write-only one backs up and cannot
/// read any data, a maintainer forgets and prunes besides. Whoever holds the root key (the client that made the repository)
/// changes who is a client.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::Arguments),
    Add(Box<add::Arguments>),
    Trust(trust::Arguments),
    Rotate(Box<rotate::Arguments>),
    Remove(remove::Arguments),
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match &arguments.what {
        What::List(arguments) => list::run(global, arguments, output),
        What::Add(arguments) => add::run(global, arguments, output),
        What::Trust(arguments) => trust::run(global, arguments, output),
        What::Rotate(arguments) => rotate::run(global, arguments, output),
        What::Remove(arguments) => remove::run(global, arguments, output),
    }
}

/// What a member may do, in a word.
fn role(member: &Member) -> &'static str {
    let has = |role| member.has(role);
    match (has(Role::Writer), has(Role::Reader), has(Role::Maintainer)) {
        (_, _, true) => "maintainer",
        (true, true, _) => "full",
        (true, false, _) => "write-only",
        (false, true, _) => "read-only",
        (false, false, _) => "none",
    }
}

fn name(member: &Member) -> String {
    printable(member.name.as_bytes())
}

/// The last snapshot of a client that is to count: the one that `--last` names, or its newest.
fn last<'a>(
    repository: &Repository,
    member: &Member,
    snapshots: &'a [SnapshotInfo],
    named: Option<&str>,
) -> Result<Option<&'a SnapshotInfo>, Failure> {
    let history = repository.history_of(&member.tag, snapshots);
    let Some(named) = named else { return Ok(history.last().copied()) };
    if named == "none" {
        return Ok(None);
    }
    let found: Vec<_> = history.iter().filter(|info| info.id.to_string().starts_with(named)).collect();
    match found.as_slice() {
        [one] if named.len() >= 4 => Ok(Some(one)),
        _ => Err(RepositoryError::BadClient(format!(
            "--last: {named:?} is no snapshot of the client {:?} (nor \"none\"); see: obnam snapshots --client {}",
            member.name, member.tag
        ))
        .into()),
    }
}

/// What counts of a client's snapshots after it was removed, in words.
fn accepted(
    repository: &Repository,
    member: &Member,
    snapshots: &[SnapshotInfo],
    last: Option<&SnapshotInfo>,
) -> String {
    let history = repository.history_of(&member.tag, snapshots);
    match last {
        None if history.is_empty() => "it has made no snapshots".into(),
        None => "none of its snapshots counts any more".into(),
        Some(last) => format!(
            "its snapshots count up to {} of {}, and can be restored",
            last.id.short(),
            last.snapshot.started.to_local()
        ),
    }
}
