//! Obnam: end-to-end encrypted, deduplicating backups into sandboxed storage backends.
//!
//! The layers, from the top: commands ([`cli`]), backup, restore and check, the typed layer ([`repository`]), the raw
//! layer ([`store`]), and the plugin host ([`plugin`]). `docs/architecture.md` has the picture, `docs/format.md` the
//! format of what is stored.

// The head of a module speaks of the files in it, private or not.
#![allow(rustdoc::private_intra_doc_links)]

pub mod allocator;
pub mod audit;
pub mod backup;
pub mod check;
pub use obnam_chunk as chunk;
pub mod chunker;
pub mod cli;
#[doc(hidden)]
pub mod clock;
pub mod config;
pub mod copy;
pub mod credential;
pub mod crypto;
pub mod diff;
pub mod dump;
pub mod find;
pub mod format;
pub mod hooks;
pub mod index;
pub mod inode;
pub mod local;
mod mapped;
pub mod mount;
pub mod plugin;
pub mod problem;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod rewrite;
pub mod select;
mod size;
pub mod stats;
pub mod status;
pub mod store;
