//! Removals: recorded now, executed after the delay, called off by whoever stores the chunk again.
//!
//! A removal is pending until a server claims it. From then on it cannot be called off, and no URL to store the chunk is
//! signed until it is done: otherwise a client could be told that its chunk is safe while it is being removed. A claim
//! that is not finished (the server was killed) is claimed again later.

use sqlx::Row;

use super::{State, StateError, failed, signed, unsigned};
use crate::tenant::TenantName;

/// After how many seconds a claim counts as abandoned. Longer than any call to the store takes.
const CLAIM: u64 = 600;

/// A removal that has not been executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRemoval {
    /// Whose chunk.
    pub tenant: String,
    /// `LABEL/ID`.
    pub chunk: String,
    /// Executed then at the earliest.
    pub until: u64,
}

/// What recording a removal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Executed then at the earliest: the time of the first request.
    pub until: u64,
}

impl State {
    /// Records a removal. One that is recorded already stays as it is.
    pub async fn record_removal(
        &self,
        tenant: &TenantName,
        chunk: &str,
        token: &str,
        now: u64,
        until: u64,
    ) -> Result<Recorded, StateError> {
        // The update changes nothing; it makes the row of the first request come back.
        let row = sqlx::query(
            "INSERT INTO removal (tenant, chunk, recorded, until, token) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant, chunk) DO UPDATE SET until = removal.until RETURNING until",
        )
        .bind(tenant.as_str())
        .bind(chunk)
        .bind(signed(now))
        .bind(signed(until))
        .bind(token)
        .fetch_one(&self.pool)
        .await
        .map_err(failed("record a removal"))?;
        Ok(Recorded { until: unsigned(row.try_get("until").map_err(failed("read a removal"))?) })
    }

    /// Calls a removal off; false when none is pending.
    pub async fn call_off(&self, tenant: &TenantName, chunk: &str) -> Result<bool, StateError> {
        let done = sqlx::query("DELETE FROM removal WHERE tenant = $1 AND chunk = $2 AND claimed IS NULL")
            .bind(tenant.as_str())
            .bind(chunk)
            .execute(&self.pool)
            .await
            .map_err(failed("call a removal off"))?;
        Ok(done.rows_affected() == 1)
    }

    /// A page of the removals of a tenant, in order of `LABEL/ID`.
    pub async fn removals(
        &self,
        tenant: &TenantName,
        after: &str,
        limit: u32,
    ) -> Result<Vec<PendingRemoval>, StateError> {
        let rows = sqlx::query(
            "SELECT tenant, chunk, until FROM removal WHERE tenant = $1 AND chunk > $2 ORDER BY chunk LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list removals"))?;
        rows.iter().map(removal).collect::<Result<_, _>>().map_err(failed("read a removal"))
    }

    /// Claims some removals whose time has come.
    pub async fn claim_removals(&self, now: u64, limit: u32) -> Result<Vec<PendingRemoval>, StateError> {
        let doing = "claim removals";
        let due = sqlx::query(
            "SELECT tenant, chunk, until FROM removal WHERE until <= $1 AND (claimed IS NULL OR claimed < $2)
             ORDER BY until LIMIT $3",
        )
        .bind(signed(now))
        .bind(signed(now.saturating_sub(CLAIM)))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed(doing))?;
        let mut claimed = Vec::new();
        for row in &due {
            let found = removal(row).map_err(failed("read a removal"))?;
            // Another server may have been faster, or a client called it off.
            let done = sqlx::query(
                "UPDATE removal SET claimed = $3 WHERE tenant = $1 AND chunk = $2 AND until <= $3
                 AND (claimed IS NULL OR claimed < $4)",
            )
            .bind(found.tenant.as_str())
            .bind(found.chunk.as_str())
            .bind(signed(now))
            .bind(signed(now.saturating_sub(CLAIM)))
            .execute(&self.pool)
            .await
            .map_err(failed(doing))?;
            if done.rows_affected() == 1 {
                claimed.push(found);
            }
        }
        Ok(claimed)
    }

    /// Forgets a removal that was claimed: it is done, or must not be done.
    pub async fn finish_removal(&self, removal: &PendingRemoval) -> Result<(), StateError> {
        sqlx::query("DELETE FROM removal WHERE tenant = $1 AND chunk = $2 AND claimed IS NOT NULL")
            .bind(removal.tenant.as_str())
            .bind(removal.chunk.as_str())
            .execute(&self.pool)
            .await
            .map_err(failed("finish a removal"))?;
        Ok(())
    }

    /// How many removals are recorded.
    pub async fn count_removals(&self) -> Result<u64, StateError> {
        let row = sqlx::query("SELECT COUNT(*) AS number FROM removal")
            .fetch_one(&self.pool)
            .await
            .map_err(failed("count removals"))?;
        Ok(unsigned(row.try_get("number").map_err(failed("read a count"))?))
    }
}

fn removal(row: &sqlx::any::AnyRow) -> Result<PendingRemoval, sqlx::Error> {
    Ok(PendingRemoval {
        tenant: row.try_get("tenant")?,
        chunk: row.try_get("chunk")?,
        until: unsigned(row.try_get("until")?),
    })
}
