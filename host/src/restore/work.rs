//! The second half of a restore: works on batches while the planner plans the next one.
//!
//! In this order: contents of files; what was written beside something takes its place; hard links; the metadata of
//! directories that have all that they get, those below first.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::batch::{Batch, FileJob, How};
use super::fetch::fetch;
use super::folder::{Folder, OpenFolders};
use super::make::Linked;
use super::metadata::Known;
use super::target::Target;
use super::watch::{Action, Watch};
use crate::format::entry::{Entry, EntryType};
use crate::repository::blobs::BlobReader;

/// Something that has a folder and a name.
pub type Spot = (Arc<Folder>, Box<OsStr>);

/// A further name of a file that this restore has made or kept.
pub struct Link {
    /// The name that is there, or will be when the files of the batch are.
    pub first: Spot,
    /// The further one.
    pub second: Spot,
    /// What it is.
    pub kind: EntryType,
    /// Whether it may replace something.
    pub replaces: bool,
}

/// A directory whose contents are complete when the batch is done.
pub struct Ended {
    /// The directory.
    pub folder: Arc<Folder>,
    /// Its metadata.
    pub entry: Entry,
    /// What is known of it.
    pub known: Known,
}

/// What the planner hands over.
#[derive(Default)]
pub struct Work {
    /// Files.
    pub batch: Batch,
    /// Links to them.
    pub links: Vec<Link>,
    /// Directories.
    pub ended: Vec<Ended>,
}

/// Works on all that comes, until nothing more comes or the restore is stopped.
pub fn work(reader: &BlobReader<'_>, target: &Target, watch: &Watch, receiver: &Receiver<Work>) {
    for mut work in receiver {
        if watch.is_stopped() {
            continue;
        }
        fetch(reader, target, watch, &mut work.batch);
        let mut after = After { target, watch, folders: OpenFolders::default() };
        after.put_in_place(&work.batch);
        if watch.is_stopped() {
            continue;
        }
        for link in &work.links {
            after.link(link);
        }
        for ended in &work.ended {
            let path = ended.folder.path();
            if let Err(error) = target.finish_directory(&path, &ended.entry, ended.known) {
                after.problem(path, format!("cannot set the directory's metadata: {error}"));
            }
        }
    }
}

struct After<'a> {
    target: &'a Target,
    watch: &'a Watch,
    folders: OpenFolders,
}

impl After<'_> {
    fn problem(&self, path: PathBuf, message: String) {
        self.watch.problems.push(self.target.display(&path), message);
    }

    /// What was written under temporary names gets its own, once it is on the disk: a crash of the machine must not
    /// leave an empty file where a good one stood.
    fn put_in_place(&mut self, batch: &Batch) {
        let waiting: Vec<&FileJob> = batch.files.iter().filter(|job| job.how != How::New).collect();
        if waiting.is_empty() {
            return;
        }
        self.sync(&waiting);
        for job in waiting {
            if let Err(error) = self.place(job) {
                self.problem(job.path(), format!("cannot put it in its place: {error}"));
            }
        }
    }

    /// Writes to the disk what the file systems hold back, each once.
    fn sync(&mut self, files: &[&FileJob]) {
        let mut systems = BTreeMap::new();
        for job in files.iter().filter(|job| matches!(job.how, How::Replace(_))) {
            if let Some(birth) = job.folder.birth() {
                systems.entry(birth.device).or_insert(&job.folder);
            }
        }
        for folder in systems.values() {
            let synced = self.folders.get(self.target, folder).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
            if let Err(error) = synced {
                tracing::debug!("the file system is not synchronised: {error}");
            }
        }
    }

    fn place(&mut self, job: &FileJob) -> std::io::Result<()> {
        let state = job.state.lock().expect("no panic while the lock is held");
        let is_over = job.complete || self.watch.is_stopped() || job.fate.is_failed();
        if !is_over || !(state.made || job.continued) {
            return Ok(());
        }
        let parent = self.folders.get(self.target, &job.folder)?;
        let replaces = matches!(job.how, How::Replace(_));
        // A good file does not make room for a damaged one, unless it is what an interrupted restore has left.
        let is_worse = job.fate.is_damaged() && replaces && !self.watch.resumes();
        if !state.is_whole || is_worse {
            self.target.discard(parent, job.name());
            if is_worse {
                self.watch.done(Action::Keep, || job.path());
            }
            return Ok(());
        }
        let name = OsStr::from_bytes(&job.entry.name);
        let placed = self.target.put_in_place(parent, job.name(), name, replaces);
        let placed = placed.inspect_err(|_| self.target.discard(parent, job.name()))?;
        self.watch.files.add(u64::from(placed));
        let action = match (placed, replaces) {
            (true, true) => Action::Overwrite,
            (true, false) => Action::Make,
            (false, _) => Action::Keep,
        };
        self.watch.done(action, || job.path());
        Ok(())
    }

    fn link(&mut self, link: &Link) {
        let (first, second) = (&link.first, &link.second);
        let linked = self.try_link(link);
        let path = || second.0.path().join(&*second.1);
        let action = match linked {
            Ok(Linked::Made) => Action::Make,
            Ok(Linked::Replaced) => Action::Overwrite,
            Ok(Linked::Kept) => Action::Keep,
            Err(error) => {
                let first = first.0.path().join(&*first.1);
                return self.problem(path(), format!("cannot link it to {}: {error}", first.display()));
            }
        };
        match link.kind {
            EntryType::File => self.watch.files.add(1),
            _ => self.watch.others.add(1),
        }
        self.watch.done(action, path);
    }

    fn try_link(&mut self, link: &Link) -> std::io::Result<Linked> {
        // Opened anew: one of the two may be closed for the sake of the other.
        let first = self.folders.get(self.target, &link.first.0)?.try_clone()?;
        let second = self.folders.get(self.target, &link.second.0)?;
        self.target.link((&first, &link.first.1), (second, &link.second.1), link.replaces)
    }
}
