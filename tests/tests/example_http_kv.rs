//! The example of a plugin in Python (`plugins/examples/http-kv`), with the key-value store that comes with it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use obnam_tests::tree::{self, Random};
use obnam_tests::{Plugin, Remote, Sandbox, args, python, run};
use tempfile::TempDir;

const TOKEN: &str = "correct-horse";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples/http-kv")
}

fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN
        .get_or_init(|| python::component(&example().join("plugin"), "obnam:http-kv/http-kv", "plugin", |_, text| text))
}

/// The server. It ends when this is dropped.
struct KeyValues {
    url: String,
    folder: TempDir,
    process: Child,
}

impl KeyValues {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("obnam-kv-").tempdir().unwrap();
        fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let mut command = Command::new("python3");
        command.arg(example().join("server/kv_server.py")).arg(folder.path().join("values")).args(["--port", "0"]);
        command.arg("--token-file").arg(folder.path().join("token")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        KeyValues { url, folder, process }
    }

    fn remote(&self) -> Remote {
        Remote {
            location: format!("kv:{}", self.url),
            environment: vec![("OBNAM_PLUGIN_HTTP_KV_TOKEN", TOKEN.into())],
            options: Vec::new(),
            plugin: Plugin::File(plugin()),
        }
    }
}

impl Drop for KeyValues {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn it_keeps_the_contract() {
    let server = KeyValues::start();
    let sandbox = Sandbox::at(server.remote());
    let ran = run(sandbox.bare().args(args!["plugin", "test", plugin(), "--location", sandbox.location()]));
    let table = ran.expect(0).text();
    assert!(table.lines().count() > 30 && table.lines().all(|line| !line.starts_with("BROKEN")), "{table}");
}

#[test]
fn a_round() {
    let server = KeyValues::start();
    let sandbox = Sandbox::at(server.remote());
    sandbox.obnam(args!["init"]).expect(0);
    tree::small_files(&sandbox.source(), 200, 1);
    Random(2).write_file(&sandbox.source().join("large"), 40_000_000);
    sandbox.back_up();
    fs::write(sandbox.source().join("new"), "new").unwrap();
    sandbox.back_up();
    sandbox.next_machine();
    assert_eq!(sandbox.snapshots().len(), 2);
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    sandbox.obnam(args!["init"]).expect(11);
    assert!(sandbox.obnam(args!["check", "--store"]).expect(0).text().contains("never replaces"));

    // Each chunk is a file with nothing but its bytes.
    let values = server.folder.path().join("values");
    for (label, id, size) in sandbox.chunks() {
        assert_eq!(fs::metadata(values.join(format!("chunk!{label}!{id}"))).unwrap().len(), size);
    }
}

#[test]
fn mistakes_are_explained() {
    let mut server = KeyValues::start();
    let place = server.remote();
    let sandbox = Sandbox::at(place.clone());
    let says = |remote: Remote, command: &str, code: i32, words: &[&str]| {
        sandbox.go_to(remote);
        let ran = sandbox.obnam(args![command]).expect(code).says(words);
        assert!(!ran.all().contains(TOKEN), "{}", ran.all());
    };
    let at = |location: String| Remote { location, ..place.clone() };
    let knows =
        |token: &str| Remote { environment: vec![("OBNAM_PLUGIN_HTTP_KV_TOKEN", token.into())], ..place.clone() };
    says(place.clone(), "snapshots", 10, &["not a chunk store yet", "obnam init"]);
    says(at(format!("kv:{}/other", server.url)), "snapshots", 10, &["not a chunk store yet"]);
    says(at(format!("kv:{}/other", server.url)), "init", 10, &["no key-value store at this path"]);
    says(place.clone(), "init", 0, &[]);
    says(knows("guessed"), "snapshots", 13, &["does not accept the token"]);
    says(Remote { environment: Vec::new(), ..place.clone() }, "snapshots", 17, &["needs the option token"]);
    says(at("kv:http://192.0.2.1".into()), "snapshots", 13, &["not encrypted", "--plain-http"]);
    says(at(format!("kv:http://{TOKEN}@127.0.0.1/x")), "snapshots", 17, &["kv:https://HOST"]);
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    says(place, "snapshots", 13, &["connection refused"]);
}
