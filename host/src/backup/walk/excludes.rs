//! What the walker leaves out, and what it says about that.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, Stat, openat};

use super::{Walker, Way};
use crate::format::entry::EntryType;
use crate::select::{Marker, Patterns};

/// Files with patterns are read up to this size, in bytes.
const MAX_IGNORE_FILE: u64 = 1 << 20;

impl Walker<'_> {
    /// A disk that is not mounted looks like a directory from which all was removed.
    pub(super) fn warn_if_emptied(&self, names: &[OsString], way: Way<'_>) {
        let had_entries = || self.shared.previous.directory(&self.path).next().is_some();
        if names.is_empty() && way.is_named() && had_entries() {
            let message = format!(
                "{:?} is empty now; the backup before has entries of it. If a file system belongs there, mount it and \
                 back up again",
                self.path
            );
            self.shared.repository.warnings.general("now-empty", message);
        }
    }

    /// Leaves out what is in a directory that holds a marker, but for the marker; says whether it has.
    pub(super) fn heed_markers(&self, directory: &OwnedFd, names: &mut Vec<OsString>, way: Way<'_>) -> bool {
        let shared = self.shared;
        let is_there = |marker: &&Marker| names.binary_search(&marker.name).is_ok() && marker.is_in(directory);
        let markers: Vec<&Marker> = shared.options.select.markers.iter().filter(is_there).collect();
        let Some(marker) = markers.first() else { return false };
        if way.is_named() {
            self.named_all_the_same(&format!("it holds {:?}", marker.name));
            return false;
        }
        self.watch.counters.excluded_directories.add(1);
        let is_marker = |name: &[u8]| markers.iter().any(|marker| marker.name.as_bytes() == name);
        let gone = shared.previous.directory(&self.path).filter(|entry| !is_marker(&entry.name)).count();
        if gone > 0 {
            let entries = if gone == 1 { "entry" } else { "entries" };
            let message = format!(
                "{:?} is left out of the backup now, because it holds {:?}; the backup before has {gone} {entries} of \
                 it. If it belongs in the backup, remove that file, or name the directory itself",
                self.path, marker.name
            );
            shared.repository.warnings.general("newly-excluded", message);
        }
        names.retain(|name| is_marker(name.as_bytes()));
        true
    }

    /// Reads patterns that hold for a directory and what is below it.
    pub(super) fn heed_ignore_files(&mut self, directory: &OwnedFd, names: &[OsString]) {
        for name in &self.shared.options.select.ignore_files {
            if names.binary_search(name).is_err() {
                continue;
            }
            let path = self.path.join(name);
            let warn = |message| self.shared.repository.warnings.general("ignore-file", message);
            match read_ignore_file(directory, name) {
                Ok(text) => {
                    let (patterns, errors) = Patterns::of_directory(&self.path, &path, &text);
                    errors.iter().for_each(|error| warn(format!("{error}; this line excludes nothing")));
                    self.found.push(patterns);
                }
                Err(error) => warn(format!("cannot read the patterns in {path:?}: {error}; they exclude nothing")),
            }
        }
    }

    /// Says that something was not left out, although it would have been.
    pub(super) fn named_all_the_same(&self, why: &str) {
        let message = format!("{:?} would be left out because {why}, but it was named: it is backed up", self.path);
        self.shared.repository.warnings.general("excluded-but-named", message);
    }

    /// Whether the user does not want this.
    pub(super) fn is_excluded(&self, kind: EntryType, stat: &Stat) -> bool {
        let select = &self.shared.options.select;
        let is_directory = kind == EntryType::Directory;
        // The nearest file of patterns knows best, the command line even better.
        let lists = || std::iter::once(&select.patterns).chain(self.found.iter().rev());
        (kind == EntryType::File && self.is_too_large(stat))
            || lists().find_map(|patterns| patterns.matches(&self.path, is_directory)) == Some(true)
    }

    /// Whether a file is larger than the user wants.
    pub(super) fn is_too_large(&self, stat: &Stat) -> bool {
        self.shared.options.select.larger_than.is_some_and(|most| stat.st_size as u64 > most)
    }

    pub(super) fn is_other_file_system(&self, stat: &Stat, way: Way<'_>) -> bool {
        self.shared.options.select.one_file_system && stat.st_dev != way.device
    }
}

/// A file with patterns, as far as it is no larger than such files are.
fn read_ignore_file(directory: &OwnedFd, name: &OsStr) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::empty())?).take(MAX_IGNORE_FILE + 1);
    if !file.get_ref().metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    if text.len() as u64 > MAX_IGNORE_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}
