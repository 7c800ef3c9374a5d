//! A request as it arrived, and what it asks for.

use hyper::body::Bytes;
use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::faults::Action;
use crate::s3::signature::query_pairs;

/// A request with its whole body.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its method.
    pub method: Method,
    /// Its path, still encoded.
    pub path: String,
    /// Its query, still encoded.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it does.
    pub action: Action,
    /// The bucket.
    pub bucket: String,
    /// The key; empty if it is about the bucket.
    pub key: String,
}

impl Arrived {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        query_pairs(&self.query).into_iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }

    /// What it is about. `http://BUCKET.localhost/KEY` and `http://HOST/BUCKET/KEY` are the same.
    pub fn target(&self) -> Target {
        let path = percent_decode_str(&self.path).decode_utf8_lossy().into_owned();
        let host = self.header("host").unwrap_or_default().split(':').next().unwrap_or_default();
        let path = match host.strip_suffix(".localhost") {
            Some(bucket) => format!("/{bucket}{path}"),
            None => path,
        };
        let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
        Target { action: self.action(bucket, key), bucket: bucket.to_owned(), key: key.to_owned() }
    }

    fn action(&self, bucket: &str, key: &str) -> Action {
        let extras = ["X-Amz-", "x-id", "list-type"];
        let names = query_pairs(&self.query).into_iter().map(|(name, _)| name);
        let plain = names.into_iter().all(|name| extras.iter().any(|extra| name.starts_with(extra)));
        match (&self.method, bucket.is_empty(), key.is_empty()) {
            (_, true, _) => Action::Other,
            (&Method::GET, _, true) if self.parameter("list-type").as_deref() == Some("2") => Action::List,
            (&Method::HEAD, _, true) => Action::HeadBucket,
            (&Method::PUT, _, true) if plain => Action::CreateBucket,
            (&Method::GET, _, false) if plain => Action::Get,
            (&Method::HEAD, _, false) if plain => Action::Head,
            (&Method::PUT, _, false) if plain => Action::Put,
            (&Method::DELETE, _, false) if plain => Action::Delete,
            _ => Action::Other,
        }
    }
}
