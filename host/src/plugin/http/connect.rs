//! From an origin to a connection: look up, check, connect, secure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::Error as Code;

use super::address;
use super::bandwidth::Bucket;
use super::fault::Fault;
use super::origin::Origin;
use super::proxy::Proxy;
use super::seats::Connection;
use super::wire::{Activity, Gather, Wire};

/// The largest head of an answer, in bytes, and how many fields it may have.
const HEAD: usize = 32 << 10;
const FIELDS: usize = 100;
/// How long an address may keep the next one waiting.
const HEAD_START: Duration = Duration::from_millis(250);

/// How connections are made; the same for all of a store.
pub(super) struct Connector {
    pub(super) background: &'static Handle,
    pub(super) tls: Option<TlsConnector>,
    pub(super) proxy: Option<Proxy>,
    pub(super) up: Option<Arc<Bucket>>,
    pub(super) down: Option<Arc<Bucket>>,
}

impl Connector {
    /// Makes a connection, or gives up in time. `named` tells that the user wrote the host himself.
    pub(super) async fn connect(
        self: &Arc<Self>,
        origin: &Origin,
        named: bool,
        within: Duration,
    ) -> Result<Connection, Fault> {
        let (this, to) = (self.clone(), origin.clone());
        let making = async move { timeout(within, this.make(to, named)).await };
        // Given up on with whoever waits for it.
        let made = AbortOnDropJoinHandle::from(self.background.spawn(making)).await;
        made.unwrap_or_else(|_| {
            Err(Fault::new(Code::ConnectionTimeout, format!("no connection could be made within {within:?}")))
        })
    }

    async fn make(&self, origin: Origin, named: bool) -> Result<Connection, Fault> {
        let socket = match &self.proxy {
            None => reach(look_up(&origin, named).await?).await?,
            Some(proxy) => Self::reach_proxy(proxy, &origin, named).await?,
        };
        let _ = socket.set_nodelay(true);
        let activity = Arc::new(Activity::new());
        let mut wire = Wire::new(socket, activity.clone(), self.up.clone(), self.down.clone());
        if let Some(proxy) = &self.proxy {
            proxy.tunnel(&mut wire, &origin).await?;
        }
        match &self.tls {
            Some(tls) if origin.secure => {
                let name = ServerName::try_from(origin.host.clone());
                let name = name.map_err(|_| {
                    Fault::new(Code::TlsCertificateError, "this host can have no certificate: it is no host name")
                })?;
                let secured = tls.connect(name, wire).await.map_err(|error| Fault::securing(&error))?;
                self.begin(Gather::new(secured), origin, activity).await
            }
            _ => self.begin(wire, origin, activity).await,
        }
    }

    /// Connects to the proxy, which the user named. It looks up names itself, so that only addresses can be checked.
    async fn reach_proxy(proxy: &Proxy, origin: &Origin, named: bool) -> Result<TcpStream, Fault> {
        if origin.address().is_some() {
            look_up(origin, named).await?;
        }
        let reached = async { reach(look_up(&proxy.origin, true).await?).await }.await;
        reached.map_err(|fault| Fault { why: format!("the proxy {}: {}", proxy.origin, fault.why), ..fault })
    }

    /// Begins to speak HTTP.
    async fn begin(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        origin: Origin,
        activity: Arc<Activity>,
    ) -> Result<Connection, Fault> {
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD).max_headers(FIELDS);
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| Fault::broken(&error, false))?;
        let to = origin.to_string();
        let task = self.background.spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(target: "obnam::http", "a connection to {to} ended: {error}");
            }
        });
        Ok(Connection { origin, sender, activity, task, rests_since: Instant::now() })
    }
}

/// The addresses of a host that may be connected to: exactly these are.
async fn look_up(origin: &Origin, named: bool) -> Result<Vec<SocketAddr>, Fault> {
    let found: Vec<SocketAddr> = match origin.address() {
        Some(address) => vec![SocketAddr::new(address, origin.port)],
        None => {
            let found = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await;
            found.map_err(|error| Fault::lookup(&error))?.collect()
        }
    };
    let allowed: Vec<SocketAddr> = found.iter().copied().filter(|to| address::is_allowed(to.ip(), named)).collect();
    match found.first() {
        Some(found) if allowed.is_empty() => Err(prohibited(found.ip(), named)),
        _ => Ok(allowed),
    }
}

fn prohibited(address: IpAddr, named: bool) -> Fault {
    let why = if address::is_allowed(address, true) && !named {
        format!(
            "the host is at {address}, in a private network, where this location does not lead; name the host in the \
             location if that is right"
        )
    } else {
        format!("the host is at {address}, where obnam lets no plugin connect to")
    };
    Fault::new(Code::DestinationIpProhibited, why)
}

/// Connects to the first address that answers, each with a head start before the next.
async fn reach(addresses: Vec<SocketAddr>) -> Result<TcpStream, Fault> {
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut last = Fault::new(Code::DnsError { rcode: None, info_code: None }, "the host has no address");
    loop {
        let more = match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
                true
            }
            None => false,
        };
        let finished = if more {
            match timeout(HEAD_START, attempts.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match finished {
            Some(Ok(Ok(socket))) => return Ok(socket),
            Some(Ok(Err(error))) => last = Fault::connecting(&error),
            Some(Err(error)) => last = Fault::new(Code::InternalError(None), error.to_string()),
            None => return Err(last),
        }
    }
}
