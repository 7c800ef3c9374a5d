//! Starts the program beside a fake of S3, and talks to it.

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use obnam_chunk::ChunkId;
use serde_json::Value;
use tempfile::TempDir;

use crate::s3::Access;
use crate::s3::fake::{FakeS3, Faults};

/// No test waits longer for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer to a request.
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?} is no JSON", self.body))
    }

    /// The code of a problem, and that it is a whole problem document.
    pub fn problem(&self) -> String {
        let problem = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], self.status);
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["type"], format!("https://obnam.org/problem/{code}"));
        code
    }

    /// What is wanted, or the whole answer in a panic.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()
    }
}

/// Makes requests.
pub struct Http {
    runtime: tokio::runtime::Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Http { runtime: runtime.expect("a runtime"), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, url, headers, body).expect("an answer")
    }

    /// None where the connection broke.
    pub fn try_send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        let mut request = hyper::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
        self.runtime.block_on(async {
            let answer = self.client.request(request).await.ok()?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Answer { status: head.status.as_u16(), headers: head.headers, body })
        })
    }

    /// Makes the request that an access describes, with these bytes.
    pub fn follow(&self, access: &Value, body: &[u8]) -> Answer {
        let given = access["headers"].as_object().expect("headers");
        let headers: Vec<(&str, &str)> =
            given.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a value"))).collect();
        self.send(text(&access["method"]), text(&access["url"]), &headers, body)
    }
}

/// The text of a value.
pub fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The id of a chunk that consists of these bytes.
pub fn id(bytes: &[u8]) -> String {
    ChunkId::of(bytes).to_string()
}

/// A configuration, a database and a fake of S3, and perhaps a running server.
pub struct Place<S = FakeS3> {
    pub s3: S,
    pub http: Http,
    folder: TempDir,
    pub config: PathBuf,
}

impl Place {
    /// With SQLite, and these lines more in the configuration.
    pub fn new(faults: Faults, more: &str) -> Self {
        Place::with(faults, None, more)
    }

    /// With this database.
    pub fn with(faults: Faults, database: Option<&str>, more: &str) -> Self {
        Place::at(FakeS3::start(faults), database, more)
    }
}

/// Stands for a store where there is none.
pub struct NoS3(Access);

impl Deref for NoS3 {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.0
    }
}

impl Place<NoS3> {
    /// With chunks in a directory. The server has run once.
    pub fn in_directory() -> Self {
        let none = || String::from("none");
        let access = Access {
            endpoint: none(),
            region: none(),
            bucket: none(),
            access_key: none(),
            secret_key: none(),
            session_token: None,
        };
        let place = Place::at(NoS3(access), None, "");
        let text = format!(
            "listen = \"127.0.0.1:0\"\nmanagement = \"127.0.0.1:0\"\nstorage = \"{}\"\n",
            place.storage().display()
        );
        std::fs::write(&place.config, text).expect("writes");
        drop(place.serve_unprobed());
        place
    }

    /// The directory.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }
}

impl<S: Deref<Target = Access>> Place<S> {
    /// At this store.
    pub fn at(s3: S, database: Option<&str>, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("server.toml");
        let file = format!("sqlite:{}", folder.path().join("state.db").display());
        let text = format!(
            "listen = \"127.0.0.1:0\"\nmanagement = \"127.0.0.1:0\"\ndatabase = \"{}\"\naudit-log = \"{}\"\n\
             [s3]\nbucket = \"{}\"\nprefix = \"server/\"\nendpoint = \"{}\"\nregion = \"{}\"\n{more}",
            database.unwrap_or(&file),
            folder.path().join("audit.jsonl").display(),
            s3.bucket(),
            s3.endpoint(),
            s3.region(),
        );
        std::fs::write(&config, text).expect("writes");
        Place { s3, http: Http::new(), folder, config }
    }

    /// Puts these lines in front of the configuration.
    pub fn configure(&self, lines: &str) {
        let text = std::fs::read_to_string(&self.config).expect("reads");
        std::fs::write(&self.config, format!("{lines}\n{text}")).expect("writes");
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_obnam-server"));
        command.arg("--config").arg(&self.config).args(arguments).env_clear().envs(self.s3.environment());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }

    /// Runs a command that has to work, with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    pub fn tenant(&self, name: &str) {
        self.json(&["tenant", "create", name]);
    }

    /// A token, with more options.
    pub fn token(&self, tenant: &str, preset: &str, more: &[&str]) -> String {
        let made =
            self.json(&[&["token", "create", "--tenant", tenant, "--name", "x", "--preset", preset], more].concat());
        text(&made["token"]).to_owned()
    }

    pub fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap_or_default()
    }

    /// Starts the server and waits until it knows what the store guarantees.
    pub fn serve(&self) -> Running {
        let running = self.serve_unprobed();
        running.wait_for("the object store ");
        running
    }

    pub fn serve_unprobed(&self) -> Running {
        let mut process =
            self.command(&["serve"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
        let errors = BufReader::new(process.stderr.take().expect("a pipe"));
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                kept.lock().expect("a log").push_str(&format!("{line}\n"));
                let _ = sender.send(line);
            }
        });
        let mut running = Running {
            http: Http::new(),
            process,
            log,
            lines: Mutex::new(lines),
            url: String::new(),
            management: String::new(),
        };
        running.management = running.wait_for("metrics are served on ");
        running.url = running.wait_for("listening on ");
        running
    }
}

/// A running server. It is killed when it is dropped.
pub struct Running {
    http: Http,
    process: Child,
    log: Arc<Mutex<String>>,
    lines: Mutex<mpsc::Receiver<String>>,
    pub url: String,
    pub management: String,
}

impl Running {
    /// Waits for a line of the log, and answers its next word.
    pub fn wait_for(&self, beginning: &str) -> String {
        loop {
            let line = self.lines.lock().expect("lines").recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {beginning:?} in the log:\n{}", self.log()));
            if let Some((_, rest)) = line.split_once(beginning) {
                return rest.split([' ', ',']).next().unwrap_or_default().to_owned();
            }
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.process.wait().expect("ends")
    }

    /// Asks the API: `GET /alice/chunk?label=data`.
    pub fn ask(&self, token: &str, method: &str, path: &str) -> Answer {
        self.ask_with(token, method, path, &[])
    }

    pub fn ask_with(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        self.http.send(method, &format!("{}/v1{path}", self.url), &headers, body)
    }

    pub fn batch(&self, token: &str, tenant: &str, items: &Value) -> Answer {
        let body = serde_json::json!({ "items": items }).to_string();
        self.ask_with(token, "POST", &format!("/{tenant}/batch"), body.as_bytes())
    }

    /// Access to store bytes.
    pub fn put_access(&self, token: &str, tenant: &str, label: &str, bytes: &[u8]) -> Answer {
        self.ask(token, "PUT", &format!("/{tenant}/chunk?id={}&label={label}&size={}", id(bytes), bytes.len()))
    }

    /// Makes the request that an access describes, also where it means the server itself.
    pub fn follow(&self, access: &Value, body: &[u8]) -> Answer {
        let url = text(&access["url"]);
        let url = if url.starts_with('/') { format!("{}{url}", self.url) } else { url.to_owned() };
        let mut access = access.clone();
        access["url"] = url.into();
        self.http.follow(&access, body)
    }

    /// Stores bytes as a client does.
    pub fn store(&self, token: &str, tenant: &str, label: &str, bytes: &[u8]) {
        let access = self.put_access(token, tenant, label, bytes).ok();
        let answer = self.follow(&access, bytes);
        assert!([200, 412].contains(&answer.status), "{:?}", answer.body);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
