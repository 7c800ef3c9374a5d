//! The calls of the kernel, passed on to what knows the answers.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::Ordering;

use fuser::{
    AccessFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::{FOREVER, Found, Snapshots, file_type};
use crate::mount::shelves::Shelf;

/// Most that the kernel reads ahead at once, in bytes.
const READ_AHEAD: u32 = 1 << 20;
/// `FS_IOC_GETFLAGS`, as 32 and 64 bit programs call it.
const GET_FLAGS: [u32; 2] = [0x8004_6601, 0x8008_6601];

/// Answers with an extended attribute, or with the room that it takes.
fn answer(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Snapshots {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an old kernel does not have, it goes without.
        for wish in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_MAX_PAGES,
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_HAS_IOCTL_DIR,
        ] {
            let _ = config.add_capabilities(wish);
        }
        if self.checks_acls && config.add_capabilities(InitFlags::FUSE_POSIX_ACL).is_err() {
            // The group's bits of a mode are the mask of an ACL: without the ACL, they would let the group in.
            return Err(io::Error::other("this kernel does not check ACLs of FUSE, which --allow-other needs"));
        }
        if let Err(most) = config.set_max_readahead(READ_AHEAD) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.inodes.forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(number) {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.find(number) {
            Ok(Found::Shelf { shelf: Shelf::Link(target), .. }) => reply.data(target),
            Ok(Found::Node(node)) => match &node.entry.target {
                Some(target) => reply.data(target),
                None => reply.error(Errno::EINVAL),
            },
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_range(number, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn lseek(&self, _: &Request, number: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        match self.seek(number, offset, whence) {
            Ok(offset) => reply.offset(offset),
            Err(error) => reply.error(error),
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listing = self.listings.fetch_add(1, Ordering::Relaxed);
        reply.opened(FileHandle(listing), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn releasedir(&self, _: &Request, _: INodeNo, listing: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.damaged.lock().expect("no panic while the lock is held").remove(&listing.0);
        reply.ok();
    }

    fn readdir(&self, _: &Request, number: INodeNo, listing: FileHandle, position: u64, mut reply: ReplyDirectory) {
        let mut is_empty = true;
        let listed = self.list(number, listing.0, position, &mut |next, line| {
            let kind = match line.below {
                Some((_, entry)) => file_type(entry.kind),
                None => self.attributes(INodeNo(line.number)).map_or(FileType::Directory, |attributes| attributes.kind),
            };
            let is_full = reply.add(INodeNo(line.number), next, kind, OsStr::from_bytes(line.name));
            is_empty &= is_full;
            is_full
        });
        match listed {
            Err(error) if is_empty => reply.error(error),
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        number: INodeNo,
        listing: FileHandle,
        position: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut is_empty = true;
        let listed = self.list(number, listing.0, position, &mut |next, line| {
            let (number, attributes) = match line.below {
                Some((directory, entry)) => {
                    let parent = (directory.number, directory.key);
                    let (number, node) = self.inodes.tell(parent, directory.snapshot, entry);
                    (number, self.attributes_of(number, &node.entry))
                }
                None => match self.attributes(INodeNo(line.number)) {
                    Ok(attributes) => (line.number, attributes),
                    Err(_) => return false,
                },
            };
            let name: OsString = OsString::from_vec(line.name.to_vec());
            let is_full = reply.add(INodeNo(number), next, name, &FOREVER, &attributes, Generation(0));
            if is_full && line.below.is_some() {
                self.inodes.forget(number, 1);
            }
            is_empty &= is_full;
            is_full
        });
        match listed {
            Err(error) if is_empty => reply.error(error),
            _ => reply.ok(),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 512, 255, 512);
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer(self.xattr(number, name), size, reply);
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        answer(self.xattr_names(number), size, reply);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn ioctl(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        command: u32,
        _: &[u8],
        size: u32,
        reply: ReplyIoctl,
    ) {
        match self.find(number) {
            Ok(Found::Node(node)) if GET_FLAGS.contains(&command) && size >= 4 => {
                let mut bytes = node.entry.flags.unwrap_or(0).to_ne_bytes().to_vec();
                bytes.resize(size as usize, 0);
                reply.ioctl(0, &bytes);
            }
            Ok(_) => reply.error(Errno::ENOTTY),
            Err(error) => reply.error(error),
        }
    }
}
