//! TLS, with a certificate that is replaced while the server runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rcgen::CertifiedKey;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::s3::fake::Faults;
use crate::support::Place;

/// A new self-signed certificate, written where the configuration says.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).expect("writes");
    std::fs::write(folder.join("certificate.pem"), cert.pem()).expect("writes");
    cert.der().clone()
}

/// The status of `/livez` for a client that believes this certificate only; none where it refuses to connect.
fn status(port: &str, believed: &CertificateDer<'static>) -> Option<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
        .https_only()
        .enable_http1()
        .build();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let url = format!("https://localhost:{port}/livez").parse().expect("an URL");
        client.get(url).await.ok().map(|answer| answer.status().as_u16())
    })
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = certificate(folder.path());
    let [file, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let place = Place::new(Faults::default(), &format!("[tls]\ncertificate = \"{file}\"\nkey = \"{key}\"\n"));
    let server = place.serve_unprobed();
    let port = server.url.strip_prefix("https://127.0.0.1:").expect("HTTPS").to_owned();
    assert_eq!(status(&port, &first), Some(200));
    let second = certificate(folder.path());
    let begin = Instant::now();
    while status(&port, &second).is_none() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the new certificate is not used:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(status(&port, &first), None);
    // One that cannot be read changes nothing.
    std::fs::write(&file, "nonsense").expect("writes");
    server.wait_for("the new certificate cannot be used");
    assert_eq!(status(&port, &second), Some(200));
}
