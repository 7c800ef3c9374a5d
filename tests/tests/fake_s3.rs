//! The fake S3 is as strict as it says, and lets AWS's own client pass: other tests rely on it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obnam_tests::s3::client::{Ask, Blocking};
use obnam_tests::s3::fake::{Action, Answer, FakeS3, Faults, Object, When};
use obnam_tests::s3::signature::{Scope, Signable, UNSIGNED, amz_time, encode};
use sha2::{Digest, Sha256};

fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

fn get(key: &str) -> Ask<'_> {
    Ask { method: "GET", key, ..Ask::default() }
}

/// As the program stores a chunk.
fn put<'a>(key: &'a str, body: &'static [u8], announced: &[u8]) -> Ask<'a> {
    let headers = vec![("x-amz-checksum-sha256", checksum(announced)), ("if-none-match", "*".to_owned())];
    Ask { method: "PUT", key, headers, body: body.into(), ..Ask::default() }
}

fn start(faults: Faults) -> (FakeS3, Blocking) {
    let fake = FakeS3::start(faults);
    let client = Blocking::new(&fake);
    (fake, client)
}

#[test]
fn objects_come_and_go() {
    let (fake, client) = start(Faults::default());
    assert_eq!(client.send(&put("a/b c+d", b"hello", b"hello")).status, 200);
    let again = client.send(&put("a/b c+d", b"other", b"other"));
    assert_eq!((again.status, again.code().as_str()), (412, "PreconditionFailed"));
    assert_eq!(client.get("a/b c+d"), "hello");
    assert_eq!(fake.objects()["a/b c+d"].bytes, "hello");

    let head = client.send(&Ask { method: "HEAD", key: "a/b c+d", ..Ask::default() });
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("5"), 0));
    assert_eq!(head.header("x-amz-checksum-sha256"), None);
    let headers = vec![("x-amz-checksum-mode", "ENABLED".to_owned())];
    let head = client.send(&Ask { method: "HEAD", key: "a/b c+d", headers, ..Ask::default() });
    assert_eq!(head.header("x-amz-checksum-sha256"), Some(checksum(b"hello").as_str()));

    let missing = client.send(&get("nothing"));
    assert_eq!((missing.status, missing.code().as_str()), (404, "NoSuchKey"));
    client.delete("a/b c+d");
    client.delete("a/b c+d");
    assert!(fake.objects().is_empty());
    let statuses: Vec<u16> = fake.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [200, 412, 200, 200, 200, 404, 204, 204]);
    assert_eq!(fake.requests()[0].header("if-none-match"), Some("*"));
}

#[test]
fn ranges() {
    let (fake, client) = start(Faults::default());
    fake.set_object("k", Object::new("0123456789"));
    let ranged = |range: &str| client.send(&Ask { headers: vec![("range", range.to_owned())], ..get("k") });
    for (range, body, content) in
        [("bytes=2-4", "234", "bytes 2-4/10"), ("bytes=7-", "789", "bytes 7-9/10"), ("bytes=-1", "9", "bytes 9-9/10")]
    {
        let answer = ranged(range);
        assert_eq!((answer.status, answer.text().as_str()), (206, body));
        assert_eq!(answer.header("content-range"), Some(content));
    }
    let beyond = ranged("bytes=10-");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    assert_eq!(ranged("bytes=7-20").text(), "789");
    assert_eq!(ranged("nonsense").status, 200);
}

#[test]
fn checksums_are_enforced() {
    let (fake, client) = start(Faults::default());
    let refused = client.send(&put("k", b"other", b"hello"));
    assert_eq!((refused.status, refused.code().as_str()), (400, "BadDigest"));
    assert!(fake.objects().is_empty());
    let headers = vec![("x-amz-checksum-sha256", "abc".to_owned())];
    let ask = Ask { method: "PUT", key: "k", headers, ..Ask::default() };
    assert_eq!(client.send(&ask).code(), "InvalidRequest");

    fake.set_faults(Faults { stores_before_checking: true, ..Faults::default() });
    assert_eq!(client.send(&put("k", b"other", b"hello")).code(), "BadDigest");
    assert_eq!(fake.objects()["k"].bytes, "other");
    fake.set_faults(Faults { ignores_checksum: true, ..Faults::default() });
    assert_eq!(client.send(&put("l", b"other", b"hello")).status, 200);
    fake.set_faults(Faults { ignores_if_none_match: true, ..Faults::default() });
    assert_eq!(client.send(&put("l", b"new", b"new")).status, 200);
    assert_eq!(fake.objects()["l"].bytes, "new");
    fake.set_faults(Faults { conflicts: 1, ..Faults::default() });
    assert_eq!(client.send(&put("m", b"new", b"new")).code(), "ConditionalRequestConflict");
    assert_eq!(client.send(&put("m", b"new", b"new")).status, 200);
}

