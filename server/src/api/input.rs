//! What requests carry, parsed once.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use obnam_chunk::{ChunkId, Label, MAX_CHUNK_SIZE};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};
use crate::store::ChunkName;

/// The query of a request. Errors are problems.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|why| Problem::bad_request(format!("the query cannot be understood: {}", why.body_text())))?;
        Ok(Params(query))
    }
}

/// The id in the path.
pub struct PathId(pub ChunkId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((_, text)) =
            Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        id(&text).map(PathId)
    }
}

/// Under which label.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LabelParams {
    /// The chunk's label.
    label: String,
}

/// The chunk whose id stands in the path and whose label stands in the query.
pub struct Named(pub ChunkName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathId(id) = PathId::from_request_parts(parts, state).await?;
        let Params(LabelParams { label: text }) = Params::from_request_parts(parts, state).await?;
        Ok(Named(ChunkName { label: label(&text)?, id }))
    }
}

/// The body of a request as JSON. Errors are problems.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Body(body)),
            Err(JsonRejection::BytesRejection(why)) if why.status() == 413 => {
                Err(Problem::new(Code::TooLarge, "the body of a request may have at most 1 MiB"))
            }
            Err(why) => Err(Problem::bad_request(format!("the body cannot be understood: {}", why.body_text()))),
        }
    }
}

/// A label.
pub fn label(text: &str) -> Result<Label, Problem> {
    text.parse().map_err(|error: obnam_chunk::NameError| Problem::bad_request(error.to_string()))
}

/// An id.
pub fn id(text: &str) -> Result<ChunkId, Problem> {
    text.parse().map_err(|error: obnam_chunk::NameError| Problem::bad_request(error.to_string()))
}

/// The size of a chunk.
pub fn size(size: u64) -> Result<u64, Problem> {
    if size <= MAX_CHUNK_SIZE {
        return Ok(size);
    }
    Err(Problem::bad_request(format!("a chunk of {size} bytes is too large: the most is {MAX_CHUNK_SIZE}")))
}

/// The limit of a page.
pub fn limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(1000),
        Some(limit @ 1..=1000) => Ok(limit),
        Some(limit) => Err(Problem::bad_request(format!("limit is {limit}, but may be 1 to 1000"))),
    }
}
