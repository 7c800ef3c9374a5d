//! The assembler: turns the walker's events into directories, bottom up, and gives the root.

use std::path::PathBuf;

use crossbeam_channel::Receiver;

use super::Shared;
use super::checkpoint::Checkpoints;
use super::cuts::Cuts;
use super::files::{FileResult, store};
use super::list::ListWriter;
use super::upload::UploadSender;
use super::walk::Event;
use crate::format::blob::BlobKind;
use crate::format::content::{Content, Item};
use crate::format::entry::Entry;
use crate::format::to_cbor;
use crate::repository::RepositoryError;

/// A directory that is being built.
struct Open {
    entry: Entry,
    path: PathBuf,
    piece: Vec<u8>,
    pieces: u32,
    list: ListWriter,
}

/// Takes events until the root directory is complete.
pub fn assemble(
    shared: &Shared<'_>,
    events: &Receiver<Event>,
    uploads: &UploadSender,
    checkpoints: &mut Checkpoints,
) -> Result<Content, RepositoryError> {
    let mut stack: Vec<Open> = Vec::new();
    let cuts = Cuts::new(shared.repository);
    let add = |stack: &mut Vec<Open>, entry: &Entry| -> Result<(), RepositoryError> {
        let Some(open) = stack.last_mut() else { return Ok(()) };
        open.piece.extend_from_slice(&to_cbor(entry));
        let length = open.piece.len();
        if cuts.ends_piece(length, &entry.name) {
            open.close_piece(shared, uploads)?;
        }
        Ok(())
    };
    for event in events {
        let done = match event {
            Event::Enter(entry, path) => {
                stack.push(Open { entry: *entry, path, piece: Vec::new(), pieces: 0, list: ListWriter::default() });
                Ok(())
            }
            Event::Ready(entry) => add(&mut stack, &entry),
            Event::File(mut entry, path, ticket) => match ticket.wait() {
                FileResult::Read(content, stamp, attributes) => {
                    for problem in &attributes.problems {
                        shared.watch.problems.push(&path, problem.as_str());
                    }
                    entry.content = Some(content.clone());
                    entry.mtime = stamp.mtime;
                    entry.ctime = Some(stamp.ctime);
                    entry.inode = Some(stamp.inode);
                    attributes.clone().write_to(&mut entry);
                    add(&mut stack, &entry)
                }
                FileResult::Failed(why) => {
                    shared.watch.problems.push(path, why.as_str());
                    Ok(())
                }
                FileResult::Over => break,
            },
            Event::Leave => match stack.pop() {
                Some(open) => match open.finish(shared, uploads) {
                    Ok((_, content)) if stack.is_empty() => return Ok(content),
                    Ok((entry, content)) => add(&mut stack, &Entry { content: Some(content), ..entry }),
                    Err(error) => Err(error),
                },
                None => Ok(()),
            },
        };
        let done = done.and_then(|()| {
            if checkpoints.is_due() && !stack.is_empty() {
                let root = root_so_far(&stack, shared, uploads)?;
                checkpoints.make(shared, uploads, root)?;
            }
            Ok(())
        });
        if let Err(error) = done {
            shared.fail(error);
            break;
        }
    }
    // The caller looks for the failure first.
    Err(RepositoryError::Interrupted)
}

/// The root directory, as if all directories ended here.
fn root_so_far(stack: &[Open], shared: &Shared<'_>, uploads: &UploadSender) -> Result<Content, RepositoryError> {
    let mut store = |kind, bytes: &[u8]| Ok(store(shared, uploads, None, kind, bytes)?.id);
    let mut below: Option<Entry> = None;
    let mut content = Content::default();
    for open in stack.iter().rev() {
        let (mut piece, mut list) = (open.piece.clone(), open.list.clone());
        piece.extend(below.iter().flat_map(to_cbor));
        if !piece.is_empty() {
            let id = store(BlobKind::Tree, &piece)?;
            list.push(Item { id, size: piece.len() as u64 }, &mut store)?;
        }
        content = list.finish(&mut store)?;
        below = Some(Entry { content: Some(content.clone()), ..open.entry.clone() });
    }
    Ok(content)
}

impl Open {
    fn close_piece(&mut self, shared: &Shared<'_>, uploads: &UploadSender) -> Result<(), RepositoryError> {
        let item = store(shared, uploads, None, BlobKind::Tree, &self.piece)?;
        shared.state.keep_piece(&self.path, self.pieces, &self.piece);
        self.pieces += 1;
        self.piece.clear();
        self.list.push(item, &mut |kind, bytes| Ok(store(shared, uploads, None, kind, bytes)?.id))
    }

    fn finish(mut self, shared: &Shared<'_>, uploads: &UploadSender) -> Result<(Entry, Content), RepositoryError> {
        if !self.piece.is_empty() {
            self.close_piece(shared, uploads)?;
        }
        let content = self.list.finish(&mut |kind, bytes| Ok(store(shared, uploads, None, kind, bytes)?.id))?;
        Ok((self.entry, content))
    }
}
