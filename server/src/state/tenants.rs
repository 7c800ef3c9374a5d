//! Tenants.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{State, StateError, failed, signed, unsigned};
use crate::tenant::TenantName;

/// What is kept of a tenant.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: u64,
    /// How many bytes it may store.
    pub quota: Option<u64>,
    /// How many the last listing found.
    pub used: u64,
    /// When that was.
    pub counted: Option<u64>,
    /// When its newest snapshot was stored, by the store's clock.
    pub newest_snapshot: Option<u64>,
    /// For how many bytes URLs to store were signed since.
    pub signed: u64,
}

fn tenant(row: &AnyRow) -> Result<Tenant, sqlx::Error> {
    let number = |column: &str| row.try_get::<Option<i64>, _>(column).map(|number| number.map(unsigned));
    Ok(Tenant {
        name: row.try_get("name")?,
        created: number("created")?.unwrap_or(0),
        quota: number("quota")?,
        used: number("used")?.unwrap_or(0),
        counted: number("counted")?,
        newest_snapshot: number("newest_snapshot")?,
        signed: number("signed")?.unwrap_or(0),
    })
}

const COLUMNS: &str = "SELECT name, created, quota, used, counted, newest_snapshot, signed FROM tenant";

impl State {
    /// Makes a tenant; false when there is one of this name.
    pub async fn create_tenant(&self, name: &TenantName, quota: Option<u64>, now: u64) -> Result<bool, StateError> {
        let done =
            sqlx::query("INSERT INTO tenant (name, created, quota) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
                .bind(name.as_str())
                .bind(signed(now))
                .bind(quota.map(signed))
                .execute(&self.pool)
                .await
                .map_err(failed("create a tenant"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Changes the quota; false when there is no such tenant.
    pub async fn set_quota(&self, name: &TenantName, quota: Option<u64>) -> Result<bool, StateError> {
        let done = sqlx::query("UPDATE tenant SET quota = $2 WHERE name = $1")
            .bind(name.as_str())
            .bind(quota.map(signed))
            .execute(&self.pool)
            .await
            .map_err(failed("change a quota"))?;
        Ok(done.rows_affected() == 1)
    }

    /// All tenants, by name.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, StateError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY name")))
            .fetch_all(&self.pool)
            .await
            .map_err(failed("list tenants"))?;
        rows.iter().map(tenant).collect::<Result<_, _>>().map_err(failed("read a tenant"))
    }

    /// One tenant.
    pub async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, StateError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE name = $1")))
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("find a tenant"))?;
        row.as_ref().map(tenant).transpose().map_err(failed("read a tenant"))
    }

    /// Takes the result of a listing that began when the tenant was as `before` says: what was signed meanwhile still
    /// counts. Does nothing when another server was faster.
    pub async fn record_usage(
        &self,
        name: &TenantName,
        before: &Tenant,
        used: u64,
        newest_snapshot: Option<u64>,
        now: u64,
    ) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE tenant SET used = $2, newest_snapshot = $3, counted = $4,
             signed = CASE WHEN signed > $5 THEN signed - $5 ELSE 0 END
             WHERE name = $1 AND COALESCE(counted, 0) = $6",
        )
        .bind(name.as_str())
        .bind(signed(used))
        .bind(newest_snapshot.map(signed))
        .bind(signed(now))
        .bind(signed(before.signed))
        .bind(signed(before.counted.unwrap_or(0)))
        .execute(&self.pool)
        .await
        .map_err(failed("record what a tenant uses"))?;
        Ok(())
    }
}
