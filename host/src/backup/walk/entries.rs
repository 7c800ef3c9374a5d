//! Entries of directories, from what the system says of inodes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};

use super::Walker;
use crate::backup::files::Stamp;
use crate::format::Time;
use crate::format::entry::{Entry, EntryType, Pair};

impl Walker<'_> {
    /// The entry of a file that has not changed, whole as it was. Only what may differ without showing in the file's
    /// times is taken anew: names of users and groups, numbers of devices.
    pub(super) fn repeat(&mut self, before: Entry, stat: &Stat) -> Entry {
        let mut entry = Entry { hard_link: hard_link(stat), ..before };
        for (name, now) in
            [(&mut entry.user, self.users.user(stat.st_uid)), (&mut entry.group, self.users.group(stat.st_gid))]
        {
            if name.as_deref() != now.as_deref() {
                *name = now.map(|name| name.to_vec());
            }
        }
        entry
    }

    /// The entry of something, as far as its inode tells.
    pub(super) fn entry(&mut self, name: &OsStr, stat: &Stat) -> Entry {
        let kind = kind(stat);
        let stamp = stamp(stat);
        let is_device = matches!(kind, EntryType::BlockDevice | EntryType::CharDevice);
        Entry {
            name: name.as_bytes().to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            user: self.users.user(stat.st_uid).map(|name| name.to_vec()),
            group: self.users.group(stat.st_gid).map(|name| name.to_vec()),
            mtime: stamp.mtime,
            ctime: Some(stamp.ctime),
            inode: Some(stamp.inode),
            content: None,
            target: None,
            hard_link: hard_link(stat),
            device: is_device
                .then(|| Pair(rustix::fs::major(stat.st_rdev).into(), rustix::fs::minor(stat.st_rdev).into())),
            xattrs: None,
            flags: None,
            birth: None,
            size: None,
            extents: None,
        }
    }
}

/// What something is.
pub(super) fn kind(stat: &Stat) -> EntryType {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryType::Directory,
        FileType::Symlink => EntryType::Symlink,
        FileType::BlockDevice => EntryType::BlockDevice,
        FileType::CharacterDevice => EntryType::CharDevice,
        FileType::Fifo => EntryType::Fifo,
        FileType::Socket => EntryType::Socket,
        FileType::RegularFile | FileType::Unknown => EntryType::File,
    }
}

/// Device and inode of something that has several names.
pub(super) fn hard_link(stat: &Stat) -> Option<Pair> {
    let linked = kind(stat) != EntryType::Directory && stat.st_nlink > 1;
    linked.then_some(Pair(stat.st_dev, stat.st_ino))
}

/// What tells whether it has changed.
pub(super) fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        size: stat.st_size as u64,
        mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        ctime: Time { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 },
        inode: stat.st_ino,
    }
}

/// Names of users and groups, each looked up once.
#[derive(Default)]
pub(super) struct Names {
    users: HashMap<u32, Option<Arc<[u8]>>>,
    groups: HashMap<u32, Option<Arc<[u8]>>>,
}

impl Names {
    fn user(&mut self, uid: u32) -> Option<Arc<[u8]>> {
        let look = || uzers::get_user_by_uid(uid).map(|user| user.name().as_bytes().into());
        self.users.entry(uid).or_insert_with(look).clone()
    }

    fn group(&mut self, gid: u32) -> Option<Arc<[u8]>> {
        let look = || uzers::get_group_by_gid(gid).map(|group| group.name().as_bytes().into());
        self.groups.entry(gid).or_insert_with(look).clone()
    }
}
