//! Chunks that the server takes itself, because its store does not refuse wrong bytes, or is a
//! directory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::time::Duration;

use obnam_server::signing::DataUrls;
use obnam_server::store::ChunkName;
use serde_json::{Value, json};

use crate::directory;
use crate::removals::{block_on, opened};
use crate::s3::Access;
use crate::s3::fake::Faults;
use crate::support::{Http, Place, Running, id, text};

const BYTES: &[u8] = b"these bytes were announced";

/// A store that takes anything.
fn unfit() -> Place {
    let place = Place::new(Faults { ignores_checksum: true, ..Faults::default() }, "");
    place.tenant("alice");
    place.tenant("bob");
    place
}

#[test]
fn the_server_takes_chunks_where_the_store_takes_anything() {
    for faults in [
        Faults { ignores_checksum: true, ..Faults::default() },
        Faults { ignores_checksum: true, ignores_if_none_match: true, ..Faults::default() },
        Faults { stores_before_checking: true, ..Faults::default() },
    ] {
        let place = Place::new(faults, "");
        let found = place.json(&["check"]);
        assert_eq!(found["store"]["binds"], false);
        let said = String::from_utf8(place.run(&["check"]).stdout).expect("text");
        assert!(said.contains("the server takes chunks itself"), "{said}");
        place.tenant("alice");
        let token = place.token("alice", "all", &[]);
        let server = place.serve();
        assert!(server.log().contains("this server takes chunks itself"), "{}", server.log());
        let own = server.ask(&token, "GET", "/alice/self").ok();
        let expected = (json!(true), json!(true), json!([place.s3.endpoint()]));
        assert_eq!((own["stores"].clone(), own["create-only"].clone(), own["data"].clone()), expected);

        // Large enough that a client which is not listened to would notice.
        let bytes = vec![7; 8 << 20];
        let access = server.put_access(&token, "alice", "data", &bytes).ok();
        let begin = format!("/v1/alice/data/data/{}?size={}&expires=", id(&bytes), bytes.len());
        assert!(text(&access["url"]).starts_with(&begin), "{access}");
        assert_eq!(access["headers"], json!({ "content-length": bytes.len().to_string() }));
        assert_eq!(server.follow(&access, &bytes).status, 200);
        let again = server.follow(&access, &bytes);
        assert_eq!((again.status, again.problem().as_str()), (412, "already-present"));
        let objects = place.s3.objects();
        assert_eq!(objects.keys().collect::<Vec<_>>(), [&format!("server/alice/data/{}", id(&bytes))]);
        assert_eq!(objects.values().next().expect("an object").bytes, bytes);

        // Reading goes by the store.
        let access = server.ask(&token, "GET", &format!("/alice/chunk/{}?label=data", id(&bytes))).ok();
        assert!(text(&access["url"]).starts_with(place.s3.endpoint()));
        assert_eq!(server.follow(&access, &[]).body, bytes);
        let page = place.http.send("GET", &format!("{}/metrics", server.management), &[], &[]);
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains("obnam_server_received_bytes_total 8388608"), "{page}");
        assert!(!server.log().contains("signature=") && !place.audit().contains("signature="));
    }
}

#[test]
fn empty_chunks_and_batches() {
    let place = unfit();
    let token = place.token("alice", "backup", &[]);
    let server = place.serve();
    let item = |bytes: &[u8]| json!({ "do": "put", "label": "data", "id": id(bytes), "size": bytes.len() });
    let answers = server.batch(&token, "alice", &json!([item(b""), item(b"x")])).ok();
    for (index, bytes) in [b"".as_slice(), b"x"].into_iter().enumerate() {
        assert_eq!(server.follow(&answers["answers"][index], bytes).status, 200);
    }
    assert_eq!(place.s3.objects().len(), 2);
}

/// A server that takes chunks itself, and whose tenants have none.
struct Tried<'a> {
    http: &'a Http,
    server: Running,
    token: String,
    /// The names of everything that is stored.
    stored: &'a dyn Fn() -> Vec<String>,
    /// The key of its URLs.
    key: [u8; 64],
}

