//! The real obnam-server, with a database of its own, before some S3 store or with a directory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::obnam_server;
use crate::s3::Access;
use crate::{Plugin, Remote};

/// No test waits longer for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server. It is killed when it is dropped.
pub struct Server {
    folder: TempDir,
    store: Option<Access>,
    process: Option<Child>,
    log: Arc<Mutex<String>>,
    lines: mpsc::Receiver<String>,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

/// How a server is configured beside its store.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The database; SQLite where none is named.
    pub database: Option<String>,
    /// More lines for its configuration file, at the top level.
    pub top: String,
    /// More lines for its section `[s3]`, and further sections.
    pub more: String,
}

impl Server {
    /// Starts a server and waits until it signs.
    pub fn start(store: &Access, setup: &Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("obnam-server-test-").tempdir().unwrap();
        let file = format!("sqlite:{}", folder.path().join("state.db").display());
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"{}\"\naudit-log = \"{}\"\n{}\n\
             [s3]\nbucket = \"{}\"\nprefix = \"server/\"\nendpoint = \"{}\"\nregion = \"{}\"\n{}",
            setup.database.as_deref().unwrap_or(&file),
            folder.path().join("audit.jsonl").display(),
            setup.top,
            store.bucket(),
            store.endpoint(),
            store.region(),
            setup.more,
        );
        Server::configured(folder, Some(store.clone()), &text)
    }

    /// Starts a server that keeps chunks in a directory.
    pub fn in_directory() -> Self {
        let folder = tempfile::Builder::new().prefix("obnam-server-test-").tempdir().unwrap();
        let text = format!("listen = \"127.0.0.1:0\"\nstorage = \"{}\"\n", folder.path().join("storage").display());
        Server::configured(folder, None, &text)
    }

    fn configured(folder: TempDir, store: Option<Access>, configuration: &str) -> Self {
        fs::write(folder.path().join("server.toml"), configuration).unwrap();
        let (_, lines) = mpsc::channel();
        let mut server = Server { folder, store, process: None, log: Arc::default(), lines, url: String::new() };
        server.restart();
        server
    }

    /// Where it keeps the chunks of a tenant, if in a directory.
    pub fn storage(&self, tenant: &str) -> PathBuf {
        self.folder.path().join("storage").join(tenant)
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("server.toml")
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.url.split("://").nth(1).unwrap().parse().unwrap()
    }

    /// The server's program with its configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(obnam_server());
        command.arg("--config").arg(self.config()).args(arguments).env_clear();
        command.envs(self.store.iter().flat_map(Access::environment));
        command
    }

    /// Runs a command of the server's program that has to work; its JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output: Output = self.command(&[arguments, &["--json"]].concat()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes a tenant.
    pub fn tenant(&self, name: &str) {
        self.json(&["tenant", "create", name]);
    }

    /// Makes a token: `arguments` say what it may do, `--preset backup` for example.
    pub fn token(&self, tenant: &str, arguments: &[&str]) -> String {
        let made = self.json(&[&["token", "create", "--tenant", tenant, "--name", "test"], arguments].concat());
        made["token"].as_str().unwrap().to_owned()
    }

    /// A tenant as the program is told of it, with a token.
    pub fn remote(&self, tenant: &str, token: &str) -> Remote {
        Remote {
            location: format!("{}/{tenant}", self.url),
            environment: vec![("OBNAM_SERVER_TOKEN", token.to_owned())],
            options: self.store.iter().map(|store| format!("data-host={}", store.endpoint())).collect(),
            plugin: Plugin::PresignClient,
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it, on the port that it had, and waits until it signs.
    pub fn restart(&mut self) {
        self.kill();
        let mut process = self.command(&["serve"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let errors = BufReader::new(process.stderr.take().unwrap());
        self.process = Some(process);
        let (sender, lines) = mpsc::channel();
        self.lines = lines;
        let kept = Arc::clone(&self.log);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
                let _ = sender.send(line);
            }
        });
        self.url = self.wait_for("listening on ");
        self.wait_for(if self.store.is_some() { "the object store " } else { "chunks are kept " });
        let config = fs::read_to_string(self.config()).unwrap();
        let address = self.url.split("://").nth(1).unwrap();
        fs::write(self.config(), config.replace("\"127.0.0.1:0\"", &format!("\"{address}\""))).unwrap();
    }

    /// Waits for a line of the log, and answers its next word.
    fn wait_for(&self, beginning: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {beginning:?} in the log:\n{}", self.log()));
            if let Some((_, rest)) = line.split_once(beginning) {
                return rest.split([' ', ',']).next().unwrap_or_default().to_owned();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
