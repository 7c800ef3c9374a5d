//! What goes wrong around the program: arguments, places, disks, local files, signals. Each has a clear message and a
//! documented exit code, and nothing is lost.

#![allow(clippy::unwrap_used)]

mod disks;
mod local;
mod usage;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use obnam_tests::{Ran, Sandbox, run};

fn bare(sandbox: &Sandbox, arguments: &[OsString]) -> Ran {
    run(sandbox.bare().args(arguments))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
