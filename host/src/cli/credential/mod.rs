//! `obnam credential`: what opens the repository.

mod add;
mod list;
pub mod new;
mod passwd;
mod remember;
mod remove;
mod sheet;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{Failure, Global};

/// List, add, change, remember and remove what opens the repository, and print its recovery sheet.
///
/// A credential is opened by a passphrase or an identity, and holds the key of one client. With obnam-server it can hold a
/// token too, so that the passphrase on a laptop lets it back up and no more, and the identity in the safe does everything.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::Arguments),
    Add(Box<add::Arguments>),
    Passwd(passwd::Arguments),
    Remember(remember::Arguments),
    Forget(remember::ForgetArguments),
    Remove(remove::Arguments),
    Sheet(sheet::Arguments),
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match &arguments.what {
        What::List(arguments) => list::run(global, arguments, output),
        What::Add(arguments) => add::run(global, arguments, output),
        What::Passwd(arguments) => passwd::run(global, arguments, output),
        What::Remember(arguments) => remember::run(global, arguments, output),
        What::Forget(_) => remember::forget(global, output),
        What::Remove(arguments) => remove::run(global, arguments, output),
        What::Sheet(_) => sheet::run(global, output),
    }
}
