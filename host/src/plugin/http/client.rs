//! The client of an opened store, which all of its instances share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error as Code, RequestOptions, WasiBody};

use super::bandwidth::{self, Direction};
use super::connect::Connector;
use super::fault::Fault;
use super::origin::Origin;
use super::proxy::Proxy;
use super::seats::Seats;
use super::settings::HttpSettings;
use super::{background, tls};
use crate::plugin::grants::OriginGrant;
use crate::store::StoreError;

/// How many refused origins are remembered.
const REMEMBERED: usize = 8;

/// Reaches the origins that were granted, and keeps the connections to them.
pub(in crate::plugin) struct Client {
    granted: Vec<OriginGrant>,
    /// Where the plugin wanted to go besides.
    refused: Mutex<Vec<Origin>>,
    times: Times,
    /// The most bytes that an answer may have.
    pub(super) most: u64,
    pub(super) seats: Arc<Seats>,
    pub(super) connector: Arc<Connector>,
}

/// How long a request may take in each of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
}

impl Times {
    /// What a guest asks for, where that is less; zero is refused.
    fn lowered(self, options: Option<RequestOptions>) -> Result<Times, Fault> {
        let Some(options) = options else { return Ok(self) };
        let asked = [options.connect_timeout, options.first_byte_timeout, options.between_bytes_timeout];
        if asked.contains(&Some(Duration::ZERO)) {
            return Err(Fault::new(Code::ConfigurationError, "the plugin asked for a time limit of zero"));
        }
        let least = |own: Duration, asked: Option<Duration>| asked.map_or(own, |asked| own.min(asked));
        Ok(Times {
            connect: least(self.connect, asked[0]),
            first_byte: least(self.first_byte, asked[1]),
            idle: least(self.idle, asked[2]),
        })
    }
}

impl Client {
    /// A client for these origins, with at most so many connections, and answers of at most so many bytes.
    pub(in crate::plugin) fn new(
        granted: Vec<OriginGrant>,
        settings: &HttpSettings,
        connections: usize,
        most: u64,
    ) -> Result<Arc<Self>, StoreError> {
        let secure = granted.iter().any(|grant| grant.origin.is_secure());
        let tls = if secure { Some(TlsConnector::from(tls::config(settings.ca_file.as_deref())?)) } else { None };
        let times = Times {
            connect: settings.connect_timeout,
            first_byte: settings.first_byte_timeout,
            idle: settings.idle_timeout,
        };
        let connector = Connector {
            background: background::runtime()?,
            tls,
            proxy: settings.proxy.as_deref().map(Proxy::parse).transpose()?,
            up: settings.limit_upload.map(|rate| bandwidth::bucket(Direction::Up, rate)),
            down: settings.limit_download.map(|rate| bandwidth::bucket(Direction::Down, rate)),
        };
        Ok(Arc::new(Client {
            times,
            most,
            seats: Arc::new(Seats::new(connections.max(1), granted.len())),
            refused: Mutex::default(),
            granted,
            connector: Arc::new(connector),
        }))
    }

    /// The origins that the plugin wanted to talk to, and that were not granted.
    pub(in crate::plugin) fn refused(&self) -> Vec<Origin> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, refused: Option<Origin>) {
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |origin: &Origin| all.contains(origin) || all.len() >= REMEMBERED;
        if let Some(origin) = refused.filter(|origin| !known(origin)) {
            all.push(origin);
        }
    }

    /// Whether the request may be made; with the grant and the times that it is made under.
    pub(super) fn admit(
        &self,
        request: &Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<(&OriginGrant, Times), Fault> {
        let origin = Origin::of(request.uri());
        let grant = self.granted.iter().find(|grant| Some(&grant.origin) == origin.as_ref());
        let grant = grant.ok_or_else(|| {
            self.remember(origin);
            let granted: Vec<String> = self.granted.iter().map(|grant| grant.origin.to_string()).collect();
            Fault::new(
                Code::HttpRequestDenied,
                format!("the plugin may not connect there; it may connect to {}", granted.join(", ")),
            )
        })?;
        if request.method() == Method::CONNECT {
            return Err(Fault::new(Code::HttpRequestMethodInvalid, "plugins cannot use CONNECT"));
        }
        Ok((grant, self.times.lowered(options)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn guests_lower_times_and_never_raise_them() {
        let second = Duration::from_secs(1);
        let own = Times { connect: 10 * second, first_byte: 60 * second, idle: 30 * second };
        let asked = |seconds: Option<u32>| {
            let asked = seconds.map(|seconds| seconds * second);
            own.lowered(Some(RequestOptions {
                connect_timeout: asked,
                first_byte_timeout: asked,
                between_bytes_timeout: asked,
            }))
        };
        assert_eq!(own.lowered(None).unwrap(), own);
        assert_eq!(asked(None).unwrap(), own);
        assert_eq!(asked(Some(600)).unwrap(), own);
        assert_eq!(asked(Some(1)).unwrap(), Times { connect: second, first_byte: second, idle: second });
        assert!(matches!(asked(Some(0)).unwrap_err().code, Code::ConfigurationError));
    }
}
