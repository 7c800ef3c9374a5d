//! The options of a plugin: compared with what it says that it understands.

use std::path::PathBuf;

use super::OptionInfo;
use crate::credential::passphrase::{line_of_command, line_of_file};
use crate::store::{StoreError, StoreErrorKind};

/// Options that stand in the configuration file. They give way to those of the command line, and none of them is a secret.
#[derive(Debug, Clone, Default)]
pub struct KeptOptions {
    /// Name and value.
    pub options: Vec<(String, String)>,
    /// Why a command among them is not to be run: others could have written it.
    pub distrust: Option<String>,
}

/// What the environment variables for options of foreign plugins must begin with: what such a plugin names is not
/// necessarily meant for it.
pub(super) const FOREIGN_ENVIRONMENT: &str = "OBNAM_PLUGIN_";

/// How the value of an option is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Value,
    /// `NAME-file`: it is the first line of this file. For secrets only.
    File,
    /// `NAME-command`: it is the first line that this command prints. For secrets only.
    Command,
}

/// The option that a name stands for, and how. What a plugin itself calls so comes first.
fn meant<'k>(known: &'k [OptionInfo], name: &str) -> Option<(&'k OptionInfo, Form)> {
    let find = |name: &str| known.iter().find(|option| option.name == name);
    let secret = |suffix| name.strip_suffix(suffix).and_then(find).filter(|option| option.secret);
    find(name)
        .map(|option| (option, Form::Value))
        .or_else(|| secret("-file").map(|option| (option, Form::File)))
        .or_else(|| secret("-command").map(|option| (option, Form::Command)))
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

/// What the user says: the options that were `given` on the command line, and those `kept` in the configuration file that
/// they do not replace. Checks the names; reads files and runs commands.
pub(super) fn said(
    plugin: &str,
    known: &[OptionInfo],
    given: &[(String, String)],
    kept: &KeptOptions,
) -> Result<Vec<(String, String)>, StoreError> {
    let given = sort(plugin, known, given)?;
    let mut said = Vec::new();
    for (option, form, value) in &given {
        said.push((option.name.clone(), read(plugin, option, *form, PathBuf::from(value), value)?));
    }
    for (option, form, value) in sort(plugin, known, &kept.options)? {
        let name = &option.name;
        let refused = |why: String| Err(invalid(format!("the option {name} of plugin {plugin} {why}")));
        let path = match (form, &kept.distrust) {
            (Form::Value, _) if option.secret => {
                let variable = option.environment.as_ref();
                let variable = variable.map_or_else(String::new, |variable| format!(" in {variable}, or"));
                return refused(format!(
                    "is a secret, which is not kept in the configuration file; give it{variable} by -o {name}=..., or \
                     write there where it is: {name}-file or {name}-command"
                ));
            }
            (Form::Command, Some(why)) => {
                return refused(format!("is not asked from the {name}-command of the configuration file: {why}"));
            }
            (Form::File, _) => match crate::config::expand(value) {
                Ok(path) => path,
                Err(why) => {
                    return refused(format!("cannot be read from the {name}-file of the configuration file: {why}"));
                }
            },
            _ => PathBuf::new(),
        };
        if !given.iter().any(|(other, ..)| other.name == *name) {
            said.push((name.clone(), read(plugin, option, form, path, value)?));
        }
    }
    Ok(said)
}

/// The options that are meant, each at most once.
fn sort<'a>(
    plugin: &str,
    known: &'a [OptionInfo],
    options: &'a [(String, String)],
) -> Result<Vec<(&'a OptionInfo, Form, &'a str)>, StoreError> {
    let names = || match known {
        [] => "it has none".to_owned(),
        _ => format!("known are {}", known.iter().map(|option| option.name.as_str()).collect::<Vec<_>>().join(", ")),
    };
    let mut sorted: Vec<(&OptionInfo, Form, &str)> = Vec::new();
    for (name, value) in options {
        let (option, form) = meant(known, name)
            .ok_or_else(|| invalid(format!("plugin {plugin} has no option {name:?}; {}", names())))?;
        if sorted.iter().any(|(before, ..)| before.name == option.name) {
            return Err(invalid(format!("the option {} of plugin {plugin} is given twice", option.name)));
        }
        sorted.push((option, form, value));
    }
    Ok(sorted)
}

/// The value of an option.
fn read(plugin: &str, option: &OptionInfo, form: Form, path: PathBuf, value: &str) -> Result<String, StoreError> {
    let secret = match form {
        Form::Value => return Ok(value.to_owned()),
        Form::File => line_of_file(&option.name, &path),
        Form::Command => line_of_command(&option.name, value),
    };
    let failed = |error| invalid(format!("cannot get the option {} of plugin {plugin}: {error}", option.name));
    secret.map(|secret| secret.to_string()).map_err(failed)
}

