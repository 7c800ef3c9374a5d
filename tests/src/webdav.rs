//! Real WebDAV servers, with a user of their own and an empty folder.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tools::{Server, free_address, python_with};
use crate::{Plugin, Remote, chmod, is_root};

/// Versions from PyPI: a server in Python, and the HTTP that it is built on.
const WSGIDAV: &str = "4.4.0";
const CHEROOT: &str = "11.1.2";

/// From Debian's package apache2-bin.
const APACHE: &str = "/usr/sbin/apache2";

/// The user that a server knows.
pub const USER: &str = "ann";

/// The password.
pub const PASSWORD: &str = "hunter2";

/// The same as `htpasswd -s` writes it.
const HASHED: &str = "{SHA}87u9ZqY9S/F0eUBXjsPQEDUw4h0=";

/// A server. It ends when this is dropped.
pub struct WebDav {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// What it serves.
    pub root: PathBuf,
    /// The server itself.
    pub server: Server,
    _folder: TempDir,
}

impl WebDav {
    /// WsgiDAV.
    pub fn wsgidav() -> Self {
        let python =
            python_with(&format!("wsgidav-{WSGIDAV}-{CHEROOT}"), &format!("wsgidav=={WSGIDAV} cheroot=={CHEROOT}"));
        WebDav::start(|address, folder| {
            let configuration = serde_json::json!({
                "host": address.ip().to_string(),
                "port": address.port(),
                "provider_mapping": { "/": folder.join("root") },
                "http_authenticator": { "accept_basic": true, "accept_digest": false, "default_to_digest": false },
                "simple_dc": { "user_mapping": { "*": { USER: { "password": PASSWORD } } } },
                "verbose": 1,
            });
            fs::write(folder.join("wsgidav.json"), configuration.to_string()).unwrap();
            let mut command = Command::new(&python);
            command.args(["-m", "wsgidav.server.server_cli", "--config"]).arg(folder.join("wsgidav.json"));
            command.env_clear();
            command
        })
    }

    /// Apache with mod_dav.
    pub fn apache() -> Self {
        assert!(Path::new(APACHE).exists(), "{APACHE} is not there: install Debian's package apache2-bin");
        WebDav::start(|address, folder| {
            fs::create_dir_all(folder.join("locks")).unwrap();
            chmod(&folder.join("locks"), 0o777);
            fs::write(folder.join("users"), format!("{USER}:{HASHED}\n")).unwrap();
            let modules =
                ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "dav", "dav_fs"];
            let modules =
                modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
            // As root it does not serve.
            let user = if is_root() { "User www-data\nGroup www-data\n" } else { "" };
            let folder = folder.display();
            let configuration = format!(
                "{}{user}ServerName localhost\nListen {address}\nServerRoot {folder}\nDefaultRuntimeDir {folder}\n\
                 PidFile {folder}/pid\nMutex file:{folder} default\nErrorLog {folder}/log\nDAVLockDB {folder}/locks/db\n\
                 DocumentRoot {folder}/root\nLimitRequestBody 0\n<Directory {folder}/root>\nDAV on\nAuthType Basic\n\
                 AuthName backups\nAuthUserFile {folder}/users\nRequire valid-user\n</Directory>\n",
                modules.concat()
            );
            let path = format!("{folder}/httpd.conf");
            fs::write(&path, configuration).unwrap();
            let mut command = Command::new(APACHE);
            // In one process, so that killing it is enough.
            command.args(["-X", "-f", &path]);
            command
        })
    }

    /// A folder of it, for a plugin.
    pub fn remote(&self, plugin: &'static Path, folder: &str) -> Remote {
        Remote {
            location: format!("dav:{}/{folder}", self.url),
            environment: vec![
                ("OBNAM_PLUGIN_WEBDAV_USER", USER.into()),
                ("OBNAM_PLUGIN_WEBDAV_PASSWORD", PASSWORD.into()),
            ],
            options: Vec::new(),
            plugin: Plugin::File(plugin),
        }
    }

    fn start(command: impl Fn(SocketAddr, &Path) -> Command) -> Self {
        let folder = tempfile::Builder::new().prefix("obnam-webdav-").tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        // Apache does its work as another user.
        chmod(folder.path(), 0o755);
        chmod(&root, 0o777);
        let log = folder.path().join("log");
        for _ in 0..5 {
            let address = free_address();
            let mut server = Server::start(&mut command(address, folder.path()), &log);
            if listens(&mut server, address) {
                return WebDav { url: format!("http://{address}"), root, server, _folder: folder };
            }
        }
        panic!("the WebDAV server does not start:\n{}", fs::read_to_string(log).unwrap_or_default());
    }
}

/// Waits until it listens; whether it does.
fn listens(server: &mut Server, address: SocketAddr) -> bool {
    let begun = Instant::now();
    while server.lives() && begun.elapsed() < Duration::from_secs(60) {
        if TcpStream::connect(address).is_ok() {
            return server.lives();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}
