//! What a backup keeps of an inode besides contents and what `stat` tells: extended attributes, flags, holes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::Stat;

use crate::format::entry::{Entry, Pair, Xattr};
use crate::inode::{Inode, flags, runs, xattrs};

/// See the head of this module.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    xattrs: Vec<Xattr>,
    flags: Option<u32>,
    /// Size and runs of data of a sparse file.
    holes: Option<(u64, Vec<Pair>)>,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl Attributes {
    /// Those of an open file or directory: two calls where there are no extended attributes.
    pub fn of_open(file: impl AsFd) -> Self {
        let mut problems = Vec::new();
        let xattrs = xattrs::read(&Inode::Open(file.as_fd()), &mut problems);
        let flags = flags::read(&file).unwrap_or_else(|error| {
            problems.push(format!("its flags cannot be read and are not in the backup: {error}"));
            None
        });
        Attributes { xattrs, flags, holes: None, problems }
    }

    /// Those of what cannot be opened, or must not be.
    pub fn of_named(directory: impl AsFd, name: &OsStr, path: &Path) -> Self {
        let inode = Inode::below(directory, name).unwrap_or_else(|| Inode::Named(path.to_owned()));
        let mut problems = Vec::new();
        Attributes { xattrs: xattrs::read(&inode, &mut problems), problems, ..Attributes::default() }
    }

    /// Looks for holes in a file of this size. Returns the runs of data, if it has any.
    pub fn find_holes(&mut self, file: &File, size: u64) -> io::Result<Option<&mut Vec<Pair>>> {
        self.holes = runs::find(file, size)?.map(|runs| (size, runs));
        Ok(self.holes.as_mut().map(|(_, runs)| runs))
    }

    /// Only so many bytes of the runs were there when they were read.
    pub fn shorten(&mut self, read: u64) {
        if let Some((size, runs)) = &mut self.holes {
            runs::truncate(runs, read);
            *size = runs.last().map_or(0, |last| last.0 + last.1);
        }
    }

    /// Notes them in an entry, which has its times. Where something could not be read, the next backup has to try again
    /// and must not find the inode unchanged.
    pub fn write_to(self, entry: &mut Entry) {
        if !self.problems.is_empty() {
            entry.ctime = None;
        }
        entry.xattrs = Some(self.xattrs).filter(|xattrs| !xattrs.is_empty());
        entry.flags = self.flags;
        (entry.size, entry.extents) = self.holes.unzip();
    }
}

/// Whether a file has fewer bytes on disk than its size, so that it is worth while to look for holes.
pub fn may_be_sparse(stat: &Stat) -> bool {
    let (blocks, size) = (stat.st_blocks as u64, stat.st_size as u64);
    size >= runs::MIN_HOLE && blocks.saturating_mul(512) < size
}
