//! Extended attributes and flags of what is restored. Many a target refuses some: another file system, or a user who is
//! not root. That costs no file and no thousand lines of warnings: it is counted, and told once per kind.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::IFlags;
use rustix::io::Errno;

use crate::format::entry::{Entry, EntryType, Xattr};
use crate::inode::flags::{self, EARLY, SEALS};
use crate::inode::{Inode, xattrs};

/// How often something was refused, and where first.
struct Refusal {
    count: u64,
    first: Vec<u8>,
}

/// Sets attributes, and remembers which were refused.
#[derive(Default)]
pub struct Attributes {
    /// By what was refused and why.
    refused: Mutex<BTreeMap<(String, String), Refusal>>,
    /// Files that nothing can be done to any more once their flags are set.
    seals: Mutex<Vec<(PathBuf, u32)>>,
    /// Whether what is made in the target inherits an ACL there.
    inherits: bool,
    /// Whether files get no capabilities, because they do not get their owners.
    no_capabilities: bool,
}

impl Attributes {
    /// For a target whose own directory this is.
    pub fn of_target(root: impl AsFd, has_owners: bool) -> Self {
        let inherits = xattrs::value(&Inode::Open(root.as_fd()), xattrs::ACLS[1]).is_ok();
        Attributes { inherits, no_capabilities: !has_owners, ..Attributes::default() }
    }

    fn refuse(&self, entry: &Entry, what: String, why: Errno) {
        let mut refused = self.refused.lock().expect("no panic while the lock is held");
        let first = || Refusal { count: 0, first: entry.name.clone() };
        refused.entry((what, why.to_string())).or_insert_with(first).count += 1;
    }

    fn set(&self, inode: &Inode<'_>, entry: &Entry, which: impl Fn(&Xattr) -> bool) {
        for xattr in entry.xattrs.iter().flatten().filter(|xattr| which(xattr)) {
            if let Err(why) = xattrs::set(inode, &xattr.name, &xattr.value)
                // The system may have given it this very value, such as a label of SELinux.
                && !xattrs::value(inode, &xattr.name).is_ok_and(|now| now == xattr.value)
            {
                self.refuse(entry, kind(&xattr.name), why);
            }
        }
    }

    /// What has to be there before the mode is set, which may forbid it, and after the owner is, which may undo it.
    pub fn set_before_mode(&self, inode: &Inode<'_>, entry: &Entry) {
        let is_withheld = |xattr: &Xattr| self.no_capabilities && xattr.name == b"security.capability";
        self.set(inode, entry, |xattr| !is_acl(xattr) && !is_withheld(xattr));
    }

    /// What has to be set after the mode, which changes it: ACLs.
    pub fn set_after_mode(&self, inode: &Inode<'_>, entry: &Entry) {
        if self.inherits && entry.kind != EntryType::Symlink {
            let names = if entry.kind == EntryType::Directory { &xattrs::ACLS[..] } else { &xattrs::ACLS[..1] };
            for name in names {
                let wanted = entry.xattrs.iter().flatten().any(|xattr| xattr.name == *name);
                if !wanted
                    && let Err(why) = xattrs::remove(inode, name)
                    && why != Errno::NODATA
                {
                    self.refuse(entry, "the removal of inherited ACLs".into(), why);
                }
            }
        }
        self.set(inode, entry, is_acl);
    }

    /// Flags that have to be there before the first byte is.
    pub fn set_early_flags(&self, file: impl AsFd, entry: &Entry) {
        self.set_flags(file, entry, EARLY);
    }

    /// All other flags, but for those that [`seal`](Self::seal) sets.
    pub fn set_late_flags(&self, file: impl AsFd, entry: &Entry) {
        self.set_flags(file, entry, !(EARLY | SEALS));
    }

    fn set_flags(&self, file: impl AsFd, entry: &Entry, which: IFlags) {
        let wanted = entry.flags.unwrap_or(0) & which.bits();
        if wanted == 0 || flags::set(&file, wanted, which).is_ok() {
            return;
        }
        // One that is refused must not keep the others from being set.
        for (flag, _) in flags::KEPT {
            if let Err(why) = flags::set(&file, wanted, flag) {
                self.refuse(entry, flags_kind(wanted & flag.bits()), why);
            }
        }
    }

    /// Notes that a file or directory is immutable or append-only, for when all else is done: also links are made to
    /// it, maybe much later.
    pub fn seal_later(&self, path: &Path, entry: &Entry) {
        let wanted = entry.flags.unwrap_or(0) & SEALS.bits();
        if wanted != 0 {
            self.seals.lock().expect("no panic while the lock is held").push((path.to_owned(), wanted));
        }
    }

    /// Sets the flags that were noted; `open` opens a path below the target.
    pub fn seal<F: AsFd>(&self, open: impl Fn(&Path) -> std::io::Result<F>) -> Vec<(PathBuf, String)> {
        let mut failed = Vec::new();
        for (path, wanted) in std::mem::take(&mut *self.seals.lock().expect("no panic while the lock is held")) {
            match open(&path) {
                Ok(file) => {
                    if let Err(why) = flags::set(file, wanted, SEALS) {
                        let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
                        let mut refused = self.refused.lock().expect("no panic while the lock is held");
                        let key = (flags_kind(wanted), why.to_string());
                        refused.entry(key).or_insert_with(|| Refusal { count: 0, first: name }).count += 1;
                    }
                }
                Err(error) => failed.push((path, format!("cannot set its flags: {error}"))),
            }
        }
        failed
    }

    /// What was refused, a sentence per kind.
    pub fn refused(&self) -> Vec<String> {
        let refused = self.refused.lock().expect("no panic while the lock is held");
        let sentence = |((what, why), Refusal { count, first }): (&(String, String), &Refusal)| {
            let first = String::from_utf8_lossy(first);
            let files = if *count == 1 { "1 file".into() } else { format!("{count} files, first") };
            format!("the target refuses {what} ({files} {first:?}): {why}")
        };
        refused.iter().map(sentence).collect()
    }
}

fn is_acl(xattr: &Xattr) -> bool {
    xattrs::ACLS.contains(&xattr.name.as_slice())
}

/// What a person calls attributes with such a name.
fn kind(name: &[u8]) -> String {
    if xattrs::ACLS.contains(&name) {
        return "ACLs".into();
    }
    let namespace = name.split(|&byte| byte == b'.').next().unwrap_or_default();
    match namespace {
        // Each of these has a meaning of its own.
        b"security" | b"system" => format!("the extended attribute {:?}", String::from_utf8_lossy(name)),
        _ => format!("extended attributes \"{}.*\"", String::from_utf8_lossy(namespace).escape_debug()),
    }
}

fn flags_kind(flags: u32) -> String {
    format!("the flag {}", flags::names(flags).join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_per_kind() {
        let attributes = Attributes::default();
        let entry = crate::format::entry::tests::sample(b"na\nme");
        for _ in 0..1000 {
            attributes.refuse(&entry, kind(b"user.some"), Errno::NOTSUP);
            attributes.refuse(&entry, kind(b"user.other"), Errno::NOTSUP);
        }
        attributes.refuse(&entry, kind(xattrs::ACLS[0]), Errno::NOTSUP);
        let told = attributes.refused();
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("ACLs (1 file \"na\\nme\")"), "{told:?}");
        assert!(told[1].contains("\"user.*\" (2000 files, first"), "{told:?}");
    }
}
