//! What a client needs to move a chunk itself, and which way the chunk takes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::Uploads;
use crate::metrics::Method;
use crate::server::Server;
use crate::signing::SigningError;
use crate::store::ChunkName;
use crate::tenant::TenantName;

/// One request that the client may make.
#[derive(Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Access {
    /// Where. As good as the right to make the request: not to be logged. One that begins with a slash means this server.
    pub url: String,
    /// `GET` or `PUT`.
    pub method: &'static str,
    /// Exactly these headers have to be sent, and no others whose name begins with `x-amz-`.
    pub headers: BTreeMap<&'static str, String>,
    /// Until when, in seconds since 1970.
    pub expires: u64,
}

/// Which way a chunk takes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The client sends it there, with an URL that the store checks.
    Store,
    /// The client sends it to this server, which checks it and passes it on.
    Server,
}

impl Server {
    /// The way of chunks to the store; none where none can be trusted, or nobody knows yet.
    pub fn way(&self) -> Option<Way> {
        if self.store.s3().is_none() {
            return Some(Way::Server);
        }
        match (self.verdict()?.binds, self.config.uploads) {
            (true, _) => Some(Way::Store),
            (false, Uploads::WhereNeeded) => Some(Way::Server),
            (false, Uploads::Never) => None,
        }
    }

    /// Access to read a chunk.
    pub fn access_to_read(&self, tenant: &TenantName, name: &ChunkName) -> Access {
        self.metrics.signed_urls.get_or_create(&Method { method: "GET" }).inc();
        match self.store.s3() {
            Some(s3) => s3.signer.get(&s3.key(tenant, name)),
            None => self.data_urls.get(tenant, name),
        }
    }

    /// Access to store a chunk.
    pub fn access_to_store(
        &self,
        way: Way,
        tenant: &TenantName,
        name: &ChunkName,
        size: u64,
    ) -> Result<Access, SigningError> {
        let access = match (way, self.store.s3()) {
            (Way::Store, Some(s3)) => s3.signer.put(&s3.key(tenant, name), &name.id, size)?,
            _ => self.data_urls.put(tenant, name, size),
        };
        self.metrics.signed_urls.get_or_create(&Method { method: "PUT" }).inc();
        self.metrics.signed_bytes.inc_by(size);
        Ok(access)
    }
}
