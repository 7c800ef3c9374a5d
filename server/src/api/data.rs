//! `PUT /data/LABEL/ID`: the server takes a chunk itself, where the store cannot be trusted to refuse wrong bytes, or is a
//! directory. `GET /data/LABEL/ID`: it reads one out of a directory.
//!
//! A chunk is held in memory until its length and its SHA-256 were seen to be right; nothing of one that does not fit
//! reaches the store. How much memory all of them together take is limited (`uploads`).

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use http_range::{HttpRange, HttpRangeParseError};
use hyper::body::{Body as _, Bytes};
use obnam_chunk::ChunkId;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::signed::{Signed, SignedParams};
use super::unread::drain;
use crate::problem::{Code, Problem, ProblemDocument};
use crate::server::Server;
use crate::store::{Store, StoreError, Stored, blocking};

/// How long the next bytes of an upload may take.
const SILENCE: Duration = Duration::from_secs(30);
/// How slow an upload may be on the whole, in bytes per second. It keeps others from the memory that it holds.
const SLOWEST: u64 = 16 << 10;

/// How many bytes of a chunk that is read are in memory.
const PIECE: usize = 256 << 10;

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

/// Gives a chunk, or a part of it, where chunks are in a directory.
#[utoipa::path(get, path = "/v1/{tenant}/data/{label}/{id}", tag = "data",
    params(("tenant" = String, Path, description = "The tenant"), ("label" = String, Path, description = "The chunk's label"),
        ("id" = String, Path, description = "The chunk's id"), SignedParams),
    responses((status = 200, description = "The chunk", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, description = "The part that a header Range asks for", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 416, description = "The chunk ends before"),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn get(State(server): State<Arc<Server>>, signed: Signed, headers: HeaderMap) -> Result<Response, Problem> {
    signed.still_good()?;
    let Store::Directory(folder) = &server.store else { return Err(Problem::not_found()) };
    let Signed { tenant, name, .. } = signed;
    let opened = blocking(folder, move |folder| folder.open(&tenant, &name)).await?;
    let (file, size) = opened.ok_or_else(Problem::not_found)?;
    let asked = headers.get(header::RANGE).map_or(Part::Whole, |range| Part::of(range.as_bytes(), size));
    let (status, start, length, range) = match asked {
        Part::Whole => (StatusCode::OK, 0, size, None),
        Part::Some { start, length } => {
            let range = format!("bytes {start}-{}/{size}", start + length - 1);
            (StatusCode::PARTIAL_CONTENT, start, length, Some(range))
        }
        Part::None => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0, Some(format!("bytes */{size}"))),
    };
    let mut file = tokio::fs::File::from_std(file);
    let found = file.seek(SeekFrom::Start(start)).await;
    found.map_err(|why| StoreError::new("read a chunk", why.to_string()))?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), PIECE));
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, length);
    if let Some(range) = range {
        response = response.header(header::CONTENT_RANGE, range);
    }
    response.body(body).map_err(|why| Problem::new(Code::Internal, why.to_string()))
}

/// What a header Range asks for.
enum Part {
    Whole,
    Some { start: u64, length: u64 },
    None,
}

impl Part {
    /// Whatever is no single range of bytes is ignored, as RFC 9110 has it.
    fn of(range: &[u8], size: u64) -> Part {
        match HttpRange::parse_bytes(range, size).as_deref() {
            Ok([HttpRange { start, length }]) => Part::Some { start: *start, length: *length },
            Ok(_) | Err(HttpRangeParseError::InvalidRange) => Part::Whole,
            Err(HttpRangeParseError::NoOverlap) => Part::None,
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

fn wrong(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::WrongBytes, format!("these are not the announced bytes: {why}"))
}

fn present() -> Problem {
    Problem::new(Code::AlreadyPresent, "the chunk is there already")
}
