//! `obnam backup`: makes a snapshot.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::context::host_name;
use super::output::{self, Output, count, printable, size};
use super::progress::{State, beside, is_watched, shown};
use super::select::SelectArguments;
use super::{Failure, Global, around, dry_run, exit, interrupt};
use crate::backup::counters::{Counters, Current};
use crate::backup::roots::{Roots, absolute};
use crate::backup::stream::{CommandOutput, Stream};
use crate::backup::{Options, Outcome, Watch, run as back_up};
use crate::format::entry::{Entry, EntryType};
use crate::local::Dirs;

/// Back up files and directories into a new snapshot.
///
/// Files whose size, times and inode are as in the last backup are not opened. What cannot be read is reported, the
/// snapshot is made without it, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam backup /home/me /etc
  obnam backup ~ --exclude '*.iso' --exclude-caches --tag before-upgrade
  obnam backup /home --progress json 2> progress.jsonl")]
pub struct Arguments {
    /// What to back up; without it, the sources of the profile
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A tag for the snapshot; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// The machine's name in the snapshot
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Read every file, changed or not
    #[arg(long)]
    force: bool,
    /// Only say what a backup would do; with -v, name each new (+), changed (M) and removed (-) entry
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    select: SelectArguments,
    #[command(flatten)]
    stream: StreamArguments,
    /// Minutes between partial snapshots in a long backup; 0 for none
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0)]
    checkpoint_interval: f64,
}

/// A stream to back up instead of paths.
#[derive(Debug, Args)]
struct StreamArguments {
    /// Back up standard input as one file
    #[arg(long, conflicts_with_all = ["paths", "stdin_from_command", "dry_run"])]
    stdin: bool,
    /// The name of that file in the snapshot
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    stdin_filename: String,
    /// Back up what a command prints, as one file; no snapshot is made if the command fails. The command stands at the end:
    /// obnam backup --stdin-from-command -- pg_dump mydb
    #[arg(long, requires = "command", conflicts_with_all = ["paths", "dry_run"])]
    stdin_from_command: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD", requires = "stdin_from_command", allow_hyphen_values = true)]
    command: Vec<std::ffi::OsString>,
}

impl StreamArguments {
    fn is_wanted(&self) -> bool {
        self.stdin || self.stdin_from_command
    }

    /// The stream, if one was asked for. A command is started.
    fn stream(&self) -> Result<Option<Stream>, Failure> {
        let name = &self.stdin_filename;
        if !self.is_wanted() {
            return Ok(None);
        }
        if Entry::new(name.as_bytes(), EntryType::File).check_name().is_err() {
            let why = "it must be the name of a file, without a slash";
            return Err(Failure::Input(format!("--stdin-filename {name:?}: {why}")));
        }
        if self.stdin {
            return Ok(Some(Stream::new(name.clone(), std::io::stdin())));
        }
        let output = CommandOutput::start(&self.command).map_err(|error| {
            let program = self.command[0].to_string_lossy();
            Failure::Input(format!("cannot start the command {program}: {error}; nothing was done"))
        })?;
        Ok(Some(Stream::new(name.clone(), output)))
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match arguments.dry_run {
        true => make(global, arguments, output),
        false => around::run(global, output, |output| make(global, arguments, output)),
    }
}

fn make(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let begun = Instant::now();
    let mut paths = Vec::new();
    let sources = if arguments.stream.is_wanted() { Vec::new() } else { global.sources(&arguments.paths)? };
    for path in &sources {
        let path = absolute(path)
            .map_err(|error| Failure::Input(format!("cannot back up {}: {error}; nothing was done", path.display())))?;
        paths.push(path);
    }
    let select = global.select(&arguments.select).selection()?;
    let repository = global.repository()?;
    let mut skip = vec![Dirs::from_environment()?.cache_root().to_owned()];
    skip.extend(global.local_directory());
    let options = Options {
        roots: Roots::new(paths),
        select,
        skip,
        host: global.host(arguments.host.as_deref()).unwrap_or_else(host_name),
        tags: global.tags(&arguments.tag),
        force: arguments.force,
        stream: arguments.stream.stream()?,
        checkpoints: Some(arguments.checkpoint_interval)
            .filter(|minutes| *minutes > 0.0)
            .and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok()),
    };
    let mut watch = Watch::stopped_by(interrupt::flag());
    if arguments.dry_run {
        return dry_run::run(&repository, &options, &watch, global.verbose > 0, output);
    }
    if global.verbose > 0 && !output.json && !output.quiet {
        watch.listener = Some(Box::new(|path, new| tell(if new { '+' } else { 'M' }, path)));
    }
    watch.counts_ahead = is_watched(output);
    watch.current = is_watched(output).then(Current::default);
    let outcome = shown(output, || state(&watch), || back_up(&repository, &options, &watch));
    let problems = watch.problems.all();
    if !output.json {
        output::problems(&problems);
    }
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            output.warnings(&repository.warnings.all());
            return Err(error.into());
        }
    };
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    let incomplete = !problems.is_empty();
    if output.json {
        let result = json!({
            "snapshot": outcome.id.to_string(),
            "statistics": outcome.snapshot.statistics,
            "excluded_files": watch.counters.excluded_files.get(),
            "excluded_directories": watch.counters.excluded_directories.get(),
            "seconds": begun.elapsed().as_secs_f64(),
            "problems": output::problems_json(&problems),
        });
        output.document(if incomplete { "incomplete" } else { "ok" }, &warnings, result)?;
    } else {
        summary(output, &outcome, &watch.counters, begun)?;
    }
    Ok(if incomplete { exit::INCOMPLETE } else { exit::OK })
}

