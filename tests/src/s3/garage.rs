//! Garage, a real S3 server, as a cluster of one node in a temporary directory.
//!
//! It ignores `if-none-match`, enforces checksums, and verifies signatures. `scripts/prepare.sh` installs it.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Access;
use super::client::{Ask, Blocking};
use crate::tools::{Server, cache, free_address};

const VERSION: &str = "2.5.0";

/// The server. It ends when this is dropped.
pub struct Garage {
    access: Access,
    server: Server,
    folder: TempDir,
}

impl Garage {
    /// Starts one with an empty bucket, and waits until it answers.
    pub fn start() -> Self {
        Garage::below(&std::env::temp_dir())
    }

    /// The same with its data in another directory than the usual one.
    pub fn below(place: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("obnam-garage-").tempdir_in(place).unwrap();
        // Another process may take a port before Garage does.
        for _ in 0..5 {
            let address = free_address();
            fs::write(folder.path().join("garage.toml"), configuration(folder.path(), address)).unwrap();
            let access = Access {
                endpoint: format!("http://{address}"),
                region: "garage".into(),
                bucket: "backups".into(),
                access_key: format!("GK{:024x}", 0x0b4a),
                secret_key: format!("{:064x}", 0x5ec2e7),
                session_token: None,
            };
            let mut server = launch(folder.path(), &access);
            if wait(&mut server, &access) {
                return Garage { access, server, folder };
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("Garage does not start:\n{log}");
    }

    /// Kills it, as a power failure would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again with the same data and address.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server = launch(self.folder.path(), &self.access);
        assert!(wait(&mut self.server, &self.access), "Garage does not start again:\n{}", self.server.said());
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.server.id()
    }
}

impl Deref for Garage {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

fn launch(folder: &Path, access: &Access) -> Server {
    let mut command = Command::new(program());
    command.arg("-c").arg(folder.join("garage.toml")).args(["server", "--single-node", "--default-bucket"]);
    command.env_clear().env("GARAGE_DEFAULT_ACCESS_KEY", &access.access_key);
    command.env("GARAGE_DEFAULT_SECRET_KEY", &access.secret_key).env("GARAGE_DEFAULT_BUCKET", &access.bucket);
    Server::start(command.env("RUST_LOG", "garage=warn"), &folder.join("log"))
}

/// Waits until the bucket answers; whether it does.
fn wait(server: &mut Server, access: &Access) -> bool {
    let (client, begun) = (Blocking::new(access), Instant::now());
    while server.lives() && begun.elapsed() < Duration::from_secs(60) {
        let asked = client.try_send(&Ask { method: "HEAD", ..Ask::default() });
        if asked.is_ok_and(|answer| answer.status == 200) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    let rpc = free_address();
    format!(
        "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\ndb_engine = \"lmdb\"\n\
         replication_factor = 1\ndisable_scrub = true\ncompression_level = \"none\"\n\
         rpc_bind_addr = \"{rpc}\"\nrpc_secret = \"{:064x}\"\n\
         [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{address}\"\nroot_domain = \".localhost\"\n",
        0x29c
    )
}

/// The program, of the right version.
fn program() -> PathBuf {
    let installed = cache().join("tools/bin/garage");
    let is_right = |program: &Path| {
        let output = Command::new(program).arg("--version").output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION))
    };
    [installed, "garage".into()].into_iter().find(|program| is_right(program)).unwrap_or_else(|| {
        panic!(
            "Garage {VERSION} is neither on PATH nor in {0}/tools/bin: run ./test.sh, which installs it, or\n\
             cargo install garage --version {VERSION} --locked --root {0}/tools",
            cache().display()
        )
    })
}
