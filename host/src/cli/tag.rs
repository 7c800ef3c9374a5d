//! `obnam tag`: changes the tags of snapshots.

use clap::Args;
use serde_json::json;

use super::output::{Output, count, printable};
use super::{Failure, Global, exit};
use crate::repository::metadata::SnapshotInfo;

/// Change the tags of snapshots.
///
/// Snapshots themselves never change: their new tags are stored beside them, signed by this client. A client may change the
/// tags of its own snapshots, and one with the role maintainer those of all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam tag latest --add keep --add 'before upgrade'
  obnam tag 3f2a9c 77b0e1 --remove keep
  obnam tag latest --set monthly")]
pub struct Arguments {
    /// The snapshots: ids, beginnings of ids, or "latest"
    #[arg(required = true, value_name = "SNAP")]
    snapshots: Vec<String>,
    /// Give them this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    add: Vec<String>,
    /// Take this tag from them; may be repeated
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,
    /// Give them this tag, and take all others; may be repeated
    #[arg(long, value_name = "TAG", conflicts_with_all = ["add", "remove", "clear"])]
    set: Vec<String>,
    /// Take all tags from them
    #[arg(long, conflicts_with_all = ["add", "remove"])]
    clear: bool,
}

impl Arguments {
    /// The tags that a snapshot with these tags gets: in their order, new ones at the end, none twice.
    fn apply(&self, before: &[String]) -> Vec<String> {
        let keeps = self.set.is_empty() && !self.clear;
        let kept = before.iter().filter(|tag| keeps && !self.remove.contains(tag));
        let mut tags: Vec<String> = Vec::new();
        for tag in kept.chain(&self.add).chain(&self.set) {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }

    fn check(&self) -> Result<(), Failure> {
        if self.add.is_empty() && self.remove.is_empty() && self.set.is_empty() && !self.clear {
            let message = "say how the tags are to change: --add TAG, --remove TAG, --set TAG or --clear";
            return Err(Failure::Input(message.into()));
        }
        if self.add.iter().chain(&self.set).any(String::is_empty) {
            return Err(Failure::Input("a tag cannot be empty; to take all tags away use --clear".into()));
        }
        match self.add.iter().find(|tag| self.remove.contains(tag)) {
            Some(tag) => Err(Failure::Input(format!("the tag {tag:?} cannot be both added and removed"))),
            None => Ok(()),
        }
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    arguments.check()?;
    let repository = global.repository()?;
    let snapshots = repository.snapshots(&repository.listing()?)?;
    // All names are looked up before anything is changed.
    let mut chosen: Vec<&SnapshotInfo> = Vec::new();
    for name in &arguments.snapshots {
        let info = repository.resolve(&snapshots, name)?;
        if chosen.iter().all(|other| other.id != info.id) {
            chosen.push(info);
        }
    }
    let mut changed = Vec::new();
    for info in &chosen {
        let tags = arguments.apply(&info.tags);
        if tags != info.tags {
            repository.set_tags(info, &tags)?;
            changed.push((info, tags));
        }
    }
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let list: Vec<_> = changed
            .iter()
            .map(|(info, tags)| json!({ "snapshot": info.id.to_string(), "tags": tags, "tags_before": info.tags }))
            .collect();
        output.document("ok", &warnings, json!({ "snapshots": chosen.len(), "changed": list }))?;
        return Ok(exit::OK);
    }
    for (info, tags) in &changed {
        let tags: Vec<String> = tags.iter().map(|tag| printable(tag.as_bytes())).collect();
        let tags = if tags.is_empty() { "no tags".into() } else { tags.join(", ") };
        output.summary(format!("snapshot {}: {tags}", info.id.short()))?;
    }
    let same = chosen.len() - changed.len();
    if same > 0 {
        output.summary(format!("{} unchanged", count(same as u64, "snapshot", "snapshots")))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_in_order_and_none_twice() {
        let texts = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let arguments = |add: &[&str], remove: &[&str], set: &[&str], clear| Arguments {
            snapshots: vec![],
            add: texts(add),
            remove: texts(remove),
            set: texts(set),
            clear,
        };
        let before = texts(&["b", "a"]);
        assert_eq!(arguments(&["c", "a", "c"], &["b"], &[], false).apply(&before), ["a", "c"]);
        assert_eq!(arguments(&[], &["x"], &[], false).apply(&before), before);
        assert_eq!(arguments(&[], &[], &["z"], false).apply(&before), ["z"]);
        assert!(arguments(&[], &[], &[], true).apply(&before).is_empty());
        for bad in
            [arguments(&[], &[], &[], false), arguments(&[""], &[], &[], false), arguments(&["a"], &["a"], &[], false)]
        {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
