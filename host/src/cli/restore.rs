//! `obnam restore`: brings a snapshot back.

use std::ffi::{OsStr, OsString};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output::{self, Output, count, printable, size};
use super::progress::{State, is_watched, shown};
use super::{Failure, Global, exit, interrupt};
use crate::backup::counters::Current;
use crate::local::Dirs;
use crate::repository::Repository;
use crate::restore::{Action, Options, Overwrite, Source, Watch, run as bring_back};
use crate::select::{self, Patterns};

/// Restore a snapshot, or a part of it, into a directory.
///
/// The paths of the backup are made below TARGET: /home/liw becomes TARGET/home/liw. With SNAPSHOT:PATH, what is in the
/// directory PATH goes straight into TARGET; a single file becomes TARGET/NAME. What is damaged is reported, all else is
/// restored, and the exit code is 3.
///
/// Nothing that is there is touched unless --overwrite says so. A restore that was interrupted goes on where it was when
/// the same command is given again: files that are complete are kept.
///
/// Symbolic links in TARGET are never followed, and nothing outside of TARGET is ever written to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    obnam restore latest /tmp/restored                         everything, below /tmp/restored\n  \
    obnam restore latest:/home/me/letters /tmp/letters         what was in one directory\n  \
    obnam restore latest:/etc/fstab .  --overwrite always      one file, in place of the one here\n  \
    obnam restore latest /tmp/pdfs --include '*.pdf'           some files\n  \
    obnam restore latest --in-place --overwrite if-changed     back to where it was\n  \
    obnam restore latest:/home/me --in-place --overwrite if-changed --delete --dry-run -v\n                                                             \
    what it would take to have the directory as it was")]
pub struct Arguments {
    /// The snapshot: its id, the beginning of it, or "latest"; with :PATH, what stands at this path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// A directory; it is made if it is not there, and must be empty without --overwrite
    #[arg(required_unless_present = "in_place", conflicts_with = "in_place")]
    target: Option<PathBuf>,
    /// Restore everything to the path that it was backed up from; directories above that keep their metadata
    #[arg(long)]
    in_place: bool,
    /// What becomes of files that are there: always replaced; replaced if size or time of modification differ; or never.
    /// A new file takes the place of the old one when it is complete, not before
    #[arg(long, value_name = "MODE")]
    overwrite: Option<OverwriteMode>,
    /// Restore only what matches, with all that is below it; may be repeated. The syntax is that of .gitignore, for
    /// paths as in the snapshot
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Do not restore what matches; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Remove from restored directories what the snapshot does not have, also what the backup has left out by its own
    /// excludes: give these here as well. Nothing is removed where a part of a directory is lost or not restored, on other
    /// file systems, and nothing that --exclude matches; try it with --dry-run -v first
    #[arg(long)]
    delete: bool,
    /// Do not restore owners and groups, nor setuid and setgid bits
    #[arg(long)]
    no_owner: bool,
    /// Write nothing; count what would be made, overwritten, kept and deleted. With -v, list it
    #[arg(long)]
    dry_run: bool,
    /// Afterwards, read all restored files back from the disk and compare them with the snapshot
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverwriteMode {
    Always,
    IfChanged,
    Never,
}

impl From<OverwriteMode> for Overwrite {
    fn from(mode: OverwriteMode) -> Self {
        match mode {
            OverwriteMode::Always => Overwrite::Always,
            OverwriteMode::IfChanged => Overwrite::IfChanged,
            OverwriteMode::Never => Overwrite::Never,
        }
    }
}

/// Splits SNAPSHOT[:PATH].
fn split(argument: &OsStr) -> Result<(String, Option<PathBuf>), Failure> {
    let bytes = argument.as_bytes();
    let colon = bytes.iter().position(|&b| b == b':');
    let (name, path) = match colon {
        Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
        None => (bytes, None),
    };
    let path = match path {
        None => None,
        Some(b"") => return Err(Failure::Input("there is no path after the colon; write SNAPSHOT:/some/path".into())),
        Some(path) => {
            let path: PathBuf = Path::new("/").join(OsStr::from_bytes(path)).components().collect();
            if path.components().any(|part| part == std::path::Component::ParentDir) {
                let why = "a path in a snapshot has no \"..\"; write it as obnam ls prints it";
                return Err(Failure::Input(format!("{}: {why}", path.display())));
            }
            Some(path)
        }
    };
    Ok((String::from_utf8_lossy(name).into_owned(), path))
}

fn patterns(option: &str, lines: &[String]) -> Result<Option<Patterns>, Failure> {
    if lines.is_empty() {
        return Ok(None);
    }
    let patterns = Patterns::parse(lines.iter().map(|line| select::argument(line)));
    patterns.map(Some).map_err(|error| Failure::Input(format!("{option}: {error}")))
}

fn options(global: &Global, arguments: &Arguments, repository: &Repository) -> Result<Options, Failure> {
    let dirs = Dirs::from_environment()?;
    let mut protected = vec![dirs.cache_root().to_owned(), dirs.pins()?, dirs.state(&repository.id)?];
    protected.extend(global.local_directory());
    Ok(Options {
        target: arguments.target.clone().unwrap_or_else(|| PathBuf::from("/")),
        in_place: arguments.in_place,
        overwrite: arguments.overwrite.map(Overwrite::from),
        delete: arguments.delete,
        owners: !arguments.no_owner,
        dry_run: arguments.dry_run,
        verify: arguments.verify,
        include: patterns("--include", &arguments.include)?,
        exclude: patterns("--exclude", &arguments.exclude)?,
        protected,
    })
}

/// What happened to each path, for `-v`: lines on standard output as it happens, or a list for the JSON document.
#[derive(Clone)]
struct Changes {
    json: Arc<Mutex<Vec<Value>>>,
    lines: Arc<Mutex<BufWriter<std::io::Stdout>>>,
}

impl Changes {
    fn watch(watch: &mut Watch, is_json: bool, target: PathBuf) -> Self {
        let changes = Changes { json: Arc::default(), lines: Arc::new(Mutex::new(BufWriter::new(std::io::stdout()))) };
        let told = changes.clone();
        watch.told = Some(Box::new(move |action: Action, path: &Path| {
            let path = target.join(path);
            if is_json {
                let change = json!({ "action": action.as_str(), "path": path.to_string_lossy() });
                told.json.lock().expect("no panic while the lock is held").push(change);
            } else {
                let path = printable(path.as_os_str().as_bytes());
                let mut lines = told.lines.lock().expect("no panic while the lock is held");
                // Whoever reads may have enough; the restore goes on.
                let _ = writeln!(lines, "{:<9} {path}", action.as_str());
            }
        }));
        changes
    }

