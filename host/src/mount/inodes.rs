//! Inodes below snapshots: what the kernel has been told of and not forgotten.
//!
//! A number is made of the path (or, for a file with several names, of its device and inode in the snapshot), so that it is
//! the same one whenever the kernel asks again, and nothing has to be remembered for that.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

use crate::format::FormatError;
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::restore::sparse::Layout;

/// Numbers of inodes have this bit, those of shelves do not.
const BIT: u64 = 1 << 62;

/// What a number is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

impl Key {
    fn new(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Key(hasher.finalize().as_bytes()[..16].try_into().expect("16 of 32 bytes"))
    }

    /// The root of a snapshot.
    pub fn root(snapshot: usize) -> Self {
        Key::new(&[b"root", &snapshot.to_le_bytes()])
    }

    /// What has an entry in a directory.
    pub fn of(&self, snapshot: usize, entry: &Entry) -> Self {
        match entry.hard_link {
            Some(Pair(device, inode)) if entry.kind != EntryType::Directory => {
                let pair = [device.to_le_bytes(), inode.to_le_bytes()].concat();
                Key::new(&[b"link", &snapshot.to_le_bytes(), &[entry.kind as u8], &pair])
            }
            _ => Key::new(&[b"name", &self.0, &entry.name]),
        }
    }

    /// The number, unless another inode has it.
    pub fn number(&self) -> u64 {
        let half = u64::from_le_bytes(self.0[..8].try_into().expect("8 of 16 bytes"));
        half & (BIT - 1) | BIT
    }
}

/// One inode.
pub struct Node {
    /// What its number is made of.
    pub key: Key,
    /// The directory that it was first found in.
    pub parent: u64,
    /// Which snapshot it belongs to.
    pub snapshot: usize,
    /// Its entry.
    pub entry: Arc<Entry>,
    /// Where its contents go, if it is a sparse file.
    pub layout: Result<Option<Layout>, FormatError>,
    /// Where the last read of it ended.
    pub read_until: AtomicU64,
}

impl Node {
    /// Its content.
    pub fn content(&self) -> Option<&Content> {
        self.entry.content.as_ref()
    }
}

/// See the head of this module.
#[derive(Default)]
pub struct Inodes(RwLock<HashMap<u64, Held>>);

struct Held {
    node: Arc<Node>,
    /// How often the kernel was told of it.
    lookups: u64,
}

impl Inodes {
    /// The inode with this number.
    pub fn get(&self, number: u64) -> Option<Arc<Node>> {
        let nodes = self.0.read().expect("no panic while the lock is held");
        nodes.get(&number).map(|held| held.node.clone())
    }

    /// Takes note that the kernel is told of an entry; its number and inode.
    pub fn tell(&self, (parent, parent_key): (u64, Key), snapshot: usize, entry: &Arc<Entry>) -> (u64, Arc<Node>) {
        let key = parent_key.of(snapshot, entry);
        let mut nodes = self.0.write().expect("no panic while the lock is held");
        let mut number = key.number();
        // Two of 2^62 numbers being the same is not to be expected, but must not show the wrong file.
        while nodes.get(&number).is_some_and(|held| held.node.key != key) {
            number = (number + 1) & (BIT - 1) | BIT;
        }
        let held = nodes.entry(number).or_insert_with(|| {
            let (entry, layout) = (entry.clone(), Layout::of(entry));
            let node = Node { key, parent, snapshot, entry, layout, read_until: AtomicU64::new(0) };
            Held { node: Arc::new(node), lookups: 0 }
        });
        held.lookups += 1;
        (number, held.node.clone())
    }

    /// Takes note that the kernel has forgotten what it was told so often.
    pub fn forget(&self, number: u64, lookups: u64) {
        let mut nodes = self.0.write().expect("no panic while the lock is held");
        if let Some(held) = nodes.get_mut(&number) {
            held.lookups = held.lookups.saturating_sub(lookups);
            if held.lookups == 0 {
                nodes.remove(&number);
            }
        }
    }

    /// The path of an inode in its snapshot, as far as it is known.
    pub fn path(&self, node: &Node) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let nodes = self.0.read().expect("no panic while the lock is held");
        let mut names = vec![node.entry.name.clone()];
        let mut parent = node.parent;
        while let Some(held) = nodes.get(&parent).filter(|_| names.len() <= crate::repository::tree::MAX_DEPTH) {
            names.push(held.node.entry.name.clone());
            parent = held.node.parent;
        }
        names.reverse();
        let mut path = PathBuf::from("/");
        path.extend(names.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &[u8], link: Option<Pair>) -> Arc<Entry> {
        let mut entry = Entry::new(name, EntryType::File);
        entry.hard_link = link;
        Arc::new(entry)
    }

    #[test]
    fn numbers_are_the_same_after_the_kernel_has_forgotten() {
        let inodes = Inodes::default();
        let root = (3, Key::root(0));
        let (number, node) = inodes.tell(root, 0, &file(b"a", None));
        let (other, _) = inodes.tell(root, 0, &file(b"b", None));
        assert_ne!(number, other);
        assert_eq!(inodes.tell(root, 0, &file(b"a", None)).0, number);
        inodes.forget(number, 1);
        assert!(inodes.get(number).is_some());
        inodes.forget(number, 1);
        assert!(inodes.get(number).is_none());
        assert_eq!(inodes.tell((number, node.key), 0, &file(b"a", None)).0, node.key.of(0, &file(b"a", None)).number());
        assert_eq!(inodes.tell(root, 0, &file(b"a", None)).0, number);
        assert_ne!(inodes.tell((4, Key::root(1)), 1, &file(b"a", None)).0, number, "another snapshot");
    }

    #[test]
    fn names_of_one_file_have_one_number() {
        let inodes = Inodes::default();
        let pair = Some(Pair(1, 2));
        let (first, node) = inodes.tell((3, Key::root(0)), 0, &file(b"a", pair));
        let (second, _) = inodes.tell((9, node.key), 0, &file(b"b", pair));
        assert_eq!(first, second);
        assert_ne!(inodes.tell((3, Key::root(0)), 0, &file(b"c", Some(Pair(1, 3)))).0, first);
        assert_ne!(inodes.tell((4, Key::root(1)), 1, &file(b"a", pair)).0, first);
    }

    #[test]
    fn two_inodes_never_share_a_number() {
        let inodes = Inodes::default();
        let root = (3, Key::root(0));
        let wanted = root.1.of(0, &file(b"a", None)).number();
        // Another inode has the number already.
        let (_, node) = inodes.tell(root, 0, &file(b"b", None));
        let held = Held { node, lookups: 1 };
        inodes.0.write().expect("unshared").insert(wanted, held);
        let (number, node) = inodes.tell(root, 0, &file(b"a", None));
        assert_eq!((number, node.entry.name.as_slice()), (wanted + 1, &b"a"[..]));
    }
}
