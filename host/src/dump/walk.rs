//! The walk of a dump: through the trees, in order.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::ahead::{Line, Step};
use super::{Item, Source};
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType, Pair};
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::{MAX_DEPTH, is_too_deep};
use crate::restore::sparse::Layout;

struct Walk<'a, 'r> {
    reader: &'a BlobReader<'r>,
    line: &'a Line<'a>,
    /// Whether the archive has names for what is there already.
    links: bool,
    /// Entries that may still come.
    budget: u64,
    /// The first name in the archive of each file with several.
    linked: HashMap<Pair, (Vec<u8>, EntryType)>,
}

/// Says what is in the source, in order.
pub fn walk(
    reader: &BlobReader<'_>,
    source: Source,
    (links, budget): (bool, u64),
    line: &Line<'_>,
) -> Result<(), RepositoryError> {
    let mut walk = Walk { reader, line, links, budget, linked: HashMap::new() };
    match source {
        Source::Directory(content) => walk.directory(b"", Path::new("/"), &content),
        Source::Entry(entry, path) => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            walk.entry(b"", parent, *entry)
        }
    }
}

impl Walk<'_, '_> {
    fn problem(&self, path: &Path, message: String) -> Result<(), RepositoryError> {
        self.line.step(Step::Problem { path: path.to_owned(), message, damage: true })
    }

    fn directory(&mut self, name: &[u8], path: &Path, content: &Content) -> Result<(), RepositoryError> {
        if is_too_deep(path) {
            let why = format!("what is below is left out: the directory is too deep, more than {MAX_DEPTH} levels");
            return self.problem(path, why);
        }
        let reader = self.reader;
        let mut lost = Vec::new();
        reader.for_each_entry(
            content,
            |entry| self.entry(name, path, entry),
            |why| {
                lost.push(why.to_string());
                Ok(())
            },
        )?;
        lost.into_iter().try_for_each(|why| self.problem(path, format!("part of this directory is lost: {why}")))
    }

    fn entry(&mut self, parent: &[u8], parent_path: &Path, entry: Entry) -> Result<(), RepositoryError> {
        let path = parent_path.join(OsStr::from_bytes(&entry.name));
        match self.budget {
            0 => return Ok(()),
            1 => {
                self.budget = 0;
                let why = "the rest of the snapshot is left out: it has far more entries than it says and than it can \
                    have, so somebody made it to fill disks; name a PATH in it";
                return self.problem(parent_path, why.into());
            }
            _ => self.budget -= 1,
        }
        let mut name = parent.to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(&entry.name);
        let layout = match Layout::of(&entry) {
            Ok(layout) => layout,
            Err(why) => return self.problem(&path, format!("it is left out: {why}")),
        };
        let is_lost = entry.content.is_none() && matches!(entry.kind, EntryType::File | EntryType::Directory);
        if is_lost {
            return self.problem(&path, "it is left out: its entry has no content".into());
        }
        let link = self.link(&name, &entry);
        let (kind, content) = (entry.kind, entry.content.clone());
        let is_link = link.is_some();
        let item = Item { name: name.clone(), path, entry, layout, link };
        let path = item.path.clone();
        self.line.step(Step::Entry(Box::new(item)))?;
        match (kind, content) {
            (EntryType::Directory, Some(content)) => self.directory(&name, &path, &content),
            (EntryType::File, Some(content)) if !is_link => self.contents(&content),
            _ => Ok(()),
        }
    }

    /// The name that this file has been given already.
    fn link(&mut self, name: &[u8], entry: &Entry) -> Option<Vec<u8>> {
        let pair = entry.hard_link.filter(|_| self.links && entry.kind != EntryType::Directory)?;
        match self.linked.get(&pair) {
            Some((first, kind)) if *kind == entry.kind => Some(first.clone()),
            Some(_) => None,
            None => {
                self.linked.insert(pair, (name.to_vec(), entry.kind));
                None
            }
        }
    }

    fn contents(&mut self, content: &Content) -> Result<(), RepositoryError> {
        let mut rest = content.size;
        let lost = match self.reader.leaves(content) {
            Ok(leaves) => self.pieces(leaves, &mut rest)?,
            Err(why) => Some(why.about_chunk_or_plugin()?),
        };
        if let Some(why) = lost {
            self.line.step(Step::Lost { size: rest, why })?;
        }
        self.line.step(Step::End)
    }

    /// All pieces there are; why there are no more, if they are not all.
    fn pieces(
        &self,
        leaves: impl Iterator<Item = Result<crate::format::content::Item, RepositoryError>>,
        rest: &mut u64,
    ) -> Result<Option<RepositoryError>, RepositoryError> {
        for leaf in leaves {
            match leaf {
                Ok(leaf) => {
                    self.line.piece(&leaf)?;
                    *rest -= leaf.size.min(*rest);
                }
                Err(why) => return Ok(Some(why.about_chunk_or_plugin()?)),
            }
        }
        Ok(None)
    }
}
