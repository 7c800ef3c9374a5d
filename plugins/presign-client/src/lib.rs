//! Obnam's storage plugin for obnam-server, which holds the keys of an object store and hands out signed URLs.
//!
//! Each chunk costs a short request to the server and one to the store, which the bytes go straight to. The plugin talks to
//! the server that the location names, and to hosts that the user approved (option `data-host`): never to one that only the
//! server names. Where the server keeps or takes chunks itself, its URLs are relative, and mean the server.
//!
//! The API is described in `docs/server-api.md`. The modules `location` and `settings` know nothing of WASI, and are tested
//! without it.

mod access;
mod api;
mod chunks;
mod findings;
mod identity;
mod location;
mod refusal;
mod settings;
mod tokens;

use obnam_plugin::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, OptionHelp, Page, Plugin, PutOutcome,
    RemoveOutcome,
};

use chunks::ServerStore;
use settings::Settings;

impl Plugin for ServerStore {
    fn describe() -> Description {
        Description {
            name: "presign-client".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Keeps chunks in the store behind an obnam-server, which signs each access to it.".into(),
            schemes: vec!["https".into(), "http".into()],
            options: options(),
            bodies: Bodies::Stream,
        }
    }

    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
        let settings = Settings::parse(location, options)?;
        let hosts = [&settings.place.host].into_iter().chain(&settings.data_hosts);
        Ok(Grants::origins(hosts))
    }

    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = ServerStore::at(Settings::parse(location, options)?)?;
        store.prepare()?;
        Ok(store)
    }

    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = ServerStore::at(Settings::parse(location, options)?)?;
        if !store.settings.opened {
            store.look()?;
        }
        Ok(store)
    }

    fn begin(&self) {
        self.reading.end();
    }

    fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error> {
        self.put_chunk(label, id, size, &content)
    }

    fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        self.get_chunk(label, id, range)
    }

    fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        self.stat_chunk(label, id)
    }

    fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        self.page(filter, after, limit)
    }

    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        self.remove_chunk(label, id)
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        findings::check(&self.settings)
    }
}

fn options() -> Vec<OptionHelp> {
    vec![
        OptionHelp::new("token", "The token that obnam-server made for you.").secret().or_from("OBNAM_SERVER_TOKEN"),
        OptionHelp::new(
            "bootstrap-token",
            "A token that can do no more than find the credential which holds the real one; may stand in a profile.",
        )
        .or_from("OBNAM_SERVER_BOOTSTRAP_TOKEN"),
        OptionHelp::new(
            "data-host",
            "Where chunks may be moved to and from beside the server: https://HOST[:PORT],... as approved by you.",
        ),
        OptionHelp::opened(),
    ]
}

obnam_plugin::export!(ServerStore);
obnam_plugin::export_tokens!(ServerStore);
