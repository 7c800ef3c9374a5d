//! `DELETE /chunk/ID` records a removal; `GET /removal` lists those that are pending.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::input::{self, LabelParams, Named, Params};
use crate::problem::{Code, Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;
use crate::store::ChunkName;

/// What happens to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RemovalState {
    /// It will be removed.
    Pending,
    /// There is no such chunk.
    Removed,
}

/// A removal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Removal {
    /// What happens to the chunk.
    state: RemovalState,
    /// The chunk's label.
    label: String,
    /// The chunk's id.
    id: String,
    /// When it is removed at the earliest, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl Removal {
    fn of(name: &ChunkName, state: RemovalState, until: Option<u64>) -> Self {
        Removal { state, label: name.label.to_string(), id: name.id.to_string(), until }
    }
}

/// Records a removal.
#[utoipa::path(delete, path = "/v1/{tenant}/chunk/{id}", tag = "removals", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), ("id" = String, Path, description = "The chunk's id"), LabelParams),
    responses((status = 200, description = "The removal", body = Removal),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn remove(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<Removal>, Problem> {
    caller.answer_one(&server, "delete", one(&server, &caller, &name).await)
}

/// Records the removal of one chunk.
pub async fn one(server: &Server, caller: &Caller, name: &ChunkName) -> Result<Removal, Problem> {
    if !caller.may(Verb::Delete, &name.label) {
        let detail = format!("this token may remove nothing under the label {}", name.label);
        return Err(Problem::new(Code::NotAllowed, detail));
    }
    let Some(stat) = server.store.stat(caller.tenant(), name).await? else {
        return Ok(Removal::of(name, RemovalState::Removed, None));
    };
    let now = crate::now();
    let minimum = server.config.removal.minimum_age.seconds();
    // A store that does not tell ages cannot show that a chunk is old enough.
    let old_enough = stat.stored.unwrap_or(now) + minimum;
    if now < old_enough {
        let detail = "the chunk is too young to be removed; ask again when it is older";
        return Err(Problem::new(Code::TooYoung, detail).until(old_enough));
    }
    let until = now + server.config.removal.delay.seconds();
    let token = caller.token.id.as_str();
    let recorded = server.state.record_removal(caller.tenant(), &name.to_string(), token, now, until).await?;
    Ok(Removal::of(name, RemovalState::Pending, Some(recorded.until)))
}

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RemovalParams {
    /// The `next` of the page before.
    after: Option<String>,
    /// How many removals the page may hold, 1 to 1,000.
    limit: Option<u32>,
}

/// A page of removals.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RemovalPage {
    /// Those under labels that the token may remove.
    removals: Vec<Removal>,
    /// What to pass as `after` for the next page; missing behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the removals that are pending.
#[utoipa::path(get, path = "/v1/{tenant}/removal", tag = "removals", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), RemovalParams),
    responses((status = 200, description = "A page", body = RemovalPage),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(params): Params<RemovalParams>,
) -> Result<Json<RemovalPage>, Problem> {
    let result = page(&server, &caller, &params).await;
    caller.answer_page(&server, "removals", result, |page| page.removals.len())
}

async fn page(server: &Server, caller: &Caller, params: &RemovalParams) -> Result<RemovalPage, Problem> {
    let limit = input::limit(params.limit)?;
    let after = params.after.as_deref().unwrap_or_default();
    if !after.is_empty() && ChunkName::parse(after).is_none() {
        return Err(Problem::bad_request("after is not the next of a page"));
    }
    let found = server.state.removals(caller.tenant(), after, limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|last| last.chunk.clone());
    let removals = found.iter().filter_map(|found| {
        let name = ChunkName::parse(&found.chunk)?;
        let may = caller.may(Verb::Delete, &name.label);
        may.then(|| Removal::of(&name, RemovalState::Pending, Some(found.until)))
    });
    Ok(RemovalPage { removals: removals.collect(), next })
}
