//! The planner: walks the tree of a snapshot, makes what has no contents, and collects files into batches.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;
use rustix::fs::{AtFlags, Stat, unlinkat};

use super::batch::{Destination, How};
use super::delete::Remover;
use super::level::{Level, There};
use super::options::{Options, Overwrite};
use super::selection::{Choice, Verdict};
use super::sparse::Layout;
use super::standing::{Decision, decide, size};
use super::target::{Target, names, standing};
use super::watch::Action;
use super::work::{Link, Spot, Work};
use super::{RestoreError, Watch};
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::{MAX_DEPTH, is_too_deep};

/// See the head of this module.
pub struct Planner<'a, 'r> {
    /// Where trees come from.
    pub reader: &'a BlobReader<'r>,
    /// Where everything goes.
    pub target: &'a Target,
    /// Who watches.
    pub watch: &'a Watch,
    /// What the user asked for.
    pub options: &'a Options,
    /// What becomes of what is there; nothing may be there without it.
    pub overwrite: Option<Overwrite>,
    /// What is restored.
    pub choice: Choice<'a>,
    /// Removes what is not in the snapshot.
    pub remover: Remover<'a>,
    /// Whether an earlier restore may have left files that are not whole.
    pub cleans: bool,
    /// Entries that may still come.
    pub budget: u64,
    /// Who works on what is planned.
    pub sender: Sender<Work>,
    /// What is planned.
    pub work: Work,
    /// The directory that is walked is the last one.
    pub levels: Vec<Level<'a>>,
    /// Where each file with several links was first restored.
    pub linked: HashMap<Pair, (Spot, EntryType)>,
}

/// What is done where something is wanted.
enum Way {
    /// It is made.
    Make(How),
    /// It is there.
    Same(Stat),
    /// Something else is there and stays.
    Keep,
    /// It cannot be.
    Refuse(String),
}

