//! What a running server is made of.

use std::net::IpAddr;
use std::sync::RwLock;
use std::time::Instant;

use tokio::sync::Mutex;

use crate::audit::Audit;
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::probe::Verdict;
use crate::signing::{DataUrls, SigningError};
use crate::state::{State, StateError};
use crate::store::Store;
use crate::uploads::UploadRoom;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store's configuration.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The audit log.
    #[error("cannot open the audit log: {0}")]
    Audit(std::io::Error),
}

/// Everything that requests share.
pub struct Server {
    /// The configuration.
    pub config: Config,
    /// The database.
    pub state: State,
    /// Where chunks are.
    pub store: Store,
    /// Signs URLs for the server itself.
    pub data_urls: DataUrls,
    /// Memory for chunks that come by way of the server.
    pub uploads: UploadRoom,
    /// Counts requests.
    pub limits: Limits,
    /// The audit log.
    pub audit: Audit,
    /// Numbers.
    pub metrics: Metrics,
    /// What the probe of the store found.
    pub verdict: RwLock<Option<Verdict>>,
    /// Whether database and store answered, and when they were asked.
    pub readiness: Mutex<Option<(Instant, bool)>>,
}

impl Server {
    /// Opens the database and the log.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let audit = Audit::open(config.audit_log.as_deref()).map_err(StartError::Audit)?;
        let state = State::open(&config.database).await?;
        Ok(Server {
            data_urls: DataUrls::new(&state.data_key().await?, config.urls.lifetime.0),
            uploads: UploadRoom::new(config.limits.uploads_at_once),
            state,
            store: Store::open(&config)?,
            limits: Limits::new(&config.limits),
            audit,
            metrics: Metrics::default(),
            verdict: RwLock::new(None),
            readiness: Mutex::new(None),
            config,
        })
    }

    /// What the probe of the store found, if it was made.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.read().map_or(None, |verdict| verdict.clone())
    }

    /// Takes what a probe found.
    pub fn set_verdict(&self, found: Verdict) {
        if let Ok(mut verdict) = self.verdict.write() {
            *verdict = Some(found);
        }
    }

    /// The address that a request comes from.
    pub fn client_address(&self, peer: IpAddr, headers: &axum::http::HeaderMap) -> IpAddr {
        crate::peer::client_address(peer, headers, &self.config.trusted_proxies)
    }
}
