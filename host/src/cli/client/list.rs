//! `obnam client list`.

use clap::Args;
use serde_json::{Value, json};

use super::super::output::Output;
use super::super::{Failure, Global, exit};
use super::{name, role};
use crate::format::WriterTag;
use crate::format::roster::Member;
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;

/// List the clients of the repository: their roles, whom they trust, and their newest snapshots.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(global: &Global, _: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let snapshots = repository.snapshots(&repository.listing()?)?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    let members = &repository.roster.members;
    if output.json {
        let clients: Vec<Value> = members.iter().map(|member| document(&repository, member, &snapshots)).collect();
        output.document("ok", &warnings, json!({ "epoch": repository.roster.epoch, "clients": clients }))?;
        return Ok(exit::OK);
    }
    let wide = members.iter().map(|member| name(member).chars().count()).max().unwrap_or(0).max(4);
    output.line(format!("{:<16}  {:<wide$}  {:<10}  {:>9}  {:<19}", "TAG", "NAME", "ROLE", "SNAPSHOTS", "NEWEST"))?;
    for member in members {
        let history = repository.history_of(&member.tag, &snapshots);
        let newest = history.last().map_or_else(|| "-".into(), |info| info.snapshot.started.to_local());
        let remarks = remarks(&repository, member);
        let line = format!(
            "{}  {:<wide$}  {:<10}  {:>9}  {newest:<19}  {remarks}",
            member.tag,
            name(member),
            role(member),
            history.len()
        );
        output.line(line.trim_end())?;
    }
    output.flush()?;
    Ok(exit::OK)
}

fn remarks(repository: &Repository, member: &Member) -> String {
    let mut words = Vec::new();
    if member.tag == repository.client.tag {
        words.push("this client".to_owned());
    }
    if member.removed.is_some() {
        words.push("removed".into());
    } else if let Some(trusts) = &member.trusts {
        let names: Vec<String> = trusts.iter().map(|tag| name_of(repository, tag)).collect();
        words.push(match names.as_slice() {
            [] => "trusts nobody".into(),
            names => format!("trusts {}", names.join(", ")),
        });
    }
    words.join("; ")
}

fn name_of(repository: &Repository, tag: &WriterTag) -> String {
    repository.roster.member(tag).map_or_else(|| tag.to_string(), name)
}

fn document(repository: &Repository, member: &Member, snapshots: &[SnapshotInfo]) -> Value {
    let history = repository.history_of(&member.tag, snapshots);
    let newest =
        history.last().map(|info| json!({ "id": info.id.to_string(), "started": info.snapshot.started.to_rfc3339() }));
    let removed = member.removed.as_ref();
    json!({
        "tag": member.tag.to_string(),
        "name": member.name,
        "role": role(member),
        "roles": member.roles,
        "this": member.tag == repository.client.tag,
        "trusts": member.trusts.as_ref().map(|tags| tags.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "removed": removed.map(|removed| json!({ "last": removed.snapshot.map(|id| id.to_string()) })),
        "snapshots": history.len(),
        "newest": newest,
    })
}
