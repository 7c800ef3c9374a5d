//! How much a backup will come to: as much as the one before of the same paths. Where there is none, a thread goes ahead
//! and counts; it reads no file, and ends when it is told to.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backup::{Options, Watch};

/// How long to wait until the backup knows its predecessor.
const PATIENCE: Duration = Duration::from_millis(50);

/// The estimate of one backup.
#[derive(Default)]
pub struct Estimate {
    counted: OnceLock<u64>,
    over: AtomicBool,
}

impl Estimate {
    /// The bytes of files that the backup will have to go through, as soon as that is known.
    pub fn bytes(&self, watch: &Watch) -> Option<u64> {
        watch.expected.get().copied().flatten().or_else(|| self.counted.get().copied())
    }

    /// Ends the count.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Counts what is at and below the roots, if the backup has no predecessor. Markers and ignore files are not heeded, so
    /// it may come out too high.
    pub fn count(&self, watch: &Watch, options: &Options) {
        while watch.expected.get().is_none() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(PATIENCE);
        }
        if watch.expected.get().copied().flatten().is_some() {
            return;
        }
        let mut bytes = 0;
        let roots = &options.roots.paths;
        let mut waiting = roots.clone();
        while let Some(path) = waiting.pop() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let size = if metadata.is_file() { metadata.size() } else { 0 };
            if !roots.contains(&path) && is_left_out(options, &path, metadata.is_dir(), size) {
                continue;
            }
            bytes += size;
            if metadata.is_dir() {
                let entries = std::fs::read_dir(&path).into_iter().flatten();
                waiting.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
            }
        }
        let _ = self.counted.set(bytes);
    }
}

fn is_left_out(options: &Options, path: &Path, is_dir: bool, size: u64) -> bool {
    let Options { select, skip, .. } = options;
    skip.iter().any(|skip| skip == path)
        || select.patterns.matches(path, is_dir) == Some(true)
        || (!is_dir && select.larger_than.is_some_and(|most| size > most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::roots::Roots;
    use crate::select::{Patterns, Selection};

    #[test]
    fn counts_where_there_is_no_predecessor() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("sub")).expect("makes");
        for (name, size) in [("a", 5), ("sub/b", 7), ("sub/left out", 100)] {
            std::fs::write(root.path().join(name), vec![0; size]).expect("writes");
        }
        let options = Options {
            roots: Roots::new(vec![root.path().to_owned()]),
            select: Selection { patterns: Patterns::parse(["left*"]).expect("a pattern"), ..Selection::default() },
            skip: vec![],
            host: String::new(),
            tags: vec![],
            force: false,
            stream: None,
            checkpoints: None,
        };
        let count = |expected| {
            let (estimate, watch) = (Estimate::default(), Watch::default());
            let _ = watch.expected.set(expected);
            estimate.count(&watch, &options);
            estimate.bytes(&watch)
        };
        assert_eq!(count(None), Some(12));
        assert_eq!(count(Some(99)), Some(99));
        let (estimate, watch) = (Estimate::default(), Watch::default());
        estimate.end();
        estimate.count(&watch, &options);
        assert_eq!(estimate.bytes(&watch), None);
    }
}