    fn end(&self) {
        let _ = self.lines.lock().expect("no panic while the lock is held").flush();
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let (name, path) = split(&arguments.snapshot)?;
    let repository = global.repository()?;
    let options = options(global, arguments, &repository)?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let info = repository.resolve(&snapshots, &name)?;
    let index = repository.load_index(&listing)?;
    let source = Source::new(info, path);
    let mut watch = Watch::stopped_by(interrupt::flag());
    let is_told = global.verbose > 0 && (!output.quiet || output.json);
    let changes = is_told.then(|| Changes::watch(&mut watch, output.json, options.target.clone()));
    let is_whole = source.path.is_none() && options.include.is_none() && options.exclude.is_none();
    let total = (is_whole && options.overwrite.is_none()).then_some(info.snapshot.statistics.bytes);
    watch.current = is_watched(output).then(Current::default);
    let look = || {
        let verified = watch.verified_bytes.get();
        let text = match verified {
            0 => format!("{}, {}", count(watch.files.get(), "file", "files"), size(watch.bytes.get())),
            _ => format!("{} read back, {}", count(watch.verified.get(), "file", "files"), size(verified)),
        };
        let numbers = vec![("files", watch.files.get()), ("verified", watch.verified.get())];
        let path = watch.current.as_ref().map(Current::get).unwrap_or_default();
        State { bytes: (watch.bytes.get(), total), text, path, numbers }
    };
    let restored = shown(output, look, || bring_back(&repository, &index, &source, &options, &watch));
    if let Some(changes) = &changes {
        changes.end();
    }
    let problems = watch.problems.all();
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if !output.json {
        output::problems(&problems);
    }
    restored?;
    let incomplete = !problems.is_empty();
    if output.json {
        let changes = changes.map(|changes| changes.json.lock().expect("no panic while the lock is held").clone());
        let result = json!({
            "snapshot": info.id.to_string(),
            "path": source.path.as_ref().map(|path| path.to_string_lossy()),
            "target": options.target.to_string_lossy(),
            "dry_run": options.dry_run,
            "resumed": watch.resumes(),
            "files": watch.files.get(),
            "directories": watch.directories.get(),
            "others": watch.others.get(),
            "bytes": watch.bytes.get(),
            "made": watch.made.get(),
            "overwritten": watch.overwritten.get(),
            "kept": watch.kept.get(),
            "deleted": watch.deleted.get(),
            "verified": options.verify.then(|| watch.verified.get()),
            "changes": changes,
            "seconds": begun.elapsed().as_secs_f64(),
            "problems": output::problems_json(&problems),
        });
        output.document(if incomplete { "incomplete" } else { "ok" }, &warnings, result)?;
    } else {
        summary(output, &watch, &options, &info.id.short().to_string(), begun)?;
        if incomplete {
            output.summary(format!("  {} (see above)", count(problems.len() as u64, "problem", "problems")))?;
        }
        output.flush()?;
    }
    Ok(if incomplete { exit::INCOMPLETE } else { exit::OK })
}

fn summary(output: &mut Output, watch: &Watch, options: &Options, name: &str, begun: Instant) -> Result<(), Failure> {
    let verb = match (options.dry_run, watch.resumes()) {
        (true, _) => "nothing was written; would restore",
        (false, true) => "went on where an interrupted restore was, and restored",
        (false, false) => "restored",
    };
    output.summary(format!(
        "{verb} {} from snapshot {name} ({}, {}) in {:.1} s",
        count(watch.files.get(), "file", "files"),
        count(watch.directories.get(), "directory", "directories"),
        size(watch.bytes.get()),
        begun.elapsed().as_secs_f64()
    ))?;
    output.summary(format!(
        "  {} made, {} overwritten, {} kept, {} deleted",
        watch.made.get(),
        watch.overwritten.get(),
        watch.kept.get(),
        watch.deleted.get()
    ))?;
    if options.verify {
        let read = size(watch.verified_bytes.get());
        output.summary(format!("  {} read back and good, {read}", count(watch.verified.get(), "file", "files")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_and_path() {
        let split = |text: &str| split(OsStr::new(text)).map_err(|error| error.to_string());
        assert_eq!(split("latest"), Ok(("latest".into(), None)));
        assert_eq!(split("ab12:/a/b/"), Ok(("ab12".into(), Some("/a/b".into()))));
        assert_eq!(split("latest:a:b"), Ok(("latest".into(), Some("/a:b".into()))));
        assert_eq!(split("latest:/"), Ok(("latest".into(), Some("/".into()))));
        assert!(split("latest:").is_err());
        assert!(split("latest:/a/../b").is_err());
    }
}
