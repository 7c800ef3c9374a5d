//! `obnam completions`: scripts with which shells complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::Output;
use super::{Cli, Failure, exit};

/// Print a script that makes a shell complete commands and options.
///
/// Needs no repository and reads no configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam completions bash > ~/.local/share/bash-completion/completions/obnam
  obnam completions zsh > ~/.zfunc/_obnam
  obnam completions fish > ~/.config/fish/completions/obnam.fish")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    if output.json {
        return Err(Failure::Input("completions are a script, which has no form in JSON; leave --json out".into()));
    }
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "obnam", &mut script);
    output.raw(&script)?;
    output.flush()?;
    Ok(exit::OK)
}
