//! `obnam man`: manual pages, made from the help texts.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::output::{Output, count};
use super::{Cli, Failure, exit};

/// Print the manual page, or write the pages of all commands into a directory.
///
/// Needs no repository and reads no configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam man | man -l -
  obnam man ~/.local/share/man/man1")]
pub struct Arguments {
    /// Where to write obnam.1, obnam-backup.1 and so on; without it, obnam.1 is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// All pages, with the names of their files.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    fn add(command: clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
        for below in command.get_subcommands() {
            add(below.clone(), pages)?;
        }
        let mut page = Vec::new();
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        clap_mangen::Man::new(command).render(&mut page)?;
        pages.push((format!("{name}.1"), page));
        Ok(())
    }
    // Of what the short help leaves out, the pages would have the names alone.
    let mut command = shown_whole(Cli::command());
    command.build();
    let mut pages = Vec::new();
    add(command, &mut pages)?;
    pages.sort();
    Ok(pages)
}

fn shown_whole(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.hide_short_help(false)).mut_subcommands(shown_whole)
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    if output.json {
        return Err(Failure::Input("manual pages have no form in JSON; leave --json out".into()));
    }
    let pages = pages().map_err(Failure::Output)?;
    let Some(directory) = &arguments.directory else {
        let page = pages.iter().find(|(name, _)| name == "obnam.1").expect("the program has a page");
        output.raw(&page.1)?;
        output.flush()?;
        return Ok(exit::OK);
    };
    let cannot = |error| Failure::Input(format!("cannot write manual pages into {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(cannot)?;
    for (name, page) in &pages {
        std::fs::write(directory.join(name), page).map_err(cannot)?;
    }
    output.summary(format!("{} written", count(pages.len() as u64, "page", "pages")))?;
    output.flush()?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        command.get_subcommands().for_each(|below| every(below, look));
    }

    #[test]
    fn every_command_and_option_is_explained() {
        let mut root = Cli::command();
        root.build();
        let mut seen = 0;
        every(&root, &mut |command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 8, "{} has no summary", command.get_name());
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 5, "{} of {} has no help", argument.get_id(), command.get_name());
                seen += 1;
            }
        });
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().expect("pages are made in memory");
        let mut root = Cli::command();
        root.build();
        every(&root, &mut |command| {
            let name = command.get_display_name().unwrap_or(command.get_name());
            let page = pages.iter().find(|(file, _)| *file == format!("{name}.1"));
            let text = String::from_utf8_lossy(&page.unwrap_or_else(|| panic!("{name} has no page")).1).into_owned();
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{text}");
            assert!(text.contains("JSON lines"), "{name} does not explain --progress");
        });
    }
}