#[test]
fn signatures_are_verified() {
    let (fake, client) = start(Faults::default());
    fake.set_object("k", Object::new("hello"));
    let with = |change: &dyn Fn(&mut obnam_tests::s3::Access)| {
        let mut access = (*fake).clone();
        change(&mut access);
        Blocking::new(&access).send(&get("k"))
    };
    let refused = with(&|access| access.secret_key.push('x'));
    assert_eq!((refused.status, refused.code().as_str()), (403, "SignatureDoesNotMatch"));
    assert_eq!(with(&|access| access.access_key.push('x')).code(), "InvalidAccessKeyId");
    let region = with(&|access| access.region = "us-east-1".into());
    assert_eq!((region.status, region.code().as_str()), (400, "AuthorizationHeaderMalformed"));
    assert_eq!(region.elements("Region"), ["fake-region-1"]);
    assert_eq!(with(&|access| access.session_token = Some("t".into())).code(), "InvalidToken");
    assert_eq!(with(&|access| access.bucket = "nowhere".into()).code(), "NoSuchBucket");

    for (minutes, code) in [(-16, "RequestTimeTooSkewed"), (16, "RequestTimeTooSkewed"), (-14, ""), (14, "")] {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
        assert_eq!(client.send(&Ask { time: Some(time), ..get("k") }).code(), code, "{minutes}");
    }
    fake.set_faults(Faults { clock_ahead: 3600, ..Faults::default() });
    assert_eq!(client.send(&get("k")).code(), "RequestTimeTooSkewed");

    let temporary = FakeS3::with_session_token(Faults::default(), "token");
    assert_eq!(Blocking::new(&temporary).send(&get("k")).code(), "NoSuchKey");
    temporary.set_faults(Faults { token_expired: true, ..Faults::default() });
    assert_eq!(Blocking::new(&temporary).send(&get("k")).code(), "ExpiredToken");
}

/// Sends bytes as they are, and gives the status and the code of what comes back.
fn raw(fake: &FakeS3, request: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(fake.address()).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let code = answer.split("<Code>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), code.to_owned())
}

/// A presigned URL's path and query.
fn presign(fake: &FakeS3, method: &str, headers: &[(&str, &str)], expires: u32, age: i64) -> String {
    let time = amz_time(jiff::Timestamp::now() - jiff::SignedDuration::from_secs(age));
    let scope = Scope { time: time.clone(), region: fake.region().into() };
    let mut headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    headers.push(("host".into(), fake.authority().into()));
    let path = format!("/{}/k", fake.bucket());
    let mut signable = Signable { method, path: &path, query: "", headers, payload: UNSIGNED };
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={time}&X-Amz-Expires={expires}&X-Amz-SignedHeaders={}",
        encode(&format!("{}/{}", fake.access_key(), scope.text()), false),
        encode(&signable.signed_headers(), false),
    );
    signable.query = &query;
    let signature = signable.signature(&scope, fake.secret_key());
    format!("{path}?{query}&X-Amz-Signature={signature}")
}

