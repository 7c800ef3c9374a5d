//! The planner: walks the tree of a snapshot, makes what has no contents, and collects files into batches.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::batch::{Batch, Destination, FileJob};
use super::sparse::Layout;
use super::target::Target;
use super::{RestoreError, Watch, fetch};
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::{MAX_DEPTH, is_too_deep};

/// See the head of this module.
pub struct Planner<'a, 'r> {
    reader: &'a BlobReader<'r>,
    target: &'a Target,
    watch: &'a Watch,
    batch: Batch,
    /// Where each file with several links was first made.
    linked: HashMap<Pair, PathBuf>,
    /// Links to be made when the files of the batch are there.
    links: Vec<(PathBuf, PathBuf, EntryType)>,
    /// Directories whose contents are complete when the batch is done, those below first.
    directories: Vec<(PathBuf, Entry)>,
}

impl<'a, 'r> Planner<'a, 'r> {
    /// A planner for one restore.
    pub fn new(reader: &'a BlobReader<'r>, target: &'a Target, watch: &'a Watch) -> Self {
        Planner {
            reader,
            target,
            watch,
            batch: Batch::default(),
            linked: HashMap::new(),
            links: Vec::new(),
            directories: Vec::new(),
        }
    }

    /// Restores a directory into the target.
    pub fn restore(mut self, root: &Content) -> Result<(), RestoreError> {
        let directory = self.target.root().map_err(|error| RestoreError::Target {
            path: self.target.display(Path::new("")),
            why: error.to_string(),
        })?;
        self.directory(&directory, Path::new(""), root)?;
        self.work()?;
        for (path, why) in self.target.seal() {
            self.problem(&path, why);
        }
        for why in self.target.attributes.refused() {
            self.problem(Path::new(""), why);
        }
        if self.target.owners_lost() {
            self.watch
                .problems
                .push(self.target.display(Path::new("")), "owners were not restored, because only root can do that");
        }
        Ok(())
    }

    fn problem(&self, path: &Path, message: impl Into<String>) {
        self.watch.problems.push(self.target.display(path), message);
    }

    fn directory(&mut self, directory: &OwnedFd, path: &Path, content: &Content) -> Result<(), RestoreError> {
        if is_too_deep(path) {
            self.problem(
                path,
                format!("what is below is not restored: the directory is too deep, more than {MAX_DEPTH} levels"),
            );
            return Ok(());
        }
        let reader = self.reader;
        let mut lost = Vec::new();
        let mut failure = None;
        // Entries are worked on while the directory is read, so that a long one is never in memory whole.
        let walked = reader.for_each_entry(
            content,
            |entry| {
                self.entry(directory, path, entry).map_err(|error| {
                    failure = Some(error);
                    RepositoryError::Interrupted
                })
            },
            |why| {
                lost.push(why.to_string());
                Ok(())
            },
        );
        if let Some(failure) = failure {
            return Err(failure);
        }
        walked?;
        for why in lost {
            self.problem(path, format!("part of this directory is lost: {why}"));
        }
        Ok(())
    }

    fn entry(&mut self, parent: &OwnedFd, parent_path: &Path, entry: Entry) -> Result<(), RestoreError> {
        self.watch.check()?;
        let path = parent_path.join(OsStr::from_bytes(&entry.name));
        match entry.kind {
            EntryType::Directory => self.subdirectory(parent, path, entry),
            EntryType::File => self.file(path, entry),
            _ => {
                if let Some(link) = entry.hard_link {
                    if let Some(first) = self.linked.get(&link) {
                        self.links.push((first.clone(), path, entry.kind));
                        return Ok(());
                    }
                    self.linked.insert(link, path.clone());
                }
                match self.target.make_other(parent, &entry) {
                    Ok(()) => self.watch.others.add(1),
                    Err(error) => {
                        self.problem(&path, format!("cannot make the {}: {error}", entry.kind.as_str()));
                    }
                }
                Ok(())
            }
        }
    }

    fn subdirectory(&mut self, parent: &OwnedFd, path: PathBuf, entry: Entry) -> Result<(), RestoreError> {
        match self.target.make_directory(parent, OsStr::from_bytes(&entry.name)) {
            Ok(directory) => {
                self.watch.directories.add(1);
                if let Some(content) = &entry.content {
                    self.directory(&directory, &path, content)?;
                }
                self.directories.push((path, entry));
            }
            Err(error) => self.problem(&path, format!("cannot make the directory: {error}")),
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, entry: Entry) -> Result<(), RestoreError> {
        if let Some(link) = entry.hard_link {
            if let Some(first) = self.linked.get(&link) {
                self.links.push((first.clone(), path, entry.kind));
                return Ok(());
            }
            self.linked.insert(link, path.clone());
        }
        let Some(content) = entry.content.clone() else {
            self.problem(&path, "the snapshot has no contents for this file");
            return Ok(());
        };
        let leaves = self.reader.leaves(&content).map_err(|why| why.to_string());
        let layout = Layout::of(&entry).map_err(|why| why.to_string());
        let (leaves, layout) = match leaves.and_then(|leaves| Ok((leaves, layout?))) {
            Ok(both) => both,
            Err(why) => {
                self.problem(&path, format!("it is not restored: {why}"));
                return Ok(());
            }
        };
        let mut file = self.batch.add_file(path.clone(), entry, layout, false);
        let mut offset = 0;
        for leaf in leaves {
            let item = match leaf {
                Ok(item) => item,
                Err(why) => {
                    self.batch.files[file].damaged.store(true, Ordering::Relaxed);
                    self.problem(&path, format!("the rest of this file from byte {offset} is lost: {why}"));
                    break;
                }
            };
            self.batch.add_blob(self.reader, item, Destination { file, offset });
            offset += item.size;
            if self.batch.is_full() {
                let FileJob { entry, layout, .. } = &mut self.batch.files[file];
                let (entry, layout) = (entry.clone(), layout.clone());
                self.work()?;
                file = self.batch.add_file(path.clone(), entry, layout, true);
            }
        }
        self.batch.files[file].complete = true;
        if self.batch.is_full() { self.work() } else { Ok(()) }
    }

    /// Works on the batch, then completes what depends on it.
    fn work(&mut self) -> Result<(), RestoreError> {
        let batch = std::mem::take(&mut self.batch);
        fetch::fetch(self.reader, self.target, self.watch, batch)?;
        for (first, path, kind) in std::mem::take(&mut self.links) {
            match self.target.link(&first, &path) {
                Ok(()) if kind == EntryType::File => self.watch.files.add(1),
                Ok(()) => self.watch.others.add(1),
                Err(error) => self.problem(&path, format!("cannot link it to {}: {error}", first.display())),
            }
        }
        for (path, entry) in std::mem::take(&mut self.directories) {
            if let Err(error) = self.target.finish_directory(&path, &entry) {
                self.problem(&path, format!("cannot set the directory's metadata: {error}"));
            }
        }
        Ok(())
    }
}
