//! `PUT /chunk?id=&label=&size=`: access to store a chunk.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::caller::Caller;
use super::input::{self, Params};
use crate::access::{Access, Way};
use crate::problem::{Code, Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;
use crate::signing::SigningError;
use crate::state::SigningRefused;
use crate::store::ChunkName;

/// What to store.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CreateParams {
    /// The chunk's id: the SHA-256 of its bytes.
    id: String,
    /// Its label.
    label: String,
    /// Its length in bytes.
    size: u64,
}

/// A chunk that is to be stored.
#[derive(Debug, Clone)]
pub struct Announced {
    /// The chunk.
    pub name: ChunkName,
    /// Its length in bytes.
    pub size: u64,
}

/// Gives access to store a chunk.
#[utoipa::path(put, path = "/v1/{tenant}/chunk", tag = "chunks", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), CreateParams),
    responses((status = 200, description = "Access", body = Access),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(params): Params<CreateParams>,
) -> Result<Json<Access>, Problem> {
    let announced = Announced {
        name: ChunkName { label: input::label(&params.label)?, id: input::id(&params.id)? },
        size: input::size(params.size)?,
    };
    let result = many(&server, &caller, &[announced]).await.pop().unwrap_or_else(|| Err(Problem::not_found()));
    let bytes = if result.is_ok() { params.size } else { 0 };
    caller.audit(&server, "create", 1, bytes, result.as_ref().err());
    result.map(Json)
}

/// Access to store some chunks: an answer for each, in their order. Those that are allowed count against quotas
/// together: all of them fit, or none.
pub async fn many(server: &Server, caller: &Caller, announced: &[Announced]) -> Vec<Result<Access, Problem>> {
    let allowed = |chunk: &Announced| caller.may(Verb::Create, &chunk.name.label);
    let wanted: Vec<&Announced> = announced.iter().filter(|chunk| allowed(chunk)).collect();
    let chunks: Vec<String> = wanted.iter().map(|chunk| chunk.name.to_string()).collect();
    let bytes = wanted.iter().map(|chunk| chunk.size).sum();
    let prepared = match server.way() {
        None => Err(unfit()),
        Some(way) if wanted.is_empty() => Ok((way, HashSet::new())),
        Some(way) => prepare(server, caller, &chunks, bytes).await.map(|going| (way, going)),
    };
    let one = |chunk: &Announced| {
        if !allowed(chunk) {
            let detail = format!("this token may store nothing under the label {}", chunk.name.label);
            return Err(Problem::new(Code::NotAllowed, detail));
        }
        let (way, going) = prepared.as_ref().map_err(Clone::clone)?;
        if going.contains(&chunk.name.to_string()) {
            return Err(
                Problem::new(Code::BeingRemoved, "the chunk is being removed; store it afterwards").retry_after(2)
            );
        }
        sign(server, caller, *way, chunk)
    };
    announced.iter().map(one).collect()
}

fn unfit() -> Problem {
    let detail = "the server has not seen its object store refuse wrong bytes, so it gives no access to store; its operator \
                  runs: obnam-server check";
    Problem::new(Code::StoreUnfit, detail).retry_after(30)
}

/// Everything that has to be right before one URL is signed. Answers the chunks that are being removed.
async fn prepare(server: &Server, caller: &Caller, chunks: &[String], bytes: u64) -> Result<HashSet<String>, Problem> {
    server.state.prepare_signing(&caller.token, chunks, bytes, crate::now()).await.map_err(|refused| match refused {
        SigningRefused::State(error) => error.into(),
        SigningRefused::Quota(bytes) => Problem::new(
            Code::Quota,
            format!(
                "the quota of this tenant does not hold {bytes} more bytes; remove old snapshots, or ask the operator"
            ),
        ),
        SigningRefused::TokenQuota { bytes, until } => {
            Problem::new(Code::TokenQuota, format!("this token may sign no {bytes} more bytes today (UTC)"))
                .until(until)
        }
    })
}

fn sign(server: &Server, caller: &Caller, way: Way, chunk: &Announced) -> Result<Access, Problem> {
    server.access_to_store(way, caller.tenant(), &chunk.name, chunk.size).map_err(|error: SigningError| {
        tracing::error!("{error}");
        Problem::new(Code::Internal, "the URL could not be signed as it must be; the server's log says more")
    })
}
