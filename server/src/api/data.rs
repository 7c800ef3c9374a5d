//! `PUT /data/LABEL/ID`: the server takes a chunk itself, where the store cannot be trusted to refuse wrong bytes.
//!
//! A chunk is held in memory until its length and its SHA-256 were seen to be right; nothing of one that does not fit
//! reaches the store. How much memory all of them together take is limited (`uploads`).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes};
use obnam_chunk::ChunkId;
use tokio::time::timeout;

use super::signed::{Signed, SignedParams};
use crate::problem::{Code, Problem, ProblemDocument};
use crate::server::Server;
use crate::store::Stored;

/// How long the next bytes of an upload may take.
const SILENCE: Duration = Duration::from_secs(30);
/// How slow an upload may be on the whole, in bytes per second. It keeps others from the memory that it holds.
const SLOWEST: u64 = 16 << 10;

/// Takes a chunk.
#[utoipa::path(put, path = "/v1/{tenant}/data/{label}/{id}", tag = "data",
    params(("tenant" = String, Path, description = "The tenant"), ("label" = String, Path, description = "The chunk's label"),
        ("id" = String, Path, description = "The chunk's id"), SignedParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The chunk is stored"),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn put(State(server): State<Arc<Server>>, signed: Signed, request: Request) -> Response {
    // A client that waits for a word before it sends the body gets one: the problem.
    let waits = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    match receive(&server, &signed, &mut body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(problem) => {
            if !waits {
                drain(&mut body, signed.size.unwrap_or(0)).await;
            }
            problem.into_response()
        }
    }
}

async fn receive(server: &Server, signed: &Signed, body: &mut Body) -> Result<(), Problem> {
    signed.still_good()?;
    let size = signed.size.ok_or_else(Problem::not_found)?;
    if body.size_hint().exact() != Some(size) {
        return Err(wrong(format!("the URL is for {size} bytes, and the header content-length must say so")));
    }
    if server.store.stat(&signed.tenant, &signed.name).await?.is_some() {
        return Err(present());
    }
    let _room = server.uploads.room(size).await?;
    let longest = SILENCE + Duration::from_secs(size / SLOWEST);
    let bytes = timeout(longest, collect(body, size)).await.unwrap_or_else(|_| Err(wrong("they come too slowly")))?;
    server.metrics.received_bytes.inc_by(size);
    if ChunkId::of(&bytes) != signed.name.id {
        return Err(wrong("their SHA-256 is not the id of the chunk".to_owned()));
    }
    match server.store.write(&signed.tenant, &signed.name, bytes).await? {
        Stored::Now => Ok(()),
        Stored::Before => Err(present()),
    }
}

/// Exactly so many bytes.
async fn collect(body: &mut Body, size: u64) -> Result<Bytes, Problem> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    while let Some(piece) = next(body).await? {
        if bytes.len() as u64 + piece.len() as u64 > size {
            return Err(wrong(format!("there are more than {size}")));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() as u64 != size {
        return Err(wrong(format!("there are {} instead of {size}", bytes.len())));
    }
    Ok(bytes.into())
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    let frame = timeout(SILENCE, body.frame()).await.map_err(|_| wrong("they come too slowly"))?;
    let frame = frame.transpose().map_err(|_| wrong("the connection broke"))?;
    // What is no data are trailers.
    Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Reads the rest of a body that is not wanted: whoever is still sending may not see an answer before.
async fn drain(body: &mut Body, size: u64) {
    let mut left = size;
    let all = async {
        while let Ok(Some(piece)) = next(body).await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(SILENCE, all).await;
}

fn wrong(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::WrongBytes, format!("these are not the announced bytes: {why}"))
}

fn present() -> Problem {
    Problem::new(Code::AlreadyPresent, "the chunk is there already")
}
