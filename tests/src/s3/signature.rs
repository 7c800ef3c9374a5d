//! AWS Signature Version 4, as the test oracle computes it: written from the documentation ("Authenticating requests",
//! Amazon S3 API reference), independently of the crate that the plugin signs with.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

/// The payload hash of whoever does not sign the payload.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The algorithm's name.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// What is signed: a request as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Signable<'a> {
    /// `GET`, `PUT`, ...
    pub method: &'a str,
    /// The path as it is sent.
    pub path: &'a str,
    /// The query as it is sent, without a signature.
    pub query: &'a str,
    /// The signed headers: names in lower case with their values, in any order.
    pub headers: Vec<(String, String)>,
    /// SHA-256 of the body in hex, or what stands for it.
    pub payload: &'a str,
}

/// When, where and for what a signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `20130524T000000Z`.
    pub time: String,
    /// The region.
    pub region: String,
}

impl Scope {
    /// `20130524/us-east-1/s3/aws4_request`.
    pub fn text(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.date(), self.region)
    }

    fn date(&self) -> &str {
        self.time.get(..8).unwrap_or(&self.time)
    }
}

impl Signable<'_> {
    /// The canonical request.
    pub fn canonical(&self) -> String {
        let mut headers = self.headers.clone();
        headers.sort();
        let mut text = format!("{}\n{}\n{}\n", self.method, canonical_path(self.path), canonical_query(self.query));
        for (name, value) in &headers {
            writeln!(text, "{name}:{}", squeeze(value)).unwrap();
        }
        write!(text, "\n{}\n{}", self.signed_headers(), self.payload).unwrap();
        text
    }

    /// The names of the signed headers, `host;x-amz-date`.
    pub fn signed_headers(&self) -> String {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(";")
    }

    /// The string to sign.
    pub fn string_to_sign(&self, scope: &Scope) -> String {
        format!("{ALGORITHM}\n{}\n{}\n{}", scope.time, scope.text(), sha256(self.canonical().as_bytes()))
    }

    /// The signature in hex.
    pub fn signature(&self, scope: &Scope, secret_key: &str) -> String {
        let mut key = format!("AWS4{secret_key}").into_bytes();
        for part in [scope.date(), &scope.region, "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        hex::encode(hmac(&key, &self.string_to_sign(scope)))
    }

    /// The value of the header `authorization`.
    pub fn authorization(&self, scope: &Scope, access_key: &str, secret_key: &str) -> String {
        format!(
            "{ALGORITHM} Credential={access_key}/{},SignedHeaders={},Signature={}",
            scope.text(),
            self.signed_headers(),
            self.signature(scope, secret_key)
        )
    }
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A moment as AWS writes it, `20130524T000000Z`.
pub fn amz_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The moment that AWS's form means.
pub fn parse_amz_time(text: &str) -> Option<jiff::Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Everything but letters, digits and `-._~` in `%XX`; slashes too, unless it is a path.
pub fn encode(text: &str, is_path: bool) -> String {
    percent_encode(text.as_bytes(), if is_path { RESERVED_IN_PATH } else { RESERVED }).to_string()
}

/// Names and values of a query, decoded.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|part| !part.is_empty());
    pairs.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(n, v)| (decoded(n), decoded(v))).collect()
}

/// S3, unlike AWS's other services, encodes a path once and removes no dots.
fn canonical_path(path: &str) -> String {
    encode(&percent_decode_str(path).decode_utf8_lossy(), true)
}

fn canonical_query(query: &str) -> String {
    let mut parts: Vec<(String, String)> =
        query_pairs(query).iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    parts.sort();
    parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Without spaces around, and with one where there are several.
fn squeeze(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        payload: &str,
        dated: bool,
    ) -> String {
        let mut all = vec![("host", "examplebucket.s3.amazonaws.com")];
        if dated {
            all.extend([("x-amz-content-sha256", payload), ("x-amz-date", "20130524T000000Z")]);
        }
        all.extend(headers);
        let headers = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let scope = Scope { time: "20130524T000000Z".into(), region: "us-east-1".into() };
        Signable { method, path, query, headers, payload }.signature(&scope, SECRET)
    }

    /// The examples of the Amazon S3 API reference, "Signature calculations for the authorization header" and "Authenticating
    /// requests: using query parameters".
    #[test]
    fn published_examples() {
        assert_eq!(
            signature("GET", "/test.txt", "", &[("range", "bytes=0-9")], EMPTY, true),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let headers = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            signature("PUT", "/test$file.text", "", &headers, &sha256(b"Welcome to Amazon S3."), true),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "/", "lifecycle", &[], EMPTY, true),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("GET", "/", "max-keys=2&prefix=J", &[], EMPTY, true),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        let presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host";
        assert_eq!(
            signature("GET", "/test.txt", presigned, &[], UNSIGNED, false),
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn canonical_forms() {
        assert_eq!(canonical_path("/a%20b/%c3%a4/c+d/../e~f"), "/a%20b/%C3%A4/c%2Bd/../e~f");
        assert_eq!(canonical_query("b=2&a=x%2fy&a=&c"), "a=&a=x%2Fy&b=2&c=");
        assert_eq!(squeeze("  a   b "), "a b");
        let time = parse_amz_time("20130524T000000Z").unwrap();
        assert_eq!(amz_time(time), "20130524T000000Z");
        assert!(parse_amz_time("2013-05-24").is_none());
    }
}
