//! The objects of a fake store, and what S3 does with them.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use sha2::{Digest, Sha256};

use super::authentication::http_date;
use super::faults::{Action, Faults};
use super::refused::{Refused, denied};
use super::request::{Arrived, Target};

const CLASSES: [&str; 9] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "EXPRESS_ONEZONE",
];

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub bytes: Bytes,
    /// The SHA-256 in base64 that it was stored with.
    pub checksum: Option<String>,
    /// Its storage class.
    pub class: String,
    /// When it was stored.
    pub stored: SystemTime,
}

impl Object {
    /// As if it had been stored a moment ago, with its right checksum.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let checksum = Some(STANDARD.encode(Sha256::digest(&bytes)));
        Object { bytes, checksum, class: "STANDARD".into(), stored: SystemTime::now() }
    }

    /// Not an MD5, as S3 says of many objects.
    pub fn etag(&self) -> String {
        format!("\"{}\"", &hex::encode(Sha256::digest(&self.bytes))[..32])
    }

    fn younger_than(&self, age: Duration) -> bool {
        !age.is_zero() && self.stored.elapsed().unwrap_or_default() < age
    }

    pub(super) fn is_listed(&self, faults: &Faults) -> bool {
        !self.younger_than(faults.list_lags)
    }
}

/// The buckets, and the keys that a conditional PutObject is just storing.
#[derive(Debug, Default)]
pub struct Buckets {
    /// The objects of each bucket by their keys.
    pub all: BTreeMap<String, BTreeMap<String, Object>>,
    /// Bucket and key of what is being stored.
    pub under_way: HashSet<(String, String)>,
}

type Answer = Result<Response<Full<Bytes>>, Refused>;

impl Buckets {
    /// The bucket that a request names.
    pub fn bucket(&mut self, name: &str) -> Result<&mut BTreeMap<String, Object>, Refused> {
        let refused =
            || Refused::new(404, "NoSuchBucket", "The specified bucket does not exist").with("BucketName", name);
        self.all.get_mut(name).ok_or_else(refused)
    }

    /// Whether the bucket is there.
    pub fn head_bucket(&mut self, target: &Target, region: &str) -> Answer {
        self.bucket(&target.bucket)?;
        answer(200, [("x-amz-bucket-region", region.to_owned())], Bytes::new())
    }

    /// Makes a bucket, in the region that the endpoint is in.
    pub fn create_bucket(&mut self, request: &Arrived, target: &Target, region: &str) -> Answer {
        let body = String::from_utf8_lossy(&request.body);
        let named = body.split("<LocationConstraint>").nth(1).and_then(|rest| rest.split('<').next());
        if named.unwrap_or("us-east-1") != region {
            let message = "The specified location constraint is not that of this endpoint.";
            return Err(Refused::new(400, "IllegalLocationConstraintException", message));
        }
        if self.all.contains_key(&target.bucket) {
            let message = "Your previous request to create the named bucket succeeded and you already own it.";
            return Err(Refused::new(409, "BucketAlreadyOwnedByYou", message));
        }
        self.all.insert(target.bucket.clone(), BTreeMap::new());
        answer(200, [("location", format!("/{}", target.bucket))], Bytes::new())
    }

    /// Stores an object.
    pub fn put(&mut self, request: &Arrived, target: &Target, faults: &mut Faults) -> Answer {
        let conditional = request.header("if-none-match").is_some();
        check_condition(request, faults)?;
        if conditional && faults.conflicts > 0 {
            faults.conflicts -= 1;
            return Err(conflict());
        }
        let bucket = self.bucket(&target.bucket)?;
        if target.key.len() > 1024 {
            return Err(Refused::new(400, "KeyTooLongError", "Your key is too long"));
        }
        let class = request.header("x-amz-storage-class").unwrap_or("STANDARD").to_owned();
        if !CLASSES.contains(&class.as_str()) {
            let message = "The storage class you specified is not valid";
            return Err(Refused::new(400, "InvalidStorageClass", message).with("StorageClassRequested", class));
        }
        let checksum = request.header("x-amz-checksum-sha256").map(str::to_owned);
        let object = Object { checksum, class, ..Object::new(request.body.clone()) };
        let fits = if faults.ignores_checksum { Ok(()) } else { check_sum(request) };
        if !faults.stores_before_checking {
            fits.clone()?;
        }
        if conditional && !faults.ignores_if_none_match && bucket.contains_key(&target.key) {
            let message = "At least one of the pre-conditions you specified did not hold";
            return Err(Refused::new(412, "PreconditionFailed", message).with("Condition", "If-None-Match"));
        }
        let etag = object.etag();
        if !faults.forgets {
            bucket.insert(target.key.clone(), object);
        }
        fits?;
        answer(200, [("etag", etag)], Bytes::new())
    }

    /// Stores what another object (`/BUCKET/KEY`) consists of.
    pub fn copy(&mut self, source: &str, target: &Target) -> Answer {
        let bucket = self.bucket(&target.bucket)?;
        let key = source.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let bytes = bucket.get(key).map(|object| object.bytes.clone());
        let bytes = bytes.ok_or_else(|| Refused::new(404, "NoSuchKey", "The specified key does not exist."))?;
        bucket.insert(target.key.clone(), Object::new(bytes));
        answer(200, [], Bytes::new())
    }

