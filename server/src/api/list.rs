//! `GET /chunk?label=`: a page of chunks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use obnam_chunk::Label;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::input::{self, Params};
use crate::problem::{Problem, ProblemDocument};
use crate::rights::Verb;
use crate::server::Server;
use crate::store::{ChunkName, Stat};

/// What to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Empty for every label, a label, or a text that ends in a dot for all labels that begin with it.
    #[serde(default)]
    label: String,
    /// The `next` of the page before.
    after: Option<String>,
    /// How many chunks the page may hold, 1 to 1,000.
    limit: Option<u32>,
}

/// A page of chunks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page {
    /// In ascending order of label, then id.
    chunks: Vec<Stat>,
    /// What to pass as `after` for the next page; missing behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Whether there could be chunks that pass the filter and that the token may not find.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

/// Lists chunks.
#[utoipa::path(get, path = "/v1/{tenant}/chunk", tag = "chunks", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), ListParams),
    responses((status = 200, description = "A page", body = Page),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page>, Problem> {
    let result = page(&server, &caller, &params).await;
    caller.answer_page(&server, "list", result, |page| page.chunks.len())
}

async fn page(server: &Server, caller: &Caller, params: &ListParams) -> Result<Page, Problem> {
    let limit = input::limit(params.limit)? as usize;
    let after = params.after.as_deref().filter(|after| !after.is_empty()).map(position).transpose()?;
    // By what the token is, not by what there is.
    let partial = !caller.token.what.rights.cover(Verb::Find, &params.label);
    if after.is_none()
        && let Some(chunks) = at_once(server, caller, &params.label, limit).await?
    {
        return Ok(Page { chunks, next: None, partial });
    }
    let mut chunks = Vec::new();
    for label in labels(server, caller, &params.label).await? {
        let behind = match &after {
            Some(after) if label < after.label => continue,
            Some(after) if label == after.label => Some(after.id),
            _ => None,
        };
        let room = limit - chunks.len();
        let (found, more) = server.store.list(caller.tenant(), &label, behind.as_ref(), room).await?;
        chunks.extend(found);
        if more || chunks.len() >= limit {
            let next = chunks.last().map(|last| format!("{}/{}", last.label, last.id));
            return Ok(Page { chunks, next, partial });
        }
    }
    Ok(Page { chunks, next: None, partial })
}

/// The whole listing of several labels, where one answer of the store has it: usually there are few chunks beside those
/// of `data` and `tree`.
async fn at_once(server: &Server, caller: &Caller, filter: &str, limit: usize) -> Result<Option<Vec<Stat>>, Problem> {
    if !filter.ends_with('.') {
        return Ok(None);
    }
    input::label(filter)?;
    let Some(mut chunks) = server.store.list_at_once(caller.tenant(), filter).await? else { return Ok(None) };
    chunks.retain(|chunk| chunk.label.parse().is_ok_and(|label| caller.may(Verb::Find, &label)));
    Ok((chunks.len() <= limit).then_some(chunks))
}

fn position(text: &str) -> Result<ChunkName, Problem> {
    ChunkName::parse(text).ok_or_else(|| Problem::bad_request("after is not the next of a page"))
}

/// The labels that pass the filter and that the token may find, in ascending order.
async fn labels(server: &Server, caller: &Caller, filter: &str) -> Result<Vec<Label>, Problem> {
    let may = |label: &Label| caller.may(Verb::Find, label);
    if filter.is_empty() || filter.ends_with('.') {
        if !filter.is_empty() {
            input::label(filter)?;
        }
        let labels = server.store.labels(caller.tenant(), filter).await?;
        return Ok(labels.into_iter().filter(may).collect());
    }
    Ok(Some(input::label(filter)?).into_iter().filter(may).collect())
}
