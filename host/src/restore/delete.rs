//! Removing what the snapshot does not have. Only ever asked for by name (`--delete`), and never: beyond a mount point, in
//! a protected directory such as the repository, or what a pattern excludes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, Stat, openat, unlinkat};

use super::Watch;
use super::selection::Selection;
use super::target::{DIRECTORY, Target, kind_of, names, standing};
use super::watch::Action;

/// See the head of this module.
pub struct Remover<'a> {
    /// Where.
    pub target: &'a Target,
    /// What is excluded.
    pub selection: Selection<'a>,
    /// (device, inode) of directories that stay.
    pub protected: Vec<(u64, u64)>,
    /// Whether to only say what would be done.
    pub dry_run: bool,
    /// Told of what is done.
    pub watch: &'a Watch,
}

/// Directories that stay, as far as they are there.
pub fn identities(paths: &[PathBuf]) -> Vec<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = paths.iter().filter_map(|path| std::fs::metadata(path).ok());
    found.map(|metadata| (metadata.dev(), metadata.ino())).collect()
}

impl Remover<'_> {
    /// Removes what stands at a name, with all that is below it. `path` is below the target, `inside` in the snapshot.
    /// Returns whether nothing is left.
    pub fn remove(&self, parent: &OwnedFd, device: u64, name: &OsStr, path: &Path, inside: &Path) -> bool {
        let removed = self.try_remove(parent, device, name, path, inside);
        removed.unwrap_or_else(|error| {
            self.keep(path, &format!("cannot remove it: {error}"));
            false
        })
    }

    fn keep(&self, path: &Path, why: &str) {
        self.watch.problems.push(self.target.display(path), why);
    }

    fn try_remove(&self, parent: &OwnedFd, device: u64, name: &OsStr, path: &Path, inside: &Path) -> io::Result<bool> {
        let Some(found) = standing(parent, name)? else { return Ok(true) };
        let is_dir = kind_of(&found) == FileType::Directory;
        if self.selection.excludes(inside, is_dir) || self.watch.is_stopped() {
            return Ok(false);
        }
        if is_dir && !self.empty(parent, device, name, (path, inside), &found)? {
            return Ok(false);
        }
        if !self.dry_run {
            unlinkat(parent, name, if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() })?;
        }
        self.watch.done(Action::Delete, || path.to_owned());
        Ok(true)
    }

    /// Removes all that is in a directory. Returns whether nothing is left.
    fn empty(
        &self,
        parent: &OwnedFd,
        device: u64,
        name: &OsStr,
        (path, inside): (&Path, &Path),
        found: &Stat,
    ) -> io::Result<bool> {
        if found.st_dev != device {
            self.keep(
                path,
                "the snapshot does not have it, but it is not removed: another file system is mounted there",
            );
            return Ok(false);
        }
        if self.protected.contains(&(found.st_dev, found.st_ino)) {
            self.keep(path, "the snapshot does not have it, but it is not removed: Obnam keeps its own files there");
            return Ok(false);
        }
        let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
        let mut is_empty = true;
        for name in names(&directory)? {
            is_empty &= self.remove(&directory, device, &name, &path.join(&name), &inside.join(&name));
        }
        Ok(is_empty)
    }
}
