//! A small web server for the tests of plugins that use HTTP: keeps what is PUT, and answers oddly at odd paths.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server on a port of its own of 127.0.0.1. Its threads end with the test.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    secure: bool,
}

#[derive(Default)]
struct Shared {
    chunks: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    failures_left: AtomicUsize,
}

impl Server {
    /// A server of `http:`.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// A server of `https:` with this certificate.
    pub fn start_secure(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        Self::listen(Some(Arc::new(config)))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Server { address, shared: Arc::default(), secure: tls.is_some() };
        let shared = server.shared.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (shared, tls) = (shared.clone(), tls.clone());
                thread::spawn(move || {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
                    shared.most_open.fetch_max(open, Ordering::SeqCst);
                    let _ = socket.set_nodelay(true);
                    let _ = match tls {
                        None => shared.serve(socket),
                        Some(tls) => ServerConnection::new(tls)
                            .map_err(io::Error::other)
                            .and_then(|connection| shared.serve(StreamOwned::new(connection, socket))),
                    };
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    pub fn url(&self) -> String {
        self.url_as("127.0.0.1")
    }

    /// The same by another name.
    pub fn url_as(&self, host: &str) -> String {
        format!("http{}://{host}:{}", if self.secure { "s" } else { "" }, self.port())
    }

    /// How many connections there were, how many were open at the same time, and how many are open now.
    pub fn connections(&self) -> (usize, usize, usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (of(&self.shared.connections), of(&self.shared.most_open), of(&self.shared.open))
    }

    /// Method and path of every request.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("requests").clone()
    }

    /// Lets the next requests fail with status 503.
    pub fn fail_next(&self, count: usize) {
        self.shared.failures_left.store(count, Ordering::SeqCst);
    }
}

impl Shared {
    /// Answers requests until the client has enough.
    fn serve(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_until(b'\n', &mut head)? == 0 {
                    return Ok(());
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let field = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
            };
            self.requests.lock().expect("requests").push(format!("{method} {path}"));
            let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().expect("a length"))];
            stream.read_exact(&mut body)?;
            let failing =
                self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if failing.is_ok() {
                answer(stream.get_mut(), "503 Service Unavailable", &[], b"")?;
                continue;
            }
            if odd(stream.get_mut(), path)? {
                return Ok(());
            }
            match method {
                "PUT" => {
                    self.chunks.lock().expect("chunks").insert(path.to_owned(), body);
                    answer(stream.get_mut(), "201 Created", &[], b"")?;
                }
                "GET" | "HEAD" => {
                    let chunk = self.chunks.lock().expect("chunks").get(path).cloned();
                    let status = if chunk.is_some() { "200 OK" } else { "404 Not Found" };
                    let chunk = chunk.unwrap_or_default();
                    if method == "HEAD" {
                        write!(stream.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", chunk.len())?;
                        stream.get_mut().flush()?;
                    } else {
                        answer(stream.get_mut(), status, &[], &chunk)?;
                    }
                }
                _ => answer(stream.get_mut(), "405 Method Not Allowed", &[], b"")?,
            }
        }
    }
}

fn answer(stream: &mut impl Write, status: &str, fields: &[String], body: &[u8]) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len())?;
    for field in fields {
        write!(stream, "{field}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    stream.flush()
}

/// Answers at a path that stands for something odd; true ends the connection.
fn odd(stream: &mut impl Write, path: &str) -> io::Result<bool> {
    let promise = |stream: &mut dyn Write, length: u64| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").and_then(|()| stream.flush())
    };
    let path = path.strip_prefix('/').unwrap_or(path);
    let (kind, argument) = path.split_once('/').unwrap_or((path, ""));
    match kind {
        "redirect" => {
            answer(stream, "302 Found", &[format!("location: {}", argument.replace(',', "/"))], b"gone")?;
            return Ok(false);
        }
        // Says how large it is.
        "too-large" => {
            promise(stream, 1 << 40)?;
            thread::sleep(Duration::from_secs(60));
        }
        // Does not say it.
        "endless" => {
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "{:x}\r\n", 1 << 20)?;
                stream.write_all(&vec![7; 1 << 20])?;
                stream.write_all(b"\r\n")?;
            }
        }
        "drip" => {
            promise(stream, 50)?;
            for _ in 0..50 {
                thread::sleep(Duration::from_millis(50));
                stream.write_all(b".")?;
                stream.flush()?;
            }
            return Ok(false);
        }
        "stall" => {
            promise(stream, 100)?;
            stream.write_all(b"half of it")?;
            stream.flush()?;
            thread::sleep(Duration::from_secs(60));
        }
        "never" => thread::sleep(Duration::from_secs(60)),
        "hang-up" => {}
        "truncated" => {
            promise(stream, 100)?;
            stream.write_all(b"half of it")?;
            stream.flush()?;
        }
        "long-field" => answer(stream, "200 OK", &[format!("x-long: {}", "x".repeat(100 << 10))], b"")?,
        "many-fields" => {
            let fields: Vec<String> = (0..1000).map(|i| format!("x-{i}: 1")).collect();
            answer(stream, "200 OK", &fields, b"")?;
        }
        "garbage" => stream.write_all(b"220 mail.example.org ESMTP\r\n\r\n")?,
        "close" => {
            answer(stream, "200 OK", &["connection: close".into()], b"closing")?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A proxy that makes tunnels, and the heads of the requests to it; with a password only for `ann:secret`.
pub fn proxy(with_password: bool) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let seen = seen.clone();
            thread::spawn(move || tunnel(client, &seen, with_password));
        }
    });
    (port, heads)
}

fn tunnel(mut client: TcpStream, seen: &Mutex<Vec<String>>, with_password: bool) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let admitted = !with_password || head.contains("Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n");
    seen.lock().expect("heads").push(head);
    if !admitted {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from, mut back) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut back, &mut client);
    });
    io::copy(&mut from, &mut server).map(drop)
}

/// Something that is no server, only a port: accepts connections and keeps silent.
pub fn silence() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// A port where nothing listens.
pub fn closed_port() -> u16 {
    silence().1
}
