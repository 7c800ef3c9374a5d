//! Files that are no plugins, or plugins for another host: explained in words.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::fs;
use std::path::PathBuf;

use obnam::plugin::{Limits, PluginSource, inspect};
use obnam::store::{StoreError, StoreErrorKind};
use plugin_support::{local_store, misbehaving_spec};

/// The error for a file with these contents.
fn refused(contents: &[u8]) -> StoreError {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("plugin.wasm");
    fs::write(&file, contents).unwrap();
    let error = inspect(&PluginSource::File(file.clone()), None, &Limits::default()).unwrap_err();
    assert!(error.message.contains(file.to_str().unwrap()), "{error}");
    error
}

/// The message for a component in the text format.
fn misfit(component: &str) -> String {
    let error = refused(&wat::parse_str(component).unwrap());
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    // Others are well.
    let top = tempfile::tempdir().unwrap();
    local_store(&top.path().join("store"));
    error.message
}

#[track_caller]
fn assert_says(message: &str, words: &str) {
    assert!(message.contains(words), "{words:?} is not in: {message}");
}

#[test]
fn files_that_are_no_components() {
    let path = PathBuf::from("/nowhere/plugin.wasm");
    let error = inspect(&PluginSource::File(path), None, &Limits::default()).unwrap_err();
    assert_says(&error.message, "cannot read the plugin /nowhere/plugin.wasm: No such file");
    assert_says(&refused(b"").message, "it is not a WebAssembly component");
    assert_says(&refused(b"#!/bin/sh\necho\n").message, "it is not a WebAssembly component");
    assert_says(&refused(&wat::parse_str("(module)").unwrap()).message, "it is a WebAssembly core module");
    assert_says(&refused(b"\0asm\x0d\0\x01\0garbage").message, "it does not compile");
}

#[test]
fn components_that_are_no_plugins() {
    assert_says(&misfit("(component)"), "it exports nothing; a plugin exports obnam:chunk-store/chunk-store@0.1.0");
    let command = r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#;
    assert_says(&misfit(command), "it is no storage plugin: it exports wasi:cli/run@0.2.0");
}

#[test]
fn plugins_for_another_host() {
    let newer = r#"(component (instance $i) (export "obnam:chunk-store/chunk-store@0.2.0" (instance $i)))"#;
    assert_says(&misfit(newer), "the plugin wants obnam:chunk-store@0.2.0, this obnam serves 0.1.0; use a newer obnam");
    let lacking = r#"(component (instance $i) (export "obnam:chunk-store/chunk-store@0.1.0" (instance $i)))"#;
    assert_says(&misfit(lacking), "its obnam:chunk-store/chunk-store is not the one of version 0.1.0");
    let import = |name: &str, inside: &str| {
        format!(
            r#"(component (import "{name}" (instance {inside})) (instance $i)
                (export "obnam:chunk-store/chunk-store@0.1.0" (instance $i)))"#
        )
    };
    assert_says(
        &misfit(&import("acme:db/query@1.0.0", "")),
        "it imports acme:db/query@1.0.0, which this obnam does not",
    );
    assert_says(&misfit(&import("wasi:http/types@0.3.0", "")), "WASI 0.3.0; this obnam serves WASI 0.2");
    let unknown = import("wasi:cli/environment@0.2.0", r#"(export "conjure" (func))"#);
    assert_says(&misfit(&unknown), "its imports do not fit what this obnam serves (WASI 0.2 up to 0.2.12)");
}

#[test]
fn inspecting_a_plugin_tells_what_it_is() {
    let top = tempfile::tempdir().unwrap();
    let spec = misbehaving_spec(top.path(), "work");
    let info = inspect(&spec.source, None, &spec.limits).unwrap();
    assert_eq!(info.name, "misbehaving");
    assert!(info.imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler@")));
    assert_eq!(info.wasm_sha256.len(), 64);
    assert!(info.options.iter().any(|option| option.name == "password" && option.secret));
}
