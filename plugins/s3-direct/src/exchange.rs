//! One signed request and its answer.

use std::time::SystemTime;

use obnam_plugin::http;
pub use obnam_plugin::http::{Answer, Body, Method, now};
use obnam_plugin::url::{self, Host};

use crate::Error;
use crate::settings::Settings;
use crate::signing::{self, Payload, Unsigned};

/// A request.
pub struct Request<'a> {
    /// The right that it takes, as policies of AWS name it: `s3:GetObject`.
    pub action: &'static str,
    /// GET, HEAD, PUT or DELETE.
    pub method: Method,
    /// The key below the prefix; none for the bucket itself.
    pub key: Option<&'a str>,
    /// The query.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers beside those of length and signature.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body<'a>,
    /// The SHA-256 of a body that is a stream, in hexadecimal.
    pub sha256: &'a str,
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub fn new(action: &'static str, method: Method, key: Option<&'a str>) -> Self {
        Request { action, method, key, query: &[], headers: Vec::new(), body: Body::Nothing, sha256: "" }
    }
}

/// Sends a request and waits for the head of the answer, whatever its status. `doing` says what for.
pub fn send(settings: &Settings, request: &Request, doing: &str) -> Result<Answer, Error> {
    let signature = sign(settings, request, now())
        .map_err(|what| Error::Other(format!("could not {doing}: the request cannot be signed: {what}")))?;
    let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers: Vec<_> =
        headers.chain(signature.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect();
    let host = Host { tls: settings.place.tls, authority: settings.place.authority.clone() };
    let path = settings.place.path(request.key);
    let target = match url::query(request.query) {
        query if query.is_empty() => path,
        query => format!("{path}?{query}"),
    };
    let body = request.body.clone();
    http::send(&http::Request { host: &host, method: request.method, target: &target, headers: &headers, body }, doing)
}

/// The headers of the signature, which covers the length of the body too.
fn sign(settings: &Settings, request: &Request, now: SystemTime) -> Result<Vec<(String, String)>, String> {
    let (payload, length) = match &request.body {
        Body::Nothing => (Payload::Bytes(b""), None),
        Body::Bytes(bytes) => (Payload::Bytes(bytes), Some(bytes.len() as u64)),
        Body::Stream { size, .. } => (Payload::Sha256(request.sha256), Some(*size)),
    };
    let mut headers = request.headers.clone();
    headers.extend(length.map(|length| ("content-length", length.to_string())));
    let path = settings.place.path(request.key);
    let query = url::query(request.query);
    let unsigned = Unsigned { method: request.method.name(), path: &path, query: &query, headers: &headers, payload };
    signing::headers(&unsigned, settings, now)
}
