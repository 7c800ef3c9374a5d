//! Executes the removals whose time has come.

use std::time::Duration;

use crate::audit::Line;
use crate::server::Server;
use crate::state::PendingRemoval;
use crate::store::ChunkName;
use crate::tenant::TenantName;

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_secs(30);
/// How many are claimed at once. All of them have to be done before a claim counts as abandoned, also when each of
/// their two calls to the store takes all the time that it may.
const AT_ONCE: u32 = 4;

/// Looks for due removals for ever.
pub async fn run(server: &Server) {
    loop {
        loop {
            match round(server).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(why) => {
                    tracing::error!("removals are not executed: {why}");
                    break;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Executes some; answers how many.
pub async fn round(server: &Server) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let due = server.state.claim_removals(crate::now(), AT_ONCE).await?;
    for removal in &due {
        execute(server, removal).await?;
    }
    let pending = server.state.count_removals().await?;
    server.metrics.pending_removals.set(i64::try_from(pending).unwrap_or(i64::MAX));
    Ok(due.len())
}

async fn execute(server: &Server, removal: &PendingRemoval) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let names = removal.tenant.parse::<TenantName>().ok().zip(ChunkName::parse(&removal.chunk));
    let Some((tenant, name)) = names else {
        tracing::error!("a removal that names no chunk is dropped");
        return Ok(server.state.finish_removal(removal).await?);
    };
    let mut outcome = "ok";
    let mut bytes = 0;
    if let Some(stat) = server.store.stat(&tenant, &name).await? {
        bytes = stat.size;
        let minimum = server.config.removal.minimum_age.seconds();
        if stat.stored.is_none_or(|stored| stored + minimum > crate::now()) && minimum > 0 {
            // Stored anew since: whoever wants it gone has to ask again.
            outcome = "too-young";
        } else {
            server.store.delete(&tenant, &name).await?;
            server.metrics.removed.inc();
        }
    }
    server.state.finish_removal(removal).await?;
    let line = Line { tenant: Some(tenant.as_str()), action: "remove", count: 1, bytes, outcome, ..Line::default() };
    server.audit.write(line);
    Ok(())
}
