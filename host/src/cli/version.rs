//! `obnam version`: what this program is. Loads no plugin.

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{Failure, Global, exit};
use crate::plugin;

/// Print versions: of the program, of the repository format, of the plugin contract.
#[derive(Debug, Args)]
pub struct Arguments {}

/// The version of the repository format.
const FORMAT: u32 = 1;
/// The plugin contract.
const CONTRACT: &str = "obnam:chunk-store@0.1.0";

pub fn run(_: &Global, _: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        let result = json!({ "obnam": version, "format": FORMAT, "contract": CONTRACT, "plugins": plugin::BUNDLED });
        output.document("ok", &[], result)?;
    } else {
        output.line(format!("obnam {version}"))?;
        output.line(format!("repository format {FORMAT}"))?;
        output.line(format!("plugin contract {CONTRACT}; bundled plugins: {}", plugin::BUNDLED.join(", ")))?;
        output.flush()?;
    }
    Ok(exit::OK)
}
