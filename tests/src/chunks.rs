//! A repository in a local directory, seen as the files that it consists of.

use std::fs;
use std::path::{Path, PathBuf};

/// A chunk of a local repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk {
    /// Its label.
    pub label: String,
    /// Its id.
    pub id: String,
    /// Its file.
    pub path: PathBuf,
}

impl Chunk {
    /// The label without a tag.
    pub fn family(&self) -> &str {
        self.label.split('.').next().unwrap()
    }

    /// Its bytes.
    pub fn read(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

/// All chunks of a repository, by label and id.
pub fn all(repository: &Path) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for label in names(repository) {
        if !repository.join(&label).is_dir() {
            continue;
        }
        for shard in names(&repository.join(&label)) {
            if shard.len() != 2 {
                continue;
            }
            for id in names(&repository.join(&label).join(&shard)) {
                let path = repository.join(&label).join(&shard).join(&id);
                chunks.push(Chunk { label: label.clone(), id, path });
            }
        }
    }
    chunks.sort();
    chunks
}

/// The chunks of a family.
pub fn of_family(repository: &Path, family: &str) -> Vec<Chunk> {
    all(repository).into_iter().filter(|chunk| chunk.family() == family).collect()
}

/// Adds a chunk of any bytes under any label, with the id that these bytes have.
pub fn add(repository: &Path, label: &str, bytes: &[u8]) -> Chunk {
    let id = obnam::chunk::ChunkId::of(bytes).to_string();
    let folder = repository.join(label).join(&id[..2]);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(&id);
    fs::write(&path, bytes).unwrap();
    Chunk { label: label.to_owned(), id, path }
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
