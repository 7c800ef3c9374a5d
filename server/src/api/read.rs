//! `GET /chunk/ID`: access to read a chunk.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt, stream};
use obnam_chunk::{ChunkId, Label};
use serde::Deserialize;

use super::caller::Caller;
use super::input::{self, Params, PathId};
use crate::access::Access;
use crate::problem::{Problem, ProblemDocument};
use crate::rights::{Labels, Verb};
use crate::server::Server;
use crate::store::ChunkName;

/// How many labels are asked at once where none is given.
const AT_ONCE: usize = 16;

/// Under which label.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadParams {
    /// The chunk's label; without it every label is asked that the token may read.
    label: Option<String>,
}

/// Gives access to read a chunk.
#[utoipa::path(get, path = "/v1/{tenant}/chunk/{id}", tag = "chunks", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), ("id" = String, Path, description = "The chunk's id"), ReadParams),
    responses((status = 200, description = "Access", body = Access),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn read(
    State(server): State<Arc<Server>>,
    caller: Caller,
    PathId(id): PathId,
    Params(params): Params<ReadParams>,
) -> Result<Json<Access>, Problem> {
    caller.answer_one(&server, "read", find(&server, &caller, id, params.label.as_deref()).await)
}

async fn find(server: &Server, caller: &Caller, id: ChunkId, label: Option<&str>) -> Result<Access, Problem> {
    if let Some(label) = label {
        return one(server, caller, &ChunkName { label: input::label(label)?, id });
    }
    let labels = readable(server, caller).await?;
    let asked = labels.into_iter().map(|label| async move {
        let name = ChunkName { label, id };
        server.store.stat(caller.tenant(), &name).await.map(|found| found.map(|_| name))
    });
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        if let Some(name) = answer? {
            return one(server, caller, &name);
        }
    }
    Err(Problem::not_found())
}

/// Access to one chunk.
pub fn one(server: &Server, caller: &Caller, name: &ChunkName) -> Result<Access, Problem> {
    if !caller.may(Verb::Read, &name.label) {
        return Err(Problem::not_found());
    }
    Ok(server.access_to_read(caller.tenant(), name))
}

/// The labels that the token may read, as far as there are any.
async fn readable(server: &Server, caller: &Caller) -> Result<Vec<Label>, Problem> {
    let rights = caller.token.what.rights.labels(Verb::Read);
    if rights.iter().all(|labels| matches!(labels, Labels::One(_))) {
        return Ok(rights.iter().filter_map(|labels| labels.to_string().parse().ok()).collect());
    }
    let labels = server.store.labels(caller.tenant(), "").await?;
    Ok(labels.into_iter().filter(|label| caller.may(Verb::Read, label)).collect())
}