#[test]
fn presigned_urls() {
    let (fake, _) = start(Faults::default());
    let ask = |method: &str, url: &str, headers: &str| {
        let host = fake.authority();
        raw(&fake, &format!("{method} {url} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"))
    };
    let sum = checksum(b"hello");
    let announced = [("content-length", "5"), ("if-none-match", "*"), ("x-amz-checksum-sha256", sum.as_str())];
    let url = presign(&fake, "PUT", &announced, 60, 0);
    let headers = format!("content-length: 5\r\nif-none-match: *\r\nx-amz-checksum-sha256: {sum}\r\n");
    let with_body = |body: &str| format!("{headers}\r\n{body}");
    assert_eq!(ask("PUT", &url, &with_body("other")), (400, "BadDigest".into()));
    assert_eq!(ask("PUT", &url, &with_body("hello")), (200, String::new()));
    assert_eq!(ask("PUT", &url, &with_body("hello")), (412, "PreconditionFailed".into()));
    // A signed header must come, with its value; another of S3's own must not.
    let left_out = "content-length: 5\r\nif-none-match: *\r\n\r\nhello";
    assert_eq!(ask("PUT", &url, left_out), (403, "SignatureDoesNotMatch".into()));
    let unsigned = format!("x-amz-storage-class: STANDARD\r\n{}", with_body("hello"));
    assert_eq!(ask("PUT", &url, &unsigned), (403, "AccessDenied".into()));
    assert_eq!(ask("GET", &url, ""), (403, "SignatureDoesNotMatch".into()));
    assert_eq!(ask("PUT", &url.replace("/k?", "/l?"), &with_body("hello")), (403, "SignatureDoesNotMatch".into()));

    assert_eq!(ask("GET", &presign(&fake, "GET", &[], 60, 30), "").0, 200);
    assert_eq!(ask("GET", &presign(&fake, "GET", &[], 60, 61), ""), (403, "AccessDenied".into()));
    assert_eq!(ask("GET", &presign(&fake, "GET", &[], 700_000, 0), "").1, "AuthorizationQueryParametersError");
    assert_eq!(ask("GET", &format!("/{}/k", fake.bucket()), ""), (403, "AccessDenied".into()));
    assert_eq!(ask("PUT", &url, "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), (411, "MissingContentLength".into()));
}

#[test]
fn listings() {
    let (fake, client) = start(Faults { page_size: 3, ..Faults::default() });
    let keys: Vec<String> = (0..10).map(|number| format!("p/data/{number} <&>")).collect();
    for key in &keys {
        fake.set_object(key, Object::new("x"));
    }
    fake.set_object("q", Object::new("x"));
    let escaped: Vec<String> = keys.iter().map(|key| key.replace(" <&>", " &lt;&amp;&gt;")).collect();
    assert_eq!(client.list("p/"), escaped);
    assert_eq!(fake.requests().len(), 4);
    let query = "list-type=2&delimiter=%2F&encoding-type=url&start-after=a&max-keys=1";
    let page = client.send(&Ask { method: "GET", query, ..Ask::default() });
    assert_eq!(page.elements("Prefix"), ["", "p/"]);
    assert_eq!(page.elements("IsTruncated"), ["true"]);
    let query = "list-type=2&prefix=p%2Fdata%2F9&encoding-type=url";
    let page = client.send(&Ask { method: "GET", query, ..Ask::default() });
    assert_eq!(page.elements("Key"), ["p/data/9+%3C%26%3E"]);
    let query = "list-type=2&continuation-token=nonsense!";
    assert_eq!(client.send(&Ask { method: "GET", query, ..Ask::default() }).code(), "InvalidArgument");

    fake.set_faults(Faults { list_lags: Duration::from_secs(3600), ..Faults::default() });
    assert!(client.list("").is_empty());
    assert_eq!(client.get("q"), "x");
}

#[test]
fn troubles() {
    let (fake, client) = start(Faults::default());
    fake.set_object("k", Object::new("0123456789"));
    let set = |what: Answer, when: When, action: Option<Action>| {
        fake.set_faults(Faults::default().trouble(what, when, action))
    };
    set(Answer::SlowDown(Some(3)), When::Next(2), Some(Action::Get));
    for _ in 0..2 {
        let busy = client.send(&get("k"));
        assert_eq!((busy.status, busy.code().as_str(), busy.header("retry-after")), (503, "SlowDown", Some("3")));
    }
    assert_eq!(client.get("k"), "0123456789");
    set(Answer::InternalError, When::OneIn(3), None);
    let statuses: Vec<u16> = (0..6).map(|_| client.send(&get("k")).status).collect();
    assert_eq!(statuses, [200, 200, 500, 200, 200, 500]);
    set(Answer::Truncated, When::Next(1), None);
    assert!(client.try_send(&get("k")).is_err());
    set(Answer::Flipped, When::Next(1), None);
    assert_eq!(client.get("k"), "0123446789");
    set(Answer::Dropped, When::Always, Some(Action::Put));
    assert!(client.try_send(&put("l", b"new", b"new")).is_err());
    assert!(!fake.objects().contains_key("l"));
    set(Answer::Unanswered, When::Always, Some(Action::Put));
    assert!(client.try_send(&put("l", b"new", b"new")).is_err());
    assert!(fake.objects().contains_key("l"));
    set(Answer::Html, When::Always, None);
    assert!(client.get("k").starts_with(b"<!doctype html>"));

    fake.set_faults(Faults { denied: vec![(Action::Delete, "".into())], ..Faults::default() });
    assert_eq!(client.send(&Ask { method: "DELETE", key: "k", ..Ask::default() }).code(), "AccessDenied");
    assert_eq!(client.send(&get("absent")).status, 404);
    fake.set_faults(Faults { denied: vec![(Action::List, "".into())], ..Faults::default() });
    assert_eq!(client.send(&get("absent")).status, 403);
    assert_eq!(client.get("k"), "0123456789");
}

#[test]
fn buckets() {
    let (fake, _) = start(Faults::default());
    let mut access = (*fake).clone();
    access.bucket = "another".into();
    let client = Blocking::new(&access);
    let bucket = |method| Ask { method, ..Ask::default() };
    assert_eq!(client.send(&bucket("HEAD")).status, 404);
    assert_eq!(client.send(&bucket("PUT")).code(), "IllegalLocationConstraintException");
    let body =
        "<CreateBucketConfiguration><LocationConstraint>fake-region-1</LocationConstraint></CreateBucketConfiguration>";
    let ask = Ask { body: body.into(), ..bucket("PUT") };
    assert_eq!(client.send(&ask).status, 200);
    assert_eq!(client.send(&ask).code(), "BucketAlreadyOwnedByYou");
    assert_eq!(client.send(&bucket("HEAD")).header("x-amz-bucket-region"), Some("fake-region-1"));
    assert_eq!(fake.buckets(), ["another", "backups"]);
}

/// AWS's own client for Python, which signs by code that is not ours.
const BOTO3: &str = r#"
import boto3, hashlib, base64, sys, urllib.request, urllib.error
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, region, bucket = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name=region, config=Config(s3={"addressing_style": "path"}))
body = b"hello" * 1000
key = "p/odd key+%41/\u00e4=&?#"
digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumSHA256=digest, IfNoneMatch="*")
assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=1-3")["Body"].read() == b"ell"
assert s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")["ChecksumSHA256"] == digest

