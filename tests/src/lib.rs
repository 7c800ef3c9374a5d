//! The harness of the end-to-end tests: the real program, in directories of its own.
//!
//! A [`Sandbox`] has a source tree, a repository and one or more *machines* (configuration, memory and caches of the
//! program), all below one temporary directory. [`tree`] makes source trees and compares them with restored ones,
//! [`chunks`] does to a repository what broken disks and hostile storage do. The repository may also be in a bucket of
//! one of the S3 stores of [`s3`], with a [`proxy`] in between.

#![allow(clippy::unwrap_used)]

pub mod chunks;
pub mod mount;
pub mod postgres;
mod program;
pub mod proxy;
pub mod python;
pub mod rich;
pub mod s3;
pub mod server;
pub mod terminal;
pub mod tools;
pub mod tree;
pub mod webdav;

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub use program::{Plugin, obnam, obnam_server};

use s3::Access;

/// Arguments of different types, as one list.
#[macro_export]
macro_rules! args {
    ($($argument:expr),* $(,)?) => {
        [$(std::convert::AsRef::<std::ffi::OsStr>::as_ref(&$argument).to_owned()),*]
    };
}

/// What a run of the program has left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it said besides.
    pub stderr: String,
    command: String,
}

impl Ran {
    /// From what the standard library gives. Fails if the program has panicked.
    pub fn new(command: String, output: Output) -> Self {
        let ran = Ran {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command,
        };
        let died = [libc_signal::ABRT, libc_signal::SEGV, libc_signal::BUS, libc_signal::ILL];
        let panicked = ran.code == Some(101) || ran.stderr.contains("a defect of obnam");
        assert!(!panicked && !ran.signal.is_some_and(|signal| died.contains(&signal)), "it crashed: {ran:#?}");
        ran
    }

    /// Fails unless the program ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{}", self.command, self.text(), self.stderr);
        self
    }

    /// Fails unless standard error has all of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{:?} is not in what {} said:\n{}", word, self.command, self.stderr);
        }
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output and standard error.
    pub fn all(&self) -> String {
        self.text() + &self.stderr
    }

    /// The JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The result in the JSON document.
    #[track_caller]
    pub fn result(&self) -> Value {
        self.json()["result"].clone()
    }

    /// The objects of a JSON listing.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// Numbers of signals on Linux.
pub mod libc_signal {
    /// Illegal instruction.
    pub const ILL: i32 = 4;
    /// Abort.
    pub const ABRT: i32 = 6;
    /// Bus error.
    pub const BUS: i32 = 7;
    /// Kill.
    pub const KILL: i32 = 9;
    /// Segmentation fault; also an overflow of the stack.
    pub const SEGV: i32 = 11;
}

/// See the head of this module.
pub struct Sandbox {
    folder: TempDir,
    machine: Cell<u32>,
    /// Where the repository is; none if it is a directory.
    remote: RefCell<Option<Remote>>,
}

/// A place that is no directory, as the program is told of it.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The location.
    pub location: String,
    /// What the environment says: keys, tokens.
    pub environment: Vec<(&'static str, String)>,
    /// Options of the plugin.
    pub options: Vec<String>,
    /// The plugin that serves it.
    pub plugin: Plugin,
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::new()
    }
}

impl Sandbox {
    /// Empty: an empty source, a first machine, no repository.
    pub fn new() -> Self {
        Sandbox::below(&std::env::temp_dir())
    }

    /// The same in another directory than the usual one.
    pub fn below(place: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("obnam-test-").tempdir_in(place).unwrap();
        let sandbox = Sandbox { folder, machine: Cell::new(0), remote: RefCell::new(None) };
        fs::create_dir(sandbox.path("source")).unwrap();
        sandbox.next_machine();
        sandbox
    }

    /// With a fresh repository that an identity file opens.
    pub fn with_repository() -> Self {
        let sandbox = Sandbox::new();
        sandbox.obnam(args!["init"]).expect(0);
        sandbox
    }

    /// The same with its repository in an S3 store, below a prefix of its own. Nothing is there yet.
    pub fn at_s3(store: &Access) -> Self {
        let sandbox = Sandbox::new();
        sandbox.move_to(store);
        program::provide_compiled_plugin(&sandbox.local().join("cache/obnam"), Plugin::S3Direct);
        sandbox
    }

    /// The same with its repository at some other place. Nothing is there yet.
    pub fn at(remote: Remote) -> Self {
        let sandbox = Sandbox::new();
        program::provide_compiled_plugin(&sandbox.local().join("cache/obnam"), remote.plugin);
        sandbox.go_to(remote);
        sandbox
    }

    /// With a fresh repository in an S3 store.
    pub fn with_repository_at_s3(store: &Access) -> Self {
        let sandbox = Sandbox::at_s3(store);
        sandbox.obnam(args!["init"]).expect(0);
        sandbox
    }

    /// From now on the store is reached at this address (by way of a proxy, say) and with these keys.
    pub fn move_to(&self, store: &Access) {
        self.go_to(Remote {
            location: format!("{}/{}", store.location(), self.prefix()),
            environment: store.environment(),
            options: Vec::new(),
            plugin: Plugin::S3Direct,
        });
    }

