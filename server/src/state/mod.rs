//! The server's own state: tenants, tokens, pending removals, and how much was signed. Not which chunks there are: that
//! the store alone knows.
//!
//! One set of statements serves SQLite and PostgreSQL (`$1` is a parameter in both). Several servers may share one
//! PostgreSQL: whatever two of them could do at the same moment is decided by a single statement or transaction here.

mod removals;
mod secrets;
mod tenants;
mod tokens;
mod usage;

use std::time::Duration;

use sqlx::AnyPool;
use sqlx::SqlSafeStr;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::config::DatabaseUrl;

pub use removals::{PendingRemoval, Recorded};
pub use tenants::Tenant;
pub use tokens::{NewToken, TokenRecord};
pub use usage::SigningRefused;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be opened.
    #[error("cannot open the database: {0}; look at `database` in the configuration")]
    Open(sqlx::Error),
    /// Its tables cannot be brought to this version.
    #[error("cannot bring the tables of the database up to date: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the database could not {doing}: {why}")]
    Statement {
        /// What it could not do.
        doing: &'static str,
        /// Why.
        why: sqlx::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// What it holds cannot be read.
    #[error("the database holds something unreadable: {0}")]
    Damaged(String),
}

/// Turns an error of a statement into one that says what was being done.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StateError {
    move |why| StateError::Statement { doing, why }
}

/// A number of bytes or seconds as databases keep it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn migration(version: i64, what: &'static str, statements: &'static str) -> Migration {
    Migration::new(version, what.into(), MigrationType::Simple, statements.into_sql_str(), false)
}

/// An open database.
#[derive(Clone)]
pub struct State {
    pool: AnyPool,
}

impl State {
    /// Opens the database, creates a SQLite file that is not there, and brings the tables up to date.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StateError> {
        sqlx::any::install_default_drivers();
        let url = url.reveal();
        let sqlite = url.starts_with("sqlite:");
        let options = AnyPoolOptions::new()
            // SQLite has one writer anyway; readers do not wait for it.
            .max_connections(if sqlite { 4 } else { 16 })
            .acquire_timeout(Duration::from_secs(10));
        let url = if sqlite && !url.contains('?') { format!("{url}?mode=rwc") } else { url.to_owned() };
        let options = options.after_connect(move |connection, _| {
            Box::pin(async move {
                if sqlite {
                    // FULL: what was answered survives a power failure, also with a write-ahead log.
                    for pragma in [
                        "PRAGMA busy_timeout = 10000",
                        "PRAGMA journal_mode = WAL",
                        "PRAGMA synchronous = FULL",
                        "PRAGMA foreign_keys = ON",
                    ] {
                        sqlx::query(pragma).execute(&mut *connection).await?;
                    }
                }
                Ok(())
            })
        });
        let pool = options.connect(&url).await.map_err(StateError::Open)?;
        let migrations = [
            migration(1, "tenants, tokens, removals", include_str!("0001.sql")),
            migration(2, "secrets", include_str!("0002.sql")),
            migration(3, "who made a token", include_str!("0003.sql")),
        ];
        Migrator::with_migrations(migrations.into()).run(&pool).await.map_err(StateError::Migrate)?;
        Ok(State { pool })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StateError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(failed("answer"))?;
        Ok(())
    }

    /// Waits until every connection is closed.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
