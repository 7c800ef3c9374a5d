//! The folders at the top: each snapshot stands in `by-id`; the other folders have symbolic links to there.

use std::collections::BTreeMap;

use crate::format::Time;
use crate::repository::metadata::SnapshotInfo;

/// The number of the top folder.
pub const ROOT: u64 = 1;

/// Something at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelf {
    /// A folder: names, and the numbers of what has them.
    Folder(BTreeMap<Vec<u8>, u64>),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A snapshot, which counts from 0.
    Snapshot(usize),
}

/// All that is at the top.
pub struct Shelves {
    /// What the file system shows.
    pub snapshots: Vec<SnapshotInfo>,
    /// The number of the folder that each is in, what it is, and its time. The first one has the number [`ROOT`].
    shelves: Vec<(u64, Shelf, Time)>,
}

impl Shelves {
    /// What has this number, and that of the folder that it is in.
    pub fn get(&self, number: u64) -> Option<(u64, &Shelf, Time)> {
        let (parent, shelf, time) = self.shelves.get(usize::try_from(number.checked_sub(ROOT)?).ok()?)?;
        Some((*parent, shelf, *time))
    }

    fn add(&mut self, parent: u64, name: &[u8], shelf: Shelf, time: Time) -> u64 {
        let number = ROOT + self.shelves.len() as u64;
        self.shelves.push((parent, shelf, time));
        if let Some((_, Shelf::Folder(names), _)) = self.shelves.get_mut((parent - ROOT) as usize)
            && number != ROOT
        {
            names.insert(name.to_vec(), number);
        }
        number
    }

    /// The folder with this name, which is made where there is none.
    fn folder(&mut self, parent: u64, name: &[u8], time: Time) -> u64 {
        if let Some((_, Shelf::Folder(names), _)) = self.get(parent)
            && let Some(&number) = names.get(name)
        {
            return number;
        }
        self.add(parent, name, Shelf::Folder(BTreeMap::new()), time)
    }

    /// Adds a link under a name that nothing has yet.
    fn link(&mut self, parent: u64, name: &str, target: String, time: Time) {
        let is_taken = |name: &str| match self.get(parent) {
            Some((_, Shelf::Folder(names), _)) => names.contains_key(name.as_bytes()),
            _ => false,
        };
        let free = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.to_owned()).chain(free).find(|name| !is_taken(name));
        let free = free.expect("there are more numbers than snapshots");
        self.add(parent, free.as_bytes(), Shelf::Link(target.into_bytes()), time);
    }
}

/// Arranges snapshots: those that count, the oldest first.
pub fn arrange(snapshots: &[SnapshotInfo], latest: Option<&SnapshotInfo>) -> Shelves {
    let now = Time::now();
    let counts = |info: &&SnapshotInfo| !info.forgotten && !info.replaced;
    let mut snapshots: Vec<SnapshotInfo> = snapshots.iter().filter(counts).cloned().collect();
    snapshots.sort_by_key(|info| (info.snapshot.started, info.id));
    let mut shelves = Shelves { snapshots: Vec::new(), shelves: Vec::new() };
    shelves.add(ROOT, b"", Shelf::Folder(BTreeMap::new()), now);
    let [ids, times, tags, hosts] =
        ["by-id", "by-time", "by-tag", "by-host"].map(|name| shelves.folder(ROOT, name.as_bytes(), now));
    let mut short: BTreeMap<String, usize> = BTreeMap::new();
    for info in &snapshots {
        *short.entry(info.id.short()).or_default() += 1;
    }
    for (number, info) in snapshots.iter().enumerate() {
        let (time, moment) = (info.snapshot.started, info.snapshot.started.to_rfc3339());
        let name = if short[&info.id.short()] == 1 { info.id.short() } else { info.id.to_string() };
        shelves.add(ids, name.as_bytes(), Shelf::Snapshot(number), time);
        shelves.link(times, &moment, format!("../by-id/{name}"), time);
        for (folder, names) in [(tags, &info.tags[..]), (hosts, std::slice::from_ref(&info.snapshot.host))] {
            for own in names {
                let own = shelves.folder(folder, file_name(own).as_bytes(), now);
                shelves.link(own, &moment, format!("../../by-id/{name}"), time);
            }
        }
        if latest.is_some_and(|latest| latest.id == info.id) {
            shelves.link(ROOT, "latest", format!("by-id/{name}"), time);
        }
    }
    shelves.snapshots = snapshots;
    shelves
}

/// A name for a tag or host, which may be any text.
fn file_name(text: &str) -> String {
    let mut name: String = text.replace('%', "%25").replace('/', "%2F").replace('\0', "%00");
    if matches!(name.as_str(), "" | "." | "..") {
        name = format!("%{name}");
    }
    while name.len() > 255 {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_tag_is_a_file_name() {
        for (tag, name) in [("a", "a"), ("a/b%", "a%2Fb%25"), ("", "%"), ("..", "%.."), (".", "%.")] {
            assert_eq!(file_name(tag), name);
        }
        let long = file_name(&"ü".repeat(1_000));
        assert!(long.len() <= 255 && long.len() > 250);
    }

    #[test]
    fn names_that_are_taken_get_numbers() {
        let mut shelves = Shelves { snapshots: Vec::new(), shelves: Vec::new() };
        let time = Time::now();
        shelves.add(ROOT, b"", Shelf::Folder(BTreeMap::new()), time);
        for target in ["x", "y", "z"] {
            shelves.link(ROOT, "name", target.into(), time);
        }
        let Some((_, Shelf::Folder(names), _)) = shelves.get(ROOT) else { panic!("the root is a folder") };
        let names: Vec<_> = names.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, ["name", "name-2", "name-3"]);
        assert!(shelves.get(0).is_none() && shelves.get(5).is_none());
    }
}
