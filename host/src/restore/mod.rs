//! Restore: from a snapshot to a directory.
//!
//! [`plan`] walks the tree, makes directories, links and special files on the way, and collects the blobs that files
//! need into batches of bounded size. [`work`] takes one batch after the other, while the next is being planned:
//! [`fetch`] reads each pack of a batch once, in joined ranges, on several threads, and writes blobs wherever they are
//! needed, in any order; then hard links are made, and directories get their metadata. [`verify`] reads all of it back.
//!
//! [`target`] and its companions [`make`], [`metadata`], [`standing`] and [`delete`] are the only parts that touch the target: they never
//! follow a symbolic link, never write to a file that was there, and never leave the target directory, whatever the repository
//! says. [`record`] remembers restores that are under way, so that an interrupted one can go on.

mod attributes;
mod batch;
mod delete;
mod fetch;
pub mod folder;
mod level;
pub mod make;
pub mod metadata;
mod options;
mod owners;
mod plan;
mod record;
mod selection;
pub mod sparse;
mod standing;
pub mod target;
mod verify;
mod watch;
mod work;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;

use crate::backup::roots::Roots;
use crate::format::FormatError;
use crate::format::blob::BlobKind;
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType};
use crate::format::roster::Role;
use crate::format::snapshot::Statistics;
use crate::index::Index;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::with_deep_stack;
use crate::repository::{Repository, RepositoryError};

pub use options::{Options, Overwrite, Source};
pub use watch::{Action, Told, Watch};

use folder::Folder;
use level::{Level, Place, There};
use metadata::Known;
use record::{Begun, Record, path_text, snapshot_text};
use selection::{Choice, Selection, roots_at, scope_at};
use target::Target;

/// Why a restore ended early, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The target cannot be used.
    #[error("cannot restore into {path}: {why}", path = path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another restore works on it.
    #[error("another restore into {path} is running; wait for it to end", path = path.display())]
    Busy {
        /// The target.
        path: PathBuf,
    },
    /// The snapshot does not have the path.
    #[error("{path} is not in snapshot {snapshot}; see: obnam ls {snapshot}", path = path.display())]
    NoPath {
        /// The path.
        path: PathBuf,
        /// The snapshot's short id.
        snapshot: String,
    },
    /// What was asked for would delete files that are in no backup.
    #[error(
        "nothing is deleted for the sake of snapshot {snapshot}: it does not have everything, because the backup could not \
        read it all, so that --delete would remove files that are nowhere else; restore without --delete"
    )]
    DeleteIncomplete {
        /// The snapshot's short id.
        snapshot: String,
    },
}

/// An entry may take as few bytes as this in its directory.
const SMALLEST_ENTRY: u64 = 20;
/// Entries that a snapshot may have beyond what it says, in any case.
const SLACK: u64 = 1_000_000;
/// How often a directory may stand in one snapshot, on average.
const COPIES: u64 = 64;

/// What goes into the target.
enum Top {
    /// What is in a directory; with its own entry, where it has one.
    Directory(Content, Option<Entry>),
    /// A single file or link.
    One(Entry),
}