/// What the progress says.
fn state(watch: &Watch) -> State {
    let numbers = watch.counters.statistics();
    let text = format!(
        "{}, {} read; {} new, {} uploaded",
        count(numbers.files, "file", "files"),
        size(numbers.bytes),
        size(numbers.new_bytes),
        size(numbers.stored_bytes)
    );
    let numbers = vec![
        ("files", numbers.files),
        ("directories", numbers.directories),
        ("new_files", numbers.new_files),
        ("changed_files", numbers.changed_files),
        ("unchanged_files", numbers.unchanged_files),
        ("new_bytes", numbers.new_bytes),
        ("stored_bytes", numbers.stored_bytes),
        ("problems", watch.problems.all().len() as u64),
    ];
    let path = watch.current.as_ref().map(Current::get).unwrap_or_default();
    State { bytes: (watch.counters.bytes.get(), watch.total()), text, path, numbers }
}

/// Prints a file that is read, for `--verbose`. What cannot be printed is not worth a failed backup.
fn tell(sign: char, path: &Path) {
    let path = printable(path.as_os_str().as_bytes());
    beside(|| {
        let _ = writeln!(std::io::stdout(), "{sign} {path}");
    });
}

fn summary(output: &mut Output, outcome: &Outcome, counters: &Counters, begun: Instant) -> Result<(), Failure> {
    let numbers = &outcome.snapshot.statistics;
    output.summary(format!("snapshot {} saved in {:.1} s", outcome.id.short(), begun.elapsed().as_secs_f64()))?;
    output.summary(format!(
        "  {} with {}: {} new, {} changed, {} unchanged",
        count(numbers.files, "file", "files"),
        size(numbers.bytes),
        numbers.new_files,
        numbers.changed_files,
        numbers.unchanged_files,
    ))?;
    output.summary(format!(
        "  {}, {}",
        count(numbers.directories, "directory", "directories"),
        count(numbers.others, "other entry", "other entries")
    ))?;
    output.summary(format!(
        "  added: {}, stored as {} after compression",
        size(numbers.new_bytes),
        size(numbers.stored_bytes)
    ))?;
    excluded(output, counters)?;
    if numbers.errors > 0 {
        output.summary(format!("  {} (see above)", count(numbers.errors, "problem", "problems")))?;
    }
    output.flush()
}

/// What was left out because the user wants it so.
pub fn excluded(output: &mut Output, counters: &Counters) -> Result<(), Failure> {
    let (files, directories) = (counters.excluded_files.get(), counters.excluded_directories.get());
    if files + directories == 0 {
        return Ok(());
    }
    output.summary(format!(
        "  {} and {} excluded",
        count(files, "file", "files"),
        count(directories, "directory", "directories")
    ))
}
