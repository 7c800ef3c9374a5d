//! What the location and the options say.

use obnam_plugin::OPENED;
pub use obnam_plugin::options::Misfit;
use obnam_plugin::options::Options;

use crate::location::Place;
use crate::names;

/// The names of the options.
pub const OPTIONS: [&str; 9] = [
    "region",
    "style",
    "storage-class",
    "create-bucket",
    "create-only",
    "access-key-id",
    "secret-access-key",
    "session-token",
    OPENED,
];

/// The region where nothing says another one: what AWS calls the classic one, and what most other stores accept.
const USUAL_REGION: &str = "us-east-1";

/// Storage classes from which an object has to be restored before it can be read.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Who asks.
#[derive(Clone)]
pub struct Credentials {
    /// The name of the key; not a secret.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What temporary keys come with.
    pub session_token: Option<String>,
}

/// A parsed location with its options.
pub struct Settings {
    /// Where the bucket is.
    pub place: Place,
    /// The region that requests are signed for.
    pub region: String,
    /// Who asks; none when the user has given no keys.
    pub credentials: Option<Credentials>,
    /// Storage classes by label or family of labels.
    classes: Vec<(String, String)>,
    /// Whether `init` makes the bucket where it is missing.
    pub create_bucket: bool,
    /// Whether uploads forbid to replace what is there (`if-none-match`).
    pub create_only: bool,
    /// Whether another instance has opened this store before.
    pub opened: bool,
}

impl Settings {
    /// Parses a location and the options of `describe`.
    pub fn parse(location: &str, options: &[(String, String)]) -> Result<Self, Misfit> {
        let options = Options::new(options, &OPTIONS)?;
        let virtual_host = match options.value("style") {
            None => None,
            Some("path") => Some(false),
            Some("virtual") => Some(true),
            Some(other) => return Err(Misfit(format!("option style is path or virtual, not {other:?}"))),
        };
        let region = options.value("region");
        if let Some(region) = region.filter(|region| !is_region(region)) {
            return Err(Misfit(format!("option region: {region:?} is not the name of a region")));
        }
        let place = Place::parse(location, region.unwrap_or(USUAL_REGION), virtual_host)?;
        let region = region.map(str::to_owned).or_else(|| place.region_of_host()).unwrap_or(USUAL_REGION.into());
        Ok(Settings {
            region,
            credentials: credentials(|name| options.value(name))?,
            classes: classes(options.value("storage-class").unwrap_or_default())?,
            create_bucket: options.yes("create-bucket", false)?,
            create_only: options.yes("create-only", true)?,
            opened: options.yes(OPENED, false)?,
            place,
        })
    }

    /// The storage class for objects of a label, where the user chose one.
    pub fn storage_class(&self, label: &str) -> Option<&str> {
        self.classes.iter().find(|(filter, _)| names::passes(filter, label)).map(|(_, class)| class.as_str())
    }
}

