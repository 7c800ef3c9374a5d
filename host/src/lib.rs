//! Obnam: end-to-end encrypted, deduplicating backups into sandboxed storage backends.

pub mod chunk;
pub mod crypto;
pub mod format;
pub mod store;
