//! The server as its clients and its operator see it: the real program, a strict fake of S3, SQLite and PostgreSQL.

// The fake of S3 lives with the end-to-end tests of the client, whose crate needs the whole plugin host. Only the files
// are used here.
#[path = "../../tests/src"]
#[allow(dead_code, unused_imports, clippy::unwrap_used)]
mod shared {
    pub mod postgres;
    pub mod proxy;
    pub mod s3;
    pub mod tools;
}
use shared::{s3, tools};

#[path = "server/support.rs"]
mod support;

/// What the holder of a token or of an URL must not be able to do. One test for each attack; all but a few of them on
/// Garage too. Each looks at the answer, and at what is in the store afterwards.
#[path = "server/attacks"]
mod attacks {
    mod inputs;
    mod replays;
    mod stores;
    mod tokens;
    mod urls;
}
#[path = "server/calls.rs"]
mod calls;
#[path = "server/crowd.rs"]
#[allow(dead_code)] // The load program uses all of it.
mod crowd;
#[path = "server/description.rs"]
mod description;
#[path = "server/directory.rs"]
mod directory;
#[path = "server/init.rs"]
mod init;
#[path = "server/load.rs"]
mod load;
#[path = "server/operating.rs"]
mod operating;
#[path = "server/outages.rs"]
mod outages;
#[path = "server/postgres.rs"]
mod postgres;
#[path = "server/quotas.rs"]
mod quotas;
#[path = "server/real_store.rs"]
mod real_store;
#[path = "server/removals.rs"]
mod removals;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/token_calls.rs"]
mod token_calls;
#[path = "server/tokens.rs"]
mod tokens;
#[path = "server/uploads.rs"]
mod uploads;
