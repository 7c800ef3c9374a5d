//! A proxy that the user asked for.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wasmtime_wasi_http::Error as Code;

use super::fault::Fault;
use super::origin::Origin;
use crate::store::{StoreError, StoreErrorKind};

/// The longest head of a proxy's answer.
const HEAD: usize = 8 << 10;

/// An HTTP proxy that makes tunnels (CONNECT), for `https:` and for `http:`.
pub(super) struct Proxy {
    /// Where it is.
    pub(super) origin: Origin,
    /// What it is told of the user: `Basic ...`.
    authorization: Option<String>,
}

impl Proxy {
    /// Reads `http://[USER:PASSWORD@]HOST[:PORT]`. An error does not repeat the text: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let bad = || {
            let message = "the proxy (--proxy) is not of the form http://[USER:PASSWORD@]HOST[:PORT]";
            StoreError::new(StoreErrorKind::Invalid, message)
        };
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?.as_str();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        let origin = Origin::parse(&format!("http://{host}")).filter(|_| plain).ok_or_else(bad)?;
        let authorization = user.map(|user| format!("Basic {}", BASE64_STANDARD.encode(unescaped(user))));
        Ok(Proxy { origin, authorization })
    }

    /// Asks for a tunnel to the origin.
    pub(super) async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        to: &Origin,
    ) -> Result<(), Fault> {
        let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.clone() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n", port = to.port);
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        request += "\r\n";
        let failed = |error: std::io::Error| {
            Fault::new(Code::ConnectionTerminated, format!("the proxy {} ended the connection: {error}", self.origin))
        };
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut head = Vec::new();
        // Byte by byte: what is behind the head belongs to the tunnel.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == HEAD {
                return Err(Fault::new(Code::HttpProtocolError, format!("the proxy {} speaks no HTTP", self.origin)));
            }
            head.push(stream.read_u8().await.map_err(failed)?);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.lines().next().unwrap_or_default();
        match status.split(' ').nth(1).unwrap_or_default() {
            code if code.starts_with('2') => Ok(()),
            "407" => Err(Fault::new(
                Code::HttpRequestDenied,
                format!(
                    "the proxy {} wants a user name and a password, or others: http://USER:PASSWORD@HOST",
                    self.origin
                ),
            )),
            _ => {
                let status: String = status.chars().filter(|c| !c.is_control()).take(100).collect();
                let why = format!("the proxy {} makes no connection: {status}", self.origin);
                Err(Fault::new(Code::DestinationUnavailable, why))
            }
        }
    }
}

/// A text without its `%20`s.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([byte]) => {
                bytes.push(*byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        let proxy = Proxy::parse("http://proxy.example:3128").unwrap();
        assert_eq!((proxy.origin.to_string(), proxy.authorization), ("http://proxy.example:3128".into(), None));
        let proxy = Proxy::parse("http://ann:p%40ss@proxy.example/").unwrap();
        assert_eq!(proxy.origin.to_string(), "http://proxy.example");
        assert_eq!(proxy.authorization.unwrap(), format!("Basic {}", BASE64_STANDARD.encode("ann:p@ss")));
        for bad in ["", "proxy:3128", "https://secret@proxy", "socks5://secret@proxy", "http://secret@proxy/x"] {
            let error = Proxy::parse(bad).map(drop).unwrap_err();
            assert!(!error.message.contains("secret"), "{error}");
        }
    }
}
