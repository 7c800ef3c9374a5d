//! Plugins and the network: what they reach, what they do not, and what becomes of servers that misbehave.

#![allow(clippy::unwrap_used)]

#[path = "../plugin_support/mod.rs"]
mod plugin_support;

mod server;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use obnam::plugin::{HttpSettings, KeptOptions, Limits, PluginSource, PluginStore, StoreSpec, open_store};
use obnam::store::{ChunkStore, StoreError, StoreErrorKind};
use plugin_support::{chunk, label, test_limits};
use server::{Server, closed_port, proxy, silence};

/// A spec of the guest that keeps chunks on a web server.
fn web(location: &str, options: &[(&str, &str)]) -> StoreSpec {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    StoreSpec {
        source: PluginSource::File(PathBuf::from(env!("GUEST_HTTP"))),
        location: location.to_owned(),
        options: options.collect(),
        kept: KeptOptions::default(),
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins")),
        limits: Limits { unavailable_tries: 2, ..test_limits() },
        http: HttpSettings::default(),
        workers: 1,
        create_dir: true,
    }
}

fn opened(location: &str, options: &[(&str, &str)]) -> PluginStore {
    open_store(&web(location, options)).unwrap()
}

/// What comes of a request to `target` from a plugin that was granted the origin of `server`.
fn attempt(server: &Server, target: &str) -> String {
    said(&opened(&server.url(), &[("target", target)]))
}

/// What the guest says of its target.
fn said(store: &PluginStore) -> String {
    store.check().unwrap().remove(0).message
}

/// Settings that do not keep a test waiting.
fn hasty() -> HttpSettings {
    HttpSettings {
        connect_timeout: Duration::from_millis(1500),
        first_byte_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..HttpSettings::default()
    }
}

fn open_error(spec: &StoreSpec) -> StoreError {
    open_store(spec).map(drop).unwrap_err()
}

#[test]
fn chunks_come_and_go() {
    let server = Server::start();
    let store = opened(&server.url(), &[]);
    store.open().unwrap();
    for (seed, size) in [(1, 0), (2, 1), (3, 100_000), (4, 16 << 20)] {
        let (id, bytes) = chunk(seed, size);
        store.put(&label("data"), &id, bytes.clone()).unwrap();
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
        assert_eq!(store.stat(&label("data"), &id).unwrap().size, size as u64);
        if size > 10 {
            assert_eq!(store.get(&label("data"), &id, Some(0..7)).unwrap(), bytes[..7]);
        }
    }
    let (absent, _) = chunk(9, 10);
    assert_eq!(store.get(&label("data"), &absent, None).unwrap_err().kind, StoreErrorKind::NotFound);
    // One connection, but for an answer of which nobody wanted the larger part.
    let (total, most, _) = server.connections();
    assert!(total <= 3 && most <= 2, "{:?}", server.connections());
}

#[test]
fn only_the_granted_origin_is_reached() {
    let (server, other) = (Server::start(), Server::start());
    let port = server.port();
    for target in [
        other.url(),
        server.url_as("localhost"),
        server.url_as("127.0.0.2"),
        server.url_as("[::1]"),
        server.url_as("[::ffff:127.0.0.1]"),
        server.url_as("user@127.0.0.1"),
        format!("https://127.0.0.1:{port}/"),
        "http://127.0.0.1/".into(),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://example.org/".into(),
    ] {
        assert_eq!(attempt(&server, &target), "ErrorCode::HttpRequestDenied", "{target}");
    }
    // Without an authority nothing is asked of anybody.
    let none = attempt(&server, "http:/x");
    assert!(none.contains("Uri") || none.contains("Denied"), "{none}");
    assert!(server.requests().is_empty() && other.requests().is_empty());
    assert_eq!(attempt(&server, &format!("{}/x", server.url())), "status 404, then 0 bytes");
    assert_eq!(attempt(&server, &format!("{}/x", server.url().to_uppercase())), "status 404, then 0 bytes");
}

#[test]
fn redirects_are_not_followed() {
    let (server, other) = (Server::start(), Server::start());
    let target = format!("{}/redirect/{}", server.url(), other.url().replace('/', ","));
    assert_eq!(attempt(&server, &target), "status 302, then 4 bytes");
    assert!(other.requests().is_empty());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn refused_wishes_are_named() {
    let error = open_error(&web("http://127.0.0.1:1", &[("wish", "http://127.0.0.1:2")]));
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("\"http://127.0.0.1:2\"") && error.message.contains("http://127.0.0.1:1 only"));
    let unnamed = open_error(&web("web:x", &[("wish", "https://example.org")]));
    assert!(unnamed.message.contains("names no host"), "{unnamed}");
    // Unencrypted only on this computer, unless the user says so.
    let plain = web("http://example.org/x", &[]);
    let error = open_error(&plain);
    assert!(error.kind == StoreErrorKind::Denied && error.message.contains("--plain-http"), "{error}");
    let http = HttpSettings { plain_http: true, ..HttpSettings::default() };
    assert!(open_store(&StoreSpec { http, ..plain }).is_ok());
}

