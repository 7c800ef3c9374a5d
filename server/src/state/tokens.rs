//! Tokens: what is kept of them.

use ipnet::IpNet;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{State, StateError, failed, signed, unsigned};
use crate::rights::Rights;
use crate::tenant::TenantName;
use crate::token::{Token, TokenId};

/// How often, in seconds, the last use of a token is written down.
const LAST_USE_STEP: u64 = 60;

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose chunks it opens.
    pub tenant: TenantName,
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
    /// When it ends.
    pub expires: Option<u64>,
    /// From where it may be used; empty means everywhere.
    pub networks: Vec<IpNet>,
    /// For how many bytes URLs to store may be signed on one day.
    pub daily_bytes: Option<u64>,
}

/// What is kept of a token.
#[derive(Debug, Clone)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// What it is.
    pub what: NewToken,
    /// SHA-256 of the token, in hexadecimal digits.
    pub digest: String,
    /// When it was made.
    pub created: u64,
    /// When it was revoked.
    pub revoked: Option<u64>,
    /// When it was last used, to the minute.
    pub last_used: Option<u64>,
}

fn record(row: &AnyRow) -> Result<TokenRecord, StateError> {
    let doing = "read a token";
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed(doing));
    let number =
        |column: &str| row.try_get::<Option<i64>, _>(column).map(|number| number.map(unsigned)).map_err(failed(doing));
    let id = text("id")?;
    let damaged = |what: &str| StateError::Damaged(format!("{what} of token {id}"));
    Ok(TokenRecord {
        what: NewToken {
            tenant: text("tenant")?.parse().map_err(|_| damaged("the tenant"))?,
            name: text("name")?,
            rights: serde_json::from_str(&text("rights")?).map_err(|_| damaged("the rights"))?,
            expires: number("expires")?,
            networks: serde_json::from_str(&text("networks")?).map_err(|_| damaged("the networks"))?,
            daily_bytes: number("daily_bytes")?,
        },
        digest: text("digest")?,
        created: number("created")?.unwrap_or(0),
        revoked: number("revoked")?,
        last_used: number("last_used")?,
        id: id.parse().map_err(|_| damaged("the id"))?,
    })
}

const COLUMNS: &str =
    "SELECT id, tenant, name, digest, created, expires, revoked, last_used, rights, networks, daily_bytes FROM token";

impl State {
    /// Keeps a new token; false when there is no such tenant.
    pub async fn create_token(&self, token: &Token, what: &NewToken, now: u64) -> Result<bool, StateError> {
        let unwritable = |_| StateError::Damaged("rights that cannot be written".to_owned());
        let done = sqlx::query(
            "INSERT INTO token (id, tenant, name, digest, created, expires, rights, networks, daily_bytes)
             SELECT $1, name, $3, $4, $5, $6, $7, $8, $9 FROM tenant WHERE name = $2",
        )
        .bind(token.id().as_str())
        .bind(what.tenant.as_str())
        .bind(what.name.as_str())
        .bind(token.digest().to_hex())
        .bind(signed(now))
        .bind(what.expires.map(signed))
        .bind(serde_json::to_string(&what.rights).map_err(unwritable)?)
        .bind(serde_json::to_string(&what.networks).map_err(unwritable)?)
        .bind(what.daily_bytes.map(signed))
        .execute(&self.pool)
        .await
        .map_err(failed("keep a token"))?;
        Ok(done.rows_affected() == 1)
    }

    /// The token with this id, also a revoked or expired one.
    pub async fn token(&self, id: &TokenId) -> Result<Option<TokenRecord>, StateError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1")))
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("find a token"))?;
        row.as_ref().map(record).transpose()
    }

    /// All tokens, or those of one tenant.
    pub async fn tokens(&self, tenant: Option<&TenantName>) -> Result<Vec<TokenRecord>, StateError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{COLUMNS} WHERE tenant = $1 OR $1 = '' ORDER BY tenant, created, id"
        )))
        .bind(tenant.map_or("", TenantName::as_str))
        .fetch_all(&self.pool)
        .await
        .map_err(failed("list tokens"))?;
        rows.iter().map(record).collect()
    }

    /// Revokes a token; false when there is none, or it was revoked before.
    pub async fn revoke_token(&self, id: &TokenId, now: u64) -> Result<bool, StateError> {
        let done = sqlx::query("UPDATE token SET revoked = $2 WHERE id = $1 AND revoked IS NULL")
            .bind(id.as_str())
            .bind(signed(now))
            .execute(&self.pool)
            .await
            .map_err(failed("revoke a token"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets a token end at this time, unless it ends earlier.
    pub async fn expire_token(&self, id: &TokenId, at: u64) -> Result<(), StateError> {
        sqlx::query("UPDATE token SET expires = $2 WHERE id = $1 AND (expires IS NULL OR expires > $2)")
            .bind(id.as_str())
            .bind(signed(at))
            .execute(&self.pool)
            .await
            .map_err(failed("let a token end"))?;
        Ok(())
    }

    /// Notes that a token was used, at most once a minute.
    pub async fn note_use(&self, record: &TokenRecord, now: u64) -> Result<(), StateError> {
        if record.last_used.is_some_and(|last| last + LAST_USE_STEP > now) {
            return Ok(());
        }
        sqlx::query("UPDATE token SET last_used = $2 WHERE id = $1")
            .bind(record.id.as_str())
            .bind(signed(now))
            .execute(&self.pool)
            .await
            .map_err(failed("note the use of a token"))?;
        Ok(())
    }
}
