//! What the location and the options say.

use obnam_plugin::options::Options;

use crate::Error;

/// A parsed location with its options.
pub struct Settings {
    /// The absolute path of the directory.
    pub path: String,
    /// Whether to sync files and directories.
    pub fsync: bool,
}

impl Settings {
    /// Parses `/abs/path`, `file:/abs/path` or `file:///abs/path`, and the options of `describe`.
    pub fn parse(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let path = location.strip_prefix("file:").unwrap_or(location);
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(Error::Invalid(format!("{location:?} is not the absolute path of a directory")));
        }
        let options = Options::new(options, &["fsync"])?;
        Ok(Settings { path: path.to_owned(), fsync: options.yes("fsync", true)? })
    }
}
