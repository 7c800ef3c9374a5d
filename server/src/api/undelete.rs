//! `POST /chunk/ID/undelete`: calls a removal off.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::caller::Caller;
use super::input::{LabelParams, Named};
use crate::problem::{Code, Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;
use crate::store::ChunkName;

/// What a call-off did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallOffState {
    /// A removal was pending, and is no more.
    Kept,
    /// None was pending.
    NotPending,
}

/// A call-off.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CallOff {
    /// What it did.
    state: CallOffState,
    /// The chunk's label.
    label: String,
    /// The chunk's id.
    id: String,
}

/// Calls a removal off.
#[utoipa::path(post, path = "/v1/{tenant}/chunk/{id}/undelete", tag = "removals", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), ("id" = String, Path, description = "The chunk's id"), LabelParams),
    responses((status = 200, description = "The call-off", body = CallOff),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn undelete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Named(name): Named,
) -> Result<Json<CallOff>, Problem> {
    caller.answer_one(&server, "undelete", one(&server, &caller, &name).await)
}

/// Calls the removal of one chunk off. Whoever may store the chunk may do so: storing it would have the same effect.
pub async fn one(server: &Server, caller: &Caller, name: &ChunkName) -> Result<CallOff, Problem> {
    if !caller.may(Verb::Delete, &name.label) && !caller.may(Verb::Create, &name.label) {
        let detail = format!("this token may neither store nor remove under the label {}", name.label);
        return Err(Problem::new(Code::NotAllowed, detail));
    }
    let kept = server.state.call_off(caller.tenant(), &name.to_string()).await?;
    let state = if kept { CallOffState::Kept } else { CallOffState::NotPending };
    Ok(CallOff { state, label: name.label.to_string(), id: name.id.to_string() })
}
