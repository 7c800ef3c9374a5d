//! From what stores answer to the errors of the contract, in words.

use obnam_plugin::error::{is_web_page, unavailable};

use crate::Error;
use crate::exchange::{self, Answer, Request};
use crate::settings::Settings;
use crate::xml::{self, Refusal};

/// Clocks that differ by less are no reason for a refusal (stores allow 15 minutes), in seconds.
const SKEW: u64 = 5 * 60;

/// The answer is not the one that was hoped for.
pub fn refused(settings: &Settings, request: &Request, mut answer: Answer, doing: &str) -> Error {
    let text = answer.text(doing).unwrap_or_default();
    let facts = Facts {
        status: answer.status,
        refusal: xml::refusal(&text).unwrap_or_default(),
        is_web_page: is_web_page(answer.header("content-type").unwrap_or_default(), &text),
        region: answer.header("x-amz-bucket-region").map(str::to_owned),
        location: answer.header("location").map(str::to_owned),
        retry_after: answer.number("retry-after"),
        date: answer.header("date").and_then(xml::http_time),
    };
    let now = exchange::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    facts.explain(settings, request.action, now, doing)
}

/// Something is said where a listing or a chunk should be.
pub fn not_understood(settings: &Settings, answer: &Answer, text: &str, why: &str, doing: &str) -> Error {
    let host = &settings.place.authority;
    if is_web_page(answer.header("content-type").unwrap_or_default(), text) {
        return Error::Other(format!("could not {doing}: {}", web_page(host, answer.status)));
    }
    Error::Other(format!("could not {doing}: the answer of {host} is not understood: {why}"))
}

fn web_page(host: &str, status: u16) -> String {
    format!(
        "{host} answers with a web page (status {status}), not as an S3 store does; is it the address of the S3 service \
         (and not of its console), and is there a proxy or a login page on the way?"
    )
}

/// What is known of a refusal.
struct Facts {
    status: u16,
    refusal: Refusal,
    is_web_page: bool,
    region: Option<String>,
    location: Option<String>,
    retry_after: Option<u64>,
    /// The store's time, in seconds since 1970.
    date: Option<u64>,
}

impl Facts {
    fn explain(&self, settings: &Settings, action: &str, now: u64, doing: &str) -> Error {
        let place = &settings.place;
        let (host, bucket) = (&place.authority, &place.bucket);
        let code = self.refusal.code.as_str();
        let say = |why: String| format!("could not {doing}: {why}");
        if let Some(region) = self.other_region(&settings.region) {
            return Error::Invalid(say(format!(
                "bucket {bucket} is in the region {region}, not in {}; give -o region={region}, or set \
                 AWS_REGION={region}",
                settings.region
            )));
        }
        match (self.status, code) {
            (_, "NoSuchBucket") => Error::NotInitialised(say(format!(
                "there is no bucket {bucket} at {host}; is its name spelled right? Make it there first, or let 'obnam \
                 init' make it with -o create-bucket=yes"
            ))),
            (_, "InvalidBucketName") => Error::Invalid(say(format!("{bucket:?} cannot be the name of a bucket"))),
            (_, "NoSuchKey") => Error::NotFound(say("there is no such object".into())),
            (_, "InvalidObjectState") => Error::Archived(say(
                "it lies in an archive (storage class GLACIER or the like); restore it there first, then try again"
                    .into(),
            )),
            (_, "InvalidStorageClass") => {
                Error::Invalid(say(format!("{host} does not know the storage class; look at the option storage-class")))
            }
            (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "IncompleteBody" | "RequestTimeout") => {
                unavailable(say(format!("the bytes did not arrive as they were sent{}", self.quote())), None)
            }
            (507, _) | (_, "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "ServiceQuotaExceeded") => {
                self.quota(&say)
            }
            (403, _) if self.refusal.message.to_ascii_lowercase().contains("quota") => self.quota(&say),
            (408 | 429 | 500 | 502 | 503 | 504, _)
            | (_, "SlowDown" | "InternalError" | "ServiceUnavailable" | "OperationAborted") => self.later(host, &say),
            (409, _) => self.later(host, &say),
            (501, _) if action == "s3:PutObject" && settings.create_only => Error::Unsupported(say(format!(
                "{host} cannot do that{}; if it does not know if-none-match, which forbids to replace what is there, \
                 give -o create-only=no",
                self.quote()
            ))),
            (501, _) => Error::Unsupported(say(format!("{host} cannot do that{}", self.quote()))),
            _ if self.is_web_page => Error::Other(say(web_page(host, self.status))),
            (400 | 401 | 403, _) => self.denied(settings, action, now, &say),
            (404, _) => Error::NotFound(say("there is no such object".into())),
            (300..400, _) => Error::Invalid(say(format!(
                "{host} says that the place is elsewhere ({}); name that in the location",
                self.refusal.endpoint.as_deref().or(self.location.as_deref()).unwrap_or("it does not say where")
            ))),
            _ => Error::Other(say(format!("{host} answers with status {}{}", self.status, self.quote()))),
        }
    }

