//! Levels: the directory that is walked and those above it. A directory is made when the first thing in it is, so that
//! directories in which nothing is selected do not come up.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, openat, unlinkat};

use super::folder::{Folder, status};
use super::metadata::{Known, open_up};
use super::options::Overwrite;
use super::plan::Planner;
use super::target::{DIRECTORY, kind_of, names, standing};
use super::watch::Action;
use super::work::Ended;
use crate::backup::roots::Node;
use crate::format::entry::Entry;

/// A directory on the way to what is walked.
pub struct Level<'a> {
    /// Its own entry; the top has none, or one that is not set.
    pub entry: Option<Entry>,
    /// Whether it was backed up whole.
    pub scope: &'a Node,
    /// Whether all that is in it is restored, unless it is excluded.
    pub taken: bool,
    /// Whether nothing in it was left out or lost.
    pub is_whole: bool,
    /// Where it is.
    pub place: Place,
    /// Names that are in it and not in the snapshot, as far as that was read; with `--delete` only.
    pub strangers: HashSet<OsString>,
}

/// Where a directory is.
pub enum Place {
    /// Not there yet.
    Waiting,
    /// It cannot be used, which was reported.
    Lost,
    /// It is there.
    There(There),
}

/// A directory that is there.
pub struct There {
    /// The directory.
    pub folder: Arc<Folder>,
    /// Open; not in a dry run that would make it.
    pub fd: Option<OwnedFd>,
    /// Its file system.
    pub device: u64,
    /// What is known of its metadata.
    pub known: Known,
    /// Whether its metadata stays as it is.
    pub keeps: bool,
}

impl<'a> Level<'a> {
    /// A level that is not there yet.
    pub fn waiting(entry: Entry, scope: &'a Node, taken: bool) -> Self {
        let strangers = HashSet::new();
        Level { entry: Some(entry), scope, taken, is_whole: true, place: Place::Waiting, strangers }
    }

    /// Where it is, if it is there.
    pub fn there(&self) -> Option<&There> {
        match &self.place {
            Place::There(there) => Some(there),
            Place::Waiting | Place::Lost => None,
        }
    }
}

impl<'a> Planner<'a, '_> {
    /// Sees to it that the level with this number is there. Returns whether it is.
    pub(super) fn ensure(&mut self, number: usize) -> bool {
        match self.levels[number].place {
            Place::There(_) => return true,
            Place::Lost => return false,
            Place::Waiting => {}
        }
        self.levels[number].place = Place::Lost;
        if !self.ensure(number - 1) {
            return false;
        }
        let level = &self.levels[number];
        let entry = level.entry.as_ref().expect("only the top has none, and that is there");
        let name = OsStr::from_bytes(&entry.name).to_owned();
        let above = self.levels[number - 1].there().expect("it was just made");
        let path = above.folder.path().join(&name);
        match self.make_level(above, &name, level.scope) {
            Ok(Ok(there)) => {
                let is_old = !there.folder.fresh;
                self.levels[number].place = Place::There(there);
                if is_old {
                    self.look_around(number);
                }
                true
            }
            Ok(Err(why)) => {
                self.problem(&path, format!("nothing of this directory is restored: {why}"));
                false
            }
            Err(error) => {
                self.problem(&path, format!("cannot make the directory: {error}"));
                false
            }
        }
    }

    /// Makes a directory, or enters the one that is there; or says why that may not be done.
    fn make_level(&self, above: &There, name: &OsStr, scope: &Node) -> io::Result<Result<There, String>> {
        let found = match &above.fd {
            Some(fd) if !above.folder.fresh => standing(fd, name)?,
            _ => None,
        };
        let is_parent_of_roots = self.options.in_place && !scope.named;
        let action = match &found {
            None => Action::Make,
            Some(found) if kind_of(found) == FileType::Directory => {
                return self.enter(above, name, is_parent_of_roots).map(Ok);
            }
            Some(found) => {
                let what = super::standing::describe(kind_of(found));
                let replaces = matches!(self.overwrite, Some(Overwrite::Always | Overwrite::IfChanged));
                if is_parent_of_roots || !replaces {
                    return Ok(Err(format!("a {what} stands in its place, and is kept and not followed")));
                }
                if let (Some(fd), false) = (&above.fd, self.options.dry_run) {
                    unlinkat(fd, name, AtFlags::empty())?;
                }
                Action::Overwrite
            }
        };
        let fd = match &above.fd {
            Some(fd) if !self.options.dry_run => Some(self.target.make_directory(fd, name)?),
            _ => None,
        };
        let folder = Folder::below(&above.folder, name, true);
        self.watch.directories.add(1);
        self.watch.done(action, || folder.path());
        Ok(Ok(There { folder, fd, device: above.device, known: Known::default(), keeps: false }))
    }

    fn enter(&self, above: &There, name: &OsStr, is_parent_of_roots: bool) -> io::Result<There> {
        let fd = openat(above.fd.as_ref().ok_or(io::ErrorKind::NotFound)?, name, DIRECTORY, Mode::empty())?;
        let found = status(&fd)?;
        let keeps = is_parent_of_roots || self.overwrite == Some(Overwrite::Never);
        if !keeps && !self.options.dry_run && !self.target.owners.is_root_user {
            open_up(&fd, &found)?;
        }
        let known = Known { mode: None, ..Known::from(&found) };
        let folder = Folder::below(&above.folder, name, false);
        Ok(There { folder, fd: Some(fd), device: found.st_dev, known, keeps })
    }

    /// Looks at what is in a directory that was there: removes what an interrupted restore has left half done, and
    /// takes note of the rest where it may have to be deleted.
    pub(super) fn look_around(&mut self, number: usize) {
        if !self.options.delete && !self.cleans {
            return;
        }
        let Some(There { fd: Some(fd), folder, .. }) = self.levels[number].there() else { return };
        let found = match names(fd) {
            Ok(found) => found,
            Err(error) => {
                self.problem(&folder.path(), format!("nothing is deleted here, because it cannot be listed: {error}"));
                return;
            }
        };
        let (ours, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|name| self.target.is_temporary(name.as_bytes()));
        if !self.options.dry_run {
            ours.iter().for_each(|name| self.target.discard(fd, name));
        }
        if self.options.delete {
            self.levels[number].strangers = others.into_iter().collect();
        }
    }

    /// A directory has been walked: what the snapshot does not have is removed where that was asked for, and its
    /// metadata is set when all files are there.
    pub(super) fn leave(&mut self, level: Level<'a>) {
        let Place::There(there) = level.place else { return };
        if !level.strangers.is_empty() {
            let path = there.folder.path();
            let is_all = level.is_whole && level.taken && level.scope.named && !self.is_exhausted();
            match &there.fd {
                Some(fd) if is_all => {
                    for name in &level.strangers {
                        let (path, inside) = (path.join(name), self.choice.prefix.join(&path).join(name));
                        self.remover.remove(fd, there.device, name, &path, &inside);
                    }
                }
                _ => tracing::info!("nothing is deleted in {}: only a part of it is restored", path.display()),
            }
        }
        if let (Some(entry), false, false) = (level.entry, there.keeps, self.options.dry_run) {
            let mut known = there.known;
            if let ((Some(uid), Some(gid)), false, false) =
                (self.target.owners.of(&entry), level.scope.named, self.target.owners.is_root_user)
            {
                // It only leads to what was backed up, like /home: that it stays the user's own is no loss.
                known.owner = Some((uid, gid));
            }
            self.work.ended.push(Ended { folder: there.folder, entry, known });
        }
    }
}
