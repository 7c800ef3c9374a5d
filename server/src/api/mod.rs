//! The API, one file for each call. `docs/server-api.md` is what clients may rely on.

mod batch;
mod caller;
mod create;
mod data;
mod health;
mod init;
mod input;
mod list;
mod openapi;
mod read;
mod remove;
mod signed;
mod stat;
mod token;
mod undelete;
mod unread;
mod whoami;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;

use crate::metrics::Call;
use crate::problem::{Code, Problem};
use crate::server::Server;

/// The largest body of a request, in bytes.
pub const LARGEST_BODY: usize = 1 << 20;

/// No request is worked on for longer.
const LONGEST_REQUEST: Duration = Duration::from_secs(120);

/// What clients see.
pub fn router(server: Arc<Server>) -> Router {
    let permits = Arc::new(Semaphore::new(server.config.limits.requests_at_once));
    let calls = Router::new()
        .route("/v1/{tenant}/chunk", get(list::list).put(create::create))
        .route("/v1/{tenant}/chunk/{id}", get(read::read).delete(remove::remove))
        .route("/v1/{tenant}/chunk/{id}/stat", get(stat::stat))
        .route("/v1/{tenant}/chunk/{id}/undelete", post(undelete::undelete))
        .route("/v1/{tenant}/removal", get(remove::list))
        .route("/v1/{tenant}/batch", post(batch::batch))
        .route("/v1/{tenant}/init", post(init::init))
        .route("/v1/{tenant}/self", get(whoami::whoami))
        .route("/v1/{tenant}/token", get(token::list).post(token::create))
        .route("/v1/{tenant}/token/{id}", delete(token::revoke))
        .layer(middleware::from_fn_with_state(permits, one_of_many))
        .layer(middleware::from_fn(unread::read_the_rest));
    Router::new()
        .merge(calls)
        .route("/v1/{tenant}/data/{label}/{id}", get(data::get).put(data::put))
        .merge(health::router())
        .route("/v1/openapi.json", get(openapi::openapi))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "this path exists, but not with this method")
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(server.clone(), counted))
        .with_state(server)
}

/// What only the operator sees: metrics, and health once more.
pub fn management_router(server: Arc<Server>) -> Router {
    Router::new().merge(health::router()).merge(health::metrics_router()).with_state(server)
}

/// Waits for a place among the requests that are worked on, and gives up on those that take too long.
async fn one_of_many(State(permits): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let work = async {
        match permits.acquire().await {
            Ok(_permit) => next.run(request).await,
            Err(_) => Problem::new(Code::Internal, "the server is stopping").into_response(),
        }
    };
    match tokio::time::timeout(LONGEST_REQUEST, work).await {
        Ok(response) => response,
        Err(_) => Problem::new(Code::StoreUnavailable, "the request took too long").retry_after(5).into_response(),
    }
}

/// Counts requests and their time.
async fn counted(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    // Whatever clients send, the number of different calls stays small.
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE].contains(request.method());
    let call = format!("{} {path}", if known { request.method().as_str() } else { "OTHER" });
    let response = next.run(request).await;
    server.metrics.requests.get_or_create(&Call { path: call, status: response.status().as_u16() }).inc();
    server.metrics.seconds.observe(begin.elapsed().as_secs_f64());
    response
}
