//! A tree that has everything an archive or a mounted snapshot has to show: what [`crate::tree::varied`] makes, and
//! besides attributes, ACLs, devices and holes, as far as this machine allows them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use obnam::inode::{Inode, xattrs};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::tree::{self, Random};

/// Makes the tree. Says on standard output what this machine does not allow.
pub fn rich(root: &Path, seed: u64) {
    tree::varied(root, seed);
    let mut random = Random(seed + 1);
    let folder = root.join("attributes");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "file").unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = random.bytes(2_000);
    let attributes: [(&str, &str, &[u8]); 7] = [
        ("file", "user.some", b"\0\xffvalue\n"),
        ("file", "user.empty", b""),
        ("file", "user.with = and %", b"1"),
        ("file", "user.long", &long),
        (".", "user.of a directory", b"d"),
        ("link", "trusted.of a link", b"l"),
        ("file", "security.capability", &capability),
    ];
    for (name, attribute, value) in attributes {
        let set = xattrs::set(&Inode::Named(folder.join(name)), attribute.as_bytes(), value);
        if let Err(why) = set {
            println!("skipped: {attribute}: {why}");
        }
    }
    let acls = root.join("acls");
    fs::create_dir(&acls).unwrap();
    fs::write(acls.join("file"), "").unwrap();
    for (acl, name) in [("u:1:rwx,g:7:-wx,m::rw-", "file"), ("u:2:r-x,d:u:3:rwx,d:g:4:r--", ".")] {
        let set = Command::new("setfacl").args(["-m", acl]).arg(acls.join(name)).output();
        if !set.is_ok_and(|output| output.status.success()) {
            println!("skipped: ACLs");
        }
    }
    for (name, kind) in [("block", FileType::BlockDevice), ("character", FileType::CharacterDevice)] {
        let made =
            mknodat(CWD, root.join("special").join(name), kind, Mode::from_raw_mode(0o604), makedev(259, 70_000));
        if let Err(why) = made {
            println!("skipped: devices: {why}");
        }
    }
    let holes = root.join("holes");
    fs::create_dir(&holes).unwrap();
    let sparse = |name: &str, size: u64, data: &[(u64, usize)]| {
        let file = File::create(holes.join(name)).unwrap();
        file.set_len(size).unwrap();
        for &(offset, length) in data {
            file.write_all_at(&Random(seed + offset).bytes(length), offset).unwrap();
        }
    };
    sparse("both ends", 30 << 20, &[(10 << 20, 3_000_000), (20 << 20, 4_096)]);
    sparse("all hole", 1 << 30, &[]);
    sparse("data at the end", (8 << 20) + 5, &[((8 << 20) - 8_192, 8_197)]);
    let deep = holes.join("a name that is quite long, as the names of holes are in this tree, ".repeat(3));
    fs::create_dir(&deep).unwrap();
    sparse(&format!("{}/both ends", deep.file_name().unwrap().to_str().unwrap()), 20 << 20, &[(5 << 20, 100_000)]);
}