#[test]
fn a_refused_request_is_named_in_the_error() {
    let server = Server::start();
    let spec = web(&server.url(), &[("do", "elsewhere"), ("target", "http://169.254.169.254/x?secret")]);
    let store = open_store(&spec).unwrap();
    let error = store.get(&label("data"), &chunk(1, 1).0, None).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("http://169.254.169.254: the plugin may not connect there"), "{error}");
    assert!(error.message.contains(&server.url()) && !error.message.contains("secret"), "{error}");
}

#[test]
fn metadata_addresses_are_never_reached() {
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "0.0.0.0"] {
        let url = format!("http://{host}:80/x");
        let http = HttpSettings { plain_http: true, ..hasty() };
        let store = open_store(&StoreSpec { http, ..web(&url, &[("target", &url)]) }).unwrap();
        assert_eq!(said(&store), "ErrorCode::DestinationIpProhibited", "{host}");
    }
}

#[test]
fn a_name_of_this_computer_is_reached_when_the_user_wrote_it() {
    let server = Server::start();
    let url = server.url_as("localhost");
    let store = opened(&url, &[("target", &url)]);
    assert!(said(&store).starts_with("status 404"));
}

#[test]
fn misbehaving_servers_are_told_apart() {
    let server = Server::start();
    let says = |path: &str| {
        let target = format!("{}/{path}", server.url());
        let spec = StoreSpec { http: hasty(), ..web(&server.url(), &[("target", &target)]) };
        said(&open_store(&spec).unwrap())
    };
    assert!(says("too-large").contains("HttpResponseBodySize"));
    assert!(says("endless").contains("exceeds limit"));
    assert_eq!(says("drip"), "status 200, then 50 bytes");
    assert!(says("stall").starts_with("status 200, then 10 bytes, then"));
    assert_eq!(says("never"), "ErrorCode::HttpResponseTimeout");
    assert_eq!(says("hang-up"), "ErrorCode::ConnectionTerminated");
    assert!(says("truncated").contains("incomplete"));
    assert!(says("long-field").contains("HttpResponseHeaderSectionSize"));
    assert!(says("many-fields").contains("HttpResponseHeaderSectionSize"));
    assert_eq!(says("garbage"), "ErrorCode::HttpProtocolError");
    assert_eq!(says("close"), "status 200, then 7 bytes");
}

#[test]
fn unreachable_servers_are_told_apart() {
    let says = |url: &str| {
        let http = HttpSettings { plain_http: true, ..hasty() };
        said(&open_store(&StoreSpec { http, ..web(url, &[("target", url)]) }).unwrap())
    };
    assert_eq!(says(&format!("http://127.0.0.1:{}", closed_port())), "ErrorCode::ConnectionRefused");
    assert!(says("http://no-such-host.invalid").contains("DnsError"));
    let (_silent, port) = silence();
    // It is reached, but says nothing.
    assert_eq!(says(&format!("http://127.0.0.1:{port}")), "ErrorCode::HttpResponseTimeout");
    assert!(says(&format!("https://127.0.0.1:{port}")).contains("ConnectionTimeout"));
    let plain = Server::start();
    let error = says(&format!("https://127.0.0.1:{}", plain.port()));
    assert!(error.contains("Tls") || error.contains("Connection"), "{error}");
}

#[test]
fn guests_lower_timeouts_only() {
    let server = Server::start();
    let target = format!("{}/never", server.url());
    let patient = HttpSettings { first_byte_timeout: Duration::from_secs(3600), ..HttpSettings::default() };
    let says = |http: HttpSettings, ms: &str| {
        let spec = web(&server.url(), &[("target", &target), ("timeout-ms", ms)]);
        said(&open_store(&StoreSpec { http, ..spec }).unwrap())
    };
    assert_eq!(says(patient.clone(), "300"), "ErrorCode::HttpResponseTimeout");
    assert_eq!(says(hasty(), "3600000"), "ErrorCode::HttpResponseTimeout");
    assert_eq!(says(patient, "0"), "ErrorCode::ConfigurationError");
}

