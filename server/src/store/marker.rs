//! The marker: it tells a prepared place from a wrong bucket or prefix, and from a disk that is not mounted. It is the one
//! that the plugins `s3-direct` and `local` write, so that they open a tenant's place without the server.

use super::{MARKER, Store, StoreError, blocking};
use crate::tenant::TenantName;

/// What it says in an object store.
const IN_S3: &str = "This is an Obnam chunk store, version 1. Leave it to Obnam.\n";

/// What it says in a directory.
const IN_DIRECTORY: &str = "This directory is an Obnam chunk store, version 1. Leave it to Obnam.\n";

/// What preparing a place did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// The place is prepared and has no chunks.
    Prepared,
    /// There are chunks already.
    HasChunks,
}

impl Store {
    /// Whether the tenant's place was prepared.
    pub async fn is_prepared(&self, tenant: &TenantName) -> Result<bool, StoreError> {
        if self.s3().is_some_and(|s3| s3.prepared.read().is_ok_and(|known| known.contains(tenant))) {
            return Ok(true);
        }
        let Some(text) = self.read_marker(tenant).await? else { return Ok(false) };
        if text != self.marker_text().as_bytes() {
            let why = format!(
                "it was prepared by another version of Obnam, or its marker {MARKER} is damaged: it says {:?}",
                String::from_utf8_lossy(&text[..text.len().min(100)])
            );
            return Err(StoreError::new(format!("open the place of tenant {tenant}"), why));
        }
        if let Some(Ok(mut known)) = self.s3().map(|s3| s3.prepared.write()) {
            known.insert(tenant.clone());
        }
        Ok(true)
    }

    /// Prepares the tenant's place, unless there are chunks. What is prepared stays as it is.
    pub async fn prepare(&self, tenant: &TenantName) -> Result<Preparation, StoreError> {
        for label in self.labels(tenant, "").await? {
            if !self.list(tenant, &label, None, 1).await?.0.is_empty() {
                return Ok(Preparation::HasChunks);
            }
        }
        if !self.is_prepared(tenant).await? {
            self.write_marker(tenant).await?;
        }
        Ok(Preparation::Prepared)
    }

    fn marker_text(&self) -> &'static str {
        match self {
            Store::S3(_) => IN_S3,
            Store::Directory(_) => IN_DIRECTORY,
        }
    }

    async fn read_marker(&self, tenant: &TenantName) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Store::S3(s3) => s3.get(&s3.marker_key(tenant)).await,
            Store::Directory(folder) => {
                let tenant = tenant.clone();
                blocking(folder, move |folder| folder.marker(&tenant)).await
            }
        }
    }

    async fn write_marker(&self, tenant: &TenantName) -> Result<(), StoreError> {
        let text = self.marker_text().as_bytes();
        match self {
            Store::S3(s3) => s3.put(&s3.marker_key(tenant), text).await,
            Store::Directory(folder) => {
                let tenant = tenant.clone();
                blocking(folder, move |folder| folder.write_marker(&tenant, text)).await
            }
        }
    }
}
