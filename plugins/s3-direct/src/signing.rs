//! Signatures (AWS Signature Version 4), in headers.
//!
//! The SHA-256 of a chunk is its id, so the real hash of the payload is signed at no cost: a store that accepts the
//! request and then receives other bytes has to refuse them.

use std::time::SystemTime;

use aws_credential_types::Credentials as Identity;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;

use crate::settings::Settings;

/// The body of a request, as far as its signature goes.
pub enum Payload<'a> {
    /// All of it; empty for requests without one.
    Bytes(&'a [u8]),
    /// The SHA-256 of it, in hexadecimal.
    Sha256(&'a str),
}

/// A request to be signed.
pub struct Unsigned<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query, percent-encoded; may be empty.
    pub query: &'a str,
    /// The headers, all of which are signed; without `host`, which is signed too.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub payload: Payload<'a>,
}

/// The headers that have to be added.
pub fn headers(request: &Unsigned, settings: &Settings, now: SystemTime) -> Result<Vec<(String, String)>, String> {
    let Some(keys) = &settings.credentials else { return Err("there are no keys".into()) };
    let identity =
        Identity::new(&keys.access_key_id, &keys.secret_access_key, keys.session_token.clone(), None, "obnam");
    let mut how = SigningSettings::default();
    how.percent_encoding_mode = PercentEncodingMode::Single;
    how.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    how.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = identity.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&settings.region)
        .name("s3")
        .time(now)
        .settings(how)
        .build()
        .map_err(|error| error.to_string())?;
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let url = format!("{}{}{query}", settings.place.origin(), request.path);
    let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let body = match request.payload {
        Payload::Bytes(bytes) => SignableBody::Bytes(bytes),
        Payload::Sha256(hash) => SignableBody::Precomputed(hash.to_owned()),
    };
    let signable = SignableRequest::new(request.method, url, headers, body).map_err(|error| error.to_string())?;
    let signed = sign(signable, &params.into()).map_err(|error| error.to_string())?;
    let (instructions, _) = signed.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The example of a GET with a range in Amazon's documentation of Signature Version 4 for S3.
    #[test]
    fn the_documented_example() {
        let options = [
            ("access-key-id", "AKIAIOSFODNN7EXAMPLE"),
            ("secret-access-key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = Settings::parse("s3://examplebucket", &options).unwrap();
        settings.place.authority = "examplebucket.s3.amazonaws.com".into();
        let request = Unsigned {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &[("range", "bytes=0-9".into())],
            payload: Payload::Bytes(b""),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let headers = headers(&request, &settings, now).unwrap();
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).unwrap().1.as_str();
        assert_eq!(header("x-amz-date"), "20130524T000000Z");
        assert_eq!(
            header("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
