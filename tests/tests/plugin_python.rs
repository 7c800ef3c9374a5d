//! A plugin in another language: Python, by componentize-py.
//!
//! The component is built once for each form in which contents can come.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::path::{Path, PathBuf};

use obnam::chunk::LabelFilter;
use obnam::plugin::{HttpSettings, KeptOptions, Limits, PluginSource, PluginStore, StoreSpec, inspect, open_store};
use obnam::store::{ChunkStore, PutOutcome, RemoveOutcome, StoreErrorKind};
use obnam_tests::python;
use obnam_tests::tools::cache;
use plugin_support::{chunk, label, text};

/// The component of the Python plugin that takes contents in this form, `STREAM` or `BYTES`.
fn python_plugin(bodies: &str) -> PathBuf {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/python-memory");
    python::component(&guest, "obnam:python-memory/python-memory", "memory", |file, text| {
        if file != "memory.py" {
            return text;
        }
        let given = "BODIES = contract.Bodies.STREAM";
        assert!(text.contains(given));
        text.replace(given, &format!("BODIES = contract.Bodies.{bodies}"))
    })
}

/// A store on one worker: the chunks are in the memory of its instance.
fn open(component: &Path, directory: &Path, answer: &str) -> PluginStore {
    let store = open_store(&StoreSpec {
        source: PluginSource::File(component.to_owned()),
        location: text(directory),
        options: vec![("answer".into(), answer.into())],
        kept: KeptOptions::default(),
        cache_dir: Some(cache().join("compiled")),
        limits: Limits::default(),
        http: HttpSettings::default(),
        workers: 1,
        create_dir: true,
    });
    let store = store.unwrap();
    store.init().unwrap();
    store
}

/// Initialises a store, then writes, reads and lists chunks.
fn round_trip(bodies: &str, answer: &str) {
    let component = python_plugin(bodies);
    let top = tempfile::tempdir().unwrap();
    let store = open(&component, top.path(), answer);
    let data = label("data");
    for size in [0, 1, 100_000, 5 << 20] {
        let (id, bytes) = chunk(size as u64 + 1, size);
        assert_eq!(store.put(&data, &id, bytes.clone()).unwrap(), PutOutcome::Stored);
        assert_eq!(store.put(&data, &id, bytes.clone()).unwrap(), PutOutcome::AlreadyPresent);
        assert_eq!(store.get(&data, &id, None).unwrap(), bytes);
        let half = size as u64 / 2;
        assert_eq!(store.get(&data, &id, Some(half..size as u64)).unwrap(), bytes.slice(size / 2..));
        assert_eq!(store.stat(&data, &id).unwrap().size, size as u64);
        let beyond = store.get(&data, &id, Some(half..size as u64 + 1)).unwrap_err();
        assert_eq!(beyond.kind, StoreErrorKind::Invalid);
    }
    let listed = store.list(&LabelFilter::All).unwrap();
    assert_eq!(listed.len(), 4);
    assert!(store.list(&LabelFilter::Exactly(label("tree"))).unwrap().is_empty());
    assert_eq!(store.remove(&data, &listed[0].id).unwrap(), RemoveOutcome::Removed);
    let error = store.get(&data, &listed[0].id, None).unwrap_err();
    assert!(error.is_not_found() && error.message.contains("plugin python-memory: there is no chunk"), "{error}");
    assert_eq!(store.init().unwrap_err().kind, StoreErrorKind::AlreadyInitialised);
    assert_eq!(store.check().unwrap()[0].code, "volatile");
}

#[test]
fn contents_travel_as_streams() {
    round_trip("STREAM", "stream");
}

#[test]
fn contents_travel_as_bytes() {
    round_trip("BYTES", "bytes");
}

#[test]
fn it_says_what_it_is() {
    let source = PluginSource::File(python_plugin("BYTES"));
    let info = inspect(&source, Some(&cache().join("compiled")), &Limits::default()).unwrap();
    assert_eq!((info.name.as_str(), info.put_streams), ("python-memory", false));
    assert_eq!(info.options[0].name, "answer");
}
