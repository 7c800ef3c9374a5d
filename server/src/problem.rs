//! The errors of the API: problem documents (RFC 9457) with stable codes. `docs/server-api.md` has the list.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::state::StateError;
use crate::store::StoreError;

/// What went wrong. The name in kebab case is the stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The API's page is the documentation.
pub enum Code {
    BadRequest,
    BadToken,
    NotAllowed,
    NotFound,
    MethodNotAllowed,
    BadUrl,
    WrongBytes,
    AlreadyPresent,
    Busy,
    AlreadyInitialised,
    TooYoung,
    TooLarge,
    RateLimited,
    Internal,
    StoreUnavailable,
    StoreUnfit,
    StateUnavailable,
    BeingRemoved,
    Quota,
    TokenQuota,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 20] = [
        Code::BadRequest,
        Code::BadToken,
        Code::NotAllowed,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::BadUrl,
        Code::WrongBytes,
        Code::AlreadyPresent,
        Code::Busy,
        Code::AlreadyInitialised,
        Code::TooYoung,
        Code::TooLarge,
        Code::RateLimited,
        Code::Internal,
        Code::StoreUnavailable,
        Code::StoreUnfit,
        Code::StateUnavailable,
        Code::BeingRemoved,
        Code::Quota,
        Code::TokenQuota,
    ];

    /// The stable code, the HTTP status and the title.
    pub fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Code::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "The request makes no sense"),
            Code::BadToken => ("bad-token", StatusCode::UNAUTHORIZED, "The token is missing or not accepted"),
            Code::NotAllowed => ("not-allowed", StatusCode::FORBIDDEN, "The token has no right to do this"),
            Code::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is no such thing"),
            Code::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "This path has other methods")
            }
            Code::AlreadyInitialised => ("already-initialised", StatusCode::CONFLICT, "There are chunks already"),
            Code::BadUrl => ("bad-url", StatusCode::FORBIDDEN, "The URL is not signed for this, or has expired"),
            Code::WrongBytes => ("wrong-bytes", StatusCode::BAD_REQUEST, "These are not the announced bytes"),
            Code::AlreadyPresent => ("already-present", StatusCode::PRECONDITION_FAILED, "The chunk is there already"),
            Code::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Too many chunks come at once"),
            Code::TooYoung => ("too-young", StatusCode::CONFLICT, "The chunk may not be removed yet"),
            Code::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body of the request is too large"),
            Code::RateLimited => ("rate-limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Code::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "The server has a defect"),
            Code::StoreUnavailable => {
                ("store-unavailable", StatusCode::SERVICE_UNAVAILABLE, "The object store does not answer")
            }
            Code::StoreUnfit => {
                ("store-unfit", StatusCode::SERVICE_UNAVAILABLE, "The object store is not known to refuse wrong bytes")
            }
            Code::StateUnavailable => {
                ("state-unavailable", StatusCode::SERVICE_UNAVAILABLE, "The server's database does not answer")
            }
            Code::BeingRemoved => {
                ("being-removed", StatusCode::SERVICE_UNAVAILABLE, "The chunk is being removed at this moment")
            }
            Code::Quota => ("quota", StatusCode::INSUFFICIENT_STORAGE, "The quota of the tenant is used up"),
            Code::TokenQuota => {
                ("token-quota", StatusCode::INSUFFICIENT_STORAGE, "The token's bytes of today are used up")
            }
        }
    }
}

/// An error as the client sees it. It must hold no secrets, and nothing that the token may not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    /// A sentence for people.
    pub detail: String,
    /// After how many seconds a repetition makes sense.
    pub retry_after: Option<u64>,
    /// When it will work.
    pub until: Option<u64>,
}

impl Problem {
    /// A problem with a sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem { code, detail: detail.into(), retry_after: None, until: None }
    }

    /// The request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(Code::BadRequest, detail)
    }

    /// The one answer for everything that is not there or must not be known.
    pub fn not_found() -> Self {
        Problem::new(Code::NotFound, "there is no such path, tenant or chunk, or this token may not know of it")
    }

    /// Worth repeating after some seconds.
    pub fn retry_after(self, seconds: u64) -> Self {
        Problem { retry_after: Some(seconds), ..self }
    }

    /// Works from then on.
    pub fn until(self, until: u64) -> Self {
        Problem { until: Some(until), ..self }
    }

    /// The document.
    pub fn document(&self) -> ProblemDocument {
        let (code, status, title) = self.code.parts();
        ProblemDocument {
            r#type: format!("https://obnam.org/problem/{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code,
            until: self.until,
        }
    }
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// An URI for the kind of problem.
    pub r#type: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A sentence for people.
    pub detail: String,
    /// The kind of problem, for programs.
    pub code: Code,
    /// When it will work, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.parts().1;
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::BadToken {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!("{error}");
        if error.full {
            return Problem::new(Code::Quota, "the store has no room left; tell the operator of the server");
        }
        Problem::new(
            Code::StoreUnavailable,
            "the object store does not answer as it should; the server's log says more",
        )
        .retry_after(5)
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        tracing::error!("{error}");
        Problem::new(Code::StateUnavailable, "the server's database does not answer; the server's log says more")
            .retry_after(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../docs/server-api.md");
        for code in Code::ALL {
            let (text, status, _) = code.parts();
            assert!(page.contains(&format!("| `{text}` | {} |", status.as_u16())), "{text} is not in the page");
            assert_eq!(serde_json::to_value(code).expect("writes"), text);
        }
    }

    #[test]
    fn a_problem_is_a_problem_document() {
        let response = Problem::new(Code::RateLimited, "slowly").retry_after(7).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "7");
    }
}
