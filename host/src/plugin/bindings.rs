//! The contract as Rust types. This module, `sandbox` and `streams` are all that know of WASI 0.2: a world for another
//! version of the contract, or of WASI, would be a second module like this one.

#![allow(missing_docs, clippy::unwrap_used, reason = "generated code; the documentation is in wit/chunk-store.wit")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "obnam:chunk-store/plugin",
    exports: { default: async },
    with: { "wasi:io": wasmtime_wasi::p2::bindings::io },
    require_store_data_send: true,
});

pub use exports::obnam::chunk_store::chunk_store as contract;

/// The package that a plugin exports.
pub const PACKAGE: &str = "obnam:chunk-store";
/// The version of it that is served here.
pub const VERSION: &str = "0.1.0";
/// The interface within the package.
pub const INTERFACE: &str = "chunk-store";
/// The highest version of the WASI 0.2 interfaces that is served here.
pub const WASI_VERSION: &str = "0.2.12";
