//! Whether a request is signed as Signature Version 4 demands, in headers or in the query of a presigned URL.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use jiff::Timestamp;

use super::refused::{Refused, denied};
use super::request::Arrived;
use crate::s3::Access;
use crate::s3::signature::{ALGORITHM, Scope, Signable, UNSIGNED, parse_amz_time, query_pairs, sha256};

/// How far the clocks may differ, in seconds.
const SKEW: i64 = 15 * 60;
/// The longest time that a presigned URL may hold, in seconds.
const LONGEST: i64 = 7 * 24 * 3600;

/// What a request says about its signature.
struct Claim {
    access_key: String,
    scope: Scope,
    signed_headers: Vec<String>,
    signature: String,
    /// How long a presigned URL holds, in seconds.
    expires: Option<i64>,
    token: Option<String>,
    payload: String,
    /// The query without the signature.
    query: String,
}

/// Refuses a request unless it is signed with the keys of `access`, and its body is the signed one.
pub fn authenticate(request: &Arrived, access: &Access, now: Timestamp, token_expired: bool) -> Result<(), Refused> {
    let claim = if request.headers.contains_key("authorization") {
        in_headers(request)?
    } else if request.query.contains("X-Amz-Signature=") {
        in_query(request)?
    } else {
        return Err(denied());
    };
    if claim.access_key != access.access_key {
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        return Err(Refused::new(403, "InvalidAccessKeyId", message).with("AWSAccessKeyId", claim.access_key));
    }
    if claim.scope.region != access.region {
        let (given, right) = (&claim.scope.region, &access.region);
        let message =
            format!("The authorization header is malformed; the region '{given}' is wrong; expecting '{right}'");
        let refused = Refused::new(400, "AuthorizationHeaderMalformed", message).with("Region", right);
        return Err(refused.header("x-amz-bucket-region", right));
    }
    check_time(&claim, now)?;
    check_token(&claim, access, token_expired)?;
    check_signed_headers(&claim, &request.headers)?;
    let headers = claim.signed_headers.iter().map(|name| Ok((name.clone(), value(&request.headers, name)?)));
    let signable = Signable {
        method: request.method.as_str(),
        path: &request.path,
        query: &claim.query,
        headers: headers.collect::<Result<_, Refused>>()?,
        payload: &claim.payload,
    };
    if signable.signature(&claim.scope, &access.secret_key) != claim.signature {
        let message = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        let refused = Refused::new(403, "SignatureDoesNotMatch", message).with("AWSAccessKeyId", claim.access_key);
        let refused = refused.with("StringToSign", signable.string_to_sign(&claim.scope));
        return Err(refused.with("CanonicalRequest", signable.canonical()));
    }
    check_payload(&claim, request)
}

