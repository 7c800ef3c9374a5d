//! moto, a server in Python that pretends to be AWS: an S3 that nobody here has written.
//!
//! It verifies no signatures. It is installed from PyPI when a test asks for it.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Access;
use super::client::{Ask, Blocking};
use crate::tools::{Server, free_address, python_with};

const VERSION: &str = "5.2.5";

/// The server. It ends when this is dropped.
pub struct Moto {
    access: Access,
    _server: Server,
    _folder: TempDir,
}

impl Moto {
    /// Starts one with an empty bucket, and waits until it answers.
    pub fn start() -> Self {
        let python = python();
        let folder = tempfile::Builder::new().prefix("obnam-moto-").tempdir().unwrap();
        let log = folder.path().join("log");
        for _ in 0..5 {
            let address = free_address();
            let mut command = Command::new(&python);
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
            let mut server = Server::start(command.env_clear().current_dir(folder.path()), &log);
            let access = Access {
                endpoint: format!("http://{address}"),
                region: "us-east-1".into(),
                bucket: "backups".into(),
                access_key: "AKIAMOTOMOTOMOTOMOTO".into(),
                secret_key: "moto".into(),
                session_token: None,
            };
            if wait(&mut server, &access) {
                return Moto { access, _server: server, _folder: folder };
            }
        }
        panic!("moto does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }
}

/// A Python that has moto, and boto3, AWS's own client, which comes with it.
pub fn python() -> PathBuf {
    python_with(&format!("moto-{VERSION}"), &format!("moto[server]=={VERSION}"))
}

impl Deref for Moto {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

/// Waits until it makes the bucket; whether it does.
fn wait(server: &mut Server, access: &Access) -> bool {
    let (client, begun) = (Blocking::new(access), Instant::now());
    while server.lives() && begun.elapsed() < Duration::from_secs(60) {
        let asked = client.try_send(&Ask { method: "PUT", ..Ask::default() });
        if asked.is_ok_and(|answer| answer.status == 200) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}
