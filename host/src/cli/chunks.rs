//! `obnam chunks`: every chunk in the store. For troubleshooting; needs no passphrase.

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{Failure, Global, exit};
use crate::chunk::LabelFilter;

/// List every chunk in the store: label, id and size in bytes (needs no passphrase).
///
/// It shows what the storage sees. With --json, one object per line.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only chunks with this label; with a dot at its end, with any label of that family
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let parse = |text: &str| text.parse().map_err(|error: crate::chunk::NameError| Failure::Input(error.to_string()));
    let filter = match arguments.label.as_deref() {
        None => LabelFilter::All,
        Some(label) => match label.strip_suffix('.') {
            Some(family) => LabelFilter::Family(parse(family)?),
            None => LabelFilter::Exactly(parse(label)?),
        },
    };
    let place = global.place()?;
    place.store.open()?;
    let mut after = None;
    loop {
        let page = place.store.list_page(&filter, after.as_deref())?;
        for chunk in page.chunks {
            if output.json {
                let stored = chunk.stored.map(|time| crate::format::Time::from(time).to_rfc3339());
                output.object(&json!({
                    "label": chunk.label.as_str(),
                    "id": chunk.id.to_string(),
                    "size": chunk.size,
                    "stored": stored,
                }))?;
            } else {
                output.line(format!("{:<26} {} {:>10}", chunk.label.as_str(), chunk.id, chunk.size))?;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    output.flush()?;
    Ok(exit::OK)
}
