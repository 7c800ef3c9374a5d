//! Lists every tenant from time to time: how much it stores (for quotas), and how old its newest snapshot is.

use std::time::Duration;

use crate::server::Server;
use crate::store::StoreError;
use crate::tenant::TenantName;

/// How often.
const PAUSE: Duration = Duration::from_secs(3600);

/// Surveys for ever.
pub async fn run(server: &Server) {
    loop {
        if let Err(why) = round(server).await {
            tracing::error!("the tenants could not be surveyed: {why}");
        }
        server.limits.forget_quiet();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Surveys all tenants once.
pub async fn round(server: &Server) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for tenant in server.state.tenants().await? {
        let name: TenantName = tenant.name.parse()?;
        let (used, newest) = survey(server, &name).await?;
        server.state.record_usage(&name, &tenant, used, newest, crate::now()).await?;
    }
    Ok(())
}

/// The bytes that a tenant stores, and when its newest snapshot was stored.
async fn survey(server: &Server, tenant: &TenantName) -> Result<(u64, Option<u64>), StoreError> {
    let mut used: u64 = 0;
    let mut newest = None;
    for label in server.store.labels(tenant, "").await? {
        let mut after = None;
        loop {
            let (chunks, more) = server.store.list(tenant, &label, after.as_ref(), 1000).await?;
            for chunk in &chunks {
                used = used.saturating_add(chunk.size);
                if label.family() == "snapshot" {
                    newest = newest.max(chunk.stored);
                }
            }
            after = chunks.last().and_then(|chunk| chunk.id.parse().ok());
            if !more || after.is_none() {
                break;
            }
        }
    }
    Ok((used, newest))
}
