//! The one place that maps files into memory.
//!
//! Mapping is `unsafe` because a file that another process shortens or changes under the map is undefined behaviour
//! for the reader. The files mapped here are made by this program under a temporary name, renamed into place, never
//! written again, and lie in a directory that only the user may write (mode 0700), so nobody else changes them.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Maps a whole file of the private cache directory, read-only.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: see the head of this module.
    unsafe { Mmap::map(&file) }
}
