//! Owners: who owns what is restored, and whether this process can give it to them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::entry::Entry;

/// Numbers by name, each looked up once.
type Names = RwLock<HashMap<Vec<u8>, Option<u32>>>;

/// See the head of this module.
pub struct Owners {
    /// Whether owners are restored at all.
    pub wanted: bool,
    /// Whether this process may give files away.
    pub is_root_user: bool,
    /// Who runs it.
    pub user: u32,
    lost: AtomicBool,
    users: Names,
    groups: Names,
}

impl Owners {
    /// The owners as this machine knows them.
    pub fn new(wanted: bool) -> Self {
        let user = rustix::process::geteuid();
        Owners {
            wanted,
            is_root_user: user.is_root(),
            user: user.as_raw(),
            lost: AtomicBool::new(false),
            users: Names::default(),
            groups: Names::default(),
        }
    }

    /// Whether owners could not be restored for lack of privilege.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes note that one could not.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// The owner and group on this machine: by name where this machine knows it, else by number.
    /// Neither where the number is that which means "leave it".
    pub fn of(&self, entry: &Entry) -> (Option<u32>, Option<u32>) {
        let user = |name: &OsStr| uzers::get_user_by_name(name).map(|user| user.uid());
        let group = |name: &OsStr| uzers::get_group_by_name(name).map(|group| group.gid());
        let uid = look(&self.users, entry.user.as_deref(), user).unwrap_or(entry.uid);
        let gid = look(&self.groups, entry.group.as_deref(), group).unwrap_or(entry.gid);
        (Some(uid).filter(|uid| *uid != u32::MAX), Some(gid).filter(|gid| *gid != u32::MAX))
    }
}

fn look(names: &Names, name: Option<&[u8]>, find: impl FnOnce(&OsStr) -> Option<u32>) -> Option<u32> {
    let name = name?;
    if let Some(known) = names.read().expect("no panic while the lock is held").get(name) {
        return *known;
    }
    let found = find(OsStr::from_bytes(name));
    names.write().expect("no panic while the lock is held").insert(name.to_owned(), found);
    found
}
