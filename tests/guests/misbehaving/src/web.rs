//! A web request that nobody granted.

use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{Fields, Method, OutgoingRequest, Scheme};

/// Asks for a page and tells what came of it.
pub fn attempt() -> String {
    let request = OutgoingRequest::new(Fields::new());
    let set = request.set_method(&Method::Get).is_ok()
        && request.set_scheme(Some(&Scheme::Http)).is_ok()
        && request.set_authority(Some("169.254.169.254")).is_ok()
        && request.set_path_with_query(Some("/latest/meta-data")).is_ok();
    if !set {
        return "could not make a request".into();
    }
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(code) => return format!("request refused: {code:?}"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(answer))) => format!("ANSWERED with status {}", answer.status()),
        Some(Ok(Err(code))) => format!("request refused: {code:?}"),
        other => format!("no answer: {other:?}"),
    }
}
