//! `obnam-server serve`: answers clients until stopped.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;

use super::Failure;
use crate::access::Way;
use crate::config::{Config, Place, TlsConfig};
use crate::server::Server;
use crate::{api, probe, removal, survey};

/// How long requests may go on after a signal to stop.
const GRACE: Duration = Duration::from_secs(30);
/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(15);
/// How often the files of the certificate are looked at.
const CERTIFICATE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT.
/// `how` is what has to be added to other commands, so that they mean the same server.
pub async fn serve(config: Config, how: &str) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Arc::new(Server::open(config).await?);
    let handle = Handle::new();
    tokio::spawn(stop_on_signal(handle.clone()));
    if let Some(address) = server.config.management {
        let router = api::management_router(server.clone());
        let listener = listen(address)?;
        tracing::info!("metrics are served on http://{}", local(&listener, address));
        tokio::spawn(serve_plain(listener, router, handle.clone()));
    }
    let address = server.config.listen;
    let listener = listen(address)?;
    let bound = local(&listener, address);
    let router = api::router(server.clone());
    match server.config.tls.clone() {
        Some(tls) => {
            let certificate = load(&tls).await?;
            tokio::spawn(reload(tls, certificate.clone()));
            tracing::info!("listening on https://{bound}");
            begin(&server, how).await?;
            serve_tls(listener, router, handle, certificate).await.map_err(|why| Failure::Listen(address, why))?;
        }
        None => {
            tracing::info!("listening on http://{bound}, without TLS: a proxy in front has to provide it");
            begin(&server, how).await?;
            serve_plain(listener, router, handle).await.map_err(|why| Failure::Listen(address, why))?;
        }
    }
    server.state.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Says what a new operator has to know, and does what has to be done beside requests, until the process ends.
async fn begin(server: &Arc<Server>, how: &str) -> Result<(), Failure> {
    if let Place::Directory(path) = &server.config.place {
        tracing::info!("chunks are kept in {}", path.display());
    }
    if server.state.tenants().await?.is_empty() {
        tracing::info!("there is no tenant yet; make one with: obnam-server tenant create NAME{how}");
        tracing::info!("and then: obnam-server token create --tenant NAME --name COMPUTER --preset all{how}");
    }
    let (one, two, three) = (server.clone(), server.clone(), server.clone());
    tokio::spawn(async move { probe_until_known(&one).await });
    tokio::spawn(async move { removal::run(&two).await });
    tokio::spawn(async move { survey::run(&three).await });
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).map_err(|why| Failure::Listen(address, why))?;
    listener.set_nonblocking(true).map_err(|why| Failure::Listen(address, why))?;
    Ok(listener)
}

/// The address with the port that the system chose.
fn local(listener: &TcpListener, address: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(address)
}

async fn serve_plain(listener: TcpListener, router: Router, handle: Handle<SocketAddr>) -> std::io::Result<()> {
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await
}

async fn serve_tls(
    listener: TcpListener,
    router: Router,
    handle: Handle<SocketAddr>,
    certificate: RustlsConfig,
) -> std::io::Result<()> {
    let mut server = axum_server::from_tcp_rustls(listener, certificate)?.handle(handle);
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await
}

async fn load(tls: &TlsConfig) -> Result<RustlsConfig, Failure> {
    RustlsConfig::from_pem_file(&tls.certificate, &tls.key)
        .await
        .map_err(|why| Failure::Certificate(tls.certificate.clone(), why))
}

/// Reads the certificate again when its files have changed. One that cannot be read is told, and the old one stays.
async fn reload(tls: TlsConfig, certificate: RustlsConfig) {
    let mut before = changed(&tls);
    loop {
        tokio::time::sleep(CERTIFICATE).await;
        let now = changed(&tls);
        if now == before {
            continue;
        }
        before = now;
        match certificate.reload_from_pem_file(&tls.certificate, &tls.key).await {
            Ok(()) => tracing::info!("the certificate was read again"),
            // Often one of the two files is not there yet; the other one's change brings us back here.
            Err(why) => tracing::error!("the new certificate cannot be used, the old one stays: {why}"),
        }
    }
}

fn changed(tls: &TlsConfig) -> [Option<SystemTime>; 2] {
    [&tls.certificate, &tls.key].map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok())
}

/// Probes an object store until there is a verdict; without one, no URL to store is signed.
async fn probe_until_known(server: &Server) {
    let Some(store) = server.store.s3() else { return };
    loop {
        match probe::probe(store).await {
            Ok(verdict) => {
                server.set_verdict(verdict);
                match server.way() {
                    Some(Way::Store) => {
                        tracing::info!("the object store refuses wrong bytes: URLs to store are signed");
                    }
                    Some(Way::Server) => tracing::warn!(
                        "the object store does not refuse wrong bytes, so this server takes chunks itself; see obnam-server \
                         check"
                    ),
                    None => tracing::error!(
                        "the object store does not refuse wrong bytes, so nothing can be stored; see obnam-server check"
                    ),
                }
                return;
            }
            Err(why) => tracing::warn!("the object store could not be probed, so no URL to store is signed yet: {why}"),
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

async fn stop_on_signal(handle: Handle<SocketAddr>) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping; requests in progress may go on for {} s", GRACE.as_secs());
    handle.graceful_shutdown(Some(GRACE));
}