    /// Reads an object or a range of it.
    pub fn get(&mut self, request: &Arrived, target: &Target, faults: &Faults) -> Answer {
        let object = self.object(target, faults)?;
        if ["GLACIER", "DEEP_ARCHIVE"].contains(&object.class.as_str()) {
            let message = "The operation is not valid for the object's storage class";
            return Err(Refused::new(403, "InvalidObjectState", message).with("StorageClass", &object.class));
        }
        let size = object.bytes.len();
        let Some((first, last)) = request.header("range").and_then(|range| parse_range(range, size)) else {
            return answer(200, describe(request, object, faults), object.bytes.clone());
        };
        if first >= size {
            let refused = Refused::new(416, "InvalidRange", "The requested range is not satisfiable");
            let refused = refused.with("ActualObjectSize", size.to_string());
            return Err(refused.header("content-range", format!("bytes */{size}")));
        }
        let mut headers = describe(request, object, faults);
        // The checksum is that of the whole.
        headers.retain(|(name, _)| !name.starts_with("x-amz-checksum"));
        headers.push(("content-range", format!("bytes {first}-{last}/{size}")));
        answer(206, headers, object.bytes.slice(first..=last))
    }

    /// Says what is known of an object.
    pub fn head(&mut self, request: &Arrived, target: &Target, faults: &Faults) -> Answer {
        let object = self.object(target, faults)?;
        answer(200, describe(request, object, faults), object.bytes.clone())
    }

    /// Removes an object; it is no error if it is not there.
    pub fn delete(&mut self, target: &Target) -> Answer {
        self.bucket(&target.bucket)?.remove(&target.key);
        answer(204, [], Bytes::new())
    }

    fn object(&mut self, target: &Target, faults: &Faults) -> Result<&Object, Refused> {
        let may_list = !faults.denied.iter().any(|(action, _)| *action == Action::List);
        let missing = || match may_list {
            true => Refused::new(404, "NoSuchKey", "The specified key does not exist.").with("Key", &target.key),
            false => denied(),
        };
        let object = self.bucket(&target.bucket)?.get(&target.key).ok_or_else(missing)?;
        if object.younger_than(faults.read_lags) {
            return Err(missing());
        }
        Ok(object)
    }
}

/// 409, which means: try again.
pub fn conflict() -> Refused {
    let message = "The conditional request cannot succeed due to a conflicting operation against this resource.";
    Refused::new(409, "ConditionalRequestConflict", message).with("Condition", "If-None-Match")
}

/// PutObject knows one condition only.
fn check_condition(request: &Arrived, faults: &Faults) -> Result<(), Refused> {
    let refused =
        Refused::new(501, "NotImplemented", "A header you provided implies functionality that is not implemented");
    match request.header("if-none-match") {
        None => Ok(()),
        Some("*") if !faults.refuses_if_none_match => Ok(()),
        Some(_) => Err(refused.with("Header", "If-None-Match")),
    }
}

/// Whether the body is the announced one. Other checksums than SHA-256 are believed.
fn check_sum(request: &Arrived) -> Result<(), Refused> {
    let Some(announced) = request.header("x-amz-checksum-sha256") else { return Ok(()) };
    if !STANDARD.decode(announced).is_ok_and(|bytes| bytes.len() == 32) {
        let message = "Value for x-amz-checksum-sha256 header is invalid.";
        return Err(Refused::new(400, "InvalidRequest", message));
    }
    if announced != STANDARD.encode(Sha256::digest(&request.body)) {
        return Err(Refused::new(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum."));
    }
    Ok(())
}

/// The headers that tell what an object is.
fn describe(request: &Arrived, object: &Object, faults: &Faults) -> Vec<(&'static str, String)> {
    let stored = jiff::Timestamp::try_from(object.stored).unwrap_or_default();
    let mut headers = vec![
        ("etag", object.etag()),
        ("last-modified", http_date(stored)),
        ("accept-ranges", "bytes".into()),
        ("content-type", "binary/octet-stream".into()),
    ];
    if object.class != "STANDARD" {
        headers.push(("x-amz-storage-class", object.class.clone()));
    }
    let asked = request.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if let Some(checksum) = object.checksum.as_ref().filter(|_| asked && !faults.hides_checksums) {
        headers.push(("x-amz-checksum-sha256", checksum.clone()));
        headers.push(("x-amz-checksum-type", "FULL_OBJECT".into()));
    }
    headers
}

/// First and last byte. S3 ignores a range that it does not understand.
fn parse_range(text: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: usize = last.parse().ok()?;
        return Some((if count == 0 { size } else { size.saturating_sub(count) }, size.saturating_sub(1)));
    }
    let first: usize = first.parse().ok()?;
    let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
    (first <= last).then(|| (first, last.min(size.saturating_sub(1))))
}

fn answer(status: u16, headers: impl IntoIterator<Item = (&'static str, String)>, body: Bytes) -> Answer {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    Ok(answer.body(Full::new(body)).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 9)));
        assert_eq!(parse_range("bytes=90-", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=90-200", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=-10", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=100-", 100), Some((100, 99)));
        for ignored in ["bytes=9-0", "bytes=a-b", "lines=1-2", "bytes=1", "bytes=0-1,5-6"] {
            assert_eq!(parse_range(ignored, 100), None, "{ignored}");
        }
    }
}
