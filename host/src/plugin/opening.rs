//! From a file of WebAssembly to an opened store, step by step.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use super::bindings::contract;
use super::grants::{self, Asking, Grants};
use super::http::{Client, HttpSettings};
use super::instance::{Answer, Blueprint, Call, OPENED};
use super::limits::Limits;
use super::location;
use super::options::KeptOptions;
use super::output::Redaction;
use super::pool::Pool;
use super::store::PluginStore;
use super::{OptionInfo, PluginInfo, PluginSource, aws, component_cache, engine, fit, options, retry};
use crate::store::{StoreError, StoreErrorKind};

/// The bundled plugins; `host/build.rs` compiles them.
const BUNDLED: [(&str, &[u8]); 3] = [
    ("local", include_bytes!(env!("OBNAM_PLUGIN_LOCAL"))),
    ("s3-direct", include_bytes!(env!("OBNAM_PLUGIN_S3_DIRECT"))),
    ("presign-client", include_bytes!(env!("OBNAM_PLUGIN_PRESIGN_CLIENT"))),
];

/// The largest file that is taken for a plugin, in bytes.
const LARGEST: u64 = 256 << 20;

/// Everything that is needed to open a store.
#[derive(Debug, Clone)]
pub struct StoreSpec {
    /// The plugin.
    pub source: PluginSource,
    /// The location as the user wrote it: a path, or what the plugin's schemes say.
    pub location: String,
    /// The options as the user gave them. A secret NAME can also be given as `NAME-file` or `NAME-command`.
    pub options: Vec<(String, String)>,
    /// The options in the configuration file.
    pub kept: KeptOptions,
    /// Where compiled plugins are kept, a directory of their own; `None` compiles each time. It is created with mode
    /// 0700, and not used when others can write to it.
    pub cache_dir: Option<PathBuf>,
    /// What the plugin runs under.
    pub limits: Limits,
    /// How the network is reached.
    pub http: HttpSettings,
    /// How many calls can be in flight, each on a thread and an instance of its own; also the most connections. At
    /// least 1; 4 suits directories, 8 the network.
    pub workers: usize,
    /// Whether `init` creates the directory that the location names.
    pub create_dir: bool,
}

impl StoreSpec {
    /// A spec with the bundled plugin for a location, 4 workers, and defaults for the rest.
    pub fn for_location(location: &str) -> Result<Self, StoreError> {
        let plugin = location::require_bundled_for(location)?;
        Ok(StoreSpec {
            source: PluginSource::Bundled(plugin.to_owned()),
            location: location.to_owned(),
            options: Vec::new(),
            kept: KeptOptions::default(),
            cache_dir: None,
            limits: Limits::default(),
            http: HttpSettings::default(),
            workers: 4,
            create_dir: true,
        })
    }
}

/// Loads a plugin and asks what it is. It gets no grants.
pub fn inspect(source: &PluginSource, cache_dir: Option<&Path>, limits: &Limits) -> Result<PluginInfo, StoreError> {
    Ok(Loaded::new(source, cache_dir, *limits)?.info)
}

/// Loads a plugin, checks that it fits, asks what it needs for the location, and grants that, or refuses.
///
/// The place itself is not touched yet: that is what [`init`](crate::store::ChunkStore::init) and
/// [`open`](crate::store::ChunkStore::open) of the answer are for.
pub fn open_store(spec: &StoreSpec) -> Result<PluginStore, StoreError> {
    let Prepared { pool, info, renewal } = prepare(spec)?;
    Ok(PluginStore::new(pool, info, spec.create_dir, renewal))
}

/// A plugin with its grants.
pub(super) struct Prepared {
    /// Its workers.
    pub(super) pool: Pool,
    /// What it says that it is.
    pub(super) info: PluginInfo,
    /// How its keys are read again.
    renewal: Option<Renewal>,
}

/// What [`open_store`] does, without a store around it.
pub(super) fn prepare(spec: &StoreSpec) -> Result<Prepared, StoreError> {
    let loaded = Loaded::new(&spec.source, spec.cache_dir.as_deref(), spec.limits)?;
    let info = &loaded.info;
    let location = location::parse(&spec.location, &info.name, &info.schemes)?;
    let bundled = matches!(spec.source, PluginSource::Bundled(_));
    let said = options::said(&info.name, &info.options, &spec.options, &spec.kept)?;
    let options = options_of(info, bundled, &said)?;
    let redaction = redaction_of(info, &options);

    let limits = spec.limits.with_bandwidth(&spec.http, spec.workers);
    let granted = |grants, client| Blueprint {
        component: loaded.component.clone(),
        plugin: info.name.clone(),
        grants,
        client,
        location: location.text.clone(),
        options: options.clone(),
        put_streams: info.put_streams,
        limits,
        redaction: redaction.clone(),
        tells_opened: loaded.tells_opened,
        opened: AtomicBool::new(false),
    };
    let ungranted = Pool::new(granted(Grants::default(), None), 1);
    let doing = format!("plan the use of {}", spec.location);
    let wishes = ask(&ungranted, &doing, &Call::Plan, |answer| match answer {
        Answer::Grants(grants) => Some(grants),
        _ => None,
    })?;
    let plain_http = spec.http.plain_http;
    let asking = Asking { plugin: &info.name, bundled, location: &location, options: &said, plain_http };
    let grants = grants::decide(&asking, wishes)?;
    let client = match &grants.origins[..] {
        [] => None,
        origins => Some(Client::new(origins.to_vec(), &spec.http, spec.workers)?),
    };
    let pool = Pool::new(granted(grants, client), spec.workers);
    let renewal = (aws::concerns(bundled, &info.options) && !aws::are_given(&info.options, &said)).then(|| {
        let info = info.clone();
        Box::new(move || {
            let options = options_of(&info, bundled, &said)?;
            let redaction = redaction_of(&info, &options);
            Ok((options, redaction))
        }) as Renewal
    });
    Ok(Prepared { pool, info: loaded.info, renewal })
}