/// Restores a snapshot or a part of it. What cannot be restored is in [`Watch::problems`]; all else is there.
pub fn run(
    repository: &Repository,
    index: &Index,
    source: &Source,
    options: &Options,
    watch: &Watch,
) -> Result<(), RestoreError> {
    repository.require(Role::Reader, "restore")?;
    if !repository.can_read() {
        let why = FormatError::NoKey;
        return Err(RepositoryError::Malformed { what: "the roster gives this reader no data key".into(), why }.into());
    }
    if options.delete && source.is_incomplete() {
        return Err(RestoreError::DeleteIncomplete { snapshot: source.snapshot.short().to_string() });
    }
    let reader = BlobReader::new(repository, index);
    let (top, prefix) = find_top(&reader, source, options)?;
    let target = Target::open(options)?;
    let roots = Roots::new(match options.in_place {
        true => roots_at(&source.roots, source.path.as_deref()),
        false => source.roots.clone(),
    });
    let choice = Choice {
        selection: Selection::new(options),
        scope: scope_at(&roots.tree, &prefix),
        prefix,
        roots_only: options.in_place,
    };
    // A single entry stands in the directory that it is in.
    let place = match (&source.path, options.in_place) {
        (Some(path), true) => target.display(path.strip_prefix("/").unwrap_or(path)),
        _ => target.path().to_owned(),
    };
    let mut record = Record::open(&repository.state, &place, options.dry_run)?;
    let begin = match begin(source, options, &target, &roots, &mut record) {
        Ok(begin) => begin,
        Err(error) => {
            if record.earlier.is_none() {
                record.end();
            }
            return Err(error);
        }
    };
    watch.resumes.store(begin.resumes, Ordering::Relaxed);
    restore(&reader, (source, options), (&target, &begin), &choice, &top, watch)?;
    if options.verify && !options.dry_run {
        let known = watch.problems.all().into_iter().map(|problem| problem.path).collect();
        let verification = verify::Verification { reader: &reader, target: &target, choice, watch, known };
        let top = match &top {
            Top::Directory(content, _) => Ok(content),
            Top::One(entry) => Err(entry),
        };
        with_deep_stack(|| verification.run(top))??;
    }
    for (path, why) in target.seal() {
        watch.problems.push(target.display(&path), why);
    }
    for why in target.attributes.refused() {
        watch.problems.push(target.path(), why);
    }
    if target.owners.lost() {
        watch.problems.push(target.path(), "owners were not restored, because only root can do that");
    }
    record.end();
    Ok(())
}

/// What is restored, and the path in the snapshot of what goes into the target itself.
fn find_top(reader: &BlobReader<'_>, source: &Source, options: &Options) -> Result<(Top, PathBuf), RestoreError> {
    use std::os::unix::ffi::OsStrExt;
    let root = PathBuf::from("/");
    let whole = Top::Directory(source.root.clone(), None);
    let Some(path) = source.path.as_deref().filter(|path| *path != Path::new("/")) else { return Ok((whole, root)) };
    let missing = || RestoreError::NoPath { path: path.to_owned(), snapshot: source.snapshot.short().to_string() };
    let entry = reader.find(&source.root, path.as_os_str().as_bytes())?.ok_or_else(missing)?;
    if options.in_place {
        return Ok((whole, root));
    }
    let inside = root.join(path);
    if entry.kind != EntryType::Directory {
        return Ok((Top::One(entry), inside.parent().unwrap_or(&root).to_owned()));
    }
    let content = entry.content.clone().ok_or_else(missing)?;
    Ok((Top::Directory(content, Some(entry)), inside))
}

/// How a restore begins.
struct Beginning {
    /// Whether it goes on with one that was interrupted.
    resumes: bool,
    /// Whether the target is empty.
    is_empty: bool,
    /// Whether the target's own metadata is restored.
    made: bool,
    /// Whether files may be left that are not whole.
    cleans: bool,
    /// What becomes of what is there.
    overwrite: Option<Overwrite>,
}

/// Decides whether the target may be used, and takes note that it is.
fn begin(
    source: &Source,
    options: &Options,
    target: &Target,
    roots: &Roots,
    record: &mut Record,
) -> Result<Beginning, RestoreError> {
    let error = |why: String| RestoreError::Target { path: target.path().to_owned(), why };
    let root = target.root().map_err(|e| error(e.to_string()))?;
    let (identity, is_empty) = match &root {
        None => ((0, 0), true),
        Some(root) => {
            let status = folder::status(root).map_err(|e| error(e.to_string()))?;
            let is_empty = match options.in_place {
                true => roots.paths.iter().all(|path| is_free(&target.display(path.strip_prefix("/").unwrap_or(path)))),
                false => target::names(root).map_err(|e| error(format!("it cannot be listed: {e}")))?.is_empty(),
            };
            ((status.st_dev, status.st_ino), is_empty)
        }
    };
    let mut begun = Begun {
        snapshot: snapshot_text(&source.snapshot),
        path: source.path.as_deref().map(path_text),
        target: identity,
        made: target.made,
        was_empty: is_empty,
    };
    let earlier = record.earlier.as_ref().filter(|earlier| earlier.target == identity && !is_empty);
    let resumes = earlier.is_some_and(|earlier| earlier.is_same(&begun));
    if let (true, Some(earlier)) = (resumes, earlier) {
        (begun.made, begun.was_empty) = (earlier.made, earlier.was_empty);
    }
    let overwrite = match options.overwrite {
        // All that is there is ours, whole or not.
        None | Some(Overwrite::Never) if resumes && begun.was_empty => Some(Overwrite::IfChanged),
        None if resumes => Some(Overwrite::IfChanged),
        None if !is_empty => return Err(error(not_empty(options, earlier))),
        Some(Overwrite::Never) if earlier.is_some_and(|earlier| earlier.was_empty && !resumes) => {
            let why = "an interrupted restore of another snapshot has left files there that are not complete, and \
                --overwrite never would keep them; use --overwrite if-changed or always";
            return Err(error(why.into()));
        }
        given => given,
    };
    let cleans = earlier.is_some();
    record.begin(&begun)?;
    Ok(Beginning { resumes, is_empty, made: begun.made, cleans, overwrite })
}

