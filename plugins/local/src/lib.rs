//! Obnam's storage plugin for directories: local disks, removable disks, mounted network shares.
//!
//! Layout below the granted directory:
//!
//! ```text
//! OBNAM-CHUNK-STORE            the marker: one line of text, says that `init` was here
//! <label>/<xx>/<id>            a chunk; xx are the first two digits of its id
//! <label>/.tmp-<hex>           a chunk that is being written, or was when the power failed
//! ```
//!
//! A chunk is written under a temporary name, synced, hard-linked to its own name (which fails instead of replacing
//! anything), and the directories are synced, in this order: so it is either absent or whole and durable. Everything
//! goes through `wasi:filesystem` directly rather than `std::fs`, since only there a stream can be spliced into a
//! file without its bytes entering the sandbox.

mod chunks;
mod directory;
mod errors;
mod inspection;
mod listing;
mod marker;
mod names;
mod settings;

use obnam_plugin::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, OptionHelp, Page, Plugin, PutOutcome,
    RemoveOutcome,
};

use chunks::LocalStore;
use settings::Settings;

impl Plugin for LocalStore {
    fn describe() -> Description {
        Description {
            name: "local".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Keeps chunks as files below a directory: a local or removable disk, or a mounted share.".into(),
            schemes: vec!["file".into()],
            options: vec![OptionHelp::new(
                "fsync",
                "Whether to wait until the disk has what was written: yes (default) or no. With no, a power failure can \
                 lose or damage chunks; meant for tests.",
            )],
            bodies: Bodies::Stream,
        }
    }

    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
        Ok(Grants::directory(&Settings::parse(location, options)?.path))
    }

    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = LocalStore::at(Settings::parse(location, options)?)?;
        marker::create(&store)?;
        Ok(store)
    }

    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = LocalStore::at(Settings::parse(location, options)?)?;
        marker::require(&store)?;
        Ok(store)
    }

    fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error> {
        self.put_chunk(label, id, size, content)
    }

    fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        self.get_chunk(label, id, range)
    }

    fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        self.stat_chunk(label, id)
    }

    fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        listing::page(self, filter, after, limit)
    }

    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        self.remove_chunk(label, id)
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        inspection::check(self)
    }
}

obnam_plugin::export!(LocalStore);
