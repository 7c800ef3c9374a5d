//! `POST /batch`: up to 1,000 of the other calls at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::create::{self, Announced};
use super::input::{self, Body};
use super::remove::Removal;
use super::undelete::CallOff;
use super::{read, remove, stat, undelete};
use crate::access::Access;
use crate::problem::{Problem, ProblemDocument};
use crate::server::Server;
use crate::store::{ChunkName, Stat};

/// The most items of a batch.
const MOST: usize = 1000;

/// How many items that ask the store are worked on at once.
const AT_ONCE: usize = 16;

/// A batch.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// 1 to 1,000 items.
    #[schema(min_items = 1, max_items = 1000)]
    items: Vec<Item>,
}

/// What to do with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Do {
    /// Access to read it.
    Get,
    /// Access to store it.
    Put,
    /// What the store knows of it.
    Stat,
    /// Record its removal.
    Delete,
    /// Call its removal off.
    Undelete,
}

/// One item of a batch.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What to do.
    r#do: Do,
    /// The chunk's label.
    #[schema(pattern = "^[a-z0-9][a-z0-9.-]{0,63}$")]
    label: String,
    /// The chunk's id.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    id: String,
    /// Its length in bytes; with `put` only.
    #[schema(maximum = 67_108_864)]
    size: Option<u64>,
}

/// The answers of a batch.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Answers {
    /// One for each item, in their order.
    answers: Vec<Answer>,
}

/// What the single call would answer.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Answer {
    /// Of `get` and `put`.
    Access(Access),
    /// Of `stat`.
    Stat(Stat),
    /// Of `delete`.
    Removal(Removal),
    /// Of `undelete`.
    CallOff(CallOff),
    /// What went wrong with this item.
    Problem(ProblemDocument),
}

/// Does up to 1,000 of the other calls at once.
#[utoipa::path(post, path = "/v1/{tenant}/batch", tag = "chunks", security(("token" = [])), request_body = Batch,
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, description = "One answer for each item", body = Answers),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn batch(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(batch): Body<Batch>,
) -> Result<Json<Answers>, Problem> {
    let items = check(batch)?;
    let announced: Vec<Announced> = items.iter().filter_map(|item| item.as_ref().ok()?.announced()).collect();
    // All URLs to store are prepared in one transaction.
    let created = create::many(&server, &caller, &announced).await;
    let granted = announced.iter().zip(&created).filter(|(_, made)| made.is_ok());
    let bytes = granted.map(|(chunk, _)| chunk.size).sum();
    let mut created = created.into_iter();
    let rest: Vec<_> = items
        .into_iter()
        .map(|item| match item {
            Ok(item) if item.r#do == Do::Put => Work::Done(created.next().map(|made| made.map(Answer::Access))),
            Ok(item) => Work::ToDo(item),
            Err(problem) => Work::Done(Some(Err(problem))),
        })
        .collect();
    let answers: Vec<Result<Answer, Problem>> = stream::iter(rest)
        .map(|work| async {
            match work {
                Work::Done(result) => result.unwrap_or_else(|| Err(Problem::not_found())),
                Work::ToDo(item) => single(&server, &caller, &item).await,
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let worst = answers.iter().find_map(|answer| answer.as_ref().err());
    caller.audit(&server, "batch", answers.len() as u64, bytes, worst);
    let document = |problem: Problem| Answer::Problem(problem.document());
    Ok(Json(Answers { answers: answers.into_iter().map(|answer| answer.unwrap_or_else(document)).collect() }))
}

enum Work {
    Done(Option<Result<Answer, Problem>>),
    ToDo(Checked),
}

/// An item whose parts were parsed.
struct Checked {
    r#do: Do,
    name: ChunkName,
    size: u64,
}

impl Checked {
    fn announced(&self) -> Option<Announced> {
        (self.r#do == Do::Put).then(|| Announced { name: self.name.clone(), size: self.size })
    }
}

fn check(batch: Batch) -> Result<Vec<Result<Checked, Problem>>, Problem> {
    if batch.items.is_empty() || batch.items.len() > MOST {
        let count = batch.items.len();
        return Err(Problem::bad_request(format!("a batch has 1 to {MOST} items, and this one {count}")));
    }
    Ok(batch.items.into_iter().map(check_item).collect())
}

fn check_item(item: Item) -> Result<Checked, Problem> {
    let name = ChunkName { label: input::label(&item.label)?, id: input::id(&item.id)? };
    let size = match (item.r#do, item.size) {
        (Do::Put, Some(size)) => input::size(size)?,
        (Do::Put, None) => return Err(Problem::bad_request("size is missing")),
        (_, Some(_)) => return Err(Problem::bad_request("size belongs to put only")),
        (_, None) => 0,
    };
    Ok(Checked { r#do: item.r#do, name, size })
}

async fn single(server: &Server, caller: &Caller, item: &Checked) -> Result<Answer, Problem> {
    match item.r#do {
        // Those that store were answered together.
        Do::Put | Do::Get => read::one(server, caller, &item.name).map(Answer::Access),
        Do::Stat => stat::one(server, caller, &item.name).await.map(Answer::Stat),
        Do::Delete => remove::one(server, caller, &item.name).await.map(Answer::Removal),
        Do::Undelete => undelete::one(server, caller, &item.name).await.map(Answer::CallOff),
    }
}
