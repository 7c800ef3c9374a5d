//! Lists, heads and deletes, by the AWS SDK.

use std::collections::HashSet;
use std::sync::RwLock;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::Object;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use obnam_chunk::{ChunkId, Label};

use super::{ChunkName, MARKER, Stat, StoreError, Stored, tenant_prefix};
use crate::config::S3Config;
use crate::signing::{Signer, SigningError};
use crate::tenant::TenantName;

/// How many keys the store lists at once.
const PAGE: i32 = 1000;

/// The bucket.
pub struct S3Store {
    /// Signs URLs for it.
    pub signer: Signer,
    client: Client,
    bucket: String,
    prefix: String,
    /// The tenants whose places are known to be prepared.
    pub(super) prepared: RwLock<HashSet<TenantName>>,
}

impl S3Store {
    /// A client for the bucket of the configuration. Asks nothing yet.
    pub fn new(config: &S3Config, lifetime: Duration) -> Result<Self, SigningError> {
        use aws_smithy_http_client::{Builder, tls};
        let http =
            Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
        let (region, id, key) = config.credentials();
        let sdk = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(region.to_owned()))
            .endpoint_url(config.endpoint())
            .force_path_style(config.path_style())
            .credentials_provider(Credentials::new(id, key, None, None, "configuration"))
            // Other stores than AWS do not know the checksums that the SDK would add on its own.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .operation_attempt_timeout(Duration::from_secs(20))
                    .operation_timeout(Duration::from_secs(60))
                    .build(),
            )
            .build();
        Ok(S3Store {
            signer: Signer::new(config, lifetime)?,
            client: Client::from_conf(sdk),
            bucket: config.bucket.clone(),
            prefix: config.prefix.clone(),
            prepared: RwLock::default(),
        })
    }

    /// The key of a chunk.
    pub fn key(&self, tenant: &TenantName, name: &ChunkName) -> String {
        format!("{}{name}", tenant_prefix(&self.prefix, tenant))
    }

    /// The key of a tenant's marker.
    pub fn marker_key(&self, tenant: &TenantName) -> String {
        format!("{}{MARKER}", tenant_prefix(&self.prefix, tenant))
    }

    /// The key of an object that is no tenant's: tenants have no dots in their names.
    pub fn scratch_key(&self, name: &str) -> String {
        format!("{}.probe/{name}", self.prefix)
    }

    /// How a request to copy names an object.
    pub fn copy_source(&self, key: &str) -> String {
        format!("/{}/{key}", self.bucket)
    }

    /// Whether the bucket answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let doing = || format!("list the bucket {}", self.bucket);
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix).max_keys(1);
        list.send().await.map_err(|error| failed(doing(), error))?;
        Ok(())
    }

    /// The labels of a tenant that begin with this text, in ascending order.
    pub async fn labels(&self, tenant: &TenantName, beginning: &str) -> Result<Vec<Label>, StoreError> {
        let doing = || format!("list the labels of tenant {tenant}");
        let prefix = tenant_prefix(&self.prefix, tenant);
        let mut labels = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{prefix}{beginning}"))
                .delimiter("/")
                .set_continuation_token(after.take())
                .send()
                .await
                .map_err(|error| failed(doing(), error))?;
            for found in page.common_prefixes() {
                let name = found.prefix().and_then(|key| key.strip_prefix(&prefix)?.strip_suffix('/'));
                labels.extend(name.and_then(|name| name.parse::<Label>().ok()));
            }
            after = page.next_continuation_token().map(str::to_owned);
            if after.is_none() || page.is_truncated() != Some(true) {
                break;
            }
        }
        // The store sorts `data.x/` before `data/`.
        labels.sort_unstable();
        Ok(labels)
    }

    /// All chunks whose label begins with this text, in ascending order; none where they do not fit on one page.
    pub async fn list_at_once(&self, tenant: &TenantName, beginning: &str) -> Result<Option<Vec<Stat>>, StoreError> {
        let prefix = tenant_prefix(&self.prefix, tenant);
        let page = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{prefix}{beginning}"))
            .max_keys(PAGE)
            .send()
            .await
            .map_err(|error| failed(format!("list {beginning}* of tenant {tenant}"), error))?;
        if page.is_truncated() == Some(true) {
            return Ok(None);
        }
        let chunk = |object: &Object| {
            let (label, _) = object.key()?.strip_prefix(&prefix)?.split_once('/')?;
            stat(&format!("{prefix}{label}/"), &label.parse().ok()?, object)
        };
        let mut chunks: Vec<Stat> = page.contents().iter().filter_map(chunk).collect();
        // The store sorts `data.x/` before `data/`.
        chunks.sort_unstable_by(|one, other| (&one.label, &one.id).cmp(&(&other.label, &other.id)));
        Ok(Some(chunks))
    }

    /// At most `limit` chunks of a label in ascending order, behind `after`; and whether there are more.
    pub async fn list(
        &self,
        tenant: &TenantName,
        label: &Label,
        after: Option<&ChunkId>,
        limit: usize,
    ) -> Result<(Vec<Stat>, bool), StoreError> {
        let prefix = format!("{}{label}/", tenant_prefix(&self.prefix, tenant));
        let mut start_after = after.map(|id| format!("{prefix}{id}"));
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(&prefix)
                .set_start_after(start_after.take())
                .max_keys(i32::try_from(limit).unwrap_or(PAGE).min(PAGE))
                .send()
                .await
                .map_err(|error| failed(format!("list {label} of tenant {tenant}"), error))?;
            // What is not named like a chunk is not ours.
            let chunks: Vec<Stat> = page.contents().iter().filter_map(|object| stat(&prefix, label, object)).collect();
            let more = page.is_truncated() == Some(true);
            if !more || !chunks.is_empty() {
                return Ok((chunks, more));
            }
            start_after = page.contents().last().and_then(|object| object.key().map(str::to_owned));
            if start_after.is_none() {
                return Ok((chunks, false));
            }
        }
    }

    /// What the store knows of a chunk; none when there is none.
    pub async fn stat(&self, tenant: &TenantName, name: &ChunkName) -> Result<Option<Stat>, StoreError> {
        let found = self.head(&self.key(tenant, name)).await?;
        Ok(found.map(|(size, stored)| Stat { label: name.label.to_string(), id: name.id.to_string(), size, stored }))
    }

    /// Size and age of an object.
    pub async fn head(&self, key: &str) -> Result<Option<(u64, Option<u64>)>, StoreError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => {
                let size = head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                Ok(Some((size, head.last_modified().and_then(|time| u64::try_from(time.secs()).ok()))))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(None),
            Err(error) => Err(failed(format!("ask for {key}"), error)),
        }
    }

    /// The beginning of an object of the server's own, at most 4 KiB.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let doing = || format!("read {key}");
        match self.client.get_object().bucket(&self.bucket).key(key).range("bytes=0-4095").send().await {
            Ok(object) => {
                let body = object.body.collect().await;
                let body = body.map_err(|why| StoreError::new(doing(), why.to_string()))?;
                Ok(Some(body.to_vec()))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => Ok(None),
            Err(error) => Err(failed(doing(), error)),
        }
    }

    /// Removes an object. One that is not there is no error.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let deleted = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        deleted.map_err(|error| failed(format!("remove {key}"), error))?;
        Ok(())
    }

    /// Stores a chunk whose bytes were seen to be right. What is there stays, as far as the store knows `if-none-match`.
    pub async fn write(&self, tenant: &TenantName, name: &ChunkName, bytes: Bytes) -> Result<Stored, StoreError> {
        let times = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(300))
            .operation_timeout(Duration::from_secs(600))
            .build();
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(tenant, name))
            .if_none_match("*")
            .checksum_sha256(BASE64_STANDARD.encode(name.id.as_bytes()))
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(times));
        match put.send().await {
            Ok(_) => Ok(Stored::Now),
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 412) => {
                Ok(Stored::Before)
            }
            Err(error) => Err(failed(format!("store {name} of tenant {tenant}"), error)),
        }
    }

    /// Stores a small object of the server's own.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes.to_vec()));
        put.send().await.map_err(|error| failed(format!("store {key}"), error))?;
        Ok(())
    }
}

fn stat(prefix: &str, label: &Label, object: &Object) -> Option<Stat> {
    let id: ChunkId = object.key()?.strip_prefix(prefix)?.parse().ok()?;
    Some(Stat {
        label: label.to_string(),
        id: id.to_string(),
        size: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        stored: object.last_modified().and_then(|time| u64::try_from(time.secs()).ok()),
    })
}

/// In words: what the store answered, or why there is no answer.
fn failed<E>(doing: String, error: SdkError<E>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let Some(response) = error.raw_response() else {
        return StoreError::new(doing, DisplayErrorContext(&error).to_string());
    };
    let mut why = format!("the store answered {}", response.status().as_u16());
    if let Some(code) = error.code() {
        why.push_str(&format!(" {code}"));
    }
    if let Some(message) = error.message() {
        why.push_str(&format!(": {message}"));
    }
    if [401, 403].contains(&response.status().as_u16()) {
        why.push_str("; look at keys, region and the rights of the key");
    }
    let full = response.status().as_u16() == 507 || error.code() == Some("QuotaExceeded");
    StoreError { full, ..StoreError::new(doing, why) }
}
