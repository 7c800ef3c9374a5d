//! Which files a backup or a restore is about: patterns in the syntax of `.gitignore`, markers in directories, sizes,
//! file systems.
//!
//! Nothing here walks: the walker of a backup asks for each entry before it touches it. Names are bytes; none of them
//! has to be UTF-8.

mod marker;
mod patterns;

use std::ffi::OsString;

pub use marker::{Marker, MarkerError};
pub use patterns::{PatternError, Patterns, argument, read_file};

/// What a backup leaves out of the directories that it is to back up. What the user named is never left out.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Patterns for paths from `/`.
    pub patterns: Patterns,
    /// Directories that hold one of these are left out, but for themselves and it.
    pub markers: Vec<Marker>,
    /// Names of files with patterns for the directory that they are in, and what is below it.
    pub ignore_files: Vec<OsString>,
    /// Whether to stay in the file system of what was named.
    pub one_file_system: bool,
    /// Files above this size are left out, in bytes.
    pub larger_than: Option<u64>,
}