/// Looks into the environment for what the user did not say, and misses what is required.
pub(super) fn complete(
    plugin: &str,
    bundled: bool,
    known: &[OptionInfo],
    said: &[(String, String)],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut complete = said.to_vec();
    for option in known {
        if said.iter().any(|(name, _)| *name == option.name) {
            continue;
        }
        let variable = option.environment.as_deref();
        let readable = variable.filter(|name| bundled || name.starts_with(FOREIGN_ENVIRONMENT));
        if let Some(value) = readable.and_then(&environment) {
            complete.push((option.name.clone(), value));
        } else if option.required {
            let or = readable.map_or_else(String::new, |name| format!(", or the environment variable {name}"));
            let message = format!("plugin {plugin} needs the option {}{or}: {}", option.name, option.help);
            return Err(invalid(message));
        }
    }
    Ok(complete)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn option(name: &str, required: bool, environment: Option<&str>) -> OptionInfo {
        OptionInfo {
            name: name.into(),
            help: "Help.".into(),
            required,
            secret: false,
            environment: environment.map(str::to_owned),
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    fn secret(name: &str) -> OptionInfo {
        OptionInfo { secret: true, ..option(name, false, Some("OBNAM_X")) }
    }

    fn kept(name: &str, value: &str) -> KeptOptions {
        KeptOptions { options: vec![pair(name, value)], distrust: None }
    }

    #[test]
    fn unknown_repeated_and_missing_options_are_refused() {
        let known = [option("key", true, None), option("region", false, None)];
        let nothing = KeptOptions::default();
        let message = |given: &[(String, String)]| said("p", &known, given, &nothing).unwrap_err().message;
        assert_eq!(message(&[pair("kee", "1")]), "plugin p has no option \"kee\"; known are key, region");
        assert_eq!(message(&[pair("key", "1"), pair("key", "2")]), "the option key of plugin p is given twice");
        // Only secrets have other forms.
        assert!(message(&[pair("key-file", "x")]).contains("no option \"key-file\""));
        assert!(said("p", &[], &[pair("a", "")], &nothing).unwrap_err().message.contains("it has none"));
        assert_eq!(said("p", &known, &[pair("key", "1")], &kept("key", "2")).unwrap(), [pair("key", "1")]);
        let missing = complete("p", true, &known, &[pair("region", "x")], |_| None).unwrap_err();
        assert_eq!(missing.message, "plugin p needs the option key: Help.");
        assert_eq!(complete("p", true, &known, &[pair("key", "1")], |_| None).unwrap(), [pair("key", "1")]);
    }

    #[test]
    fn secrets_come_from_files_and_commands() {
        let known = [secret("token"), option("region", false, None)];
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("token");
        std::fs::write(&file, "of-file\nmore\n").unwrap();
        let file = file.to_str().unwrap();
        let given = |options: &[(String, String)]| said("p", &known, options, &KeptOptions::default());
        let of_file = [pair("token", "of-file")];
        assert_eq!(given(&[pair("token-file", file)]).unwrap(), of_file);
        assert_eq!(given(&[pair("token-command", "echo it; echo no")]).unwrap(), [pair("token", "it")]);
        assert_eq!(said("p", &known, &[], &kept("token-file", file)).unwrap(), of_file);
        // The command line comes first, whatever its form; what it replaces is not run.
        let failing = kept("token-command", "exit 1");
        assert_eq!(said("p", &known, &[pair("token", "x")], &failing).unwrap(), [pair("token", "x")]);
        let twice = given(&[pair("token", "x"), pair("token-file", file)]).unwrap_err().message;
        assert_eq!(twice, "the option token of plugin p is given twice");
        let message = |name, value| given(&[pair(name, value)]).unwrap_err().message;
        assert!(message("token-file", "/nowhere").contains("cannot read the token file /nowhere"));
        assert!(message("token-file", "/dev/null").contains("the token is empty"));
        assert!(message("token-command", "exit 3").contains("the token command \"exit 3\" failed"));
        assert!(message("region-command", "true").contains("no option"));
    }

    #[test]
    fn an_option_of_the_plugin_itself_comes_first() {
        let known = [secret("token"), option("token-file", false, None)];
        let both = [pair("token", "x"), pair("token-file", "/nowhere")];
        assert_eq!(said("p", &known, &both, &KeptOptions::default()).unwrap(), both);
    }

    #[test]
    fn the_configuration_file_keeps_no_secrets_and_runs_nothing_of_others() {
        let known = [secret("token")];
        let message = |kept: &KeptOptions| said("p", &known, &[], kept).unwrap_err().message;
        let refused = message(&kept("token", "x"));
        for part in ["is a secret", "OBNAM_X", "token-file or token-command"] {
            assert!(refused.contains(part), "{refused}");
        }
        let distrusted = KeptOptions { distrust: Some("others can write".into()), ..kept("token-command", "echo x") };
        assert!(message(&distrusted).contains("others can write"));
        assert!(message(&kept("token-file", "token")).contains("begin it with / or ~/"));
    }

    #[test]
    fn foreign_plugins_cannot_read_any_variable() {
        let known = [option("key", false, Some("HOME")), option("k2", false, Some("OBNAM_PLUGIN_K2"))];
        let environment = |name: &str| Some(name.to_lowercase());
        assert_eq!(complete("p", false, &known, &[], environment).unwrap(), [pair("k2", "obnam_plugin_k2")]);
        assert_eq!(complete("p", true, &known, &[], environment).unwrap().len(), 2);
    }
}
