//! What has to be written down before URLs to store are signed: removals called off, quotas used.

use std::collections::HashSet;

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{State, StateError, TokenRecord, failed, signed};

const DAY: u64 = 86_400;

/// Why nothing may be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningRefused {
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// The tenant's quota.
    #[error("the quota of the tenant does not hold {0} more bytes")]
    Quota(u64),
    /// The token's.
    #[error("the token may sign no {bytes} more bytes today")]
    TokenQuota {
        /// How many were asked for.
        bytes: u64,
        /// The end of the day.
        until: u64,
    },
}

impl State {
    /// Gets ready to sign URLs to store these chunks (`LABEL/ID`), `bytes` in all: calls their removals off and counts
    /// the bytes, all of it or nothing. Answers the chunks that are being removed at this moment: for them nothing may
    /// be signed.
    pub async fn prepare_signing(
        &self,
        token: &TokenRecord,
        chunks: &[String],
        bytes: u64,
        now: u64,
    ) -> Result<HashSet<String>, SigningRefused> {
        let doing = "prepare the signing of URLs";
        let mut transaction = self.pool.begin().await.map_err(failed(doing))?;
        let connection: &mut AnyConnection = &mut transaction;
        let going = call_off_all(connection, token, chunks).await.map_err(failed(doing))?;
        if !count_for_tenant(connection, token, bytes).await.map_err(failed(doing))? {
            return Err(SigningRefused::Quota(bytes));
        }
        if !count_for_token(connection, token, bytes, now / DAY).await.map_err(failed(doing))? {
            return Err(SigningRefused::TokenQuota { bytes, until: (now / DAY + 1) * DAY });
        }
        transaction.commit().await.map_err(failed(doing))?;
        Ok(going)
    }
}

/// The first statement writes, so that SQLite waits for its turn at once: it refuses to turn a reader into a writer when
/// another one wrote meanwhile.
async fn call_off_all(
    connection: &mut AnyConnection,
    token: &TokenRecord,
    chunks: &[String],
) -> Result<HashSet<String>, sqlx::Error> {
    let places: Vec<String> = (2..chunks.len() + 2).map(|number| format!("${number}")).collect();
    let places = places.join(", ");
    let mut call_off = sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM removal WHERE tenant = $1 AND claimed IS NULL AND chunk IN ({places})"
    )))
    .bind(token.what.tenant.as_str());
    let mut find =
        sqlx::query(AssertSqlSafe(format!("SELECT chunk FROM removal WHERE tenant = $1 AND chunk IN ({places})")))
            .bind(token.what.tenant.as_str());
    for chunk in chunks {
        call_off = call_off.bind(chunk.as_str());
        find = find.bind(chunk.as_str());
    }
    call_off.execute(&mut *connection).await?;
    find.fetch_all(&mut *connection).await?.iter().map(|row| row.try_get("chunk")).collect()
}

async fn count_for_tenant(
    connection: &mut AnyConnection,
    token: &TokenRecord,
    bytes: u64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE tenant SET signed = signed + $2 WHERE name = $1 AND (quota IS NULL OR used + signed + $2 <= quota)",
    )
    .bind(token.what.tenant.as_str())
    .bind(signed(bytes))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn count_for_token(
    connection: &mut AnyConnection,
    token: &TokenRecord,
    bytes: u64,
    day: u64,
) -> Result<bool, sqlx::Error> {
    let Some(most) = token.what.daily_bytes else { return Ok(true) };
    let done = sqlx::query(
        "UPDATE token SET day = $3, day_bytes = CASE WHEN day = $3 THEN day_bytes ELSE 0 END + $2
         WHERE id = $1 AND CASE WHEN day = $3 THEN day_bytes ELSE 0 END + $2 <= $4",
    )
    .bind(token.id.as_str())
    .bind(signed(bytes))
    .bind(signed(day))
    .bind(signed(most))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
