//! The component of a plugin: its bytes, read once, so that what was hashed is what runs; and what it says that it is.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use super::bindings::contract;
use super::grants::Grants;
use super::instance::{Answer, Blueprint, Call, OPENED};
use super::limits::Limits;
use super::output::Redaction;
use super::pool::Pool;
use super::{OptionInfo, PluginInfo, PluginSource, component_cache, engine, fit, retry};
use crate::store::{StoreError, StoreErrorKind};

/// The bundled plugins; `host/build.rs` compiles them.
const BUNDLED: [(&str, &[u8]); 3] = [
    ("local", include_bytes!(env!("OBNAM_PLUGIN_LOCAL"))),
    ("s3-direct", include_bytes!(env!("OBNAM_PLUGIN_S3_DIRECT"))),
    ("presign-client", include_bytes!(env!("OBNAM_PLUGIN_PRESIGN_CLIENT"))),
];

/// The largest file that is taken for a plugin, in bytes.
const LARGEST: u64 = 256 << 20;

/// The bytes of a plugin. Nothing of it has been compiled or run yet.
pub struct Component {
    /// Its name for messages.
    name: String,
    bytes: Cow<'static, [u8]>,
    sha256: String,
    bundled: bool,
}

impl Component {
    /// Reads it.
    pub fn read(source: &PluginSource) -> Result<Self, StoreError> {
        let (name, bytes) = match source {
            PluginSource::Bundled(name) => match BUNDLED.iter().find(|(known, _)| known == name) {
                Some((name, bytes)) => ((*name).to_owned(), Cow::Borrowed(*bytes)),
                None => {
                    let known: Vec<_> = BUNDLED.iter().map(|(name, _)| *name).collect();
                    let message = format!("no plugin {name:?} is bundled; bundled are {}", known.join(", "));
                    return Err(StoreError::new(StoreErrorKind::Invalid, message));
                }
            },
            PluginSource::File(path) => {
                let name = path.display().to_string();
                let failed = |why: io::Error| {
                    StoreError::new(StoreErrorKind::Invalid, format!("cannot read the plugin {name}: {why}"))
                };
                let bytes = read_file(path).map_err(failed)?;
                // Nobody is to be asked whether he trusts a letter.
                fit::check_header(&bytes).map_err(|why| invalid(&name, &why))?;
                (name, bytes.into())
            }
        };
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(Component { name, bytes, sha256, bundled: matches!(source, PluginSource::Bundled(_)) })
    }

    /// The SHA-256 of its bytes, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Asks it what it is. It gets no grants.
    pub fn inspect(&self, cache_dir: Option<&Path>, limits: &Limits) -> Result<PluginInfo, StoreError> {
        Ok(Loaded::new(self, cache_dir, *limits)?.info)
    }

    /// Whether it is part of this program.
    pub fn is_bundled(&self) -> bool {
        self.bundled
    }
}

fn invalid(name: &str, why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, format!("cannot use plugin {name}: {why}"))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than the {LARGEST} bytes that are allowed")));
    }
    Ok(bytes)
}

/// Loads a plugin and asks what it is. It gets no grants.
pub fn inspect(source: &PluginSource, cache_dir: Option<&Path>, limits: &Limits) -> Result<PluginInfo, StoreError> {
    Component::read(source)?.inspect(cache_dir, limits)
}

/// A plugin that fits and has said what it is.
pub(super) struct Loaded {
    pub(super) component: fit::Linked,
    pub(super) info: PluginInfo,
    /// Whether it can be told that a store was opened before.
    pub(super) tells_opened: bool,
}

impl Loaded {
    pub(super) fn new(component: &Component, cache_dir: Option<&Path>, limits: Limits) -> Result<Self, StoreError> {
        let Component { name, bytes, sha256, .. } = component;
        let invalid = |why: String| invalid(name, &why);
        let runtime = engine::runtime()?;
        let compiled = component_cache::load(&runtime.engine, bytes, cache_dir)
            .map_err(|error| invalid(format!("it does not compile: {error:#}")))?;
        let component = fit::link(runtime, &compiled).map_err(invalid)?;
        let imports = fit::imports(&runtime.engine, &compiled);
        let pool = Pool::new(
            Blueprint {
                component: component.clone(),
                plugin: name.clone(),
                grants: Grants::default(),
                client: None,
                location: String::new(),
                options: Vec::new(),
                put_streams: false,
                limits,
                redaction: Redaction::default(),
                tells_opened: false,
                opened: AtomicBool::new(false),
            },
            1,
        );
        let description = ask(&pool, "ask what it is", &Call::Describe, |answer| match answer {
            Answer::Description(description) => Some(description),
            _ => None,
        })?;
        let mut info = describe(description, sha256.clone(), imports).map_err(invalid)?;
        // This one is not the user's.
        let all = info.options.len();
        info.options.retain(|option| option.name != OPENED);
        let tells_opened = info.options.len() < all;
        Ok(Loaded { component, info, tells_opened })
    }
}

/// Makes a call that has nothing to do with a place.
pub(super) fn ask<T>(
    pool: &Pool,
    doing: &str,
    call: &Call,
    sort: impl Fn(Answer) -> Option<T>,
) -> Result<T, StoreError> {
    let answer = retry::repeat(&pool.blueprint.limits, doing, || pool.call(call.clone()));
    let answer = answer.map_err(|failure| failure.into_error(&pool.blueprint.plugin, doing))?;
    sort(answer).ok_or_else(|| StoreError::new(StoreErrorKind::Plugin, format!("could not {doing}: wrong answer")))
}

/// Checks what a plugin says about itself.
fn describe(
    description: contract::Description,
    wasm_sha256: String,
    imports: Vec<String>,
) -> Result<PluginInfo, String> {
    let redaction = Redaction::default();
    let contract::Description { name, version, summary, schemes, options, bodies } = description;
    let is_name = |text: &str| {
        (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'+'))
    };
    let bad =
        schemes.iter().chain(options.iter().map(|option| &option.name)).chain([&name]).find(|text| !is_name(text));
    if let Some(bad) = bad {
        return Err(format!("it describes itself with {:?}, which is no name", redaction.clean(bad)));
    }
    if schemes.is_empty() {
        return Err("it serves no scheme".into());
    }
    let options = options.into_iter().map(|option| OptionInfo {
        name: option.name,
        help: redaction.clean(&option.help),
        required: option.required,
        secret: option.secret,
        environment: option.environment,
    });
    Ok(PluginInfo {
        name,
        version: redaction.clean(&version),
        summary: redaction.clean(&summary),
        schemes,
        options: options.collect(),
        put_streams: bodies == contract::Bodies::Stream,
        wasm_sha256,
        imports,
    })
}