/// `authorization: AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`
fn in_headers(request: &Arrived) -> Result<Claim, Refused> {
    let text = value(&request.headers, "authorization")?;
    let malformed = |what: &str| Refused::new(400, "AuthorizationHeaderMalformed", format!("{what} in {text:?}"));
    let rest = text.strip_prefix(ALGORITHM).ok_or_else(|| malformed("another algorithm"))?;
    let parts: BTreeMap<&str, &str> = rest.split(',').filter_map(|part| part.trim().split_once('=')).collect();
    let part = |name: &str| parts.get(name).copied().ok_or_else(|| malformed(&format!("no {name}")));
    let time = value(&request.headers, "x-amz-date").map_err(|_| {
        Refused::new(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    })?;
    let payload = value(&request.headers, "x-amz-content-sha256").map_err(|_| {
        Refused::new(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    })?;
    let (access_key, scope) = credential(part("Credential")?, &time).ok_or_else(|| malformed("no such scope"))?;
    let token = request.headers.get("x-amz-security-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
    Ok(Claim {
        access_key,
        scope,
        signed_headers: part("SignedHeaders")?.split(';').map(str::to_owned).collect(),
        signature: part("Signature")?.to_owned(),
        expires: None,
        token,
        payload,
        query: request.query.clone(),
    })
}

fn in_query(request: &Arrived) -> Result<Claim, Refused> {
    let parameters: BTreeMap<String, String> = query_pairs(&request.query).into_iter().collect();
    let malformed = |what: &str| Refused::new(400, "AuthorizationQueryParametersError", what);
    let parameter = |name: &str| parameters.get(name).ok_or_else(|| malformed(&format!("{name} is missing")));
    if parameter("X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let expires = parameter("X-Amz-Expires")?.parse().map_err(|_| malformed("X-Amz-Expires should be a number"))?;
    if !(1..=LONGEST).contains(&expires) {
        return Err(malformed("X-Amz-Expires must be between 1 and 604800 seconds"));
    }
    let (access_key, scope) = credential(parameter("X-Amz-Credential")?, parameter("X-Amz-Date")?)
        .ok_or_else(|| malformed("Error parsing the X-Amz-Credential parameter"))?;
    let unsigned: Vec<&str> = request.query.split('&').filter(|part| !part.starts_with("X-Amz-Signature=")).collect();
    Ok(Claim {
        access_key,
        scope,
        signed_headers: parameter("X-Amz-SignedHeaders")?.split(';').map(str::to_owned).collect(),
        signature: parameter("X-Amz-Signature")?.clone(),
        expires: Some(expires),
        token: parameters.get("X-Amz-Security-Token").cloned(),
        payload: value(&request.headers, "x-amz-content-sha256").unwrap_or_else(|_| UNSIGNED.to_owned()),
        query: unsigned.join("&"),
    })
}

/// `KEY/20130524/us-east-1/s3/aws4_request`, of the same day as the time.
fn credential(text: &str, time: &str) -> Option<(String, Scope)> {
    let (access_key, scope_text) = text.split_once('/')?;
    let region = scope_text.split('/').nth(1)?.to_owned();
    let scope = Scope { time: time.to_owned(), region };
    (scope.text() == scope_text).then(|| (access_key.to_owned(), scope))
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), Refused> {
    let signed = parse_amz_time(&claim.scope.time).ok_or_else(|| {
        Refused::new(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    })?;
    let age = now.as_second() - signed.as_second();
    match claim.expires {
        Some(expires) if age > expires => {
            Err(Refused::new(403, "AccessDenied", "Request has expired").with("ServerTime", now.to_string()))
        }
        Some(_) if age < -SKEW => Err(Refused::new(403, "AccessDenied", "Request is not valid yet")),
        None if age.abs() > SKEW => {
            let message = "The difference between the request time and the current time is too large.";
            let refused = Refused::new(403, "RequestTimeTooSkewed", message).with("RequestTime", &claim.scope.time);
            let refused = refused.with("ServerTime", now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            Err(refused.with("MaxAllowedSkewMilliseconds", (SKEW * 1000).to_string()))
        }
        _ => Ok(()),
    }
}

fn check_token(claim: &Claim, access: &Access, expired: bool) -> Result<(), Refused> {
    if expired {
        return Err(Refused::new(400, "ExpiredToken", "The provided token has expired."));
    }
    match (&access.session_token, &claim.token) {
        (wanted, given) if wanted == given => Ok(()),
        // A temporary key alone opens nothing.
        (Some(_), None) => Err(Refused::new(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )),
        _ => Err(Refused::new(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")),
    }
}

/// `host` and all of S3's own headers must be signed.
fn check_signed_headers(claim: &Claim, headers: &HeaderMap) -> Result<(), Refused> {
    let signed = |name: &str| claim.signed_headers.iter().any(|signed| signed == name);
    let unsigned: Vec<&str> = headers
        .keys()
        .map(|name| name.as_str())
        .filter(|name| (name.starts_with("x-amz-") || *name == "host") && !signed(name))
        .collect();
    if unsigned.is_empty() && signed("host") {
        return Ok(());
    }
    let refused = Refused::new(403, "AccessDenied", "There were headers present in the request which were not signed");
    Err(refused.with("HeadersNotSigned", unsigned.join(", ")))
}

fn check_payload(claim: &Claim, request: &Arrived) -> Result<(), Refused> {
    if claim.payload == UNSIGNED {
        return Ok(());
    }
    if claim.payload.starts_with("STREAMING-") {
        return Err(Refused::new(501, "NotImplemented", "this fake takes no signatures of single chunks of a body"));
    }
    let found = sha256(&request.body);
    if found == claim.payload {
        return Ok(());
    }
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    let refused = Refused::new(400, "XAmzContentSHA256Mismatch", message);
    Err(refused.with("ClientComputedContentSHA256", &claim.payload).with("S3ComputedContentSHA256", found))
}

/// The value of a header; several of one name are joined.
fn value(headers: &HeaderMap, name: &str) -> Result<String, Refused> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() {
        // Whoever signs a header must send it.
        return Err(Refused::new(403, "SignatureDoesNotMatch", format!("the header {name} is missing")));
    }
    Ok(values.join(","))
}

/// The store's time.
pub fn clock(ahead: i64) -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second() + ahead).unwrap_or(now)
}

/// The store's time as a header.
pub fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let time = parse_amz_time("20130524T000000Z").unwrap();
        assert_eq!(http_date(time), "Fri, 24 May 2013 00:00:00 GMT");
        assert!(credential("K/20130524/eu/s3/aws4_request", "20130524T000000Z").is_some());
        for wrong in ["K", "K/20130523/eu/s3/aws4_request", "K/20130524/eu/sqs/aws4_request", "K/20130524/eu/s3/aws4"] {
            assert!(credential(wrong, "20130524T000000Z").is_none(), "{wrong}");
        }
    }
}
