//! From what the server and the store answer to the errors of the contract, in words.

use obnam_plugin::Error;
use obnam_plugin::error::{is_web_page, unavailable};
use obnam_plugin::http::{Answer, time_text};
use obnam_plugin::url::Host;
use serde::Deserialize;

use crate::settings::Settings;

/// A problem document of the server.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    until: Option<u64>,
}

/// How long to leave the place alone, where it says so, in milliseconds.
fn delay(answer: &Answer) -> Option<u32> {
    let seconds = answer.number("retry-after")?;
    Some(u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX))
}

/// The server does not do it.
pub fn of_server(settings: &Settings, answer: &Answer, text: &str, doing: &str) -> Error {
    let place = &settings.place;
    let server = &place.host;
    let say = |why: String| format!("could not {doing}: {why}");
    let problem: Problem = serde_json::from_str(text).unwrap_or_default();
    let until = problem.until.map_or_else(String::new, |until| format!(" (not before {})", time_text(until)));
    let detail = || format!("{}{until}", problem.detail.trim_end_matches('.'));
    match (problem.code.as_str(), answer.status) {
        ("", _) => unspoken(server, answer, text, &say),
        ("bad-request", _) => Error::Invalid(say(format!("the server does not understand it: {}", detail()))),
        ("bad-token", _) => Error::Denied(say(bad_token(settings))),
        ("not-found", _) => Error::NotFound(say("there is no such chunk".into())),
        ("already-initialised", _) => Error::AlreadyInitialised(say(detail())),
        // Damaged on their way, since they are those that were announced.
        ("wrong-bytes", _) => unavailable(say(detail()), None),
        ("not-allowed" | "bad-url" | "too-young", _) => Error::Denied(say(detail())),
        (_, 429 | 503) => unavailable(say(format!("{server} says: {}", detail())), delay(answer)),
        (_, 507) => Error::Quota(say(detail())),
        _ => Error::Other(say(format!("{server} says: {}", detail()))),
    }
}

fn bad_token(settings: &Settings) -> String {
    let server = &settings.place.host;
    match (&settings.token, settings.is_bootstrap) {
        (None, _) => format!(
            "{server} wants a token; give the one that 'obnam-server token create' printed in OBNAM_SERVER_TOKEN, or with \
             -o token-file=FILE"
        ),
        (Some(_), true) => format!(
            "{server} does not accept the bootstrap token: it is unknown, revoked, expired, or used from an address that it \
             is not for"
        ),
        (Some(_), false) => format!(
            "{server} does not accept the token: it is unknown there, revoked, expired, or used from an address that it is \
             not for. Was it copied whole? 'obnam-server token list' shows those that there are"
        ),
    }
}

/// An answer that is not in the server's own words: that of a proxy, or of something else.
fn unspoken(server: &Host, answer: &Answer, text: &str, say: &impl Fn(String) -> String) -> Error {
    match answer.status {
        408 | 429 | 500 | 502 | 503 | 504 => {
            unavailable(say(format!("{server} cannot answer now (status {})", answer.status)), delay(answer))
        }
        status if is_web_page(answer.header("content-type").unwrap_or_default(), text) => Error::Other(say(format!(
            "{server} answers with a web page (status {status}), not as obnam-server does; is it the right address?"
        ))),
        404 => Error::Other(say(format!("{server} does not know the path; is an obnam-server there?"))),
        status => Error::Other(say(format!("{server} answers with status {status}, not as obnam-server does"))),
    }
}

/// The server says something, but not what it should.
pub fn not_understood(settings: &Settings, answer: &Answer, text: &str, why: &str, doing: &str) -> Error {
    let server = &settings.place.host;
    if is_web_page(answer.header("content-type").unwrap_or_default(), text) {
        return unspoken(server, answer, text, &|why| format!("could not {doing}: {why}"));
    }
    Error::Other(format!("could not {doing}: the answer of {server} is not understood: {why}"))
}

/// The store does not do what the server has signed.
pub fn of_store(host: &Host, answer: &Answer, text: &str, doing: &str) -> Error {
    let say = |why: String| format!("could not {doing}: {why}");
    let code = between(text, "<Code>", "</Code>").unwrap_or_default();
    let quote = match (code, between(text, "<Message>", "</Message>").unwrap_or_default()) {
        ("", _) => String::new(),
        (code, "") => format!(" (it says {code})"),
        (code, message) => format!(" (it says {code}: {})", message.trim_end_matches('.')),
    };
    match (answer.status, code) {
        (_, "NoSuchKey") | (404, "") => Error::NotFound(say("there is no such chunk".into())),
        (_, "InvalidObjectState") => Error::Archived(say(
            "it lies in an archive (storage class GLACIER or the like); have it restored there first, then try again"
                .into(),
        )),
        (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" | "IncompleteBody" | "RequestTimeout") => {
            unavailable(say(format!("the bytes did not arrive at {host} as they were sent{quote}")), None)
        }
        (507, _) | (_, "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "ServiceQuotaExceeded") => {
            Error::Quota(say(format!("the store {host} is full{quote}; tell the operator of the server")))
        }
        (408 | 409 | 429 | 500 | 502 | 503 | 504, _) | (_, "SlowDown" | "InternalError" | "ServiceUnavailable") => {
            unavailable(say(format!("{host} cannot answer now (status {}){quote}", answer.status)), delay(answer))
        }
        (400 | 401 | 403, _) => Error::Denied(say(format!(
            "{host} refuses what the server has signed{quote}; is the clock of the server right, and does a proxy change \
             requests on their way?"
        ))),
        (status, _) => Error::Other(say(format!("{host} answers with status {status}{quote}"))),
    }
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(behind).map(|(found, _)| found).filter(|found| found.len() < 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_stores() {
        let text = "<Error><Code>NoSuchKey</Code><Message>m</Message></Error>";
        assert_eq!(between(text, "<Code>", "</Code>"), Some("NoSuchKey"));
        assert_eq!(between("<Code>", "<Code>", "</Code>"), None);
    }
}
