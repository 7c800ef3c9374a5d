//! Programs that tests need and that are no part of the project.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};

/// Where what is installed lives on from one run to the next: `$OBNAM_TEST_CACHE`, which test.sh sets.
pub fn cache() -> PathBuf {
    let chosen = std::env::var_os("OBNAM_TEST_CACHE").map(PathBuf::from);
    let directory = chosen.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME or OBNAM_TEST_CACHE is set");
        PathBuf::from(home).join(".cache/obnam-dev")
    });
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs a command that must work.
pub fn run(command: &mut Command) {
    try_run(command).unwrap_or_else(|why| panic!("{why}"));
}

/// Runs a command; an error says why it did not work.
pub fn try_run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?} failed:\n{words}")) }
}

/// The Python of a virtual environment that has some packages in it (with spaces between them); it is made where it is missing.
pub fn python_with(name: &str, packages: &str) -> PathBuf {
    try_python_with(name, packages).unwrap_or_else(|why| panic!("{why}"))
}

/// The same; an error says why it cannot be made here.
pub fn try_python_with(name: &str, packages: &str) -> Result<PathBuf, String> {
    let venv = cache().join(name);
    let python = venv.join("bin/python");
    // One test process makes it, the others wait.
    let lock = File::create(cache().join(format!("{name}.lock"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let done = venv.join("installed");
    if !done.exists() {
        try_run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        try_run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages.split(' ')))?;
        fs::write(&done, packages).unwrap();
    }
    Ok(python)
}

/// An address of this machine that nobody listens on. Somebody else may take it before we do, so whoever starts a server
/// there looks whether it lives.
pub fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// A server in a process of its own, which is killed when this is dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it prints goes into a file.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Server { child, log: log.to_owned() }
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has printed.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it, without a chance to tidy up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
