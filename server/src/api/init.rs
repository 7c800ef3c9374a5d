//! `POST /init`: prepares the tenant's place.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obnam_chunk::Label;
use serde::Serialize;

use super::caller::Caller;
use crate::problem::{Code, Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;
use crate::store::Preparation;

/// Whoever may store chunks with this label may make a repository, and so prepare its place.
const LABEL: &str = "repository";

/// What became of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceState {
    /// It is prepared and has no chunks.
    Prepared,
}

/// The tenant's place.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Place {
    /// What became of it.
    state: PlaceState,
}

/// Prepares the tenant's place.
#[utoipa::path(post, path = "/v1/{tenant}/init", tag = "chunks", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, description = "The place", body = Place),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn init(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Place>, Problem> {
    let result = prepare(&server, &caller).await;
    caller.audit(&server, "init", 0, 0, result.as_ref().err());
    result.map(Json)
}

async fn prepare(server: &Server, caller: &Caller) -> Result<Place, Problem> {
    if !LABEL.parse().is_ok_and(|label: Label| caller.may(Verb::Create, &label)) {
        let detail = format!("this token may prepare nothing: it has no right to store under the label {LABEL}");
        return Err(Problem::new(Code::NotAllowed, detail));
    }
    match server.store.prepare(caller.tenant()).await? {
        Preparation::Prepared => Ok(Place { state: PlaceState::Prepared }),
        Preparation::HasChunks => {
            let detail = "this tenant has chunks already; use what is there, or another tenant";
            Err(Problem::new(Code::AlreadyInitialised, detail))
        }
    }
}
