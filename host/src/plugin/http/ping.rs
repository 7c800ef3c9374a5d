//! One request without a body, to a URL that the user wrote: for health checks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connect::Connector;
use super::exchange::prepare;
use super::origin::Origin;
use super::proxy::Proxy;
use super::settings::HttpSettings;
use super::{background, tls};

/// How long it may take, from looking up the name to the head of the answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks for a URL; why that has failed, if it has, without the URL's path. Of the answer only the status counts, and no
/// redirect is followed.
pub fn ping(url: &str, settings: &HttpSettings) -> Result<(), String> {
    let (uri, origin) = parse(url)?;
    ask(uri, &origin, settings).map_err(|why| format!("{origin}: {why}"))
}

fn ask(uri: Uri, origin: &Origin, settings: &HttpSettings) -> Result<(), String> {
    if !origin.is_secure() && !origin.is_local() && !settings.plain_http {
        return Err("http: leaves this computer unencrypted; use https:, or allow it with plain-http".into());
    }
    let tls = match origin.is_secure() {
        true => Some(TlsConnector::from(tls::config(settings.ca_file.as_deref()).map_err(|error| error.message)?)),
        false => None,
    };
    let proxy = settings.proxy.as_deref().map(Proxy::parse).transpose().map_err(|error| error.message)?;
    let background = background::runtime().map_err(|error| error.message)?;
    let connector = Arc::new(Connector { background, tls, proxy, up: None, down: None });
    let host = uri.authority().map_or_else(String::new, ToString::to_string);
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(uri).header(HOST, host).header(USER_AGENT, concat!("obnam/", env!("CARGO_PKG_VERSION")));
    let request = prepare(request.body(body).map_err(|error| error.to_string())?);
    let asking = async {
        let mut connection = connector.connect(origin, true, LIMIT).await.map_err(|fault| fault.why)?;
        let sent = connection.sender.send_request(request).await;
        let status = sent.map_err(|error| error.to_string())?.status();
        connection.close().await;
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    };
    let asked = background.block_on(async { timeout(LIMIT, asking).await });
    asked.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

/// Why a text is no URL that can be asked, if it is none.
pub fn check_url(url: &str) -> Result<(), String> {
    parse(url).map(drop)
}

fn parse(url: &str) -> Result<(Uri, Origin), String> {
    let bad = "is no URL of the form https://HOST/PATH, without a user name and without ? and #";
    let uri: Uri = url.parse().map_err(|_| bad)?;
    match Origin::of(&uri) {
        // `/start` could not be put behind the others.
        Some(origin) if uri.query().is_none() && !url.contains('#') => Ok((uri, origin)),
        _ => Err(bad.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked() {
        for good in ["https://hc.example/ping/abc", "http://127.0.0.1:8000/x/", "https://hc.example"] {
            check_url(good).unwrap();
        }
        for bad in ["", "hc.example/x", "ftp://x/y", "https://u:p@x/y", "https://x/y?z", "https://x/y#z", "https://x y"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        let refused = ping("http://hc.example/secret", &HttpSettings::default()).unwrap_err();
        assert!(refused.contains("plain-http") && !refused.contains("secret"), "{refused}");
    }
}