    /// The region that the store wants, if it is another one than was used.
    fn other_region(&self, used: &str) -> Option<&str> {
        let wants = matches!(self.status, 301 | 307)
            || matches!(
                self.refusal.code.as_str(),
                "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException"
            )
            || (self.status == 400 && self.region.is_some());
        let region = self.refusal.region.as_deref().or(self.region.as_deref());
        let region = region.or_else(|| expected_region(&self.refusal.message));
        region.filter(|region| wants && *region != used && !region.is_empty())
    }

    fn denied(&self, settings: &Settings, action: &str, now: u64, say: &impl Fn(String) -> String) -> Error {
        let (host, bucket) = (&settings.place.authority, &settings.place.bucket);
        let key = settings.credentials.as_ref().map_or("", |keys| &keys.access_key_id);
        let skew = self.skew(now);
        let says = self.refusal.message.to_ascii_lowercase();
        let why = match self.refusal.code.as_str() {
            "RequestTimeTooSkewed" | "RequestExpired" if skew.is_none() => {
                format!("{host} says that this computer's clock is wrong{}", self.quote())
            }
            _ if let Some(skew) = skew => format!("{skew}; set the clock (signatures hold for 15 minutes only)"),
            "InvalidAccessKeyId" => unknown_key(key, host),
            _ if says.contains("no such key") => unknown_key(key, host),
            "SignatureDoesNotMatch" => wrong_secret(key),
            _ if says.contains("invalid signature") => wrong_secret(key),
            "ExpiredToken" | "TokenRefreshRequired" => {
                format!("the temporary credentials {key} have expired; fetch new ones")
            }
            "InvalidToken" => format!("the session token does not belong to the key {key}; look at AWS_SESSION_TOKEN"),
            _ if self.status == 400 => {
                return Error::Other(say(format!("{host} does not accept the request{}", self.quote())));
            }
            _ => format!(
                "the key {key} may not do this in bucket {bucket} at {host}: it takes the right {action}{}",
                self.quote()
            ),
        };
        Error::Denied(say(why))
    }

    /// What the clocks show, where they differ too much.
    fn skew(&self, now: u64) -> Option<String> {
        let store = self.date?;
        let difference = store.abs_diff(now);
        let direction = if now > store { "ahead of" } else { "behind" };
        (difference > SKEW).then(|| format!("this computer's clock is {} {direction} the store's", span(difference)))
    }

    fn later(&self, host: &str, say: &impl Fn(String) -> String) -> Error {
        let busy = match self.refusal.code.as_str() {
            "SlowDown" => format!("{host} asks for fewer requests"),
            _ => format!("{host} cannot answer now (status {})", self.status),
        };
        let delay = self.retry_after.map(|seconds| u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX));
        unavailable(say(format!("{busy}{}", self.quote())), delay)
    }

    fn quota(&self, say: &impl Fn(String) -> String) -> Error {
        Error::Quota(say(format!(
            "the bucket or the store is full{}; free some space, or raise the quota",
            self.quote()
        )))
    }

    /// The store's own words.
    fn quote(&self) -> String {
        match (self.refusal.code.as_str(), self.refusal.message.as_str()) {
            ("", _) => String::new(),
            (code, "") => format!(" (it says {code})"),
            (code, message) => format!(" (it says {code}: {})", message.trim_end_matches('.')),
        }
    }
}

fn unknown_key(key: &str, host: &str) -> String {
    format!("{host} does not know the access key {key}; look at AWS_ACCESS_KEY_ID, or at the profile that was used")
}

fn wrong_secret(key: &str) -> String {
    format!(
        "the signature is wrong, so the secret key is not that of the access key {key}; look at AWS_SECRET_ACCESS_KEY, or \
         at the profile that was used"
    )
}

/// The region in `... expecting 'eu-central-1'`, for stores that say it in their sentence only.
fn expected_region(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("expecting '").or_else(|| message.split_once("expected: '"))?;
    rest.split_once('\'').map(|(region, _)| region.rsplit('/').nth(2).unwrap_or(region))
}

/// A length of time for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
