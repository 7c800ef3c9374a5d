//! From a file of WebAssembly to an opened store, step by step.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::component::{Component, Loaded, ask};
use super::grants::{self, Asking, Grants, Weighed};
use super::http::{Client, HttpSettings};
use super::instance::{Answer, Blueprint, Call};
use super::limits::Limits;
use super::options::KeptOptions;
use super::output::Redaction;
use super::pool::Pool;
use super::store::PluginStore;
use super::wish::Wish;
use super::{PluginInfo, PluginSource, aws, location, options};
use crate::store::StoreError;

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

/// Opens a store with a plugin that the caller has decided to use: it gets what the location names, and nothing else.
/// [`Candidate`] is for those who ask their user first.
///
/// The place itself is not touched yet: that is what [`init`](crate::store::ChunkStore::init) and
/// [`open`](crate::store::ChunkStore::open) of the answer are for.
pub fn open_store(spec: &StoreSpec) -> Result<PluginStore, StoreError> {
    Candidate::new(&Component::read(&spec.source)?, spec)?.open(&[])
}

/// A plugin that fits, and has said what it wishes to use for a location. Nothing has been granted yet.
pub struct Candidate<'s> {
    spec: &'s StoreSpec,
    info: PluginInfo,
    said: Vec<(String, String)>,
    weighed: Weighed,
    /// Without grants.
    blueprint: Blueprint,
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

impl<'s> Candidate<'s> {
    /// Loads the component, which is that of the spec, checks that it fits, and asks what it needs for the location. All of
    /// that is done without any grant.
    pub fn new(component: &Component, spec: &'s StoreSpec) -> Result<Self, StoreError> {
        let Loaded { component: linked, info, tells_opened } =
            Loaded::new(component, spec.cache_dir.as_deref(), spec.limits)?;
        let location = location::parse(&spec.location, &info.name, &info.schemes)?;
        let bundled = component.is_bundled();
        let said = options::said(&info.name, &info.options, &spec.options, &spec.kept)?;
        let options = options_of(&info, bundled, &said)?;
        let redaction = redaction_of(&info, &options);
        let blueprint = Blueprint {
            component: linked,
            plugin: info.name.clone(),
            grants: Grants::default(),
            client: None,
            location: location.text.clone(),
            options,
            put_streams: info.put_streams,
            limits: spec.limits.with_bandwidth(&spec.http, spec.workers),
            redaction,
            tells_opened,
            opened: AtomicBool::new(false),
        };
        let doing = format!("plan the use of {}", spec.location);
        let wishes = ask(&Pool::new(blueprint.renewed(), 1), &doing, &Call::Plan, |answer| match answer {
            Answer::Grants(grants) => Some(grants),
            _ => None,
        })?;
        let plain_http = spec.http.plain_http;
        let asking = Asking { plugin: &info.name, bundled, location: &location, options: &said, plain_http };
        let weighed = grants::weigh(&asking, wishes)?;
        Ok(Candidate { spec, info, said, weighed, blueprint })
    }

    /// What the plugin says that it is.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// What it wishes to use that the user named with the location.
    pub fn named(&self) -> &[Wish] {
        self.weighed.named()
    }

    /// What it wishes to use besides, but for what is among these.
    pub fn beyond(&self, approved: &[Wish]) -> Vec<Wish> {
        let is_new = |wish: &&Wish| !approved.iter().any(|approved| approved.covers(wish));
        self.weighed.beyond().filter(is_new).cloned().collect()
    }

    /// Grants what the location names and these, and makes a store of it. Any other wish is an error.
    pub fn open(self, approved: &[Wish]) -> Result<PluginStore, StoreError> {
        let create_dir = self.spec.create_dir;
        let Prepared { pool, info, renewal } = self.prepare(approved)?;
        Ok(PluginStore::new(pool, info, create_dir, renewal))
    }

    /// What [`Candidate::open`] does, without a store around it.
    pub(super) fn prepare(self, approved: &[Wish]) -> Result<Prepared, StoreError> {
        let Candidate { spec, info, said, weighed, blueprint } = self;
        let grants = weighed.grant(approved)?;
        let client = match &grants.origins[..] {
            [] => None,
            origins => Some(Client::new(origins.to_vec(), &spec.http, spec.workers, spec.limits.response)?),
        };
        let pool = Pool::new(Blueprint { grants, client, ..blueprint }, spec.workers);
        let bundled = matches!(spec.source, PluginSource::Bundled(_));
        let renewal = (aws::concerns(bundled, &info.options) && !aws::are_given(&info.options, &said)).then(|| {
            let info = info.clone();
            Box::new(move || {
                let options = options_of(&info, bundled, &said)?;
                let redaction = redaction_of(&info, &options);
                Ok((options, redaction))
            }) as Renewal
        });
        Ok(Prepared { pool, info, renewal })
    }
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
