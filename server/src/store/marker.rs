//! The marker: it tells a prepared place from a wrong bucket or prefix. It is the one that a client with keys of its own
//! writes, so that such a client opens a tenant's place without the server.

use super::{S3Store, StoreError, tenant_prefix};
use crate::tenant::TenantName;

/// The name of the object. Upper case, so that it cannot be a label.
const NAME: &str = "OBNAM-CHUNK-STORE";

/// What it says.
const TEXT: &str = "This is an Obnam chunk store, version 1. Leave it to Obnam.\n";

/// What preparing a place did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// The place is prepared and has no chunks.
    Prepared,
    /// There are chunks already.
    HasChunks,
}

impl S3Store {
    /// Whether the tenant's place was prepared.
    pub async fn is_prepared(&self, tenant: &TenantName) -> Result<bool, StoreError> {
        if self.prepared.read().is_ok_and(|known| known.contains(tenant)) {
            return Ok(true);
        }
        let key = self.marker_key(tenant);
        match self.get(&key).await? {
            None => Ok(false),
            Some(text) if text == TEXT.as_bytes() => {
                if let Ok(mut known) = self.prepared.write() {
                    known.insert(tenant.clone());
                }
                Ok(true)
            }
            Some(text) => Err(StoreError {
                doing: format!("open the place of tenant {tenant}"),
                why: format!(
                    "it was prepared by another version of Obnam, or the object {key} is damaged: it says {:?}",
                    String::from_utf8_lossy(&text[..text.len().min(100)])
                ),
            }),
        }
    }

    /// Prepares the tenant's place, unless there are chunks. What is prepared stays as it is.
    pub async fn prepare(&self, tenant: &TenantName) -> Result<Preparation, StoreError> {
        for label in self.labels(tenant, "").await? {
            if !self.list(tenant, &label, None, 1).await?.0.is_empty() {
                return Ok(Preparation::HasChunks);
            }
        }
        if !self.is_prepared(tenant).await? {
            self.put(&self.marker_key(tenant), TEXT.as_bytes()).await?;
        }
        Ok(Preparation::Prepared)
    }

    fn marker_key(&self, tenant: &TenantName) -> String {
        format!("{}{NAME}", tenant_prefix(&self.prefix, tenant))
    }
}