def refused(code, call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return
    raise AssertionError(code)

refused("PreconditionFailed", s3.put_object, Key=key, Body=body, IfNoneMatch="*")
refused("BadDigest", s3.put_object, Key="wrong", Body=b"other", ChecksumSHA256=digest)
refused("NoSuchKey", s3.get_object, Key="nothing")
for number in range(25):
    s3.put_object(Bucket=bucket, Key=f"list/{number % 5}/{number:02}", Body=b"")
pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="list/", PaginationConfig={"PageSize": 7}))
assert len(pages) == 4 and sum(len(page["Contents"]) for page in pages) == 25, pages
page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
assert [prefix["Prefix"] for prefix in page["CommonPrefixes"]] == ["list/", "p/"], page
assert s3.list_objects_v2(Bucket=bucket, Prefix="p/")["Contents"][0]["Key"] == key
s3.head_bucket(Bucket=bucket)

get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
assert urllib.request.urlopen(get).read() == body
put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "presigned"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(put, data=b"data", method="PUT"))
assert s3.get_object(Bucket=bucket, Key="presigned")["Body"].read() == b"data"
try:
    urllib.request.urlopen(get[:-1] + ("0" if get[-1] != "0" else "1"))
    raise AssertionError("a wrong signature")
except urllib.error.HTTPError as error:
    assert error.code == 403
s3.delete_object(Bucket=bucket, Key=key)
refused("NoSuchKey", s3.get_object, Key=key)
"#;

#[test]
fn another_client_agrees() {
    let fake = FakeS3::start(Faults::default());
    let mut command = std::process::Command::new(obnam_tests::s3::moto::python());
    command.args(["-c", BOTO3, fake.endpoint(), fake.region(), fake.bucket()]);
    command.env_clear().envs(fake.environment());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
