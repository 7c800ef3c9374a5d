//! The thread that the connections live on.

use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::store::{StoreError, StoreErrorKind};

/// The runtime of the process's connections; its thread is started by the first store that has an origin.
///
/// One thread is enough: it moves bytes between sockets and channels, and does TLS. It ends with the process.
pub(super) fn runtime() -> Result<&'static Handle, StoreError> {
    static RUNTIME: OnceLock<Result<Handle, String>> = OnceLock::new();
    RUNTIME.get_or_init(|| start().map_err(|error| error.to_string())).as_ref().map_err(|why| {
        StoreError::new(StoreErrorKind::Other, format!("cannot start the thread for network connections: {why}"))
    })
}

fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().thread_name("network-names").build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("network".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