impl<'a> Planner<'a, '_> {
    /// Restores what is in a directory into the target, whose level is the only one so far.
    pub fn restore(mut self, content: &Content) -> Result<(), RestoreError> {
        self.directory(Path::new(""), content)?;
        self.end()
    }

    /// Restores a single entry into the target.
    pub fn restore_one(mut self, entry: Entry) -> Result<(), RestoreError> {
        self.level().is_whole = false;
        self.entry(Path::new(""), entry)?;
        self.end()
    }

    fn end(mut self) -> Result<(), RestoreError> {
        let top = self.levels.pop().expect("the top is left");
        self.leave(top);
        self.hand_over()
    }

    pub(super) fn problem(&self, path: &Path, message: impl Into<String>) {
        self.watch.problems.push(self.target.display(path), message);
    }

    /// Whether the snapshot has had more entries than it can have.
    pub(super) fn is_exhausted(&self) -> bool {
        self.budget == 0
    }

    fn level(&mut self) -> &mut Level<'a> {
        self.levels.last_mut().expect("there is always one")
    }

    fn here(&self) -> &There {
        self.levels.last().and_then(Level::there).expect("it was made before anything in it")
    }

    fn directory(&mut self, path: &Path, content: &Content) -> Result<(), RestoreError> {
        if is_too_deep(path) {
            self.level().is_whole = false;
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
                self.entry(path, entry).map_err(|error| {
                    failure = Some(error);
                    RepositoryError::Interrupted
                })
            },
            |why| {
                lost.push(why.about_chunk_or_plugin()?.to_string());
                Ok(())
            },
        );
        if let Some(failure) = failure {
            return Err(failure);
        }
        walked?;
        for why in lost {
            self.level().is_whole = false;
            self.problem(path, format!("part of this directory is lost: {why}"));
        }
        Ok(())
    }

    fn entry(&mut self, parent: &Path, entry: Entry) -> Result<(), RestoreError> {
        self.watch.check()?;
        if !self.spend(parent) {
            return Ok(());
        }
        let name = OsStr::from_bytes(&entry.name);
        let path = parent.join(name);
        let is_dir = entry.kind == EntryType::Directory;
        let level = self.levels.last_mut().expect("there is always one");
        level.strangers.remove(name);
        let (verdict, scope) = self.choice.of(level.scope, &path, is_dir, level.taken);
        level.is_whole &= verdict == Verdict::Take;
        if verdict == Verdict::Leave {
            return Ok(());
        }
        if is_dir {
            return self.subdirectory(path, Level::waiting(entry, scope, verdict == Verdict::Take));
        }
        if !self.ensure(self.levels.len() - 1) {
            return Ok(());
        }
        if entry.kind == EntryType::File {
            self.file(path, entry)?
        } else {
            self.other(&path, &entry)
        }
        if self.work.batch.is_full(self.work.links.len().max(self.work.ended.len())) {
            self.hand_over()
        } else {
            Ok(())
        }
    }

    /// Whether there may be one entry more. A directory that stands in itself many times over has more than any disk.
    fn spend(&mut self, parent: &Path) -> bool {
        if self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        if self.budget == 0 {
            let why = "the rest of the snapshot is not restored: it has far more entries than it says and than it can \
                have, so somebody made it to fill disks; parts of it can be restored with SNAPSHOT:PATH";
            self.problem(parent, why);
        }
        self.budget > 0
    }

    fn subdirectory(&mut self, path: PathBuf, level: Level<'a>) -> Result<(), RestoreError> {
        let taken = level.taken;
        self.levels.push(level);
        if !taken || self.ensure(self.levels.len() - 1) {
            let content = self.level().entry.as_ref().and_then(|entry| entry.content.clone());
            match content {
                Some(content) => self.directory(&path, &content)?,
                None => self.level().is_whole = false,
            }
        }
        let level = self.levels.pop().expect("it was just put there");
        self.leave(level);
        if self.work.batch.is_full(self.work.ended.len()) { self.hand_over() } else { Ok(()) }
    }

    /// Whether this is a further name of something that was restored; then it is linked.
    fn is_linked(&mut self, path: &Path, entry: &Entry) -> bool {
        let Some((first, kind)) = entry.hard_link.and_then(|pair| self.linked.get(&pair)) else { return false };
        if *kind != entry.kind {
            return false;
        }
        let second = self.spot(entry);
        let replaces = matches!(self.overwrite, Some(Overwrite::Always | Overwrite::IfChanged));
        if self.options.dry_run {
            let found = self.found(&entry.name).ok().flatten();
            let action = match found {
                None => Action::Make,
                Some(_) if replaces => Action::Overwrite,
                Some(_) => Action::Keep,
            };
            self.watch.done(action, || path.to_owned());
        } else {
            self.work.links.push(Link { first: first.clone(), second, kind: entry.kind, replaces });
        }
        true
    }

    fn spot(&self, entry: &Entry) -> Spot {
        (self.here().folder.clone(), OsStr::from_bytes(&entry.name).into())
    }

    /// This is the first name of what may have several.
    fn remember(&mut self, entry: &Entry) {
        if let Some(pair) = entry.hard_link {
            let spot = self.spot(entry);
            self.linked.insert(pair, (spot, entry.kind));
        }
    }

    fn found(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        let here = self.here();
        match &here.fd {
            Some(fd) if !here.folder.fresh => standing(fd, OsStr::from_bytes(name)),
            _ => Ok(None),
        }
    }

    /// What is to be done for anything but a directory, with regard to what stands there.
    fn way(&self, path: &Path, entry: &Entry) -> io::Result<Way> {
        let (Some(found), Some(fd)) = (self.found(&entry.name)?, &self.here().fd) else {
            let needs_whole = self.overwrite == Some(Overwrite::Never) && !self.here().folder.fresh;
            return Ok(Way::Make(if needs_whole { How::Whole(self.target.temporary_name()) } else { How::New }));
        };
        Ok(match decide(self.target, fd, entry, &found, self.overwrite)? {
            Decision::Replace => Way::Make(How::Replace(self.target.temporary_name())),
            Decision::Same => Way::Same(found),
            Decision::Keep => Way::Keep,
            Decision::Refuse(why) => Way::Refuse(format!("it is not restored: {why}")),
            Decision::Directory => self.clear(path, entry)?,
        })
    }

    /// Removes a directory that is in the way of something else.
    fn clear(&self, path: &Path, entry: &Entry) -> io::Result<Way> {
        let name = OsStr::from_bytes(&entry.name);
        let There { fd: Some(fd), device, .. } = self.here() else { return Ok(Way::Make(How::New)) };
        let is_empty = if self.options.delete {
            self.remover.remove(fd, *device, name, path, &self.choice.prefix.join(path))
        } else if self.options.dry_run {
            names(&self.target.open_directory(path)?)?.is_empty()
        } else {
            unlinkat(fd, name, AtFlags::REMOVEDIR).is_ok()
        };
        let why = "it is not restored: a directory that is not empty stands there; move it away, or use --delete to \
            have it removed";
        Ok(if is_empty { Way::Make(How::New) } else { Way::Refuse(why.into()) })
    }

    fn other(&mut self, path: &Path, entry: &Entry) {
        if self.is_linked(path, entry) {
            return;
        }
        let done = self.way(path, entry).and_then(|way| self.go_for_other(path, &way, entry));
        match done {
            Ok(Ok(action)) => {
                if action != Action::Keep || self.overwrite != Some(Overwrite::Never) {
                    self.remember(entry);
                    self.watch.others.add(1);
                }
                self.watch.done(action, || path.to_owned());
            }
            Ok(Err(why)) => self.problem(path, why),
            Err(error) => self.problem(path, format!("cannot make the {}: {error}", entry.kind.as_str())),
        }
    }

    fn go_for_other(&self, path: &Path, way: &Way, entry: &Entry) -> io::Result<Result<Action, String>> {
        let name = OsStr::from_bytes(&entry.name);
        let fd = self.here().fd.as_ref().filter(|_| !self.options.dry_run);
        let action = match way {
            Way::Make(How::Replace(_)) => Action::Overwrite,
            Way::Make(_) => Action::Make,
            Way::Same(_) | Way::Keep => Action::Keep,
            Way::Refuse(why) => return Ok(Err(why.clone())),
        };
        if let Some(fd) = fd {
            match way {
                Way::Make(How::Replace(_)) => self.target.replace_other(fd, name, entry)?,
                Way::Make(_) => self.target.make_other(fd, name, entry)?,
                Way::Same(found) => self.target.touch(path, fd, entry, found)?,
                Way::Keep | Way::Refuse(_) => {}
            }
        }
        Ok(Ok(action))
    }

    fn file(&mut self, path: PathBuf, entry: Entry) -> Result<(), RestoreError> {
        let Some(content) = entry.content.clone() else {
            self.problem(&path, "the snapshot has no contents for this file");
            return Ok(());
        };
        if self.is_linked(&path, &entry) {
            return Ok(());
        }
        let how = match self.way(&path, &entry) {
            Ok(Way::Make(how)) => how,
            Ok(Way::Same(found)) => {
                self.keep(&path, &entry, &found);
                return Ok(());
            }
            Ok(Way::Keep) => {
                self.watch.keep(&path, self.options.verify);
                return Ok(());
            }
            Ok(Way::Refuse(why)) => {
                self.problem(&path, why);
                return Ok(());
            }
            Err(error) => {
                self.problem(&path, format!("it is not restored, because what stands there is not known: {error}"));
                return Ok(());
            }
        };
        self.remember(&entry);
        if self.options.dry_run {
            self.watch.files.add(1);
            self.watch.bytes.add(size(&entry).unwrap_or(0));
            let action = if matches!(how, How::Replace(_)) { Action::Overwrite } else { Action::Make };
            self.watch.done(action, || path);
            return Ok(());
        }
        self.contents(&path, entry, &content, how)
    }

    /// The file is there already.
    fn keep(&mut self, path: &Path, entry: &Entry, found: &Stat) {
        if let (Some(fd), false) = (&self.here().fd, self.options.dry_run)
            && let Err(error) = self.target.touch(path, fd, entry, found)
        {
            self.problem(path, format!("its contents are kept, but its metadata cannot be set: {error}"));
        }
        self.remember(entry);
        self.watch.files.add(1);
        self.watch.done(Action::Keep, || path.to_owned());
    }

    fn contents(&mut self, path: &Path, entry: Entry, content: &Content, how: How) -> Result<(), RestoreError> {
        let leaves = match self.reader.leaves(content) {
            Ok(leaves) => Ok(leaves),
            Err(why) => Err(why.about_chunk_or_plugin()?.to_string()),
        };
        let layout = Layout::of(&entry).map_err(|why| why.to_string());
        let (leaves, layout) = match leaves.and_then(|leaves| Ok((leaves, layout?))) {
            Ok(both) => both,
            Err(why) => {
                self.problem(path, format!("it is not restored: {why}"));
                return Ok(());
            }
        };
        let folder = self.here().folder.clone();
        let mut file = self.work.batch.add_file(folder, entry, how, layout);
        let mut offset = 0;
        for leaf in leaves {
            let item = match leaf {
                Ok(item) => item,
                Err(why) => {
                    let why = why.about_chunk_or_plugin()?;
                    self.work.batch.files[file].fate.damage();
                    self.problem(path, format!("the rest of this file from byte {offset} is lost: {why}"));
                    break;
                }
            };
            self.work.batch.add_blob(self.reader, item, Destination { file, offset });
            offset += item.size;
            if self.work.batch.is_full(0) {
                let job = &self.work.batch.files[file];
                let rest = job.rest();
                self.hand_over()?;
                file = self.work.batch.add_rest(rest);
            }
        }
        self.work.batch.files[file].complete = true;
        Ok(())
    }

    /// Gives away what is planned, as soon as what was planned before is done.
    fn hand_over(&mut self) -> Result<(), RestoreError> {
        let work = std::mem::take(&mut self.work);
        if self.sender.send(work).is_err() {
            self.watch.check()?;
            return Err(RestoreError::Repository(RepositoryError::Interrupted));
        }
        Ok(())
    }
}
