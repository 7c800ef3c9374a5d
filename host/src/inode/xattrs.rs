//! Extended attributes: names with raw values. POSIX ACLs are the two with the names in [`ACLS`]; their values hold
//! numbers of users and groups.

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, lremovexattr, lsetxattr,
};
use rustix::io::{Errno, Result};

use super::Inode;
use crate::format::entry::Xattr;

/// The ACL of a file or directory, and the one that a directory hands on.
pub const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
/// Names and values of one file together are kept up to this many bytes.
const MAX_TOTAL: usize = 1 << 20;
/// Linux gives no longer value, and no longer list of names, in bytes.
const MAX_VALUE: usize = 64 << 10;

fn list(inode: &Inode<'_>, buffer: &mut [u8]) -> Result<usize> {
    match inode {
        Inode::Open(file) => flistxattr(file, buffer),
        Inode::Named(path) => llistxattr(path, buffer),
    }
}

fn get(inode: &Inode<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize> {
    match inode {
        Inode::Open(file) => fgetxattr(file, name, buffer),
        Inode::Named(path) => lgetxattr(path, name, buffer),
    }
}

/// Sets one.
pub fn set(inode: &Inode<'_>, name: &[u8], value: &[u8]) -> Result<()> {
    match inode {
        Inode::Open(file) => fsetxattr(file, name, value, XattrFlags::empty()),
        Inode::Named(path) => lsetxattr(path, name, value, XattrFlags::empty()),
    }
}

/// Removes one.
pub fn remove(inode: &Inode<'_>, name: &[u8]) -> Result<()> {
    match inode {
        Inode::Open(file) => fremovexattr(file, name),
        Inode::Named(path) => lremovexattr(path, name),
    }
}

/// Makes the call with a small buffer, and where that is too small, with one that always suffices.
fn with_buffer(small: &mut [u8], mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    match call(small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; MAX_VALUE];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

/// The value of one.
pub fn value(inode: &Inode<'_>, name: &[u8]) -> Result<Vec<u8>> {
    with_buffer(&mut [0; 1024], |buffer| get(inode, name, buffer))
}

/// All that an inode has, in order of their names. What could not be read is told in `problems`, except where the file
/// system has no extended attributes, and what only root may read.
pub fn read(inode: &Inode<'_>, problems: &mut Vec<String>) -> Vec<Xattr> {
    let names = match with_buffer(&mut [0; 1024], |buffer| list(inode, buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOENT) => return Vec::new(),
        Err(error) => {
            problems.push(format!("its extended attributes cannot be listed and are not in the backup: {error}"));
            return Vec::new();
        }
    };
    let mut names: Vec<&[u8]> = names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut total = 0;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let shown = String::from_utf8_lossy(name);
        match value(inode, name) {
            Ok(value) if total + name.len() + value.len() > MAX_TOTAL => {
                problems.push(format!("it has more than 1 MiB of extended attributes: {shown:?} is not in the backup"));
            }
            Ok(value) => {
                total += name.len() + value.len();
                found.push(Xattr { name: name.to_vec(), value });
            }
            // Gone since the list was made.
            Err(Errno::NODATA | Errno::NOENT) => {}
            Err(Errno::NOTSUP) => {}
            Err(Errno::PERM | Errno::ACCESS) if is_for_root(name) => {}
            Err(error) => {
                problems
                    .push(format!("its extended attribute {shown:?} cannot be read and is not in the backup: {error}"));
            }
        }
    }
    found
}

/// Whether an attribute is in a namespace whose values others than root need not be able to read or set.
pub fn is_for_root(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn attributes_of_any_length_come_back_in_order() {
        let file = tempfile::NamedTempFile::new().expect("makes a file");
        let open = Inode::Open(file.as_file().as_fd());
        let long = vec![7; 3_000];
        if set(&open, b"user.b", &long) == Err(Errno::NOTSUP) {
            println!("skipped: the file system of temporary files has no extended attributes");
            return;
        }
        set(&open, b"user.a", b"").expect("sets");
        set(&open, b"user.not \xff UTF-8", b"\0\xff").expect("sets");
        let folder = std::fs::File::open(file.path().parent().expect("a folder")).expect("opens");
        let named = Inode::below(&folder, file.path().file_name().expect("a name")).expect("there is a /proc");
        for inode in [open, named] {
            let mut problems = Vec::new();
            let found = read(&inode, &mut problems);
            let expected = [(&b"user.a"[..], &b""[..]), (b"user.b", &long), (b"user.not \xff UTF-8", b"\0\xff")];
            let expected = expected.map(|(name, value)| Xattr { name: name.to_vec(), value: value.to_vec() });
            let found: Vec<_> = found.into_iter().filter(|xattr| xattr.name.starts_with(b"user.")).collect();
            assert_eq!((found.as_slice(), problems.as_slice()), (&expected[..], &[][..]));
        }
        let named = Inode::Named(file.path().into());
        remove(&named, b"user.b").expect("removes");
        assert_eq!(value(&named, b"user.b"), Err(Errno::NODATA));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("makes a directory");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("writes");
        if set(&Inode::Named(file.clone()), b"user.a", b"1").is_err() {
            return;
        }
        std::os::unix::fs::symlink(&file, folder.path().join("link")).expect("links");
        let open = std::fs::File::open(folder.path()).expect("opens");
        let link = Inode::below(&open, std::ffi::OsStr::new("link")).expect("there is a /proc");
        assert!(!read(&link, &mut Vec::new()).iter().any(|xattr| xattr.name == b"user.a"));
        assert!(set(&link, b"user.b", b"1").is_err(), "links have no attributes of users");
    }
}