impl Tried<'_> {
    /// Fails unless the request is refused with one of these codes, and nothing was stored.
    fn refused(&self, what: &str, method: &str, url: &str, body: &[u8], codes: &[&str]) {
        let answer = self.http.send(method, &format!("{}{url}", self.server.url), &[], body);
        assert!((400..500).contains(&answer.status), "{what}: {} {:?}", answer.status, answer.body);
        if method != "HEAD" {
            let code = answer.problem();
            assert!(codes.contains(&code.as_str()), "{what}: {code}");
        }
        assert_eq!((self.stored)(), Vec::<String>::new(), "{what}");
    }

    /// Access to store `BYTES`.
    fn access(&self) -> Value {
        self.server.put_access(&self.token, "alice", "data", BYTES).ok()
    }

    /// Fails unless `BYTES` are welcome.
    fn welcome(&self, access: &Value) {
        assert_eq!(self.server.follow(access, BYTES).status, 200);
        assert_eq!((self.stored)().len(), 1);
    }
}

/// With a store that takes anything, and with a directory.
fn on_each(attack: impl Fn(&Tried<'_>)) {
    let place = unfit();
    let stored = || place.s3.objects().into_keys().collect();
    attack(&tried(&place, place.serve(), &stored));
    let place = Place::in_directory();
    place.tenant("alice");
    place.tenant("bob");
    let server = place.serve_unprobed();
    let all = place.token("alice", "all", &[]);
    server.ask(&all, "POST", "/alice/init").ok();
    let stored = || directory::chunks(&place.storage());
    attack(&tried(&place, server, &stored));
}

fn tried<'a, S: Deref<Target = Access>>(
    place: &'a Place<S>,
    server: Running,
    stored: &'a dyn Fn() -> Vec<String>,
) -> Tried<'a> {
    let key = block_on(async {
        let opened = opened(place).await;
        let key = opened.state.data_key().await.expect("a key");
        opened.state.close().await;
        key
    });
    Tried { http: &place.http, server, token: place.token("alice", "backup", &[]), stored, key }
}

#[test]
fn other_bytes_than_announced_are_not_stored() {
    on_each(|tried| {
        let access = tried.access();
        let url = text(&access["url"]);
        let longer = [BYTES, b" and more"].concat();
        for (what, body) in [
            ("other bytes", b"those bytes were not so...".as_slice()),
            ("longer bytes", &longer),
            ("fewer bytes", &BYTES[1..]),
            ("no bytes", b""),
        ] {
            tried.refused(what, "PUT", url, body, &["wrong-bytes"]);
        }
        // An id that is not the checksum.
        let path = format!("/alice/chunk?id={}&label=data&size={}", id(b"else"), BYTES.len());
        let other = tried.server.ask(&tried.token, "PUT", &path).ok();
        tried.refused("another id", "PUT", text(&other["url"]), BYTES, &["wrong-bytes"]);
        tried.welcome(&access);
    });
}

#[test]
fn another_request_than_signed() {
    on_each(|tried| {
        let access = tried.access();
        let url = text(&access["url"]);
        let (path, query) = url.split_once('?').expect("a query");
        let signature = query.split("signature=").nth(1).expect("a signature");
        let flipped = format!("{:x}", 15 - signature[..1].parse::<u8>().unwrap_or(9)) + &signature[1..];
        let changes = [
            ("another label", url.replace("/data/data/", "/data/roster/")),
            ("another tenant", url.replace("/alice/", "/bob/")),
            ("another chunk", url.replace(&id(BYTES), &id(b"x"))),
            ("another size", url.replace("size=26", "size=27")),
            ("no size", url.replace("size=26&", "")),
            ("a later end", url.replace("expires=", "expires=9")),
            ("another signature", url.replace(signature, &flipped)),
            ("a longer signature", format!("{url}00")),
            ("no signature", url.replace("signature=", "sign=")),
            ("one parameter more", format!("{url}&label=roster")),
            ("a parameter twice", format!("{url}&size=26")),
            ("no query", path.to_owned()),
            ("a path out of the tenant", url.replace("/data/data/", "/data/..%2froster/")),
            ("a path out of the label", url.replace(&id(BYTES), &format!("..%2f{}", id(BYTES)))),
            ("an upper case id", url.replace(&id(BYTES), &id(BYTES).to_uppercase())),
            ("a null byte", url.replace("/data/data/", "/data/data%00/")),
        ];
        for (what, url) in &changes {
            tried.refused(what, "PUT", url, BYTES, &["bad-url"]);
        }
        for method in ["GET", "HEAD", "DELETE", "POST", "PATCH"] {
            tried.refused(method, method, url, b"", &["bad-url", "method-not-allowed"]);
        }
        // A token is no help.
        let answer = tried.server.ask_with(&tried.token, "PUT", path.strip_prefix("/v1").expect("a path"), BYTES);
        assert_eq!((answer.status, answer.problem().as_str()), (403, "bad-url"));
        tried.welcome(&access);
    });
}

