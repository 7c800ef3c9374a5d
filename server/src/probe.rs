//! Tries what the object store guarantees of signed URLs. A URL to store a chunk is handed out only where a probe saw
//! that the store refuses other bytes, and keeps nothing of them.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use obnam_chunk::ChunkId;

use crate::access::Access;
use crate::signing::SigningError;
use crate::store::{S3Store, StoreError};

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Whether signed URLs bind the bytes: other bytes, another length and missing headers were refused, and nothing of
    /// them was stored.
    pub binds: bool,
    /// Whether a second PUT of one chunk is refused.
    pub create_only: bool,
    /// What was seen, a sentence each.
    pub findings: Vec<Finding>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was tried.
    pub tried: &'static str,
    /// Whether the store did what is wanted.
    pub good: bool,
    /// What it did.
    pub saw: String,
}

/// Why a probe could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// A request got no answer.
    #[error("cannot send a request to the object store: {0}")]
    Request(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// Not even what is right works.
    #[error(
        "the object store refuses what is right: a PUT with a signed URL was answered {0}; look at bucket, region, keys and \
         clock (signatures hold for minutes)"
    )]
    Refused(StatusCode),
}

/// How long one request may take.
const LONGEST: Duration = Duration::from_secs(30);

const RIGHT: &[u8] = b"obnam-server probes its store: these bytes are announced\n";
/// What another object consists of; longer than the announced bytes, so that its size tells it from them.
const OTHER: &[u8] =
    b"obnam-server probes its store: this is another object, which nobody may copy by an URL to store\n";
const WRONG: &[u8] = b"obnam-server probes its store: those bytes are not so....";

/// Makes requests as clients would, with small objects outside of every tenant, and removes them again.
pub async fn probe(store: &S3Store) -> Result<Verdict, ProbeError> {
    // Wrong keys and the like are told best by the answer to a listing.
    store.ping().await?;
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(|_| ProbeError::Random)?;
    let key = store.scratch_key(&hex::encode(name));
    let other = format!("{key}-other");
    let probe = Probe { store, http: client()?, key, other };
    let result = probe.run().await;
    // Whatever happened, nothing shall stay.
    let removed = [store.delete(&probe.key).await, store.delete(&probe.other).await];
    let verdict = result?;
    removed.into_iter().collect::<Result<(), _>>()?;
    Ok(verdict)
}

/// A client that does as it is told: no redirects, no proxy.
type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> Result<Http, ProbeError> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|why| ProbeError::Request(format!("no certificates of authorities: {why}")))?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

struct Probe<'a> {
    store: &'a S3Store,
    http: Http,
    key: String,
    /// Where another object lies.
    other: String,
}

impl Probe<'_> {
    async fn run(&self) -> Result<Verdict, ProbeError> {
        let longer = [RIGHT, b"and more"].concat();
        let all = ["content-length", "if-none-match", "x-amz-checksum-sha256"];
        let attacks: [(&'static str, &[u8], &[&str]); 4] = [
            ("other bytes of the same length", WRONG, &all),
            ("more bytes", &longer, &all[1..]),
            ("other bytes without the checksum's header", WRONG, &all[..2]),
            ("other bytes without any signed header", WRONG, &[]),
        ];
        let mut findings = vec![self.copy(&all).await?];
        for (tried, bytes, headers) in attacks {
            let status = self.put(&self.access()?, bytes, headers, None).await?;
            let stored = self.store.head(&self.key).await?;
            let good = !status.is_success() && stored.is_none();
            let what = if stored.is_some() { "and something was stored" } else { "and nothing was stored" };
            findings.push(Finding { tried, good, saw: format!("answered {status}, {what}") });
            if stored.is_some() {
                self.store.delete(&self.key).await?;
            }
        }
        let binds = findings.iter().all(|finding| finding.good);
        let status = self.put(&self.access()?, RIGHT, &all, None).await?;
        if !status.is_success() {
            return Err(ProbeError::Refused(status));
        }
        let stored = self.store.head(&self.key).await?.is_some_and(|(size, _)| size == RIGHT.len() as u64);
        let saw = if stored { "it is there" } else { "it is not there" };
        findings.push(Finding { tried: "the announced bytes", good: stored, saw: saw.to_owned() });
        let status = self.put(&self.access()?, RIGHT, &all, None).await?;
        let create_only = status == StatusCode::PRECONDITION_FAILED;
        findings.push(Finding {
            tried: "the announced bytes again",
            good: create_only,
            saw: format!("answered {status}"),
        });
        Ok(Verdict { binds: binds && stored, create_only, findings })
    }

    /// Asks for a copy of another object, by a header that is not signed. A store may refuse that or not hear it.
    async fn copy(&self, all: &[&str]) -> Result<Finding, ProbeError> {
        let access = self.store.signer.put(&self.other, &ChunkId::of(OTHER), OTHER.len() as u64)?;
        let status = self.put(&access, OTHER, all, None).await?;
        if !status.is_success() {
            return Err(ProbeError::Refused(status));
        }
        let source = self.store.copy_source(&self.other);
        let status = self.put(&self.access()?, RIGHT, all, Some(("x-amz-copy-source", &source))).await?;
        let stored = self.store.head(&self.key).await?;
        self.store.delete(&self.key).await?;
        let what = match stored {
            None => "and nothing was stored",
            Some((size, _)) if size == RIGHT.len() as u64 => "and the announced bytes were stored",
            Some(_) => "and something else was stored",
        };
        let good = stored.is_none_or(|(size, _)| size == RIGHT.len() as u64);
        Ok(Finding { tried: "a copy of another object", good, saw: format!("answered {status}, {what}") })
    }

    fn access(&self) -> Result<Access, SigningError> {
        self.store.signer.put(&self.key, &ChunkId::of(RIGHT), RIGHT.len() as u64)
    }

    /// Sends these bytes with those of the headers that are named, and perhaps with one that is not signed.
    async fn put(
        &self,
        access: &Access,
        bytes: &[u8],
        headers: &[&str],
        unsigned: Option<(&str, &str)>,
    ) -> Result<StatusCode, ProbeError> {
        let mut request = Request::put(&access.url);
        // The length is that of the bytes, whatever was announced.
        for (name, value) in
            access.headers.iter().filter(|(name, _)| **name != "content-length" && headers.contains(name))
        {
            request = request.header(*name, value);
        }
        if let Some((name, value)) = unsigned {
            request = request.header(name, value);
        }
        let failed = |why: &dyn std::fmt::Display| ProbeError::Request(why.to_string());
        let request = request.body(Full::new(Bytes::copy_from_slice(bytes))).map_err(|why| failed(&why))?;
        let answer = tokio::time::timeout(LONGEST, self.http.request(request)).await;
        // Neither error names the URL, which is a secret.
        Ok(answer.map_err(|_| failed(&"there is no answer"))?.map_err(|why| failed(&why))?.status())
    }
}
