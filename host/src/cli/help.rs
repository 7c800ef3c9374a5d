//! The help of the whole program: commands in groups, and below the options what a man page has besides.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::Cli;

/// The commands, by what they are for.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Back up", &["init", "backup"]),
    ("Restore", &["restore", "mount", "dump", "cat"]),
    ("Look", &["snapshots", "ls", "find", "diff", "stats", "status"]),
    (
        "Keep in order",
        &["copy", "check", "audit", "tag", "forget", "rewrite", "prune", "repair", "client", "credential", "chunks"],
    ),
    ("This program", &["config", "plugin", "version", "completions", "man"]),
];

/// Commands that stand in no group.
const OTHERS: &str = "Others";

/// The end of the short help.
pub(super) const SHORT: &str = "\"obnam COMMAND -h\" says more of a command; \"obnam --help\" has examples, environment \
                                variables, files and exit codes.";

/// The end of the long help.
pub(super) const LONG: &str = r#"Examples:
  obnam -r /mnt/disk/backup config init    write a first configuration file
  obnam init                               make the repository; prints the recovery sheet
  obnam backup                             back up what the profile names
  obnam -p photos backup --tag summer      the same with the profile "photos"
  obnam snapshots                          list what there is
  obnam ls latest /home/me/Documents       list the files of the newest snapshot
  obnam restore latest /tmp/restored       restore it into a directory
  obnam check --read-data                  read and verify every byte

Configuration:
  What the command line says comes first, then the environment, then the profile. "obnam config show" prints what
  is in force, and who said so. Without -p and without a repository, the profile "default" is used.

Environment:
  OBNAM_CONFIG                 the configuration file, as --config
  OBNAM_REPOSITORY             the location of the repository, as --repo
  OBNAM_REPOSITORY_ID          its id, as --repository-id
  OBNAM_CREDENTIAL             the one credential to open, as --credential
  OBNAM_BACKEND                a plugin file, as --backend
  OBNAM_IDENTITY               an identity file, as --identity
  OBNAM_PASSPHRASE             the passphrase
  OBNAM_PASSPHRASE_FILE        a file whose first line is the passphrase
  OBNAM_PASSPHRASE_COMMAND     a shell command; the first line that it prints is the passphrase
  OBNAM_TO_PASSPHRASE, OBNAM_TO_PASSPHRASE_FILE, OBNAM_TO_PASSPHRASE_COMMAND    the same for the target of "copy"
  OBNAM_NEW_PASSPHRASE, OBNAM_NEW_PASSPHRASE_FILE, OBNAM_NEW_PASSPHRASE_COMMAND    the same for a new credential
  OBNAM_LOG                    what the log holds, such as obnam=debug; see also -v
  XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME    the directories below are in these, if they are set

Files:
  ~/.config/obnam/config.toml     profiles
  ~/.config/obnam/trusted-plugins.json    which plugin files you trust
  ~/.config/obnam/repositories    which repository this machine knows at which location
  ~/.local/state/obnam            what was seen of each repository, and the lock
  ~/.cache/obnam                  copies and indexes, compiled plugins; may be deleted at any time

Exit codes:
  0 done                                        12 wrong passphrase, or no credential that opens it
  1 another error                               13 the storage failed
  2 wrong usage                                 14 a plugin was refused or stopped
  3 done, but incomplete: some files failed     15 the repository is damaged or under attack
  4 "check" found damage                        16 another backup of this client is running
  5 "status" found a backup that is too old     17 the configuration or an input is wrong
 10 there is no repository                     18 "before" of the profile has failed: no backup was made
 11 there is one already                       130 interrupted"#;

/// The command line, with the commands in groups.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let styles = command.get_styles();
    let (header, literal) = (*styles.get_header(), *styles.get_literal());
    let mut text = String::new();
    for (group, commands) in groups(&command) {
        let _ = writeln!(text, "{header}{group}:{header:#}");
        for (name, about) in commands {
            let _ = writeln!(text, "  {literal}{name:<12}{literal:#} {about}");
        }
        text.push('\n');
    }
    let template = "{about-section}\n{usage-heading} {usage}\n\n";
    let options = format!("{header}Options of all commands:{header:#}\n{{options}}{{after-help}}");
    command.help_template(format!("{template}{text}{options}"))
}

/// The groups with the names of their commands and what these do.
fn groups(command: &Command) -> Vec<(&'static str, Vec<(String, String)>)> {
    let about = |command: &Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let entry = |command: &Command| (command.get_name().to_owned(), about(command));
    let visible = || command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut groups: Vec<(&str, Vec<_>)> = Vec::new();
    for (group, names) in GROUPS {
        let known = names.iter().filter_map(|name| visible().find(|command| command.get_name() == *name));
        groups.push((group, known.map(entry).collect()));
    }
    let grouped = |command: &&Command| GROUPS.iter().any(|(_, names)| names.contains(&command.get_name()));
    groups.push((OTHERS, visible().filter(|command| !grouped(command)).map(entry).collect()));
    groups.retain(|(_, commands)| !commands.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let groups = groups(&Cli::command());
        assert!(!groups.iter().any(|(group, _)| *group == OTHERS), "add these to GROUPS: {groups:?}");
        let shown: usize = groups.iter().map(|(_, commands)| commands.len()).sum();
        assert_eq!(shown, Cli::command().get_subcommands().count());
    }

    #[test]
    fn long_help_is_kept() {
        // A comment at the variant of a command would hide what stands at its arguments.
        for name in ["init", "backup", "restore", "check", "chunks"] {
            let command = Cli::command();
            let command = command.find_subcommand(name).expect("a command");
            assert!(command.get_long_about().is_some(), "{name}");
        }
    }

    #[test]
    fn the_help_names_every_variable_and_exit_code() {
        let command = command();
        for variable in command.get_arguments().filter_map(clap::Arg::get_env) {
            assert!(LONG.contains(variable.to_str().expect("text")), "{variable:?} is missing");
        }
        let readme = include_str!("../../../README.md");
        let table = readme.split("## Exit codes").nth(1).expect("a table").split("\n## ").next().expect("a table");
        let codes = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<u8>().ok());
        let mut count = 0;
        for code in codes {
            assert!(
                LONG.lines().any(|line| line.split("  ").any(|part| part.trim().starts_with(&format!("{code} ")))),
                "{code}"
            );
            count += 1;
        }
        assert_eq!(count, 16);
    }
}
