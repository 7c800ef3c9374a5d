//! Which files a backup or a restore is about: patterns in the syntax of `.gitignore`.
//!
//! Names are bytes here; none of them has to be UTF-8.

mod patterns;

pub use patterns::{PatternError, Patterns, argument, read_file};
