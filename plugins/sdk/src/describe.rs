//! Short ways to what a plugin says of itself and of its place.

use crate::{DirectoryWish, Finding, Grants, OPENED, OptionHelp, Severity};

/// An option is made with [`new`](OptionHelp::new), and told apart with what follows:
///
/// ```
/// use obnam_plugin::OptionHelp;
///
/// let token = OptionHelp::new("token", "What the server knows you by.").required().secret();
/// let token = token.or_from("OBNAM_PLUGIN_TOKEN");
/// assert!(token.required && token.secret);
/// ```
impl OptionHelp {
    /// An option that need not be given and is no secret. `name` is `[a-z][a-z0-9-]*`; `help` is one sentence: what it
    /// does, which values, which default.
    pub fn new(name: &str, help: &str) -> Self {
        OptionHelp { name: name.into(), help: help.into(), required: false, secret: false, environment: None }
    }

    /// The option [`OPENED`], for a plugin that need not look at the place again when another instance of it has.
    pub fn opened() -> Self {
        OptionHelp::new(OPENED, "Set by obnam itself to yes when it has opened the store before.")
    }

    /// It must be given: Obnam refuses to start without.
    pub fn required(self) -> Self {
        OptionHelp { required: true, ..self }
    }

    /// Its value is not shown. Obnam then also takes `NAME-file` and `NAME-command`, and blanks the value wherever the
    /// plugin prints it.
    pub fn secret(self) -> Self {
        OptionHelp { secret: true, ..self }
    }

    /// Obnam reads it from this environment variable when it is not given otherwise. The name must begin with
    /// `OBNAM_PLUGIN_` unless the plugin is bundled with Obnam.
    pub fn or_from(self, variable: &str) -> Self {
        OptionHelp { environment: Some(variable.into()), ..self }
    }
}

impl Grants {
    /// The wish for one directory, to read and to write, by its absolute path.
    pub fn directory(path: &str) -> Self {
        let wish = DirectoryWish { path: path.into(), read_only: false };
        Grants { directories: vec![wish], origins: Vec::new() }
    }

    /// The wish to talk to these: `https://HOST` or `https://HOST:PORT`, as [`crate::url::Host`] is shown.
    pub fn origins(origins: impl IntoIterator<Item = impl ToString>) -> Self {
        let origins = origins.into_iter().map(|origin| origin.to_string()).collect();
        Grants { directories: Vec::new(), origins }
    }
}

/// `code` is a stable name for programs, `[a-z0-9-]+`; `message` a sentence for people.
impl Finding {
    /// What is worth knowing.
    pub fn info(code: &str, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Info, code: code.into(), message: message.into() }
    }

    /// A guarantee of the contract that the place does not give.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, code: code.into(), message: message.into() }
    }

    /// Something that is broken.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Error, code: code.into(), message: message.into() }
    }
}
