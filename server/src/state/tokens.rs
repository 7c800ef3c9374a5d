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
    /// The token that it was made with; none if the operator made it.
    pub made_by: Option<TokenId>,
}

impl NewToken {
    /// Why a token like this one may not make, see or revoke the other one, which is of the same tenant; none if it may.
    pub fn withholds(&self, other: &NewToken) -> Option<String> {
        if let Some((verb, labels)) = self.rights.withhold(&other.rights) {
            return Some(format!("the right {verb}={labels} is beyond those that this token may hand out"));
        }
        if self.expires.is_some_and(|own| other.expires.is_none_or(|expires| expires > own)) {
            return Some("it would outlive this token".into());
        }
        let within = |network: &IpNet| self.networks.iter().any(|own| own.contains(network));
        if !self.networks.is_empty() && (other.networks.is_empty() || !other.networks.iter().all(within)) {
            return Some("it could be used from addresses that this token cannot be used from".into());
        }
        if self.daily_bytes.is_some_and(|own| other.daily_bytes.is_none_or(|bytes| bytes > own)) {
            return Some("it could store more bytes a day than this token".into());
        }
        None
    }
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
            made_by: match row.try_get::<Option<String>, _>("made_by").map_err(failed(doing))? {
                Some(made_by) => Some(made_by.parse().map_err(|_| damaged("the maker"))?),
                None => None,
            },
        },
        digest: text("digest")?,
        created: number("created")?.unwrap_or(0),
        revoked: number("revoked")?,
        last_used: number("last_used")?,
        id: id.parse().map_err(|_| damaged("the id"))?,
    })
}

const COLUMNS: &str = "SELECT id, tenant, name, digest, created, expires, revoked, last_used, rights, networks, daily_bytes, made_by FROM token";

impl State {
    /// Keeps a new token; false when there is no such tenant.
    pub async fn create_token(&self, token: &Token, what: &NewToken, now: u64) -> Result<bool, StateError> {
        let unwritable = |_| StateError::Damaged("rights that cannot be written".to_owned());
        let done = sqlx::query(
            "INSERT INTO token (id, tenant, name, digest, created, expires, rights, networks, daily_bytes, made_by)
             SELECT $1, name, $3, $4, $5, $6, $7, $8, $9, $10 FROM tenant WHERE name = $2",
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
        .bind(what.made_by.as_ref().map(TokenId::as_str))
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

    /// The tokens of a tenant that are good now.
    pub async fn good_tokens(&self, tenant: &TenantName, now: u64) -> Result<Vec<TokenRecord>, StateError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{COLUMNS} WHERE tenant = $1 AND revoked IS NULL AND (expires IS NULL OR expires > $2) ORDER BY created, id"
        )))
        .bind(tenant.as_str())
        .bind(signed(now))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::Preset;

    fn token(expires: Option<u64>, networks: &[&str], daily_bytes: Option<u64>) -> NewToken {
        let networks = networks.iter().map(|network| network.parse().expect("a network"));
        NewToken {
            tenant: "alice".parse().expect("a tenant"),
            name: "x".into(),
            rights: Preset::All.rights(),
            expires,
            networks: networks.collect(),
            daily_bytes,
            made_by: None,
        }
    }

    #[test]
    fn nobody_makes_tokens_beyond_his_own() {
        let allows = |own: &NewToken, other: &NewToken| own.withholds(other).is_none();
        let unbound = token(None, &[], None);
        let bound = token(Some(100), &["192.0.2.0/24", "2001:db8::/32"], Some(10));
        assert!(allows(&unbound, &unbound) && allows(&bound, &bound) && allows(&unbound, &bound));
        let within: [&[&str]; 3] = [&["192.0.2.128/25"], &["2001:db8:1::/48", "192.0.2.7/32"], &["192.0.2.0/24"]];
        for networks in within {
            assert!(allows(&bound, &token(Some(100), networks, Some(10))), "{networks:?}");
        }
        let beyond: [&[&str]; 5] =
            [&[], &["192.0.2.0/23"], &["0.0.0.0/0"], &["192.0.2.0/24", "198.51.100.0/24"], &["2001:db8::/31"]];
        for networks in beyond {
            assert!(!allows(&bound, &token(Some(100), networks, Some(10))), "{networks:?}");
        }
        let inside = ["192.0.2.0/24"];
        assert!(!allows(&bound, &token(None, &inside, Some(10))));
        assert!(!allows(&bound, &token(Some(101), &inside, Some(10))));
        assert!(!allows(&bound, &token(Some(100), &inside, None)));
        assert!(!allows(&bound, &token(Some(100), &inside, Some(11))));
        assert!(allows(&bound, &token(Some(99), &inside, Some(9))));
    }
}