#[test]
fn certificates_are_checked() {
    let key = rcgen::KeyPair::generate().unwrap();
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        rcgen::CertificateParams::new(names).unwrap()
    };
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = named(&[]);
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let start =
        |params: rcgen::CertificateParams| Server::start_secure(&params.signed_by(&key, &issuer).unwrap(), &key);
    let good = start(named(&["localhost", "127.0.0.1"]));
    let mut expired = named(&["localhost"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let (expired, foreign) = (start(expired), start(named(&["example.org"])));

    let top = tempfile::tempdir().unwrap();
    let ca_file = top.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let (id, bytes) = chunk(1, 3 << 20);
    let store = |server: &Server, host: &str, ca_file: Option<&Path>| {
        let http = HttpSettings { ca_file: ca_file.map(Path::to_owned), ..HttpSettings::default() };
        open_store(&StoreSpec { http, ..web(&server.url_as(host), &[]) })
    };
    for host in ["localhost", "127.0.0.1"] {
        let store = store(&good, host, Some(&ca_file)).unwrap();
        store.put(&label("data"), &id, bytes.clone()).unwrap();
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
    }
    assert_eq!(good.connections().1, 1);
    let error = |server: &Server, ca_file: Option<&Path>| {
        store(server, "localhost", ca_file).unwrap().stat(&label("data"), &id).unwrap_err().message
    };
    assert!(error(&good, None).contains("--ca-file"), "{}", error(&good, None));
    assert!(error(&expired, Some(&ca_file)).contains("expired"), "{}", error(&expired, Some(&ca_file)));
    assert!(error(&foreign, Some(&ca_file)).contains("another host name"), "{}", error(&foreign, Some(&ca_file)));

    std::fs::write(&ca_file, "no certificate").unwrap();
    let unusable = store(&good, "localhost", Some(&ca_file)).map(drop).unwrap_err();
    assert!(unusable.kind == StoreErrorKind::Invalid && unusable.message.contains("ca.pem"), "{unusable}");
}

/// Threads and open files of this process.
fn threads_and_files() -> (usize, usize) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

#[test]
fn many_requests_share_few_connections() {
    let server = Server::start();
    let store = open_store(&StoreSpec { workers: 4, ..web(&server.url(), &[]) }).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..125 {
                    let (id, bytes) = chunk(thread * 1000 + round, 2000);
                    store.put(&label("data"), &id, bytes.clone()).unwrap();
                    assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
                }
            });
        }
    });
    assert_eq!(server.requests().len(), 2000);
    let (total, most, _) = server.connections();
    assert!(total <= 4 && most <= 4, "{:?}", server.connections());
}

#[test]
fn abandoned_answers_leave_nothing_behind() {
    let server = Server::start();
    let (id, bytes) = chunk(1, 300_000);
    opened(&server.url(), &[]).put(&label("data"), &id, bytes.clone()).unwrap();
    let before = threads_and_files();
    for manner in ["abandon", "forget"] {
        let store = open_store(&StoreSpec { workers: 4, ..web(&server.url(), &[("do", manner)]) }).unwrap();
        for _ in 0..50 {
            assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
            assert_eq!(store.get(&label("data"), &id, Some(0..1000)).unwrap(), bytes[..1000]);
        }
        assert!(server.connections().1 <= 9, "{manner}: {:?}", server.connections());
    }
    let start = Instant::now();
    while server.connections().2 > 1 && start.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
    let after = threads_and_files();
    assert!(after.1 <= before.1 + 20, "{before:?} {after:?}");
}

