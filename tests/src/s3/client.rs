//! A bare S3 client: what it is told to send, signed, and what comes back. Tests use it to look behind the program's back,
//! the benchmark as the floor below which no backup program can be.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::Access;
use super::signature::{Scope, Signable, UNSIGNED, amz_time, encode, sha256};

/// A client with a pool of connections.
pub struct Client {
    access: Access,
    http: Http<HttpConnector, Full<Bytes>>,
}

/// What to send.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    /// `GET`, `PUT`, ...
    pub method: &'a str,
    /// The key; empty for the bucket.
    pub key: &'a str,
    /// The query, encoded.
    pub query: &'a str,
    /// Headers to be sent and signed.
    pub headers: Vec<(&'a str, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether the body's hash is signed, or `UNSIGNED-PAYLOAD` stands for it.
    pub unsigned: bool,
    /// The body's hash in hexadecimal, where it is known already.
    pub payload: Option<&'a str>,
    /// When it claims to be sent, instead of now.
    pub time: Option<Timestamp>,
}

/// What comes back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code in the document of a refusal.
    pub fn code(&self) -> String {
        self.elements("Code").into_iter().next().unwrap_or_default()
    }

    /// What stands in all elements of a name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (opens, closes) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        text.split(&opens).skip(1).filter_map(|rest| Some(rest.split_once(&closes)?.0.to_owned())).collect()
    }
}

impl Client {
    /// A client of a store.
    pub fn new(access: &Access) -> Self {
        Client { access: access.clone(), http: Http::builder(TokioExecutor::new()).build_http() }
    }

    /// Sends a request; an error is one of the connection.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Answer, String> {
        let answer = self.http.request(self.request(ask)).await.map_err(|error| format!("{error:?}"))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn request(&self, ask: &Ask<'_>) -> Request<Full<Bytes>> {
        let path = match ask.key {
            "" => format!("/{}", self.access.bucket),
            key => format!("/{}/{}", self.access.bucket, encode(key, true)),
        };
        let payload = match ask.payload {
            Some(known) => known.to_owned(),
            None if ask.unsigned => UNSIGNED.to_owned(),
            None => sha256(&ask.body),
        };
        let time = amz_time(ask.time.unwrap_or_else(Timestamp::now));
        let mut headers: Vec<(String, String)> = vec![
            ("host".into(), self.access.authority().into()),
            ("x-amz-content-sha256".into(), payload.clone()),
            ("x-amz-date".into(), time.clone()),
        ];
        headers.extend(self.access.session_token.iter().map(|token| ("x-amz-security-token".into(), token.clone())));
        headers.extend(ask.headers.iter().map(|(name, value)| (name.to_string(), value.clone())));
        let scope = Scope { time, region: self.access.region.clone() };
        let signable =
            Signable { method: ask.method, path: &path, query: ask.query, headers: headers.clone(), payload: &payload };
        let authorization = signable.authorization(&scope, &self.access.access_key, &self.access.secret_key);
        let query = if ask.query.is_empty() { String::new() } else { format!("?{}", ask.query) };
        let mut request = Request::builder().method(ask.method).uri(format!("{}{path}{query}", self.access.endpoint));
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        // hyper sends no length of an empty body by itself.
        if ask.method == "PUT" {
            request = request.header("content-length", ask.body.len());
        }
        request.header("authorization", authorization).body(Full::new(ask.body.clone())).unwrap()
    }
}

/// The same client for tests that are not asynchronous.
pub struct Blocking {
    client: Client,
    runtime: Runtime,
}

impl Blocking {
    /// A client of a store.
    pub fn new(access: &Access) -> Self {
        Blocking { client: Client::new(access), runtime: super::runtime() }
    }

    /// Sends a request; an error is one of the connection.
    pub fn try_send(&self, ask: &Ask<'_>) -> Result<Answer, String> {
        self.runtime.block_on(self.client.send(ask))
    }

    /// Sends a request, which must be answered.
    #[track_caller]
    pub fn send(&self, ask: &Ask<'_>) -> Answer {
        self.try_send(ask).unwrap()
    }

    /// Reads an object, which must be there.
    #[track_caller]
    pub fn get(&self, key: &str) -> Bytes {
        let answer = self.send(&Ask { method: "GET", key, ..Ask::default() });
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        answer.body
    }

    /// Stores an object without conditions, whatever is there.
    #[track_caller]
    pub fn put(&self, key: &str, body: impl Into<Bytes>) {
        let answer = self.send(&Ask { method: "PUT", key, body: body.into(), ..Ask::default() });
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
    }

    /// Removes an object.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        assert_eq!(self.send(&Ask { method: "DELETE", key, ..Ask::default() }).status, 204);
    }

    /// The keys below a prefix, all pages.
    #[track_caller]
    pub fn list(&self, prefix: &str) -> Vec<String> {
        let (mut keys, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut query = format!("list-type=2&prefix={}", encode(prefix, false));
            if let Some(token) = &token {
                query += &format!("&continuation-token={}", encode(token, false));
            }
            let page = self.send(&Ask { method: "GET", query: &query, ..Ask::default() });
            assert_eq!(page.status, 200, "{}", page.text());
            keys.extend(page.elements("Key"));
            token = page.elements("NextContinuationToken").into_iter().next();
            if token.is_none() {
                return keys;
            }
        }
    }
}