    /// From now on the repository is reached like this.
    pub fn go_to(&self, remote: Remote) {
        *self.remote.borrow_mut() = Some(remote);
    }

    /// The prefix of the repository's keys in an S3 store.
    pub fn prefix(&self) -> String {
        self.folder.path().file_name().unwrap().to_str().unwrap().to_lowercase()
    }

    /// What `--repo` is given: the repository's directory or its place in an S3 store.
    pub fn location(&self) -> OsString {
        match &*self.remote.borrow() {
            Some(remote) => remote.location.clone().into(),
            None => self.repository().into(),
        }
    }

    /// A path in the sandbox.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// The source.
    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// The repository.
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// The identity file.
    pub fn identity(&self) -> PathBuf {
        self.path("identity")
    }

    /// Where the machine keeps what is its own: `config`, `state`, `cache`.
    pub fn local(&self) -> PathBuf {
        self.path(format!("machine-{}", self.machine.get()))
    }

    /// From now on the program runs on a machine that knows nothing of the repository. Compiled plugins are there
    /// already, because compiling one takes longer than most tests.
    pub fn next_machine(&self) {
        self.machine.set(self.machine.get() + 1);
        let local = self.local();
        for name in ["config", "state", "cache", "home"] {
            fs::create_dir_all(local.join(name)).unwrap();
        }
        let plugin = self.remote.borrow().as_ref().map_or(Plugin::Local, |remote| remote.plugin);
        program::provide_compiled_plugin(&local.join("cache/obnam"), plugin);
    }

    /// From now on the program runs on the machine that had this number, beginning with 1.
    pub fn back_to_machine(&self, number: u32) {
        self.machine.set(number);
    }

    /// The program, in an environment with nothing of whoever runs the tests; no repository and no secret is named.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(obnam());
        let local = self.local();
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", local.join("home"));
        for (variable, name) in
            [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")]
        {
            command.env(variable, local.join(name));
        }
        if let Some(remote) = &*self.remote.borrow() {
            command.envs(remote.environment.clone());
        }
        command
    }

    /// The program with the sandbox's repository and identity.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.bare();
        command.arg("--repo").arg(self.location()).arg("--identity").arg(self.identity());
        if let Some(Remote { plugin: Plugin::File(file), .. }) = &*self.remote.borrow() {
            command.arg("--backend").arg(file).arg("--trust").arg(sha256(file));
        }
        for option in self.remote.borrow().iter().flat_map(|remote| &remote.options) {
            command.arg("-o").arg(option);
        }
        command.args(arguments);
        command
    }

    /// The program with the sandbox's repository and identity, served by a plugin file that is trusted for this run.
    pub fn with_plugin<S: AsRef<OsStr>>(&self, file: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(arguments);
        command.arg("--backend").arg(file).arg("--trust").arg(sha256(file));
        command
    }

    /// Runs the program with the sandbox's repository and identity.
    pub fn obnam<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Backs the source up; what the JSON document says.
    #[track_caller]
    pub fn back_up(&self) -> Value {
        self.obnam(args!["--json", "backup", self.source()]).expect(0).result()
    }

    /// Restores a snapshot into a fresh directory. Returns where the source is in there.
    #[track_caller]
    pub fn restore(&self, snapshot: &str) -> PathBuf {
        let target = self.fresh("restored");
        self.obnam(args!["--quiet", "restore", snapshot, target]).expect(0);
        below(&target, &self.source())
    }

    /// Restores the newest snapshot, and compares it with the source.
    #[track_caller]
    pub fn assert_restores(&self) {
        let restored = self.restore("latest");
        tree::assert_same(&self.source(), &restored);
        self.discard(&restored);
    }

    /// Removes what `restore` made.
    pub fn discard(&self, restored: &Path) {
        let inside = restored.strip_prefix(self.path("")).unwrap();
        fs::remove_dir_all(self.path(inside.components().next().unwrap().as_os_str())).unwrap();
    }

    /// A path in the sandbox where nothing is yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        (0..).map(|number| self.path(format!("{name}-{number}"))).find(|path| !path.exists()).unwrap()
    }

    /// What the listing of chunks says: (label, id, size).
    #[track_caller]
    pub fn chunks(&self) -> Vec<(String, String, u64)> {
        let lines = self.obnam(args!["--json", "chunks"]).expect(0).lines();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        lines.iter().map(|line| (text(line, "label"), text(line, "id"), line["size"].as_u64().unwrap())).collect()
    }

    /// The ids of all snapshots, oldest first.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<String> {
        let all = self.obnam(args!["--json", "snapshots"]).expect(0).result();
        all.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// A check that must end with this code; the findings.
    #[track_caller]
    pub fn check(&self, code: i32) -> Vec<Value> {
        let report = self.obnam(args!["--json", "check", "--read-data"]).expect(code).result();
        report["findings"].as_array().unwrap().clone()
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(file: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(file).unwrap()))
}

/// Runs a command that is the program.
pub fn run(command: &mut Command) -> Ran {
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_owned).collect();
    let output = command.output().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    Ran::new(format!("{words:?}"), output)
}

/// Where the absolute path `source` is restored to.
pub fn below(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap())
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Sets the permission bits of a path.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
