//! The runs of a repository on this machine: a directory of files that may be deleted at any time.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::{Run, RunError, Segment, Source, merge};
use crate::chunk::ChunkId;
use crate::crypto::random;

/// A new run swallows older ones of up to this many times its own size, so that there are never many.
const SWALLOW: usize = 2;

/// The directory of runs.
pub struct IndexCache {
    directory: PathBuf,
}

impl IndexCache {
    /// The runs below a repository's cache directory.
    pub fn new(cache: &Path) -> Result<Self, RunError> {
        let directory = cache.join("index");
        std::fs::create_dir_all(&directory)?;
        Ok(IndexCache { directory })
    }

    /// Maps the runs. Damaged ones are deleted; and when one covers a chunk that is not `listed` any more, all of them
    /// are, because packs may have gone with it.
    pub fn load(&self, listed: &HashSet<ChunkId>) -> Result<Vec<Arc<Run>>, RunError> {
        let mut runs = Vec::new();
        let mut stale = false;
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "run") {
                continue;
            }
            match Run::open(&path) {
                Ok(run) => {
                    stale |= run.covered().any(|id| !listed.contains(&id));
                    runs.push(Arc::new(run));
                }
                Err(error) => {
                    tracing::info!("{}: {error}; it is made again", path.display());
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        if stale {
            self.clear()?;
            runs.clear();
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        Ok(runs)
    }

    /// Deletes all runs.
    pub fn clear(&self) -> Result<(), RunError> {
        for entry in std::fs::read_dir(&self.directory)? {
            let _ = std::fs::remove_file(entry?.path());
        }
        Ok(())
    }

    /// Takes over runs that were made in another directory of this file system.
    pub fn adopt(&self, runs: &[Arc<Run>]) -> Result<(), RunError> {
        for run in runs {
            let name = run.path().file_name().ok_or(RunError::Damaged)?;
            std::fs::rename(run.path(), self.directory.join(name))?;
        }
        Ok(())
    }

    /// Adds segments, merged with the smaller ones of the runs.
    pub fn add(&self, mut runs: Vec<Arc<Run>>, segments: Vec<Segment>) -> Result<Vec<Arc<Run>>, RunError> {
        if segments.is_empty() {
            return Ok(runs);
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        let mut size: usize = segments.iter().map(|segment| segment.records.len()).sum();
        let mut swallowed = Vec::new();
        while let Some(run) = runs.pop_if(|run| run.len() <= SWALLOW * size) {
            size += run.len();
            swallowed.push(run);
        }
        let sources: Vec<&dyn Source> = segments
            .iter()
            .map(|segment| segment as &dyn Source)
            .chain(swallowed.iter().map(|run| &**run as &dyn Source))
            .collect();
        let name = |run: &str| self.directory.join(format!("{run}.run"));
        let merged = merge(&sources, &self.directory, &name(&hex::encode(random::<8>())))?;
        drop(sources);
        for run in swallowed {
            let _ = std::fs::remove_file(run.path());
        }
        runs.push(merged);
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WriterTag;

    fn segment(number: u8) -> Segment {
        let chunk = Some(ChunkId::from_bytes([number; 32]));
        Segment { chunk, signer: WriterTag([0; 8]), packs: vec![], records: vec![] }
    }

    #[test]
    fn a_vanished_chunk_empties_the_cache() {
        let root = tempfile::tempdir().expect("a directory");
        let cache = IndexCache::new(root.path()).expect("opens");
        let mut runs = Vec::new();
        for number in 0..5 {
            runs = cache.add(runs, vec![segment(number)]).expect("adds");
        }
        assert_eq!(runs.len(), 1, "small runs are merged");
        let mut listed: HashSet<_> = (0..6).map(|number| ChunkId::from_bytes([number; 32])).collect();
        assert_eq!(cache.load(&listed).expect("loads")[0].covered().count(), 5);
        let elsewhere = IndexCache::new(&root.path().join("elsewhere")).expect("opens");
        cache.adopt(&elsewhere.add(vec![], vec![segment(5)]).expect("adds")).expect("adopts");
        assert_eq!(cache.load(&listed).expect("loads").iter().flat_map(|run| run.covered()).count(), 6);
        listed.remove(&ChunkId::from_bytes([3; 32]));
        assert!(cache.load(&listed).expect("loads").is_empty());
        assert_eq!(std::fs::read_dir(root.path().join("index")).expect("reads").count(), 0);
    }
}
