//! The same on PostgreSQL, and two servers side by side on one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::s3::fake::Faults;
use crate::support::{Place, id};
use crate::{calls, quotas, removals, tokens};

/// A PostgreSQL of its own on a free port. It ends when it is dropped, also when the test fails.
struct Postgres {
    process: Child,
    programs: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// None where it is not installed.
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs = versions
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .find(|path| path.join("initdb").exists())?;
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("an address").port();
        if is_root() {
            // The temporary folder is closed to others; theirs is the one inside.
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status();
            assert!(owned.expect("chown runs").success(), "there is no user postgres");
        }
        let data = folder.path().join("data");
        let made = as_user(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        let process = as_user(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres starts");
        let postgres = Postgres { process, programs, folder, port };
        let begin = Instant::now();
        while !postgres.sql("postgres", "SELECT 1") {
            assert!(begin.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(postgres)
    }

    fn sql(&self, database: &str, statement: &str) -> bool {
        let done = Command::new(self.programs.join("psql"))
            .args([
                "-q",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                statement,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
    }

    /// The URL of a new database.
    fn database(&self, name: &str) -> String {
        assert!(self.sql("postgres", &format!("CREATE DATABASE {name}")));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown; killing it would leave its children for a while.
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
        let _ = &self.folder;
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

/// PostgreSQL refuses to run as root. It ends with the thread that started it, whatever happens to that.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

#[test]
fn everything_that_asks_the_database() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("NOT TESTED: PostgreSQL is not installed");
        return;
    };
    let place = |name: &str| {
        let place = Place::with(Faults::default(), Some(&postgres.database(name)), "");
        place.tenant("alice");
        place
    };
    let one = place("one");
    let server = one.serve();
    let token = one.token("alice", "all", &[]);
    calls::stored_found_and_read(&one, &server, &token);
    tokens::only_good_ones(&one, &server);
    removals::pending_and_called_off(&one, &server);
    removals::nothing_while_removed(&one, &server);
    let two = place("two");
    removals::due_and_nothing_else(&two);
    let three = place("three");
    let server = three.serve();
    quotas::no_more_than_the_quota(&three, &server);
    quotas::no_more_than_a_day(&three, &server);
    side_by_side(&place("four"));
}

/// Two servers that share one database.
fn side_by_side(place: &Place) {
    let (left, right) = (place.serve(), place.serve());
    let token = place.token("alice", "all", &[]);
    left.store(&token, "alice", "data", b"x");
    left.ask(&token, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"x"))).ok();
    assert_eq!(right.ask(&token, "GET", "/alice/removal").ok()["removals"].as_array().map(Vec::len), Some(1));
    right.put_access(&token, "alice", "data", b"x").ok();
    assert_eq!(left.ask(&token, "GET", "/alice/removal").ok()["removals"], json!([]));
    place.json(&["tenant", "quota", "alice", "50"]);
    // The quota holds however the requests are spread.
    let granted: usize = std::thread::scope(|scope| {
        let ask = |url: String| {
            let token = &token;
            move || {
                let http = crate::support::Http::new();
                let authorization = format!("Bearer {token}");
                let put = |n: u8| {
                    let url = format!("{url}/v1/alice/chunk?id={}&label=data&size=4", id(&[n]));
                    http.send("PUT", &url, &[("authorization", &authorization)], &[])
                };
                (0..20).filter(|n| put(*n).status == 200).count()
            }
        };
        let threads = [left.url.clone(), right.url.clone()].map(|url| scope.spawn(ask(url)));
        threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
    });
    // Two bytes are used up: the chunk was announced twice.
    assert_eq!(granted, 12);
    place.json(&["token", "revoke", &token[5..15]]);
    assert_eq!(left.ask(&token, "GET", "/alice/self").problem(), "bad-token");
    assert_eq!(right.ask(&token, "GET", "/alice/self").problem(), "bad-token");
}
