//! PostgreSQL, as a server of its own in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tools::free_address;

/// The server. It ends when it is dropped, also when the test fails.
pub struct Postgres {
    process: Child,
    programs: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// None where it is not installed.
    pub fn start() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs = versions
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .find(|path| path.join("initdb").exists())?;
        let folder = tempfile::Builder::new().prefix("obnam-postgres-").tempdir().unwrap();
        let port = free_address().port();
        if is_root() {
            // The temporary folder is closed to others; theirs is the one inside.
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status();
            assert!(owned.unwrap().success(), "there is no user postgres");
        }
        let made = as_user(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let process = launch(&programs, folder.path(), port);
        let postgres = Postgres { process, programs, folder, port };
        postgres.wait();
        Some(postgres)
    }

    /// Waits until it answers.
    fn wait(&self) {
        let begin = Instant::now();
        while !self.sql("postgres", "SELECT 1") {
            assert!(begin.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it: connections are cut, what was committed stays.
    pub fn stop(&mut self) {
        // A fast shutdown; killing it would leave its children for a while.
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }

    /// Starts it again, at the same address, after [`Postgres::stop`].
    pub fn go_on(&mut self) {
        self.process = launch(&self.programs, self.folder.path(), self.port);
        self.wait();
    }

    /// Runs a statement; whether it worked.
    pub fn sql(&self, database: &str, statement: &str) -> bool {
        let port = self.port.to_string();
        let done = Command::new(self.programs.join("psql"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database, "-c", statement])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
    }

    /// The URL of a new database.
    pub fn database(&self, name: &str) -> String {
        assert!(self.sql("postgres", &format!("CREATE DATABASE {name}")));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(programs: &Path, folder: &Path, port: u16) -> Child {
    as_user(&programs.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
        .args(["-p", &port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
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
