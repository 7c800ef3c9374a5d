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

/// The optional interface `tokens` (`wit/tokens.wit`).
mod with_tokens {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "obnam:chunk-store/token-plugin",
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub use with_tokens::TokenPluginPre;
pub use with_tokens::exports::obnam::chunk_store::tokens::{MadeToken, TokenError, TokenWish};

impl From<TokenError> for contract::Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Denied(message) => contract::Error::Denied(message),
            TokenError::Invalid(message) => contract::Error::Invalid(message),
            TokenError::Quota(message) => contract::Error::Quota(message),
            TokenError::Unavailable((message, delay_ms)) => {
                contract::Error::Unavailable(contract::UnavailableError { message, delay_ms })
            }
            TokenError::Other(message) => contract::Error::Other(message),
        }
    }
}

/// The package that a plugin exports.
pub const PACKAGE: &str = "obnam:chunk-store";
/// The version of it that is served here.
pub const VERSION: &str = "0.1.0";
/// The interface within the package.
pub const INTERFACE: &str = "chunk-store";
/// The optional interface within it for places that give out tokens.
pub const TOKENS: &str = "tokens";
/// The highest version of the WASI 0.2 interfaces that is served here.
pub const WASI_VERSION: &str = "0.2.12";
