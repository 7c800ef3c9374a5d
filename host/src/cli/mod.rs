//! The program: arguments, one file per command, what is printed, and exit codes.

mod approval;
mod around;
mod audit;
mod backup;
mod cat;
mod check;
mod chunks;
mod client;
mod completions;
mod config;
mod context;
mod copy;
mod credential;
mod diff;
mod dry_run;
mod dump;
mod exit;
mod filter;
mod find;
mod forget;
mod help;
mod init;
pub mod interrupt;
mod keep;
mod ls;
mod man;
mod mount;
mod network;
mod output;
mod plugin;
mod progress;
mod prune;
mod repair;
mod restore;
mod rewrite;
mod select;
mod settings;
mod sheet;
mod snapshots;
mod stats;
mod status;
mod tag;
mod target;
mod trial;
mod trust;
mod version;

use std::path::PathBuf;

use clap::{Args, FromArgMatches, Parser, Subcommand};

pub use exit::Failure;
use output::{Output, Progress};
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
#[derive(Debug, Clone, Args)]
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
    /// Use a plugin file with this SHA-256, though you have not trusted it before (obnam plugin trust); may be repeated
    #[arg(long, global = true, value_name = "SHA256", hide_short_help = true)]
    trust: Vec<String>,
    /// Change a limit that plugins run under, such as memory=1G (docs/configuration.md lists them); may be repeated
    #[arg(long = "plugin-limit", global = true, value_name = "NAME=VALUE", hide_short_help = true)]
    plugin_limits: Vec<String>,
    /// Open with the identity in this file (mode 0600) instead of a passphrase: of age, of an age plugin, or an SSH key
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
    /// Open with this credential, and try no other one; obnam credential list shows the ids
    #[arg(
        long,
        global = true,
        value_name = "ID",
        env = "OBNAM_CREDENTIAL",
        hide_env_values = true,
        hide_short_help = true
    )]
    credential: Option<String>,
    #[command(flatten)]
    network: network::NetworkArguments,
    /// Print JSON on standard output (docs/json.md)
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no summary: nothing but what was asked for, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print what happens, such as each new or changed file of a backup; twice: with the plugin's own words
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Progress: auto (on terminals), never, or json (JSON lines on standard error)
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true,
        hide_short_help = true
    )]
    progress: Progress,
    /// Colours: auto (on terminals, unless NO_COLOR is set), always, or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_short_help = true
    )]
    color: clap::ColorChoice,
    /// Where all this comes from
    #[arg(skip)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    // What they say of themselves is written at their arguments, where clap finds the long help too.
    Init(init::Arguments),
    Backup(Box<backup::Arguments>),
    Snapshots(snapshots::Arguments),
    Tag(tag::Arguments),
    Copy(Box<copy::Arguments>),
    Forget(Box<forget::Arguments>),
    Rewrite(rewrite::Arguments),
    Prune(prune::Arguments),
    Repair(repair::Arguments),
    Ls(ls::Arguments),
    Find(find::Arguments),
    Diff(diff::Arguments),
    Restore(restore::Arguments),
    Mount(mount::Arguments),
    Dump(dump::Arguments),
    Cat(cat::Arguments),
    Chunks(chunks::Arguments),
    Stats(stats::Arguments),
    Status(status::Arguments),
    Check(check::Arguments),
    Audit(audit::Arguments),
    Client(client::Arguments),
    Credential(credential::Arguments),
    Config(config::Arguments),
    Plugin(plugin::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    Version(version::Arguments),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Backup(_) => "backup",
            Command::Snapshots(_) => "snapshots",
            Command::Tag(_) => "tag",
            Command::Copy(_) => "copy",
            Command::Forget(_) => "forget",
            Command::Rewrite(_) => "rewrite",
            Command::Prune(_) => "prune",
            Command::Repair(arguments) => arguments.name(),
            Command::Ls(_) => "ls",
            Command::Find(_) => "find",
            Command::Diff(_) => "diff",
            Command::Restore(_) => "restore",
            Command::Mount(_) => "mount",
            Command::Dump(_) => "dump",
            Command::Cat(_) => "cat",
            Command::Chunks(_) => "chunks",
            Command::Stats(_) => "stats",
            Command::Status(_) => "status",
            Command::Check(_) => "check",
            Command::Audit(_) => "audit",
            Command::Client(_) => "client",
            Command::Credential(_) => "credential",
            Command::Config(_) => "config",
            Command::Plugin(_) => "plugin",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
            Command::Version(_) => "version",
        }
    }

    /// Whether it may need a repository, and so the profile that names it.
    fn uses_profile(&self) -> bool {
        match self {
            Command::Config(arguments) => arguments.uses_profile(),
            Command::Version(_) | Command::Completions(_) | Command::Man(_) | Command::Plugin(_) => false,
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
    let mut output = Output::new(cli.command.name(), &cli.global);
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
        Command::Copy(arguments) => copy::run(global, arguments, output),
        Command::Forget(arguments) => forget::run(global, arguments, output),
        Command::Rewrite(arguments) => rewrite::run(global, arguments, output),
        Command::Prune(arguments) => prune::run(global, arguments, output),
        Command::Repair(arguments) => repair::run(global, arguments, output),
        Command::Ls(arguments) => ls::run(global, arguments, output),
        Command::Find(arguments) => find::run(global, arguments, output),
        Command::Diff(arguments) => diff::run(global, arguments, output),
        Command::Restore(arguments) => restore::run(global, arguments, output),
        Command::Mount(arguments) => mount::run(global, arguments, output),
        Command::Dump(arguments) => dump::run(global, arguments, output),
        Command::Cat(arguments) => cat::run(global, arguments, output),
        Command::Chunks(arguments) => chunks::run(global, arguments, output),
        Command::Stats(arguments) => stats::run(global, arguments, output),
        Command::Status(arguments) => status::run(global, arguments, output),
        Command::Check(arguments) => check::run(global, arguments, output),
        Command::Audit(arguments) => audit::run(global, arguments, output),
        Command::Client(arguments) => client::run(global, arguments, output),
        Command::Credential(arguments) => credential::run(global, arguments, output),
        Command::Config(arguments) => config::run(global, arguments, output),
        Command::Plugin(arguments) => plugin::run(global, arguments, output),
        Command::Completions(arguments) => completions::run(arguments, output),
        Command::Man(arguments) => man::run(arguments, output),
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
        // That a store is waited for is worth a word.
        0 => "error,obnam::waiting=warn",
        1 => "obnam=info",
        _ => "obnam=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("OBNAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| progress::Beside).with_target(false).init();
}
