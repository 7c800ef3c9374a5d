//! `GET /self`: what the token is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::caller::Caller;
use crate::access::Way;
use crate::problem::{Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;

/// What the token is, and what it has to know of the server.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Whoami {
    /// The token's id.
    id: String,
    /// Its name.
    name: String,
    /// Whose chunks.
    tenant: String,
    /// For each verb the labels: a label, a text that ends in a dot (all that begin with it), or `*`.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    rights: BTreeMap<Verb, Vec<String>>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    /// For how many bytes URLs to store are signed on one day (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_bytes: Option<u64>,
    /// How long URLs live, in seconds.
    url_lifetime: u64,
    /// How long after it was asked for a chunk is removed, in seconds.
    removal_delay: u64,
    /// How old a chunk must be to be removed, in seconds.
    removal_minimum_age: u64,
    /// Whether there is access to store.
    stores: bool,
    /// Whether a second PUT of one chunk is refused.
    create_only: bool,
    /// Whether the tenant's place was prepared.
    prepared: bool,
    /// The origins that URLs in answers may point at, beside the server itself.
    data: Vec<String>,
}

/// Says what the token is.
#[utoipa::path(get, path = "/v1/{tenant}/self", tag = "tokens", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, description = "What the token is", body = Whoami),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn whoami(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Whoami>, Problem> {
    let prepared = server.store.is_prepared(caller.tenant()).await.map_err(Problem::from);
    caller.audit(&server, "self", 0, 0, prepared.as_ref().err());
    let what = &caller.token.what;
    Ok(Json(Whoami {
        id: caller.token.id.to_string(),
        name: what.name.clone(),
        tenant: what.tenant.to_string(),
        rights: what.rights.as_texts(),
        expires: what.expires,
        daily_bytes: what.daily_bytes,
        url_lifetime: server.config.urls.lifetime.seconds(),
        removal_delay: server.config.removal.delay.seconds(),
        removal_minimum_age: server.config.removal.minimum_age.seconds(),
        stores: server.way().is_some(),
        create_only: match server.way() {
            Some(Way::Store) => server.verdict().is_some_and(|verdict| verdict.create_only),
            way => way.is_some(),
        },
        prepared: prepared?,
        data: server.store.s3().map(|s3| s3.signer.origin()).into_iter().collect(),
    }))
}
