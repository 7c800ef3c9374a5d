//! A plugin in another language: Python, by componentize-py.
//!
//! The component has 18 MB and is not kept in the repository: the test builds it, once for each form in which contents
//! can come, and keeps it in `$OBNAM_TEST_CACHE` (default `~/.cache/obnam-tests`), along with componentize-py itself
//! where it is not installed.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use obnam::chunk::{ChunkId, LabelFilter};
use obnam::plugin::{HttpSettings, KeptOptions, Limits, PluginSource, PluginStore, StoreSpec, inspect, open_store};
use obnam::store::{ChunkStore, PutOutcome, RemoveOutcome, StoreErrorKind};
use plugin_support::{chunk, label, text};

const VERSION: &str = "0.25.1";

/// Where what is built lives on from one run to the next.
fn cache() -> PathBuf {
    let chosen = std::env::var_os("OBNAM_TEST_CACHE").map(PathBuf::from);
    let directory = chosen.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME or OBNAM_TEST_CACHE is set");
        PathBuf::from(home).join(".cache/obnam-tests")
    });
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs a command that must work.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; the Python plugin cannot be tested without it:\n{words}");
}

/// The componentize-py to use: the one on the path, if it is of the right version, else one of our own.
fn componentize_py() -> PathBuf {
    let version = |program: &Path| {
        let output = Command::new(program).arg("--version").output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().ends_with(VERSION).then(|| program.to_owned())
    };
    if let Some(program) = version(Path::new("componentize-py")) {
        return program;
    }
    let venv = cache().join(format!("componentize-py-{VERSION}"));
    let program = venv.join("bin/componentize-py");
    if version(&program).is_none() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        run(Command::new(venv.join("bin/pip")).args(["install", &format!("componentize-py=={VERSION}")]));
    }
    program
}

/// The component of the Python plugin that takes contents in this form, `STREAM` or `BYTES`.
fn python_plugin(bodies: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (guest, wit) = (tests.join("guests/python-memory"), tests.join("../wit"));
    let mut inputs = format!("{VERSION} {bodies}").into_bytes();
    for file in
        [guest.join("memory.py"), guest.join("chunk_store.py"), guest.join("world.wit"), wit.join("chunk-store.wit")]
    {
        inputs.extend(fs::read(file).unwrap());
    }
    let component = cache().join(format!("python-memory-{}.wasm", ChunkId::of(&inputs)));
    if component.exists() {
        return component;
    }
    let build = tempfile::tempdir_in(cache()).unwrap();
    let source = fs::read_to_string(guest.join("memory.py")).unwrap();
    let (given, wanted) = ("BODIES = contract.Bodies.STREAM", format!("BODIES = contract.Bodies.{bodies}"));
    assert!(source.contains(given));
    fs::write(build.path().join("memory.py"), source.replace(given, &wanted)).unwrap();
    fs::copy(guest.join("chunk_store.py"), build.path().join("chunk_store.py")).unwrap();
    let mut command = Command::new(componentize_py());
    command.current_dir(build.path()).arg("-d").arg(&wit).arg("-d").arg(guest.join("world.wit"));
    command.args(["-w", "obnam:python-memory/python-memory", "componentize", "-p", ".", "memory", "-o", "built.wasm"]);
    run(&mut command);
    fs::rename(build.path().join("built.wasm"), &component).unwrap();
    component
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
