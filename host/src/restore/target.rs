//! The directory that is restored into. Everything is reached from one open directory, one component after the other,
//! and no symbolic link is followed on the way. What is new is made with `O_EXCL`; what replaces something is made beside
//! it under a name of our own, and renamed over it when it is whole ([`super::make`]).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat};
use rustix::io::Errno;

use super::RestoreError;
use super::attributes::Attributes;
use super::options::Options;
use super::owners::Owners;

/// The target directory.
pub struct Target {
    root: Option<OwnedFd>,
    path: PathBuf,
    /// Whether the restore has made the directory, and those above it that were missing.
    pub made: bool,
    /// Who gets what.
    pub owners: Owners,
    /// Sets extended attributes and flags.
    pub(super) attributes: Attributes,
    /// Bits that new files do not get; unknown where `/proc` is not mounted.
    pub(super) umask: Option<u32>,
    /// How names of files that are not whole yet begin.
    temporary: String,
    count: AtomicU64,
}

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Target {
    /// Opens the target, making it if it is not there. A dry run makes nothing.
    pub fn open(options: &Options) -> Result<Self, RestoreError> {
        let path = &options.target;
        let error = |why: String| RestoreError::Target { path: path.clone(), why };
        let made = !path.exists();
        if !options.dry_run {
            std::fs::create_dir_all(path).map_err(|e| error(format!("it cannot be made: {e}")))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) if options.dry_run => None,
            opened => Some(opened.map_err(|e| error(format!("it cannot be opened: {e}")))?),
        };
        let path = path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.clone());
        let temporary = temporary_prefix(&path);
        let owners = Owners::new(options.owners);
        let attributes = root.as_ref().map(|root| Attributes::of_target(root, options.owners)).unwrap_or_default();
        Ok(Target { root, path, made, owners, attributes, umask: umask(), temporary, count: AtomicU64::new(0) })
    }

    /// The target's own directory; a dry run has none where the target is not there.
    pub fn root(&self) -> io::Result<Option<OwnedFd>> {
        self.root.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path below the target, for messages.
    pub fn display(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.path.clone() } else { self.path.join(path) }
    }

    /// A name for a file that is not whole yet, unlike any that was given before.
    pub fn temporary_name(&self) -> OsString {
        format!("{}{}", self.temporary, self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Whether a name was given by [`Target::temporary_name`], now or in an earlier restore into this target.
    pub fn is_temporary(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.temporary.as_bytes()).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
    }

    /// Opens a directory below the target without following any symbolic link.
    pub fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_below(path, DIRECTORY)
    }

    /// Opens something that is there, without following any symbolic link.
    pub fn open_below(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let root = self.root.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if path.as_os_str().is_empty() {
            return root.try_clone();
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6, and sandboxes that do not know the call; paths above 4,096 bytes.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => self.open_stepwise(root.try_clone()?, path, flags),
            opened => Ok(opened?),
        }
    }

    /// Sets the flags of what is immutable or append-only, when all else is done. Returns what could not be opened.
    pub fn seal(&self) -> Vec<(PathBuf, String)> {
        self.attributes.seal(|path| self.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK))
    }

    fn open_stepwise(&self, root: OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let mut directory = root;
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let std::path::Component::Normal(part) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            if parts.peek().is_none() {
                return Ok(openat(&directory, part, flags, Mode::empty())?);
            }
            directory = openat(&directory, part, DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }
}

/// What stands at a name, not what it points to.
pub fn standing(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a status is of.
pub fn kind_of(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

/// All names in a directory.
pub fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// The same for every restore into one target, so that the next one knows what an interrupted one has left.
fn temporary_prefix(target: &Path) -> String {
    let hash = blake3::hash(target.as_os_str().as_encoded_bytes()).to_hex();
    format!(".obnam-restore.{}.", &hash[..16])
}

/// There is no way to read it from the kernel without setting it, but this one.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(text.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_known() {
        let umask = umask().expect("Linux tells it");
        assert_eq!(umask & !0o777, 0);
    }

    #[test]
    fn temporary_names_are_ours_alone() {
        let folder = tempfile::tempdir().expect("a directory");
        let target = Target::open(&Options::new(folder.path().to_owned())).expect("opens");
        let other = Target::open(&Options::new(folder.path().join("other"))).expect("opens");
        let (first, second) = (target.temporary_name(), target.temporary_name());
        assert_ne!(first, second);
        assert!(target.is_temporary(first.as_encoded_bytes()));
        assert!(!other.is_temporary(first.as_encoded_bytes()));
        for name in [&b".obnam-restore."[..], b".obnam-restore.0123456789abcdef.1", b"x"] {
            assert!(!target.is_temporary(name));
        }
        let longer = [first.as_encoded_bytes(), b"x"].concat();
        assert!(!target.is_temporary(&longer));
    }
}
