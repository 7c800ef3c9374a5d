//! Keys for S3, from where the tools of AWS keep theirs.
//!
//! They are read for bundled plugins only, and only for one whose options name the variables of AWS. What must always
//! hold:
//!
//! - A key, its secret and its session token come from one source: those of two users are never mixed.
//! - Nothing of them is logged; [`super::output::Redaction`] takes them out of what a plugin says.
//! - They are read again when the place refuses them, since temporary ones expire.

mod files;
mod process;

use std::path::PathBuf;

use super::OptionInfo;
use crate::store::{StoreError, StoreErrorKind};

/// The variables of AWS that belong together, in the order of [`Keys`].
const UNIT: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A key as one source gives it.
#[derive(Clone, PartialEq, Eq, Default)]
struct Keys {
    id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
}

/// The variables of the process, or those of a test.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether a plugin wants what is read here.
pub(super) fn concerns(bundled: bool, options: &[OptionInfo]) -> bool {
    bundled && options.iter().any(|option| option.environment.as_deref() == Some(UNIT[0]))
}

/// Whether the user gave keys as options: then none are read.
pub(super) fn are_given(options: &[OptionInfo], given: &[(String, String)]) -> bool {
    let is_key = |option: &&OptionInfo| option.environment.as_deref().is_some_and(|name| UNIT.contains(&name));
    options.iter().filter(is_key).any(|option| given.iter().any(|(name, _)| *name == option.name))
}

/// The values that stand for the variables of AWS: name and value. With `keys`, those of the keys too.
pub(super) fn read(environment: Environment, keys: bool) -> Result<Vec<(&'static str, String)>, StoreError> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let home = set("HOME").map(|home| PathBuf::from(home).join(".aws"));
    let file = |variable: &str, name: &str| {
        let named = set(variable).map(PathBuf::from);
        (named.is_some(), named.or_else(|| home.as_ref().map(|home| home.join(name))))
    };
    let chosen = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
    let profile = files::Profile::read(
        chosen.as_deref().unwrap_or("default"),
        file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        file("AWS_CONFIG_FILE", "config"),
    )
    .map_err(invalid)?;
    let mut values = Vec::new();
    let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).or_else(|| profile.get("region"));
    values.extend(region.map(|region| ("AWS_REGION", region)));
    if keys {
        let [id, secret, token] = UNIT.map(set);
        let found = if id.is_some() || secret.is_some() {
            Keys { id, secret, token }
        } else if let Some(profile_name) = chosen.as_deref().filter(|_| !profile.is_there()) {
            return Err(invalid(format!(
                "there is no profile {profile_name:?} (AWS_PROFILE) in {}",
                profile.places().join(" or in ")
            )));
        } else {
            of_profile(&profile)?
        };
        let found = [found.id, found.secret, found.token];
        values.extend(UNIT.into_iter().zip(found).filter_map(|(name, value)| Some((name, value?))));
    }
    Ok(values)
}

