//! The options that say what a backup leaves out.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::select::{Marker, Patterns, Selection, argument, read_file};
use crate::size;

/// What a backup leaves out.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to leave out")]
pub struct SelectArguments {
    /// Leave out what matches this pattern, in the syntax of .gitignore; may be repeated
    ///
    /// A pattern that begins with / is an absolute path; any other matches at every depth. What a pattern matches is
    /// left out with all that is in it; a later pattern that begins with ! takes it back.
    #[arg(long, short = 'e', value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out what matches the patterns in this file, one a line, # begins a comment; may be repeated
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Leave out what is in directories that hold a file with this name, but for that file; may be repeated
    ///
    /// With NAME:HEADER, the file must begin with HEADER.
    #[arg(long, value_name = "NAME[:HEADER]")]
    pub exclude_if_present: Vec<String>,
    /// Leave out what is in cache directories: those with a CACHEDIR.TAG (https://bford.info/cachedir/)
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out files above this size, such as 100M or 2GiB (both count in 1024s)
    #[arg(long, value_name = "SIZE")]
    pub exclude_larger_than: Option<String>,
    /// Heed files with this name, such as .gitignore: each leaves out what it matches in its own directory and below,
    /// by the rules of Git; may be repeated
    #[arg(long, value_name = "NAME")]
    pub ignore_file: Vec<OsString>,
    /// Stay in the file systems of the paths that are named; keep others as empty directories
    #[arg(long, short = 'x')]
    pub one_file_system: bool,
}

impl SelectArguments {
    /// The selection that this means. Reads the files of patterns.
    pub fn selection(&self) -> Result<Selection, Failure> {
        let input = |error: &dyn std::error::Error| Failure::Input(format!("{error}; nothing was backed up"));
        let mut lines = Vec::new();
        for path in &self.exclude_from {
            lines.extend(read_file(path).map_err(|error| input(&error))?);
        }
        lines.extend(self.exclude.iter().map(|pattern| argument(pattern)));
        let mut markers = Vec::new();
        for text in &self.exclude_if_present {
            markers.push(Marker::parse(text).map_err(|error| input(&error))?);
        }
        if self.exclude_caches {
            markers.push(Marker::cache_tag());
        }
        if let Some(name) =
            self.ignore_file.iter().find(|name| name.is_empty() || PathBuf::from(name).components().count() != 1)
        {
            let message = format!("--ignore-file {name:?}: give a name without a directory, such as .obnamignore");
            return Err(Failure::Input(message));
        }
        let larger_than = self.exclude_larger_than.as_deref().map(parse_size).transpose();
        let larger_than = larger_than.map_err(|error| Failure::Input(format!("--exclude-larger-than: {error}")))?;
        Ok(Selection {
            patterns: Patterns::parse(lines).map_err(|error| input(&error))?,
            markers,
            ignore_files: self.ignore_file.clone(),
            one_file_system: self.one_file_system,
            larger_than,
        })
    }
}

/// A size on the command line or in a profile; see [`size::parse`].
pub fn parse_size(text: &str) -> Result<u64, Failure> {
    size::parse(text).map_err(Failure::Input)
}
