//! The bundled plugin for S3, with a strict fake of a store: through the plugin host, and by the program.

#![allow(clippy::unwrap_used)]

mod contract;
mod keys;
mod listing;
mod messages;
#[path = "../plugin_support/mod.rs"]
mod plugin_support;
mod requests;
mod trial;

use obnam::plugin::{PluginStore, StoreSpec, open_store};
use obnam::store::ChunkStore;
use obnam_tests::s3::Access;
use obnam_tests::s3::fake::{FakeS3, Faults};

/// Where the tests below keep their chunks in the bucket.
const PREFIX: &str = "backups/laptop";

/// A spec for a place in a store, with its keys as options.
fn spec(access: &Access, options: &[(&str, &str)]) -> StoreSpec {
    let location = format!("{}/{PREFIX}", access.location());
    let keys = [
        ("region", access.region()),
        ("access-key-id", access.access_key()),
        ("secret-access-key", access.secret_key()),
    ];
    let options = keys.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    StoreSpec {
        options: options.collect(),
        cache_dir: Some(plugin_support::cache()),
        limits: plugin_support::test_limits(),
        ..StoreSpec::for_location(&location).unwrap()
    }
}

/// A place that nobody has prepared.
fn unprepared(faults: Faults) -> (FakeS3, PluginStore) {
    let fake = FakeS3::start(faults);
    let store = open_store(&spec(&fake, &[])).unwrap();
    (fake, store)
}

/// A prepared place.
fn prepared(faults: Faults) -> (FakeS3, PluginStore) {
    let (fake, store) = unprepared(faults);
    store.init().unwrap();
    (fake, store)
}

/// The key of a chunk.
fn key(label: &str, id: &obnam::chunk::ChunkId) -> String {
    format!("{PREFIX}/{label}/{id}")
}
