//! Whether the server lives and can work, and its metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::OfTenant;
use crate::problem::Problem;
use crate::server::Server;

/// How long the database and the store are believed to be as they were.
const READINESS: Duration = Duration::from_secs(5);

/// Who does not answer within this time is not ready. Whoever asks for readiness waits no longer than some seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// `/livez` and `/readyz`.
pub fn router() -> Router<Arc<Server>> {
    Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready))
}

/// `/metrics`.
pub fn metrics_router() -> Router<Arc<Server>> {
    Router::new().route("/metrics", get(metrics))
}

/// Says nothing of what is wrong: the log does. Anybody may ask, so what was found is good for some seconds.
async fn ready(State(server): State<Arc<Server>>) -> Response {
    let mut known = server.readiness.lock().await;
    let found = match *known {
        Some((when, found)) if when.elapsed() < READINESS => found,
        _ => {
            let found = look(&server).await;
            *known = Some((Instant::now(), found));
            found
        }
    };
    if found { "ready\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response() }
}

async fn look(server: &Server) -> bool {
    let database = async { server.state.ping().await.map_err(|why| why.to_string()) };
    let store = async { server.store.ping().await.map_err(|why| why.to_string()) };
    let (database, store) = tokio::join!(answer("database", database), answer("store", store));
    for why in [&database, &store].into_iter().filter_map(|answer| answer.as_ref().err()) {
        tracing::error!("not ready: {why}");
    }
    database.is_ok() && store.is_ok()
}

async fn answer(who: &str, answer: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = |_| format!("the {who} did not answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

async fn metrics(State(server): State<Arc<Server>>) -> Result<Response, Problem> {
    let now = crate::now();
    for tenant in server.state.tenants().await? {
        let of = OfTenant { tenant: tenant.name.clone() };
        server.metrics.stored_bytes.get_or_create(&of).set(i64::try_from(tenant.used).unwrap_or(i64::MAX));
        if let Some(newest) = tenant.newest_snapshot {
            server.metrics.snapshot_age.get_or_create(&of).set(now.saturating_sub(newest) as f64);
        }
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], server.metrics.text()).into_response())
}
