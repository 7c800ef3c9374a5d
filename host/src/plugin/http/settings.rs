//! What the user decides about the network.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// How plugins reach the network. The defaults suit real stores; tests lower the times.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// A file of certificates (PEM) that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether `http:` may leave this computer.
    pub plain_http: bool,
    /// An HTTP proxy, `http://[USER:PASSWORD@]HOST[:PORT]`; none unless asked for.
    pub proxy: Option<String>,
    /// How many bytes the whole process may send in a second.
    pub limit_upload: Option<NonZeroU64>,
    /// How many bytes the whole process may receive in a second.
    pub limit_download: Option<NonZeroU64>,
    /// How long a connection may take to be made, name lookup and TLS included. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long the head of an answer is waited for, once the request is sent. Default: 60 s.
    pub first_byte_timeout: Duration,
    /// How long a body may stand still, in either direction. Default: 30 s.
    pub idle_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            ca_file: None,
            plain_http: false,
            proxy: None,
            limit_upload: None,
            limit_download: None,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
        }
    }
}
