//! What storage plugins have in common.
//!
//! - The contract (`wit/chunk-store.wit`) as Rust types: implement [`Guest`] and [`GuestStore`], and end with [`export!`].
//! - [`http`]: a request and its answer over `wasi:http`, bodies spliced.
//! - [`url`]: hosts, paths and queries.
//! - [`chunk`]: the names of chunks.
//! - [`error`]: what went wrong, in words.
//!
//! A component imports only what it uses: a plugin that never calls [`http`] imports no HTTP.

pub mod chunk;
pub mod error;
pub mod http;
pub mod url;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package obnam:sdk;
            world sdk {
                include obnam:chunk-store/plugin@0.1.0;
                import wasi:http/types@0.2.12;
                import wasi:http/outgoing-handler@0.2.12;
                import wasi:clocks/wall-clock@0.2.12;
                import wasi:clocks/monotonic-clock@0.2.12;
                import wasi:random/random@0.2.12;
                import wasi:filesystem/preopens@0.2.12;
                import wasi:filesystem/types@0.2.12;
            }
        ",
        world: "obnam:sdk/sdk",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_bindings",
        default_bindings_module: "obnam_plugin::bindings",
    });
}

pub use bindings::exports::obnam::chunk_store::chunk_store::{
    Bodies, ByteRange, ChunkInfo, Content, Description, DirectoryWish, Error, Finding, Grants, Guest, GuestStore,
    OptionHelp, Page, PutOutcome, RemoveOutcome, Severity, Store, UnavailableError,
};
pub use bindings::wasi;

/// Exports a type that implements [`Guest`] as the plugin.
#[macro_export]
macro_rules! export {
    ($plugin:ident) => {
        $crate::bindings::export_bindings!($plugin with_types_in $crate::bindings);
    };
}

/// The option that Obnam sets by itself to `yes` for further instances of a store that one instance has opened.
pub const OPENED: &str = "opened";
