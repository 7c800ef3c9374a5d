//! What a plugin says to whoever looks for its defects.

use std::fmt;
use std::io::Write;

/// Says something in Obnam's log, in the manner of [`format!`].
///
/// Whatever a plugin prints goes there: standard output and standard error alike, at level debug, which `obnam -vv` or
/// `OBNAM_LOG=obnam::plugin=debug` shows. At most 64 KiB per call are kept, and 2,000 characters of a line; the values
/// of secret options and the queries of URLs are blanked. Natively, in tests, it is standard error.
///
/// It costs a call out of the sandbox, also when nobody looks. What a user has to know belongs into an
/// [`Error`](crate::Error) or a [`Finding`](crate::Finding) instead.
///
/// ```
/// let (label, id) = ("data", "00ab");
/// obnam_plugin::log!("chunk {label}/{id} was there before");
/// ```
#[macro_export]
macro_rules! log {
    ($($arguments:tt)*) => {
        $crate::log::line(::std::format_args!($($arguments)*))
    };
}

/// Prints a line at once, unlike `eprintln!`, which leaves the sandbox for each piece of it.
#[doc(hidden)]
pub fn line(text: fmt::Arguments<'_>) {
    // A plugin has more to do than to complain.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