/// The keys that a profile has, or those that the program prints that it names.
fn of_profile(profile: &files::Profile) -> Result<Keys, StoreError> {
    let keys = Keys {
        id: profile.get("aws_access_key_id"),
        secret: profile.get("aws_secret_access_key"),
        token: profile.get("aws_session_token").or_else(|| profile.get("aws_security_token")),
    };
    match profile.get("credential_process") {
        Some(command) if keys.id.is_none() => process::run(&command).map_err(invalid),
        _ => {
            let other = ["role_arn", "sso_session", "sso_start_url", "web_identity_token_file"];
            match other.into_iter().find(|key| profile.get(key).is_some()) {
                Some(way) if keys.id.is_none() => Err(invalid(format!(
                    "the profile {:?} gets its keys by {way}, which obnam cannot do; let the tools of AWS do it: \
                     credential_process = aws configure export-credentials --profile {} --format process, in a profile of \
                     its own",
                    profile.name, profile.name
                ))),
                _ => Ok(keys),
            }
        }
    }
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What is read with these variables, and files below a home directory.
    fn read_with(home: &Path, variables: &[(&str, &str)]) -> Result<BTreeMap<&'static str, String>, String> {
        let environment = |name: &str| {
            let home = ("HOME", home.to_str().unwrap());
            variables.iter().chain([&home]).find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        read(&environment, true).map(|values| values.into_iter().collect()).map_err(|error| error.message)
    }

    fn home(credentials: &str, config: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        fs::write(home.path().join(".aws/config"), config).unwrap();
        home
    }

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = AK1\naws_secret_access_key=S1\n\n\
        [ work ]\naws_access_key_id = AK2\naws_secret_access_key = S/2+==\naws_session_token = T2 ; no comment\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\n  region = no\n\
        [profile work]\nregion = garage # near\n[profile sso]\nsso_session = x\n";

    #[test]
    fn the_environment_comes_first_and_is_never_mixed() {
        let home = home(CREDENTIALS, CONFIG);
        let from = |variables: &[(&str, &str)]| read_with(home.path(), variables).unwrap();
        let own = from(&[("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "F"), ("AWS_PROFILE", "work")]);
        assert_eq!((own["AWS_ACCESS_KEY_ID"].as_str(), own["AWS_SECRET_ACCESS_KEY"].as_str()), ("E", "F"));
        assert!(!own.contains_key("AWS_SESSION_TOKEN"));
        // Half a key is no reason to take the other half from a file, nor a token without a key.
        let half = from(&[("AWS_ACCESS_KEY_ID", "E")]);
        assert!(!half.contains_key("AWS_SECRET_ACCESS_KEY"));
        let stale = from(&[("AWS_SESSION_TOKEN", "old")]);
        assert_eq!((stale["AWS_ACCESS_KEY_ID"].as_str(), stale.get("AWS_SESSION_TOKEN")), ("AK1", None));
        let empty = from(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]);
        assert_eq!(empty["AWS_ACCESS_KEY_ID"], "AK1");
    }

    #[test]
    fn profiles() {
        let home = home(CREDENTIALS, CONFIG);
        let from = |variables: &[(&str, &str)]| read_with(home.path(), variables);
        let usual = from(&[]).unwrap();
        assert_eq!((usual["AWS_SECRET_ACCESS_KEY"].as_str(), usual["AWS_REGION"].as_str()), ("S1", "eu-west-1"));
        let work = from(&[("AWS_PROFILE", "work")]).unwrap();
        assert_eq!(work["AWS_SECRET_ACCESS_KEY"], "S/2+==");
        assert_eq!((work["AWS_SESSION_TOKEN"].as_str(), work["AWS_REGION"].as_str()), ("T2", "garage"));
        let region = |name| from(&[("AWS_PROFILE", "work"), (name, "here")]).unwrap()["AWS_REGION"].clone();
        assert_eq!((region("AWS_REGION").as_str(), region("AWS_DEFAULT_REGION").as_str()), ("here", "here"));
        let message = from(&[("AWS_PROFILE", "absent")]).unwrap_err();
        assert!(message.contains("\"absent\"") && message.contains(".aws/credentials"), "{message}");
        let message = from(&[("AWS_PROFILE", "sso")]).unwrap_err();
        assert!(message.contains("sso_session") && message.contains("export-credentials"), "{message}");
    }

    #[test]
    fn files_elsewhere_missing_and_odd() {
        let nowhere = tempfile::tempdir().unwrap();
        assert_eq!(read_with(nowhere.path(), &[]).unwrap(), BTreeMap::new());
        let elsewhere = nowhere.path().join("keys");
        fs::write(&elsewhere, CREDENTIALS).unwrap();
        let named = [("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap())];
        assert_eq!(read_with(nowhere.path(), &named).unwrap()["AWS_ACCESS_KEY_ID"], "AK1");
        let message = read_with(nowhere.path(), &[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/keys")]).unwrap_err();
        assert!(message.contains("/nowhere/keys"), "{message}");
        fs::write(&elsewhere, "[default]\naws_secret_access_key hunter2\n").unwrap();
        let message = read_with(nowhere.path(), &named).unwrap_err();
        assert!(message.contains("line 2") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn programs_print_keys() {
        let run = |program: &str| {
            let home = home("", &format!("[default]\ncredential_process = {program}\n"));
            let script = home.path().join("my keys");
            fs::write(&script, "cat \"$(dirname \"$0\")/answer\"").unwrap();
            let answer = r#"{"Version": 1, "AccessKeyId": "P", "SecretAccessKey": "hunter2", "SessionToken": "T"}"#;
            fs::write(home.path().join("answer"), answer).unwrap();
            let config = home.path().join(".aws/config");
            let text = fs::read_to_string(&config).unwrap().replace("SCRIPT", script.to_str().unwrap());
            fs::write(config, text).unwrap();
            read_with(home.path(), &[])
        };
        let keys = run("sh \"SCRIPT\"").unwrap();
        assert_eq!((keys["AWS_ACCESS_KEY_ID"].as_str(), keys["AWS_SESSION_TOKEN"].as_str()), ("P", "T"));
        assert!(run("false").unwrap_err().contains("false"));
        assert!(run("echo hunter2").unwrap_err().contains("no JSON"));
        assert!(run("/nowhere/program").unwrap_err().contains("/nowhere/program"));
    }
}
