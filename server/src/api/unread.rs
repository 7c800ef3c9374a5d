//! What is left of a request's body when its answer is ready. A connection with unread bytes is closed, and whoever is
//! still sending then sees a broken connection instead of the answer; so the rest is read, and thrown away.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tokio::time::timeout;

use super::LARGEST_BODY;

/// How long reading the rest may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Reads the rest of bodies of a usual size.
pub async fn read_the_rest(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let announced = body.size_hint().upper();
    let shared = Shared(Arc::new(Mutex::new(body)));
    let mut rest = Body::new(shared.clone());
    let response = next.run(Request::from_parts(parts, Body::new(shared))).await;
    // More is not waited for: such a request is refused before its end.
    if let Some(size) = announced.filter(|&size| size <= LARGEST_BODY as u64) {
        drain(&mut rest, size).await;
    }
    response
}

/// Reads up to so many bytes of a body that is not wanted.
pub async fn drain(body: &mut Body, size: u64) {
    let mut left = size;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |piece| piece.len() as u64));
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LONGEST, all).await;
}

/// A body that two can read, one after the other.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl hyper::body::Body for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
