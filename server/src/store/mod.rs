//! Where chunks are: in an object store, or in a directory.
//!
//! In an object store the server itself lists, asks for sizes and ages, and removes; it stores chunks only where clients
//! cannot be let do it, and reads none. Keys are `PREFIX TENANT/LABEL/ID`, so that `s3:BUCKET/PREFIX TENANT` is what a client with keys of its own would open.

mod directory;
mod marker;
mod s3;

use std::sync::Arc;

use hyper::body::Bytes;
use obnam_chunk::{ChunkId, Label};

use crate::config::{Config, Place};
use crate::signing::SigningError;
use crate::tenant::TenantName;

pub use directory::Folder;
pub use marker::Preparation;
pub use s3::S3Store;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}: {why}")]
pub struct StoreError {
    /// Whether there is no room left.
    pub full: bool,
    /// What could not be done.
    pub doing: String,
    /// Why.
    pub why: String,
}

impl StoreError {
    /// What could not be done, and why.
    pub fn new(doing: impl Into<String>, why: impl Into<String>) -> Self {
        StoreError { full: false, doing: doing.into(), why: why.into() }
    }
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

/// The name of the file or object that says that a tenant's place was prepared. Upper case, so that it cannot be a label.
const MARKER: &str = "OBNAM-CHUNK-STORE";

/// Where chunks are.
pub enum Store {
    /// In an object store.
    S3(Box<S3Store>),
    /// In a directory.
    Directory(Arc<Folder>),
}

impl Store {
    /// That of the configuration. Asks nothing yet.
    pub fn open(config: &Config) -> Result<Self, SigningError> {
        Ok(match &config.place {
            Place::S3(s3) => Store::S3(Box::new(S3Store::new(s3, config.urls.lifetime.0)?)),
            Place::Directory(path) => Store::Directory(Arc::new(Folder::at(path))),
        })
    }

    /// The object store, if it is one.
    pub fn s3(&self) -> Option<&S3Store> {
        match self {
            Store::S3(s3) => Some(s3),
            Store::Directory(_) => None,
        }
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Store::S3(s3) => s3.ping().await,
            Store::Directory(folder) => blocking(folder, |folder| folder.ping()).await,
        }
    }

    /// The labels of a tenant that begin with this text, in ascending order.
    pub async fn labels(&self, tenant: &TenantName, beginning: &str) -> Result<Vec<Label>, StoreError> {
        match self {
            Store::S3(s3) => s3.labels(tenant, beginning).await,
            Store::Directory(folder) => {
                let (tenant, beginning) = (tenant.clone(), beginning.to_owned());
                blocking(folder, move |folder| folder.labels(&tenant, &beginning)).await
            }
        }
    }

    /// All chunks whose label begins with this text, in ascending order, where the store tells them in one answer.
    pub async fn list_at_once(&self, tenant: &TenantName, beginning: &str) -> Result<Option<Vec<Stat>>, StoreError> {
        match self {
            Store::S3(s3) => s3.list_at_once(tenant, beginning).await,
            // To list label by label costs nothing there.
            Store::Directory(_) => Ok(None),
        }
    }

    /// At most `limit` chunks of a label in ascending order, behind `after`; and whether there are more.
    pub async fn list(
        &self,
        tenant: &TenantName,
        label: &Label,
        after: Option<&ChunkId>,
        limit: usize,
    ) -> Result<(Vec<Stat>, bool), StoreError> {
        match self {
            Store::S3(s3) => s3.list(tenant, label, after, limit).await,
            Store::Directory(folder) => {
                let (tenant, label, after) = (tenant.clone(), label.clone(), after.copied());
                blocking(folder, move |folder| folder.list(&tenant, &label, after.as_ref(), limit)).await
            }
        }
    }

    /// What the store knows of a chunk; none when there is none.
    pub async fn stat(&self, tenant: &TenantName, name: &ChunkName) -> Result<Option<Stat>, StoreError> {
        match self {
            Store::S3(s3) => s3.stat(tenant, name).await,
            Store::Directory(folder) => {
                let (tenant, name) = (tenant.clone(), name.clone());
                blocking(folder, move |folder| folder.stat(&tenant, &name)).await
            }
        }
    }

    /// Removes a chunk. One that is not there is no error.
    pub async fn delete(&self, tenant: &TenantName, name: &ChunkName) -> Result<(), StoreError> {
        match self {
            Store::S3(s3) => s3.delete(&s3.key(tenant, name)).await,
            Store::Directory(folder) => {
                let (tenant, name) = (tenant.clone(), name.clone());
                blocking(folder, move |folder| folder.delete(&tenant, &name)).await
            }
        }
    }

    /// Stores a chunk whose bytes were seen to be right. What is there stays.
    pub async fn write(&self, tenant: &TenantName, name: &ChunkName, bytes: Bytes) -> Result<Stored, StoreError> {
        match self {
            Store::S3(s3) => s3.write(tenant, name, bytes).await,
            Store::Directory(folder) => {
                let (tenant, name) = (tenant.clone(), name.clone());
                blocking(folder, move |folder| folder.write(&tenant, &name, &bytes)).await
            }
        }
    }
}

/// Works with a directory on a thread that may wait.
pub async fn blocking<T: Send + 'static>(
    folder: &Arc<Folder>,
    work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let folder = folder.clone();
    let done = tokio::task::spawn_blocking(move || work(&folder)).await;
    done.unwrap_or_else(|why| Err(StoreError::new("work with the directory", why.to_string())))
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