#[test]
fn an_upload_after_its_end() {
    on_each(|tried| {
        let urls = DataUrls::new(&tried.key, Duration::from_secs(1));
        let name = ChunkName::parse(&format!("data/{}", id(BYTES))).expect("a name");
        let access = urls.put(&"alice".parse().expect("a name"), &name, BYTES.len() as u64);
        while obnam_server::now() < access.expires {
            std::thread::sleep(Duration::from_millis(100));
        }
        tried.refused("expired", "PUT", &access.url, BYTES, &["bad-url"]);
    });
}

/// Sends the head of a request, and some of its body.
fn begin(server: &Running, access: &Value, header: &str, body: &[u8]) -> TcpStream {
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("connects");
    let head = format!("PUT {} HTTP/1.1\r\nhost: {address}\r\n{header}\r\n\r\n", text(&access["url"]));
    stream.write_all(&[head.as_bytes(), body].concat()).expect("writes");
    stream
}

#[test]
fn uploads_that_break_off_leave_nothing() {
    let place = unfit();
    let token = place.token("alice", "backup", &[]);
    {
        let server = place.serve();
        let access = server.put_access(&token, "alice", "data", BYTES).ok();
        // One connection breaks, the server is killed during the other.
        drop(begin(&server, &access, "content-length: 26", &BYTES[..10]));
        let _open = begin(&server, &access, "content-length: 26", &BYTES[..25]);
        drop(server);
    }
    assert!(place.s3.objects().is_empty());
    let server = place.serve();
    server.store(&token, "alice", "data", BYTES);
    assert_eq!(place.s3.objects().len(), 1);
}

#[test]
fn an_upload_must_say_how_long_it_is() {
    on_each(|tried| {
        let access = tried.access();
        let body = [b"1a\r\n", BYTES, b"\r\n0\r\n\r\n"].concat();
        let mut stream = begin(&tried.server, &access, "transfer-encoding: chunked\r\nconnection: close", &body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wrong-bytes"), "{answer}");
        assert_eq!((tried.stored)(), Vec::<String>::new());
    });
}

#[test]
fn servers_with_one_database_accept_each_others_urls() {
    let place = unfit();
    let token = place.token("alice", "backup", &[]);
    let access = place.serve().put_access(&token, "alice", "data", BYTES).ok();
    assert_eq!(place.serve().follow(&access, BYTES).status, 200);
    // Another database is another server.
    let other = unfit();
    let answer = other.serve().follow(&access, BYTES);
    assert_eq!((answer.status, answer.problem().as_str()), (403, "bad-url"));
}

#[test]
fn a_store_that_is_away_is_told() {
    let place = unfit();
    let token = place.token("alice", "backup", &[]);
    let server = place.serve();
    let access = server.put_access(&token, "alice", "data", BYTES).ok();
    let down = Faults::default().trouble(crate::s3::fake::Answer::InternalError, crate::s3::fake::When::Always, None);
    place.s3.set_faults(down);
    let answer = server.follow(&access, BYTES);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "store-unavailable"));
    place.s3.set_faults(Faults { ignores_checksum: true, ..Faults::default() });
    assert_eq!(server.follow(&access, BYTES).status, 200);
}
