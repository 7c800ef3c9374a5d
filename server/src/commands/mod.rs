//! The command line, one file for each command.

mod check;
mod serve;
mod tenant;
mod token;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_FILE, Place};
use crate::probe::ProbeError;
use crate::server::StartError;
use crate::state::{State, StateError};
use crate::store::{Folder, StoreError};

/// Holds the keys of an object store, checks tokens and signs URLs for Obnam
#[derive(Parser)]
#[command(name = "obnam-server", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration [default: /etc/obnam-server.toml]
    #[arg(long, value_name = "FILE", env = "OBNAM_SERVER_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Keep chunks in this directory, and read no configuration: a server for one person
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    storage: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer clients until stopped
    Serve {
        /// Where the API listens, whatever the configuration says
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
    /// Make, list and revoke tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make and list tenants, change their quotas, call removals off
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Try what the object store guarantees
    Check,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// The directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory cannot be made.
    #[error("cannot make the directory {0}: {1}")]
    Directory(PathBuf, std::io::Error),
    /// The probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// What the user asked for makes no sense.
    #[error("{0}")]
    Input(String),
    /// The network.
    #[error(
        "cannot listen on {0}: {1}; choose another address in the configuration, or with: serve --listen ADDRESS:PORT"
    )]
    Listen(SocketAddr, std::io::Error),
    /// The certificate.
    #[error("cannot use the certificate {0}: {1}")]
    Certificate(PathBuf, std::io::Error),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
    /// The store does not guarantee enough.
    #[error("the object store does not refuse wrong bytes: `serve` signs no URL to store on it")]
    Unfit,
}

impl Failure {
    /// 1 for what failed, 4 for a store that is not fit, 17 for wrong input.
    fn code(&self) -> u8 {
        match self {
            Failure::Unfit => 4,
            Failure::Config(_) | Failure::Input(_) => 17,
            _ => 1,
        }
    }
}

/// What a command prints: lines for people, or JSON.
pub struct Output {
    json: bool,
}

impl Output {
    /// Prints one of the two.
    pub fn print(&self, text: &str, json: &serde_json::Value) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{json}")?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("OBNAM_SERVER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,aws=warn,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if cli.json {
        log.json().init()
    } else {
        log.with_target(false).init()
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("obnam-server: cannot start threads: {why}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("obnam-server: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut config = match &cli.storage {
        Some(directory) => Config::for_directory(directory, variable)?,
        None => Config::read(cli.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE)), variable)?,
    };
    let output = Output { json: cli.json };
    if let Place::Directory(path) = &config.place {
        provide(path, &cli.command)?;
    }
    match cli.command {
        Command::Serve { listen } => {
            config.listen = listen.unwrap_or(config.listen);
            let how = match (&cli.storage, &cli.config) {
                (Some(directory), _) => format!(" --storage {}", directory.display()),
                (None, Some(file)) => format!(" --config {}", file.display()),
                (None, None) => String::new(),
            };
            serve::serve(config, &how).await
        }
        Command::Token(command) => with_state(&config, async |state| token::run(state, command, &output).await).await,
        Command::Tenant(command) => with_state(&config, async |state| tenant::run(state, command, &output).await).await,
        Command::Check => check::check(&config, &output).await,
    }
}

/// Makes the directory with chunks for `serve`. Other commands do not: its name may be mistyped.
fn provide(path: &Path, command: &Command) -> Result<(), Failure> {
    if matches!(command, Command::Serve { .. }) {
        return Folder::create(path).map_err(|why| Failure::Directory(path.to_owned(), why));
    }
    if Folder::own(path).is_dir() {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Input(format!(
        "{path} is no server's directory; if that is the right name, make it with: obnam-server serve"
    )))
}

/// Opens the database, works with it, and closes it whatever came of it.
async fn with_state(config: &Config, work: impl AsyncFnOnce(&State) -> Result<(), Failure>) -> Result<(), Failure> {
    let state = State::open(&config.database).await?;
    let result = work(&state).await;
    state.close().await;
    result
}

/// A time for people.
fn time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "never".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A number of bytes: digits, and perhaps K, M, G or T (powers of 1,024).
fn bytes(text: &str) -> Result<u64, String> {
    let error = || format!("{text:?} is no number of bytes; write digits, and perhaps K, M, G or T behind them");
    let (digits, power) = match text.chars().last() {
        Some('K') => (&text[..text.len() - 1], 1),
        Some('M') => (&text[..text.len() - 1], 2),
        Some('G') => (&text[..text.len() - 1], 3),
        Some('T') => (&text[..text.len() - 1], 4),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(1024_u64.pow(power)).filter(|&bytes| i64::try_from(bytes).is_ok()).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_of_bytes() {
        for (text, number) in [("0", 0), ("17", 17), ("1K", 1024), ("10G", 10 << 30), ("1T", 1 << 40)] {
            assert_eq!(bytes(text), Ok(number));
        }
        for bad in ["", "K", "-1", "1.5G", "1g", "99999999T", "1é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
