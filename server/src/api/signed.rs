//! Requests with an URL that this server has signed. They carry no token: the URL is the right.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;

use crate::problem::{Code, Problem};
use crate::server::Server;
use crate::signing::Terms;
use crate::store::ChunkName;
use crate::tenant::TenantName;

/// The query of such an URL.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SignedParams {
    /// The chunk's length in bytes; for a PUT.
    size: Option<u64>,
    /// Until when the URL is good, in seconds since 1970.
    expires: u64,
    /// The server's signature.
    signature: String,
}

/// What the URL was signed for. It may have expired.
pub struct Signed {
    /// Whose chunk.
    pub tenant: TenantName,
    /// Which chunk.
    pub name: ChunkName,
    /// How long it is, for a PUT.
    pub size: Option<u64>,
    expires: u64,
}

impl Signed {
    /// Fails when the URL has expired.
    pub fn still_good(&self) -> Result<(), Problem> {
        if crate::now() < self.expires {
            return Ok(());
        }
        Err(Problem::new(Code::BadUrl, "this URL has expired; ask for another one"))
    }
}

impl FromRequestParts<Arc<Server>> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Problem> {
        if let Some(signed) = recognise(parts, server).await {
            return Ok(signed);
        }
        // Guesses count. What is signed does not: its number was counted when it was asked for.
        if let Ok(ConnectInfo(peer)) = ConnectInfo::<SocketAddr>::from_request_parts(parts, server).await {
            server.limits.address(server.client_address(peer.ip(), &parts.headers))?;
        }
        Err(Problem::new(Code::BadUrl, "this server has not signed this URL for this method"))
    }
}

async fn recognise(parts: &mut Parts, server: &Arc<Server>) -> Option<Signed> {
    let Path((tenant, label, id)) = Path::<(String, String, String)>::from_request_parts(parts, server).await.ok()?;
    let Query(query) = Query::<SignedParams>::from_request_parts(parts, server).await.ok()?;
    let tenant: TenantName = tenant.parse().ok()?;
    let name = ChunkName { label: label.parse().ok()?, id: id.parse().ok()? };
    let SignedParams { size, expires, signature } = query;
    let terms = Terms { method: parts.method.as_str(), tenant: &tenant, name: &name, size, expires };
    let good = server.data_urls.is_signed(&terms, &signature);
    good.then_some(Signed { tenant, name, size, expires })
}