/// Reads the options of a plugin again that can change while it runs: keys.
pub(super) type Renewal = Box<dyn Fn() -> Result<(Vec<(String, String)>, Redaction), StoreError> + Send + Sync>;

/// All options: those that the user says, and those that the environment stands for.
fn options_of(
    info: &PluginInfo,
    bundled: bool,
    said: &[(String, String)],
) -> Result<Vec<(String, String)>, StoreError> {
    let environment = |name: &str| std::env::var(name).ok();
    if !aws::concerns(bundled, &info.options) {
        return options::complete(&info.name, bundled, &info.options, said, environment);
    }
    let values = aws::read(&environment, !aws::are_given(&info.options, said))?;
    let lookup = |name: &str| match values.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Some(value.clone()),
        None if name.starts_with("AWS_") => None,
        None => environment(name),
    };
    options::complete(&info.name, bundled, &info.options, said, lookup)
}

/// What must not be shown, given these options: secrets, and tokens that are none but still are nobody's business.
pub(super) fn redaction_of(info: &PluginInfo, options: &[(String, String)]) -> Redaction {
    let is_secret =
        |name: &str| name.ends_with("-token") || info.options.iter().any(|option| option.secret && option.name == name);
    let secrets = options.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value.clone());
    Redaction { secrets: secrets.collect() }
}

/// A plugin that fits and has said what it is.
struct Loaded {
    component: fit::Linked,
    info: PluginInfo,
    /// Whether it can be told that a store was opened before.
    tells_opened: bool,
}

impl Loaded {
    fn new(source: &PluginSource, cache_dir: Option<&Path>, limits: Limits) -> Result<Self, StoreError> {
        let (name, bytes) = read(source)?;
        let invalid =
            |why: String| StoreError::new(StoreErrorKind::Invalid, format!("cannot use plugin {name}: {why}"));
        fit::check_header(&bytes).map_err(invalid)?;
        let runtime = engine::runtime()?;
        let compiled = component_cache::load(&runtime.engine, &bytes, cache_dir)
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
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let mut info = describe(description, sha256, imports).map_err(invalid)?;
        // This one is not the user's.
        let all = info.options.len();
        info.options.retain(|option| option.name != OPENED);
        let tells_opened = info.options.len() < all;
        Ok(Loaded { component, info, tells_opened })
    }
}

/// Makes a call that has nothing to do with a place.
fn ask<T>(pool: &Pool, doing: &str, call: &Call, sort: impl Fn(Answer) -> Option<T>) -> Result<T, StoreError> {
    let answer = retry::repeat(&pool.blueprint.limits, doing, || pool.call(call.clone()));
    let answer = answer.map_err(|failure| failure.into_error(&pool.blueprint.plugin, doing))?;
    sort(answer).ok_or_else(|| StoreError::new(StoreErrorKind::Plugin, format!("could not {doing}: wrong answer")))
}

/// The bytes of a plugin and its name for messages.
fn read(source: &PluginSource) -> Result<(String, std::borrow::Cow<'static, [u8]>), StoreError> {
    match source {
        PluginSource::Bundled(name) => match BUNDLED.iter().find(|(known, _)| known == name) {
            Some((name, bytes)) => Ok(((*name).to_owned(), (*bytes).into())),
            None => {
                let known: Vec<_> = BUNDLED.iter().map(|(name, _)| *name).collect();
                let message = format!("no plugin {name:?} is bundled; bundled are {}", known.join(", "));
                Err(StoreError::new(StoreErrorKind::Invalid, message))
            }
        },
        PluginSource::File(path) => {
            let failed = |why: String| {
                StoreError::new(StoreErrorKind::Invalid, format!("cannot read the plugin {}: {why}", path.display()))
            };
            let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
            if metadata.len() > LARGEST {
                return Err(failed(format!("it has {} bytes; at most {LARGEST} are allowed", metadata.len())));
            }
            let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            Ok((path.display().to_string(), bytes.into()))
        }
    }
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