fn is_region(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn credentials<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Credentials>, Misfit> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    for name in ["access-key-id", "secret-access-key", "session-token"] {
        if value(name).is_some_and(|text| !plain(text)) {
            let message = "contains a space, a line break or another character that no key has; was it copied whole?";
            return Err(Misfit(format!("option {name} {message}")));
        }
    }
    match (value("access-key-id"), value("secret-access-key")) {
        (Some(id), Some(secret)) => Ok(Some(Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: value("session-token").map(str::to_owned),
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Misfit(
            "there is an access key id, but no secret key; set AWS_SECRET_ACCESS_KEY (or the option secret-access-key)"
                .into(),
        )),
        (None, Some(_)) => Err(Misfit(
            "there is a secret key, but no access key id; set AWS_ACCESS_KEY_ID (or the option access-key-id)".into(),
        )),
    }
}

/// Parses `data=STANDARD_IA,snapshot.=STANDARD`.
fn classes(text: &str) -> Result<Vec<(String, String)>, Misfit> {
    let mut classes = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let wrong = |why: &str| {
            let form = "write LABEL=CLASS,..., for example data=STANDARD_IA,tree=STANDARD";
            Misfit(format!("option storage-class: {pair:?} {why}; {form}"))
        };
        let (label, class) = pair.split_once('=').ok_or_else(|| wrong("has no class"))?;
        if !names::is_label(label) {
            return Err(wrong("begins with no label (data, tree, index. and so on)"));
        }
        if class.is_empty() || !class.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
            return Err(wrong("names no storage class"));
        }
        if ARCHIVES.contains(&class) && label != "data" {
            return Err(wrong("would lock away what every command reads; only data can lie in an archive"));
        }
        classes.push((label.to_owned(), class.to_owned()));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(location: &str, options: &[(&str, &str)]) -> Result<Settings, String> {
        let options: Vec<_> = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::parse(location, &options).map_err(|misfit| misfit.0)
    }

    fn misfit(options: &[(&str, &str)]) -> String {
        parse("s3:https://h/b", options).err().unwrap_or_default()
    }

    #[test]
    fn options_are_checked() {
        assert!(misfit(&[("colour", "red")]).contains("\"colour\""));
        assert!(misfit(&[("style", "odd")]).contains("path or virtual"));
        assert!(misfit(&[("create-bucket", "maybe")]).contains("yes or no"));
        assert!(misfit(&[("create-only", "1")]).contains("yes or no"));
        assert!(parse("s3:https://h/b", &[]).is_ok_and(|settings| settings.create_only && !settings.create_bucket));
        assert!(parse("s3:https://h/b", &[("create-only", "no")]).is_ok_and(|settings| !settings.create_only));
        assert!(misfit(&[("region", "eu central")]).contains("region"));
        assert!(misfit(&[("access-key-id", "A")]).contains("AWS_SECRET_ACCESS_KEY"));
        assert!(misfit(&[("secret-access-key", "hunter2")]).contains("AWS_ACCESS_KEY_ID"));
        let pasted = misfit(&[("access-key-id", "A"), ("secret-access-key", "hunter2\n")]);
        assert!(pasted.contains("copied") && !pasted.contains("hunter2"), "{pasted}");
    }

    #[test]
    fn storage_classes_go_by_label() {
        let settings = parse("s3:https://h/b", &[("storage-class", "data=STANDARD_IA,snapshot.=RR_2")]);
        let settings = settings.unwrap_or_else(|misfit| panic!("{misfit}"));
        assert_eq!(settings.storage_class("data"), Some("STANDARD_IA"));
        assert_eq!(settings.storage_class("snapshot.ab"), Some("RR_2"));
        assert_eq!(settings.storage_class("tree"), None);
        for (wrong, why) in [
            ("data", "no class"),
            ("Data=X", "no label"),
            ("data=", "no storage class"),
            ("data=ia", "no storage class"),
            ("tree=GLACIER", "lock away"),
        ] {
            assert!(misfit(&[("storage-class", wrong)]).contains(why), "{wrong}");
        }
        assert!(parse("s3:https://h/b", &[("storage-class", "data=DEEP_ARCHIVE")]).is_ok());
    }

    #[test]
    fn regions() {
        let region = |location: &str, options: &[(&str, &str)]| {
            parse(location, options).map(|settings| settings.region).unwrap_or_else(|misfit| panic!("{misfit}"))
        };
        assert_eq!(region("s3:https://h/b", &[]), "us-east-1");
        assert_eq!(region("s3:https://h/b", &[("region", "garage")]), "garage");
        assert_eq!(region("s3:https://h/b", &[("region", "")]), "us-east-1");
        assert_eq!(region("s3:https://s3.eu-central-1.amazonaws.com/b", &[]), "eu-central-1");
        assert_eq!(region("s3://b", &[("region", "cn-north-1")]), "cn-north-1");
    }
}
