//! `GET /chunk/ID/stat`: what the store knows of a chunk.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::caller::Caller;
use super::input::{LabelParams, Named};
use crate::problem::{Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;
use crate::store::{ChunkName, Stat};

/// Says what the store knows of a chunk.
#[utoipa::path(get, path = "/v1/{tenant}/chunk/{id}/stat", tag = "chunks", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), ("id" = String, Path, description = "The chunk's id"), LabelParams),
    responses((status = 200, description = "What the store knows", body = Stat),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn stat(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<Stat>, Problem> {
    caller.answer_one(&server, "stat", one(&server, &caller, &name).await)
}

/// What the store knows of one chunk.
pub async fn one(server: &Server, caller: &Caller, name: &ChunkName) -> Result<Stat, Problem> {
    if !caller.may(Verb::Find, &name.label) {
        return Err(Problem::not_found());
    }
    server.store.stat(caller.tenant(), name).await?.ok_or_else(Problem::not_found)
}
