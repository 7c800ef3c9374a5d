//! Signs URLs for the object store (AWS Signature Version 4, in the query).
//!
//! A URL to store a chunk is signed together with the headers that bind it to these very bytes. That they are indeed
//! among the signed ones is checked on the finished URL: one that would allow more is never handed out.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use obnam_chunk::ChunkId;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use crate::access::Access;
use crate::config::S3Config;

/// The headers that an URL to store is signed with, as they stand in `X-Amz-SignedHeaders`.
const BOUND: &str = "content-length;host;if-none-match;x-amz-checksum-sha256";

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The endpoint is no URL.
    #[error("s3.endpoint {0:?} is no URL with a host: {1}")]
    Endpoint(String, String),
    /// The bucket does not fit.
    #[error("s3.bucket {0:?} cannot be used: {1}")]
    Bucket(String, String),
    /// The finished URL does not bind what it has to.
    #[error(
        "the signed URL does not bind the headers {BOUND}; this is a defect of the server, and the URL is not handed out"
    )]
    Unbound,
}

/// Signs.
pub struct Signer {
    bucket: Bucket,
    credentials: Credentials,
    lifetime: Duration,
}

impl Signer {
    /// Signs for the bucket of the configuration.
    pub fn new(config: &S3Config, lifetime: Duration) -> Result<Self, SigningError> {
        let endpoint = config.endpoint();
        let (region, id, key) = config.credentials();
        let url = endpoint
            .parse()
            .map_err(|why: url::ParseError| SigningError::Endpoint(endpoint.clone(), why.to_string()))?;
        let style = if config.path_style() { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(url, style, config.bucket.clone(), region.to_owned())
            .map_err(|why| SigningError::Bucket(config.bucket.clone(), why.to_string()))?;
        Ok(Signer { bucket, credentials: Credentials::new(id, key), lifetime })
    }

    /// The origin of all URLs.
    pub fn origin(&self) -> String {
        self.bucket.base_url().origin().ascii_serialization()
    }

    /// To read the object at `key`.
    pub fn get(&self, key: &str) -> Access {
        let now = Timestamp::now();
        let url = self.bucket.get_object(Some(&self.credentials), key).sign_with_time(self.lifetime, &now);
        Access { url: url.into(), method: "GET", headers: BTreeMap::new(), expires: expires(now, self.lifetime) }
    }

    /// To store exactly the bytes with this id and size as the object at `key`.
    pub fn put(&self, key: &str, id: &ChunkId, size: u64) -> Result<Access, SigningError> {
        self.put_for(key, id, size, self.lifetime)
    }

    /// The same, with another lifetime.
    pub fn put_for(&self, key: &str, id: &ChunkId, size: u64, lifetime: Duration) -> Result<Access, SigningError> {
        let now = Timestamp::now();
        let headers = BTreeMap::from([
            ("content-length", size.to_string()),
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", BASE64_STANDARD.encode(id.as_bytes())),
        ]);
        let mut action = self.bucket.put_object(Some(&self.credentials), key);
        for (name, value) in &headers {
            action.headers_mut().insert(*name, value.clone());
        }
        let url = action.sign_with_time(lifetime, &now);
        let bound = url.query_pairs().any(|(name, value)| name == "X-Amz-SignedHeaders" && value == BOUND);
        if !bound {
            return Err(SigningError::Unbound);
        }
        Ok(Access { url: url.into(), method: "PUT", headers, expires: expires(now, lifetime) })
    }
}

/// When an URL that is signed now ends.
fn expires(now: Timestamp, lifetime: Duration) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0) + lifetime.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        let config = toml::from_str(
            "bucket = \"b\"\nendpoint = \"http://127.0.0.1:3900\"\nregion = \"garage\"\naccess-key-id = \"k\"\nsecret-access-key = \"s\"",
        )
        .expect("a configuration");
        Signer::new(&config, Duration::from_secs(900)).expect("a signer")
    }

    #[test]
    fn an_url_to_store_binds_length_checksum_and_create_only() {
        let id = ChunkId::of(b"hello");
        let access = signer().put("t/data/x", &id, 5).expect("signs");
        assert!(access.url.starts_with("http://127.0.0.1:3900/b/t/data/x?X-Amz-Algorithm="), "{}", access.url);
        assert!(access.url.contains(
            "X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256&X-Amz-Signature="
        ));
        assert_eq!(access.method, "PUT");
        assert_eq!(access.headers["content-length"], "5");
        assert_eq!(access.headers["if-none-match"], "*");
        assert_eq!(access.headers["x-amz-checksum-sha256"], "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
    }

    #[test]
    fn an_url_to_read_binds_nothing_but_the_key() {
        let access = signer().get("t/data/x");
        assert!(access.url.contains("X-Amz-SignedHeaders=host&"));
        assert!(access.headers.is_empty());
        assert!(access.expires >= crate::now() + 899);
    }
}
