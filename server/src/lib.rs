//! The server of Obnam: it holds the keys of an object store, checks tokens and signs URLs. Chunks move between the
//! client and the store; the server sees neither their bytes nor what is in them.
//!
//! The rooms: [`config`] (one TOML file), [`state`] (the database: tenants, tokens, removals), [`store`] (the object
//! store: lists, heads, deletes), [`signing`] (URLs), [`api`] (one file for each call), [`removal`] (executes what was
//! recorded), [`probe`] (what the store guarantees), [`commands`] (the command line). The store alone knows which chunks
//! there are: the database keeps no list of them. `docs/server-api.md` is what clients may rely on.

// The head of a module speaks of the files in it, private or not.
#![allow(rustdoc::private_intra_doc_links)]

pub mod access;
pub mod api;
pub mod audit;
pub mod commands;
pub mod config;
pub mod limits;
pub mod metrics;
pub mod peer;
pub mod probe;
pub mod problem;
pub mod removal;
pub mod rights;
pub mod server;
pub mod signing;
pub mod state;
pub mod store;
pub mod survey;
pub mod tenant;
pub mod token;
pub mod uploads;

/// The time, in seconds since 1970.
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
