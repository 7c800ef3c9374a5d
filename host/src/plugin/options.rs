//! The options of a plugin: compared with what it says that it understands.

use super::OptionInfo;
use crate::store::{StoreError, StoreErrorKind};

/// What the environment variables for options of foreign plugins must begin with: what such a plugin names is not
/// necessarily meant for it.
pub(super) const FOREIGN_ENVIRONMENT: &str = "OBNAM_PLUGIN_";

/// Checks the names, looks into the environment for what was not given, and misses what is required.
pub(super) fn complete(
    plugin: &str,
    bundled: bool,
    known: &[OptionInfo],
    given: &[(String, String)],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, StoreError> {
    let invalid = |message: String| Err(StoreError::new(StoreErrorKind::Invalid, message));
    let names = || match known {
        [] => "it has none".to_owned(),
        _ => format!("known are {}", known.iter().map(|option| option.name.as_str()).collect::<Vec<_>>().join(", ")),
    };
    for (position, (name, _)) in given.iter().enumerate() {
        if !known.iter().any(|option| option.name == *name) {
            return invalid(format!("plugin {plugin} has no option {name:?}; {}", names()));
        }
        if given[..position].iter().any(|(before, _)| before == name) {
            return invalid(format!("the option {name} of plugin {plugin} is given twice"));
        }
    }
    let mut complete = given.to_vec();
    for option in known {
        if given.iter().any(|(name, _)| *name == option.name) {
            continue;
        }
        let variable = option.environment.as_deref();
        let readable = variable.filter(|name| bundled || name.starts_with(FOREIGN_ENVIRONMENT));
        if let Some(value) = readable.and_then(&environment) {
            complete.push((option.name.clone(), value));
        } else if option.required {
            let or = readable.map_or_else(String::new, |name| format!(", or the environment variable {name}"));
            return invalid(format!("plugin {plugin} needs the option {}{or}: {}", option.name, option.help));
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

    #[test]
    fn unknown_repeated_and_missing_options_are_refused() {
        let known = [option("key", true, None), option("region", false, None)];
        let message = |given: &[(String, String)]| complete("p", true, &known, given, |_| None).unwrap_err().message;
        assert_eq!(message(&[pair("kee", "1")]), "plugin p has no option \"kee\"; known are key, region");
        assert_eq!(message(&[pair("region", "x")]), "plugin p needs the option key: Help.");
        assert_eq!(message(&[pair("key", "1"), pair("key", "2")]), "the option key of plugin p is given twice");
        assert!(complete("p", true, &[], &[pair("a", "")], |_| None).unwrap_err().message.contains("it has none"));
        assert_eq!(complete("p", true, &known, &[pair("key", "1")], |_| None).unwrap(), [pair("key", "1")]);
    }

    #[test]
    fn foreign_plugins_cannot_read_any_variable() {
        let known = [option("key", false, Some("HOME")), option("k2", false, Some("OBNAM_PLUGIN_K2"))];
        let environment = |name: &str| Some(name.to_lowercase());
        assert_eq!(complete("p", false, &known, &[], environment).unwrap(), [pair("k2", "obnam_plugin_k2")]);
        assert_eq!(complete("p", true, &known, &[], environment).unwrap().len(), 2);
    }
}
