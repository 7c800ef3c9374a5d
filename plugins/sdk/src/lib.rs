//! What storage plugins have in common.
//!
//! - The contract (`wit/chunk-store.wit`) as Rust types: implement [`Plugin`], and end with [`export!`].
//! - [`tokens`]: the optional interface of places that give out tokens (`wit/tokens.wit`), with [`export_tokens!`].
//! - [`http`]: a request and its answer over `wasi:http`, bodies spliced.
//! - [`options`]: what users say.
//! - [`url`]: hosts, paths and queries.
//! - [`chunk`]: the names of chunks.
//! - [`error`]: what went wrong, in words.
//!
//! A component imports only what it uses: a plugin that never calls [`http`] imports no HTTP.

pub mod chunk;
pub mod error;
pub mod http;
pub mod options;
mod plugin;
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

/// What `wit-bindgen` makes of the optional interface for tokens.
#[allow(missing_docs)]
pub mod token_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "obnam:chunk-store/token-plugin",
        pub_export_macro: true,
        export_macro_name: "export_token_bindings",
        default_bindings_module: "obnam_plugin::token_bindings",
    });
}

pub use token_bindings::exports::obnam::chunk_store::tokens;

impl From<Error> for tokens::TokenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(message) => tokens::TokenError::Denied(message),
            Error::Invalid(message) => tokens::TokenError::Invalid(message),
            Error::Quota(message) => tokens::TokenError::Quota(message),
            Error::Unavailable(error) => tokens::TokenError::Unavailable((error.message, error.delay_ms)),
            Error::NotFound(message)
            | Error::NotInitialised(message)
            | Error::AlreadyInitialised(message)
            | Error::Corrupt(message)
            | Error::Archived(message)
            | Error::Unsupported(message)
            | Error::Other(message) => tokens::TokenError::Other(message),
        }
    }
}

pub use bindings::exports::obnam::chunk_store::chunk_store::{
    Bodies, ByteRange, ChunkInfo, Content, Description, DirectoryWish, Error, Finding, Grants, OptionHelp, Page,
    PutOutcome, RemoveOutcome, Severity, UnavailableError,
};
pub use bindings::wasi;
pub use plugin::{Exported, Plugin};

/// Exports a type that implements [`Plugin`] as the component's `chunk-store`.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        type ExportedPlugin = $crate::Exported<$plugin>;
        $crate::bindings::export_bindings!(ExportedPlugin with_types_in $crate::bindings);
    };
}

/// Exports a type that implements [`tokens::Guest`] as the interface for tokens, beside [`export!`].
#[macro_export]
macro_rules! export_tokens {
    ($plugin:ident) => {
        $crate::token_bindings::export_token_bindings!($plugin with_types_in $crate::token_bindings);
    };
}

/// The option that Obnam sets by itself to `yes` for further instances of a store that one instance has opened.
pub const OPENED: &str = "opened";
