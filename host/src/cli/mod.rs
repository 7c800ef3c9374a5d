//! The program: arguments, one file per command, what is printed, and exit codes.

mod backup;
mod cat;
mod check;
mod chunks;
mod config;
mod context;
mod dry_run;
mod exit;
mod help;
mod init;
pub mod interrupt;
mod ls;
mod output;
mod progress;
mod restore;
mod select;
mod settings;
mod snapshots;
mod tag;
mod version;

use std::path::PathBuf;

use clap::{Args, FromArgMatches, Parser, Subcommand};

pub use exit::Failure;
use output::Output;
use settings::Settings;

/// End-to-end encrypted, deduplicating backups into sandboxed storage backends.
#[derive(Debug, Parser)]
#[command(name = "obnam", version, propagate_version = false, disable_help_subcommand = true)]
#[command(after_help = help::SHORT, after_long_help = help::LONG)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that all commands share.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Global {
    /// Use this profile of the configuration file
    #[arg(short, long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// Read this configuration file instead of ~/.config/obnam/config.toml
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "OBNAM_CONFIG",
        hide_env_values = true,
        hide_short_help = true
    )]
    config: Option<PathBuf>,
    /// Where the repository is: a directory, or SCHEME:REST for the plugin of that scheme
    #[arg(short, long, global = true, value_name = "LOCATION", env = "OBNAM_REPOSITORY", hide_env_values = true)]
    repo: Option<String>,
    /// Use this plugin instead of the bundled one for the location's scheme
    #[arg(
        long,
        global = true,
        value_name = "FILE.wasm",
        env = "OBNAM_BACKEND",
        hide_env_values = true,
        hide_short_help = true
    )]
    backend: Option<PathBuf>,
    /// An option for the plugin; may be repeated
    #[arg(short = 'o', long = "option", global = true, value_name = "KEY=VALUE", hide_short_help = true)]
    options: Vec<String>,
    /// Open with the age X25519 identity in this file (mode 0600) instead of a passphrase
    #[arg(long, global = true, value_name = "FILE", env = "OBNAM_IDENTITY", hide_env_values = true)]
    identity: Option<PathBuf>,
    /// The repository's id, from the recovery sheet; checked before anything else is believed
    #[arg(
        long,
        global = true,
        value_name = "ID",
        env = "OBNAM_REPOSITORY_ID",
        hide_env_values = true,
        hide_short_help = true
    )]
    repository_id: Option<String>,
    /// Print JSON on standard output (docs/json.md)
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no summary
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print what happens; twice: with the plugin's own words
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Where all this comes from
    #[arg(skip)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new repository
    Init(init::Arguments),
    /// Back up files and directories
    Backup(Box<backup::Arguments>),
    /// List snapshots
    Snapshots(snapshots::Arguments),
    /// Change the tags of snapshots
    Tag(tag::Arguments),
    /// List the files of a snapshot
    Ls(ls::Arguments),
    /// Restore a snapshot into a directory
    Restore(restore::Arguments),
    /// Print what is in the repository: a file, a snapshot, the roster, a chunk, a blob
    Cat(cat::Arguments),
    /// List every chunk in the store: label, id, size (needs no passphrase)
    Chunks(chunks::Arguments),
    /// Check that everything is there, and with --read-data that it is good
    Check(check::Arguments),
    /// Make, show and check the configuration file
    Config(config::Arguments),
    /// Print versions
    Version(version::Arguments),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Backup(_) => "backup",
            Command::Snapshots(_) => "snapshots",
            Command::Tag(_) => "tag",
            Command::Ls(_) => "ls",
            Command::Restore(_) => "restore",
            Command::Cat(_) => "cat",
            Command::Chunks(_) => "chunks",
            Command::Check(_) => "check",
            Command::Config(_) => "config",
            Command::Version(_) => "version",
        }
    }

    /// Whether it may need a repository, and so the profile that names it.
    fn uses_profile(&self) -> bool {
        match self {
            Command::Config(arguments) => arguments.uses_profile(),
            Command::Version(_) => false,
            _ => true,
        }
    }
}

/// Runs the program and returns its exit code.
pub fn main() -> u8 {
    let parsed = help::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { exit::OK };
        }
    };
    interrupt::install();
    raise_file_limit();
    start_log(cli.global.verbose);
    let mut output = Output::new(cli.command.name(), cli.global.json, cli.global.quiet);
    let settled = if cli.command.uses_profile() { cli.global.settle(&matches) } else { Ok(()) };
    match settled.and_then(|()| run(&cli, &mut output)) {
        Ok(code) => code,
        Err(failure) => output.failure(&failure),
    }
}

fn run(cli: &Cli, output: &mut Output) -> Result<u8, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Init(arguments) => init::run(global, arguments, output),
        Command::Backup(arguments) => backup::run(global, arguments, output),
        Command::Snapshots(arguments) => snapshots::run(global, arguments, output),
        Command::Tag(arguments) => tag::run(global, arguments, output),
        Command::Ls(arguments) => ls::run(global, arguments, output),
        Command::Restore(arguments) => restore::run(global, arguments, output),
        Command::Cat(arguments) => cat::run(global, arguments, output),
        Command::Chunks(arguments) => chunks::run(global, arguments, output),
        Command::Check(arguments) => check::run(global, arguments, output),
        Command::Config(arguments) => config::run(global, arguments, output),
        Command::Version(arguments) => version::run(global, arguments, output),
    }
}

/// Trees may be deeper than 1,000 directories, each of which is open while what is below it is walked.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "error",
        1 => "obnam=info",
        _ => "obnam=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("OBNAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