#[test]
fn ten_thousand_reads_through_one_instance() {
    let server = Server::start();
    let store = opened(&server.url(), &[]);
    let (id, bytes) = chunk(1, 5000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    for round in 0..10_000 {
        if round % 10 == 0 {
            assert_eq!(store.get(&label("data"), &id, Some(0..100)).unwrap(), bytes[..100]);
        } else {
            assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
        }
    }
    let (total, most, _) = server.connections();
    // What is left of an answer is read when it is little.
    assert!(total == 1 && most == 1, "{:?}", server.connections());
    assert_eq!(server.requests().len(), 10_001);
}

#[test]
fn a_guest_cannot_hoard_connections() {
    let server = Server::start();
    let (id, bytes) = chunk(1, 2_000_000);
    let http = HttpSettings { connect_timeout: Duration::from_millis(300), ..HttpSettings::default() };
    let spec = StoreSpec { http, workers: 2, ..web(&server.url(), &[("do", "hoard")]) };
    let store = open_store(&spec).unwrap();
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    let error = store.get(&label("data"), &id, None).unwrap_err();
    assert!(error.message.contains("ConnectionLimitReached"), "{error}");
    assert!(server.connections().1 <= 3, "{:?}", server.connections());
    // Nothing of that is left over for the next call.
    store.put(&label("data"), &id, bytes).unwrap();
}

#[test]
fn a_closed_connection_is_replaced_without_a_word() {
    let server = Server::start();
    let store = open_store(&StoreSpec {
        limits: Limits { unavailable_tries: 1, ..test_limits() },
        ..web(&server.url(), &[("target", &format!("{}/close", server.url()))])
    })
    .unwrap();
    for _ in 0..20 {
        assert_eq!(said(&store), "status 200, then 7 bytes");
    }
}

#[test]
fn passing_failures_are_repeated() {
    let server = Server::start();
    let spec = web(&server.url(), &[]);
    let store = open_store(&StoreSpec { limits: test_limits(), ..spec }).unwrap();
    let (id, bytes) = chunk(1, 100);
    server.fail_next(2);
    store.put(&label("data"), &id, bytes).unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_call_that_nobody_waits_for_ends_its_request() {
    let server = Server::start();
    let limits = Limits { idle: Duration::from_millis(300), instance_tries: 1, ..test_limits() };
    let target = format!("{}/never", server.url());
    let store = open_store(&StoreSpec { limits, ..web(&server.url(), &[("target", &target)]) }).unwrap();
    assert!(store.check().unwrap_err().message.contains("nothing moved"));
    // The seat is free again: the next call gets as far.
    assert!(store.check().unwrap_err().message.contains("nothing moved"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn bandwidth_is_limited_and_a_slow_transfer_is_none_that_stands_still() {
    let server = Server::start();
    let rate = std::num::NonZeroU64::new(100_000);
    let (id, bytes) = chunk(1, 400_000);
    // Longer than may pass without a byte moved; the machine may be busy.
    let limits = Limits { idle: Duration::from_millis(2500), ..test_limits() };
    let store = |http: HttpSettings| open_store(&StoreSpec { http, limits, ..web(&server.url(), &[]) }).unwrap();
    // What 400,000 bytes take at 100,000 a second, but for what a bucket holds at first. Never is it faster.
    let least = Duration::from_millis(3700);
    let start = Instant::now();
    let slow = store(HttpSettings { limit_upload: rate, ..HttpSettings::default() });
    slow.put(&label("data"), &id, bytes.clone()).unwrap();
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    let start = Instant::now();
    let slow = store(HttpSettings { limit_download: rate, ..HttpSettings::default() });
    assert_eq!(slow.get(&label("data"), &id, None).unwrap(), bytes);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

#[test]
fn a_proxy_makes_tunnels_and_nothing_else() {
    let server = Server::start();
    let (id, bytes) = chunk(1, 100_000);
    let store = |proxy: String| {
        let http = HttpSettings { proxy: Some(proxy), ..hasty() };
        open_store(&StoreSpec { http, ..web(&server.url(), &[]) })
    };
    let (port, heads) = proxy(true);
    let good = store(format!("http://ann:secret@127.0.0.1:{port}")).unwrap();
    good.put(&label("data"), &id, bytes.clone()).unwrap();
    assert_eq!(good.get(&label("data"), &id, None).unwrap(), bytes);
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].starts_with(&format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n", server.port())), "{heads:?}");

    let stat = |proxy: String| store(proxy).unwrap().stat(&label("data"), &id).unwrap_err();
    let stranger = stat(format!("http://eve:password@127.0.0.1:{port}"));
    assert_eq!(stranger.kind, StoreErrorKind::Denied, "{stranger}");
    assert!(stranger.message.contains("wants a user name") && !stranger.message.contains("password@"), "{stranger}");
    let absent = stat(format!("http://127.0.0.1:{}", closed_port()));
    assert!(absent.message.contains("the proxy http://127.0.0.1") && absent.message.contains("refused"), "{absent}");
    let bad = store("socks5://ann:secret@127.0.0.1".into()).map(drop).unwrap_err();
    assert!(bad.kind == StoreErrorKind::Invalid && !bad.message.contains("secret"), "{bad}");

    // Variables of the environment make no proxy: this is the default.
    assert!(HttpSettings::default().proxy.is_none());
    // A metadata address is none that a proxy may be asked for.
    let url = "http://169.254.169.254/x";
    let http = HttpSettings { proxy: Some(format!("http://127.0.0.1:{port}")), plain_http: true, ..hasty() };
    let store = open_store(&StoreSpec { http, ..web(url, &[("target", url)]) }).unwrap();
    assert_eq!(said(&store), "ErrorCode::DestinationIpProhibited");
}
