//! `obnam dump`: writes a snapshot, a part of it or a file to standard output or into a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::json;
use tempfile::NamedTempFile;

use super::output::{self, Output, complain, count, size};
use super::progress::{State, is_watched, shown};
use super::{Failure, Global, exit, interrupt, ls};
use crate::backup::counters::Current;
use crate::dump::plain::Plain;
use crate::dump::tar::Tar;
use crate::dump::zip::Zip;
use crate::dump::{self, Archive, DumpError, Source, Watch};
use crate::format::entry::EntryType;
use crate::format::roster::Role;
use crate::index::Index;
use crate::repository::Repository;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::restore;

/// Bytes that are collected before they are written.
const BUFFER: usize = 256 << 10;

/// Write a snapshot, or a part of it, as an archive; or a single file as it is.
///
/// Names in the archive are the paths of the snapshot without the leading slash; with PATH, they begin with its last part.
/// A tar archive holds everything that a tar archive can hold: owners, times in nanoseconds, links, devices, extended
/// attributes, sparse files (extract with: tar --xattrs --xattrs-include='*' -xp). A zip archive holds files, directories
/// and symbolic links.
///
/// Where a part of the snapshot cannot be read, the exit code is 3 and the archive has no proper end: tar extracts what is
/// there and then fails, zip ends at once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    obnam dump latest --output all.tar              everything\n  \
    obnam dump latest /home/me | ssh old tar -x     one directory, onto another machine\n  \
    obnam dump latest /etc/fstab                    what is in a file")]
pub struct Arguments {
    /// The snapshot: its id, the beginning of it, or "latest"
    snapshot: String,
    /// What to write: a directory with all that is in it, or a file, whose bytes are written without --archive
    path: Option<PathBuf>,
    /// The format; for anything but a single file the default is tar
    #[arg(long, value_name = "FORMAT")]
    archive: Option<Format>,
    /// Write into this new file instead of to standard output; it is there when it is complete, not before
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Tar,
    Zip,
}

impl Format {
    fn as_str(self) -> &'static str {
        match self {
            Format::Tar => "tar",
            Format::Zip => "zip",
        }
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    if output.json && arguments.output.is_none() {
        return Err(Failure::Input("with --json, standard output holds JSON only; name a file with --output".into()));
    }
    if let Some(file) = arguments.output.as_deref().filter(|file| file.symlink_metadata().is_ok()) {
        return Err(Failure::Input(format!("{} is there already, and is not overwritten", file.display())));
    }
    let repository = global.repository()?;
    repository.require(Role::Reader, "read files")?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let info = repository.resolve(&snapshots, &arguments.snapshot)?;
    let index = repository.load_index(&listing)?;
    let (source, format) = source(&repository, &index, info, arguments)?;
    if format.is_some() && arguments.output.is_none() && io::stdout().is_terminal() {
        let message =
            "an archive is not written to a terminal; name a file with --output, or give it to a program: | tar -t";
        return Err(Failure::Input(message.into()));
    }
    let mut watch = Watch { stop: interrupt::flag(), ..Watch::default() };
    watch.current = is_watched(output).then(Current::default);
    let total = arguments.path.is_none().then_some(info.snapshot.statistics.bytes);
    let entries = restore::budget(&index, &info.snapshot.statistics);
    let look = || State {
        bytes: (watch.bytes.get(), total),
        text: format!("{}, {}", count(watch.files.get(), "file", "files"), size(watch.bytes.get())),
        path: watch.current.as_ref().map(Current::get).unwrap_or_default(),
        numbers: vec![("files", watch.files.get())],
    };
    let work = |archive: &mut dyn Archive| dump::run((&repository, &index), source, entries, archive, &watch);
    let dumped = shown(output, look, || write(arguments.output.as_deref(), format, work));
    output.warnings(&repository.warnings.all());
    let problems = watch.problems.all();
    if !output.json {
        output::problems(&problems);
        if watch.left_out.get() > 0 {
            let what = count(watch.left_out.get(), "socket or special file is", "sockets or special files are");
            complain(format_args!("warning: {what} left out: the format has no such things"));
        }
    }
    dumped?;
    let is_incomplete = !problems.is_empty();
    if output.json {
        let result = json!({
            "snapshot": info.id.to_string(),
            "path": arguments.path.as_ref().map(|path| path.to_string_lossy()),
            "archive": format.map(Format::as_str),
            "output": arguments.output.as_ref().map(|file| file.to_string_lossy()),
            "files": watch.files.get(),
            "directories": watch.directories.get(),
            "others": watch.others.get(),
            "left_out": watch.left_out.get(),
            "bytes": watch.bytes.get(),
            "seconds": begun.elapsed().as_secs_f64(),
            "problems": output::problems_json(&problems),
        });
        output.document(if is_incomplete { "incomplete" } else { "ok" }, &repository.warnings.all(), result)?;
    } else if is_incomplete {
        complain("obnam: the archive is not complete (see above); what is in it can be extracted");
    }
    Ok(if is_incomplete { exit::INCOMPLETE } else { exit::OK })
}

/// What to write, and how; no format for the bytes of a file.
fn source(
    repository: &Repository,
    index: &Index,
    info: &SnapshotInfo,
    arguments: &Arguments,
) -> Result<(Source, Option<Format>), Failure> {
    let format = Some(arguments.archive.unwrap_or(Format::Tar));
    let Some(path) = &arguments.path else { return Ok((Source::Directory(info.snapshot.root.clone()), format)) };
    let path: PathBuf = Path::new("/").join(path).components().collect();
    if path.components().any(|part| part == Component::ParentDir) {
        let why = "a path in a snapshot has no \"..\"; write it as obnam ls prints it";
        return Err(Failure::Input(format!("{}: {why}", path.display())));
    }
    if path == Path::new("/") {
        return Ok((Source::Directory(info.snapshot.root.clone()), format));
    }
    let reader = BlobReader::new(repository, index);
    let entry = ls::find(&reader, &info.snapshot.root, &path)?
        .ok_or_else(|| Failure::Input(format!("{} is not in snapshot {}", path.display(), info.id.short())))?;
    let format = format.filter(|_| arguments.archive.is_some() || entry.kind != EntryType::File);
    Ok((Source::Entry(Box::new(entry), path), format))
}

/// Opens the output, lets the work write to it, and gives a file its name once that has succeeded.
fn write(
    file: Option<&Path>,
    format: Option<Format>,
    work: impl FnOnce(&mut dyn Archive) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    let through = |out: &mut dyn Write| {
        let out = BufWriter::with_capacity(BUFFER, out);
        match format {
            None => work(&mut Plain::new(out)),
            Some(Format::Tar) => work(&mut Tar::new(out)),
            Some(Format::Zip) => work(&mut Zip::new(out)),
        }
    };
    let Some(file) = file else {
        // Standard output by its descriptor: its own buffer would look for line ends.
        let out = rustix::io::dup(io::stdout()).map_err(io::Error::from)?;
        return through(&mut File::from(out));
    };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut made = NamedTempFile::new_in(folder).map_err(named)?;
    through(made.as_file_mut())?;
    made.as_file().sync_all().map_err(named)?;
    made.persist_noclobber(file).map_err(|error| named(error.error))?;
    Ok(())
}