/// Whether nothing is there that a restore could do harm to.
fn is_free(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(found) => found.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
    }
}

fn not_empty(options: &Options, earlier: Option<&Begun>) -> String {
    let choices =
        "--overwrite if-changed (replace files whose size or time differs), --overwrite always or --overwrite never";
    let first = match options.in_place {
        true => format!("something is there already; say what becomes of it with {choices}"),
        false => format!(
            "it is not empty; name an empty directory, or one that is not there yet, or say what becomes of what is there with {choices}"
        ),
    };
    match earlier {
        Some(earlier) => format!(
            "{first}. An interrupted restore of snapshot {} has left files there; repeat its command to finish it",
            earlier.name()
        ),
        None => first,
    }
}

/// Plans and works, side by side.
fn restore(
    reader: &BlobReader<'_>,
    (source, options): (&Source, &Options),
    (target, begin): (&Target, &Beginning),
    choice: &Choice<'_>,
    top: &Top,
    watch: &Watch,
) -> Result<(), RestoreError> {
    let error = |error: std::io::Error| RestoreError::Target { path: target.path().to_owned(), why: error.to_string() };
    let fd = target.root().map_err(error)?;
    let status = fd.as_ref().map(folder::status).transpose().map_err(error)?;
    let there = There {
        folder: Folder::root(begin.is_empty && !options.in_place),
        fd,
        device: status.as_ref().map_or(0, |status| status.st_dev),
        known: status.as_ref().map(Known::from).unwrap_or_default(),
        keeps: !begin.made,
    };
    let own = match top {
        Top::Directory(_, entry) => entry.clone(),
        Top::One(_) => None,
    };
    let level = Level {
        entry: own,
        scope: choice.scope,
        taken: choice.takes_top(),
        is_whole: true,
        place: Place::There(there),
        strangers: Default::default(),
    };
    let (sender, receiver) = crossbeam_channel::bounded(0);
    let mut planner = plan::Planner {
        reader,
        target,
        watch,
        options,
        overwrite: begin.overwrite,
        choice: choice.clone(),
        remover: delete::Remover {
            target,
            selection: choice.selection,
            protected: delete::identities(&options.protected),
            dry_run: options.dry_run,
            watch,
        },
        cleans: begin.cleans,
        budget: budget(reader.index, &source.statistics),
        sender,
        work: Default::default(),
        levels: vec![level],
        linked: HashMap::new(),
    };
    let planned = thread::scope(|scope| {
        scope.spawn(move || work::work(reader, target, watch, &receiver));
        with_deep_stack(move || {
            planner.look_around(0);
            match top {
                Top::Directory(content, _) => planner.restore(content),
                Top::One(entry) => planner.restore_one(entry.clone()),
            }
        })
    });
    // What ended the work says more than that it ended.
    watch.check()?;
    planned?
}

/// How many entries a snapshot may have: what it says, with much slack, but no more than what its directories can hold.
pub(crate) fn budget(index: &Index, numbers: &Statistics) -> u64 {
    let said = numbers.files.saturating_add(numbers.directories).saturating_add(numbers.others);
    let places = index.runs.iter().flat_map(|run| (0..run.len()).map(|place| run.record(place).place));
    let bytes: u64 = places.filter(|place| place.kind == BlobKind::Tree).map(|place| u64::from(place.raw)).sum();
    let possible = (bytes / SMALLEST_ENTRY).saturating_mul(COPIES);
    said.saturating_mul(2).min(possible).saturating_add(SLACK)
}
