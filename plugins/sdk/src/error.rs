//! What went wrong on the way, in words: what could not be done to what, why, and what to do about it.

use std::io::{self, ErrorKind};

use crate::wasi::http::types::ErrorCode;
use crate::{Error, UnavailableError};

/// The error case for what may work later, and the only one that Obnam repeats: after `delay_ms` milliseconds where the
/// place said how long it wants to be left alone, else after pauses that grow to 30 s.
pub fn unavailable(message: String, delay_ms: Option<u32>) -> Error {
    Error::Unavailable(UnavailableError { message, delay_ms })
}

/// The error of an operation on files. `doing` is what could not be done, in the infinitive: `store chunk data/00ab in
/// /srv`.
pub fn of_io(error: &io::Error, doing: &str) -> Error {
    let say = |why: &str| format!("could not {doing}: {why}");
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound(say("there is no such file or directory")),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::Denied(say(&format!(
            "{error}; look at the owner and mode of the directory, and whether it is mounted read-only"
        ))),
        ErrorKind::StorageFull => Error::Quota(say("the disk is full; free some space on it")),
        ErrorKind::QuotaExceeded => Error::Quota(say("the disk quota is used up")),
        ErrorKind::FileTooLarge => {
            Error::Quota(say("the file system or a limit (ulimit -f) allows no file this large"))
        }
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::ResourceBusy => {
            unavailable(say(&format!("the file system is busy ({error})")), None)
        }
        _ => Error::Other(say(&error.to_string())),
    }
}

/// No answer came. `authority` is who should have answered.
pub fn transport(code: &ErrorCode, doing: &str, authority: &str) -> Error {
    let host = if authority.is_empty() { "the store" } else { authority };
    let later = |why: String| unavailable(format!("could not {doing}: {why}"), None);
    let never = |why: String| Error::Denied(format!("could not {doing}: {why}"));
    match code {
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout | ErrorCode::DestinationNotFound => later(format!(
            "no address was found for {host}; is the name spelled right, and does this computer have a network?"
        )),
        ErrorCode::ConnectionRefused => {
            later(format!("{host} refuses the connection; is the store running there, and is the port right?"))
        }
        ErrorCode::DestinationUnavailable | ErrorCode::DestinationIpUnroutable => {
            later(format!("{host} cannot be reached from here; look at the network"))
        }
        ErrorCode::ConnectionTimeout => {
            later(format!("{host} does not answer; is the address right, and does a firewall let it through?"))
        }
        ErrorCode::TlsCertificateError => never(format!(
            "the certificate of {host} is not accepted; one of a private authority is made known by --ca-file FILE"
        )),
        ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => never(format!(
            "no secure connection to {host} could be made; is it the port for https, and is the certificate good?"
        )),
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            never(format!("obnam does not let this plugin talk to {host}"))
        }
        ErrorCode::ConfigurationError => never(format!("the settings do not allow to talk to {host}")),
        ErrorCode::HttpRequestBodySize(_) => {
            Error::Invalid(format!("could not {doing}: the content has another length than was announced"))
        }
        ErrorCode::HttpProtocolError => {
            later(format!("{host} does not answer as HTTP servers do; is it an https port that was named with http:?"))
        }
        ErrorCode::InternalError(Some(why)) => later(format!("the connection to {host} failed: {why}")),
        other => later(format!("the connection to {host} failed ({other:?})")),
    }
}

/// Whether a body is HTML: that of a login page, a proxy or a console, where a program was to answer.
pub fn is_web_page(content_type: &str, text: &str) -> bool {
    let start: String = text.trim_start().chars().take(16).collect::<String>().to_ascii_lowercase();
    content_type.to_ascii_lowercase().starts_with("text/html")
        || start.starts_with("<!doctype html")
        || start.starts_with("<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_wrong_in_different_ways() {
        let of = |kind: ErrorKind| of_io(&kind.into(), "read it");
        assert!(matches!(of(ErrorKind::NotFound), Error::NotFound(why) if why.starts_with("could not read it: ")));
        assert!(matches!(of(ErrorKind::PermissionDenied), Error::Denied(_)));
        assert!(matches!(of(ErrorKind::StorageFull), Error::Quota(_)));
        assert!(matches!(of(ErrorKind::ResourceBusy), Error::Unavailable(_)));
        assert!(matches!(of(ErrorKind::Other), Error::Other(_)));
    }

    #[test]
    fn web_pages() {
        assert!(is_web_page("text/html; charset=utf-8", "") && is_web_page("", " <!DOCTYPE html>"));
        assert!(!is_web_page("application/json", "{}"));
    }
}
