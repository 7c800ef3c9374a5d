//! Why a request failed: for the guest a code, for the user words.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use rustls::CertificateError;
use wasmtime_wasi_http::Error as Code;

/// A request that did not work.
#[derive(Debug)]
pub(super) struct Fault {
    /// What the guest is told.
    pub(super) code: Code,
    /// What the user is told: a sentence without its beginning, which names the origin.
    pub(super) why: String,
}

impl Fault {
    pub(super) fn new(code: Code, why: impl Into<String>) -> Self {
        Fault { code, why: why.into() }
    }

    /// A name that was not found.
    pub(super) fn lookup(error: &io::Error) -> Self {
        let code = Code::DnsError { rcode: None, info_code: None };
        Fault::new(code, format!("the name of the host cannot be looked up: {error}"))
    }

    /// A connection that was not made.
    pub(super) fn connecting(error: &io::Error) -> Self {
        let (code, why) = match error.kind() {
            ErrorKind::ConnectionRefused => (Code::ConnectionRefused, "nothing listens there: connection refused"),
            ErrorKind::TimedOut => (Code::ConnectionTimeout, "the host does not answer"),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                (Code::DestinationIpUnroutable, "there is no way to the host")
            }
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof => {
                (Code::ConnectionTerminated, "the host ended the connection at once")
            }
            _ => return Fault::new(Code::DestinationUnavailable, format!("no connection could be made: {error}")),
        };
        Fault::new(code, why)
    }

    /// A connection without TLS.
    pub(super) fn securing(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(error)) => Fault::new(Code::TlsCertificateError, certificate(error)),
            Some(rustls::Error::AlertReceived(alert)) => Fault::new(
                Code::TlsAlertReceived { alert_id: Some((*alert).into()), alert_message: Some(format!("{alert:?}")) },
                format!("the host refused the TLS connection: {alert:?}"),
            ),
            Some(rustls::Error::InvalidMessage(_)) => {
                Fault::new(Code::TlsProtocolError, "it does not speak TLS there; is it an http: address?")
            }
            Some(error) => Fault::new(Code::TlsProtocolError, format!("no TLS connection could be made: {error}")),
            None => Fault { why: format!("no TLS connection could be made: {error}"), ..Fault::connecting(error) },
        }
    }

    /// An exchange that broke. `answered` tells that the head of the answer had come.
    pub(super) fn broken(error: &hyper::Error, answered: bool) -> Self {
        if let Some(error) = error.source().and_then(|cause| cause.downcast_ref::<Code>()) {
            return Fault::new(Code::ConnectionTerminated, format!("the request was given up: {error}"));
        }
        let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        if error.is_parse_too_large() {
            Fault::new(Code::HttpResponseHeaderSectionSize(None), "the head of its answer is too large")
        } else if error.is_parse() {
            Fault::new(Code::HttpProtocolError, format!("its answer is not HTTP: {error}"))
        } else if answered {
            let why = io.map_or_else(|| "the connection ended".to_owned(), ToString::to_string);
            Fault::new(Code::HttpResponseIncomplete, format!("its answer broke off: {why}"))
        } else {
            let why = io.map_or_else(|| error.to_string(), ToString::to_string);
            Fault::new(Code::ConnectionTerminated, format!("the connection ended before an answer came: {why}"))
        }
    }
}

/// What is wrong with a certificate.
fn certificate(error: &CertificateError) -> String {
    let what = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or the clock of this computer is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or the clock of this computer is wrong"
        }
        CertificateError::UnknownIssuer => {
            "nobody that this computer trusts has signed it; the certificate of a private authority is named by \
             --ca-file"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host name"
        }
        other => return format!("its certificate is not accepted: {other}"),
    };
    format!("its certificate is not accepted: {what}")
}
