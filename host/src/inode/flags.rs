//! Flags of files and directories (`FS_IOC_GETFLAGS`, shown by `lsattr`).

use std::os::fd::AsFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::{Errno, Result};

/// The flags that are kept, with the names that `ls` gives them: those that somebody sets on purpose and that can be set
/// again. The others (encrypted, indexed, extents, inline data, ...) tell how a file system stores the file.
pub const KEPT: [(IFlags, &str); 10] = [
    (IFlags::IMMUTABLE, "immutable"),
    (IFlags::APPEND, "append-only"),
    (IFlags::NODUMP, "nodump"),
    (IFlags::NOATIME, "noatime"),
    (IFlags::SYNC, "sync"),
    (IFlags::DIRSYNC, "dirsync"),
    (IFlags::COMPRESSED, "compressed"),
    (IFlags::NOCOW, "nocow"),
    (IFlags::JOURNALING, "journaled"),
    (IFlags::PROJECT_INHERIT, "project-inherit"),
];

/// Flags that take effect only on a file that is still empty.
pub const EARLY: IFlags = IFlags::COMPRESSED.union(IFlags::NOCOW);
/// Flags after which nothing can be changed or linked any more.
pub const SEALS: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

fn kept() -> IFlags {
    KEPT.iter().fold(IFlags::empty(), |all, (flag, _)| all | *flag)
}

/// The flags of an open file or directory that are kept; none where the file system has no flags, or does not tell.
pub fn read(file: impl AsFd) -> Result<Option<u32>> {
    match ioctl_getflags(file) {
        Ok(flags) => Ok(Some((flags & kept()).bits()).filter(|&flags| flags != 0)),
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::PERM | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets those flags in `wanted` that are also in `which`, and leaves all others as they are.
pub fn set(file: impl AsFd, wanted: u32, which: IFlags) -> Result<()> {
    let wanted = IFlags::from_bits_retain(wanted) & kept() & which;
    if wanted.is_empty() {
        return Ok(());
    }
    let now = ioctl_getflags(&file)?;
    if now.contains(wanted) { Ok(()) } else { ioctl_setflags(&file, now | wanted) }
}

/// The names of flags.
pub fn names(flags: u32) -> Vec<&'static str> {
    let flags = IFlags::from_bits_retain(flags);
    KEPT.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_set_and_the_others_stay() {
        let file = tempfile::tempfile().expect("makes a file");
        let before = read(&file).expect("reads").unwrap_or(0);
        if set(&file, IFlags::NODUMP.bits(), IFlags::all()).is_err() {
            println!("skipped: the file system of temporary files has no flags");
            return;
        }
        assert_eq!(read(&file), Ok(Some(before | IFlags::NODUMP.bits())));
        // Not a wish of ours: how the file is stored.
        set(&file, !0, IFlags::NOATIME).expect("sets");
        assert_eq!(read(&file), Ok(Some(before | (IFlags::NODUMP | IFlags::NOATIME).bits())));
        assert_eq!(names(before | IFlags::NODUMP.bits()).last(), Some(&"nodump"));
    }
}
