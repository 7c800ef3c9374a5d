//! The options that say what a backup leaves out.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::select::{Marker, Patterns, Selection, argument, read_file};

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

/// A number of bytes such as `100M`, `2GiB` or `1.5T`: units count in 1024s, as they do wherever sizes are printed.
pub fn parse_size(text: &str) -> Result<u64, Failure> {
    let bad = || {
        Failure::Input(format!("{text:?} is no size; write a number of bytes, or one with K, M, G or T: 100M, 2GiB"))
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit).ok_or_else(bad)?;
    let factor = 1u64 << (10 * power);
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor).ok_or_else(bad),
        Err(_) => {
            let bytes = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
            if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(bad()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("5b", 5),
            ("100M", 100 << 20),
            ("100mb", 100 << 20),
            ("2GiB", 2 << 30),
            ("2 GiB", 2 << 30),
            ("1.5k", 1536),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse_size(text).expect(text), bytes, "{text}");
        }
        for bad in ["", "M", "-1", "1X", "1iB1", "1.2.3", "99999999999P", "1e3", ".", "20000000000.5G", "ib", "NaN"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
