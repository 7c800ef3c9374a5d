//! The object store, as the server itself uses it: it lists, asks for sizes and ages, and removes. It never reads a chunk.
//!
//! Keys are `PREFIX TENANT/LABEL/ID`, so that `s3:BUCKET/PREFIX TENANT` is what a client with keys of its own would open.

mod marker;
mod s3;

use obnam_chunk::{ChunkId, Label};

use crate::tenant::TenantName;

pub use marker::Preparation;
pub use s3::S3Store;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}: {why}")]
pub struct StoreError {
    /// What could not be done.
    pub doing: String,
    /// Why.
    pub why: String,
}

/// What the store knows of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Stat {
    /// The chunk's label.
    pub label: String,
    /// The chunk's id.
    pub id: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the store's clock, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
}

/// When a chunk was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// By this very call.
    Now,
    /// It was there before.
    Before,
}

/// A chunk of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChunkName {
    /// Its label.
    pub label: Label,
    /// Its id.
    pub id: ChunkId,
}

impl ChunkName {
    /// `LABEL/ID`, unless it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (label, id) = text.split_once('/')?;
        Some(ChunkName { label: label.parse().ok()?, id: id.parse().ok()? })
    }
}

impl std::fmt::Display for ChunkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.label, self.id)
    }
}

/// What the keys of a tenant begin with.
pub fn tenant_prefix(prefix: &str, tenant: &TenantName) -> String {
    format!("{prefix}{tenant}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_name_survives_its_text() {
        let name = ChunkName { label: "snapshot.00".parse().expect("a label"), id: ChunkId::of(b"x") };
        assert_eq!(ChunkName::parse(&name.to_string()), Some(name));
        for bad in ["", "data", "data/", "data/00", "/", "../x"] {
            assert_eq!(ChunkName::parse(bad), None, "{bad}");
        }
    }
}
