//! What users say: the options of a plugin, as `plan`, `init` and `open` are handed them.
//!
//! ```
//! use obnam_plugin::options::{Misfit, Options};
//!
//! fn parse(options: &[(String, String)]) -> Result<(Option<&str>, bool), Misfit> {
//!     let options = Options::new(options, &["region", "create"])?;
//!     Ok((options.value("region"), options.yes("create", false)?))
//! }
//!
//! assert!(parse(&[("region".into(), "eu".into())]).is_ok_and(|parsed| parsed == (Some("eu"), false)));
//! assert!(parse(&[("create".into(), "perhaps".into())]).is_err_and(|misfit| misfit.0.contains("yes or no")));
//! ```

use std::fmt;

use crate::Error;

/// What is wrong with a location or an option: a sentence for people, which becomes [`Error::Invalid`].
#[derive(Debug)]
pub struct Misfit(pub String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        Error::Invalid(misfit.0)
    }
}

/// The options as Obnam hands them over: name and value. One with an empty value counts as not given.
#[derive(Clone, Copy)]
pub struct Options<'a>(&'a [(String, String)]);

impl<'a> Options<'a> {
    /// The options, none of which has another name than these.
    pub fn new(options: &'a [(String, String)], names: &[&str]) -> Result<Self, Misfit> {
        match options.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((unknown, _)) if names.is_empty() => {
                Err(Misfit(format!("no option is called {unknown:?}; there are none")))
            }
            Some((unknown, _)) => {
                Err(Misfit(format!("no option is called {unknown:?}; there are {}", names.join(", "))))
            }
            None => Ok(Options(options)),
        }
    }

    /// The value of an option.
    pub fn value(self, name: &str) -> Option<&'a str> {
        let is_it = |option: &&(String, String)| option.0 == name && !option.1.is_empty();
        self.0.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    /// The value of an option that is `yes` or `no`.
    pub fn yes(self, name: &str, otherwise: bool) -> Result<bool, Misfit> {
        match self.value(name) {
            None => Ok(otherwise),
            Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => Err(Misfit(format!("option {name} is yes or no, not {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_and_checked() {
        let given = [("a", "yes"), ("b", ""), ("c", "x")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let unknown = Options::new(&given, &["a", "b"]).err().map(|misfit| misfit.0).unwrap_or_default();
        assert_eq!(unknown, "no option is called \"c\"; there are a, b");
        let options = Options::new(&given, &["a", "b", "c"]).unwrap_or_else(|misfit| panic!("{misfit}"));
        assert_eq!((options.value("c"), options.value("b"), options.value("d")), (Some("x"), None, None));
        assert!(matches!((options.yes("a", false), options.yes("b", true)), (Ok(true), Ok(true))));
        assert!(options.yes("c", true).is_err());
    }
}
