//! From what servers answer to the errors of the contract, in words.

use obnam_plugin::Error;
use obnam_plugin::error::{is_web_page, unavailable};
use obnam_plugin::http::Answer;

use crate::settings::Settings;

/// What is known of a refusal.
#[derive(Default)]
struct Facts<'a> {
    status: u16,
    /// How the server wants to know who asks (`www-authenticate`).
    challenge: &'a str,
    /// Where the server says that it is instead.
    location: &'a str,
    /// How long to leave it alone, in seconds.
    retry_after: Option<u64>,
    is_web_page: bool,
}

/// The answer is not the one that was hoped for.
pub fn refused(settings: &Settings, mut answer: Answer, doing: &str) -> Error {
    let text = answer.text(doing).unwrap_or_default();
    let header = |name: &str| answer.header(name).unwrap_or_default();
    let facts = Facts {
        status: answer.status,
        challenge: header("www-authenticate"),
        location: header("location"),
        retry_after: answer.number("retry-after"),
        is_web_page: is_web_page(header("content-type"), &text),
    };
    explain(settings, &facts, doing)
}

/// The answer tells of a file or folder that it was refused, with this status.
pub fn of_status(settings: &Settings, status: u16, doing: &str) -> Error {
    explain(settings, &Facts { status, ..Facts::default() }, doing)
}

/// The server, or a proxy on the way, says of a MOVE that there is trouble with another server (status 502).
pub fn other_server(settings: &Settings, doing: &str) -> Error {
    let host = &settings.place.host;
    let message = format!(
        "could not {doing}: {host} cannot give a file its name now (status 502). If it stays so, a proxy on the way has another \
         address than the server behind it, and has to rewrite the header 'destination'"
    );
    unavailable(message, None)
}

/// Something is said where a list of files should be.
pub fn not_understood(settings: &Settings, answer: &Answer, text: &str, why: &str, doing: &str) -> Error {
    let host = &settings.place.host;
    if is_web_page(answer.header("content-type").unwrap_or_default(), text) {
        return Error::Other(format!("could not {doing}: {}", web_page(settings)));
    }
    Error::Other(format!("could not {doing}: the answer of {host} is not understood: {why}"))
}

fn web_page(settings: &Settings) -> String {
    format!(
        "{} answers with a web page, not as WebDAV servers do; is it the address that the server says for WebDAV, and is there \
         a login page on the way?",
        settings.place.host
    )
}

fn explain(settings: &Settings, facts: &Facts, doing: &str) -> Error {
    let host = &settings.place.host;
    let say = |why: String| format!("could not {doing}: {why}");
    match facts.status {
        401 => Error::Denied(say(unknown(settings, facts.challenge))),
        403 => Error::Denied(say(format!("{host} does not allow it; may this user read and write there?"))),
        404 | 409 | 410 => Error::NotFound(say("there is no such file or folder".into())),
        413 => Error::Unsupported(say(format!(
            "{host} does not take files of this size; Obnam needs 64 MiB, so raise its limit (client_max_body_size, \
             LimitRequestBody or the like)"
        ))),
        507 => Error::Quota(say(format!("{host} has no room left, or the quota there is used up"))),
        408 | 423 | 425 | 429 | 500 | 502..=504 => {
            let delay =
                facts.retry_after.map(|seconds| u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX));
            unavailable(say(format!("{host} cannot do it now (status {})", facts.status)), delay)
        }
        300..=399 => Error::Invalid(say(match facts.location {
            "" => format!("{host} says that the folder is elsewhere, and not where"),
            location => format!("{host} says that the folder is elsewhere, at {location}; name that in the location"),
        })),
        200 | 405 | 501 => Error::Unsupported(say(format!(
            "{host} does not speak WebDAV there (status {}); is it the address that the server says for WebDAV?",
            facts.status
        ))),
        _ if facts.is_web_page => Error::Other(say(web_page(settings))),
        status => Error::Other(say(format!("{host} answers with status {status}"))),
    }
}

/// The server does not know who asks.
fn unknown(settings: &Settings, challenge: &str) -> String {
    let host = &settings.place.host;
    if settings.authorization.is_none() {
        return format!(
            "{host} wants a user and a password; give them with -o user=NAME and in OBNAM_PLUGIN_WEBDAV_PASSWORD"
        );
    }
    let challenge = challenge.to_ascii_lowercase();
    if !challenge.is_empty() && !challenge.contains("basic") {
        return format!(
            "{host} does not take passwords as they are (Basic), which is all that this plugin knows; allow that there, over \
             https:"
        );
    }
    format!("{host} does not accept user and password; are both right, and does it want a password made for apps?")
}
