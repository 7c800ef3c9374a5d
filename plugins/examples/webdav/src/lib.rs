//! An example of a storage plugin: chunks as files on a WebDAV server (RFC 4918).
//!
//! Layout below the folder that the location names:
//!
//! ```text
//! OBNAM-CHUNK-STORE            the marker: one line of text, says that `init` was here
//! OBNAM-INCOMING/<random>      being uploaded, or left by an interrupted backup (removed after a day)
//! <label>/<xx>/<id>            a chunk; xx are the first two digits of its id
//! ```
//!
//! Servers differ in what others see of an upload that is under way, so a chunk is uploaded under a random name, and moved to
//! its own with `Overwrite: F` when the server has said that it is complete. Bytes are spliced between Obnam's stream and the
//! request, and never enter the sandbox.
//!
//! The modules `location`, `multistatus`, `names` and `settings` know nothing of WASI, and are tested without it.

mod chunks;
mod dav;
mod listing;
mod location;
mod marker;
mod multistatus;
mod names;
mod probe;
mod refusal;
mod settings;
mod upload;

use obnam_plugin::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, OptionHelp, Page, Plugin, PutOutcome,
    RemoveOutcome,
};

use chunks::DavStore;
use settings::{PASSWORD, Settings, USER};

impl Plugin for DavStore {
    fn describe() -> Description {
        Description {
            name: "webdav".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Keeps chunks as files in a folder of a WebDAV server.".into(),
            schemes: vec!["dav".into()],
            options: options(),
            bodies: Bodies::Stream,
        }
    }

    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
        let settings = Settings::parse(location, options)?;
        Ok(Grants::origins([settings.place.host]))
    }

    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = DavStore::at(Settings::parse(location, options)?);
        marker::create_in(&store.settings)?;
        Ok(store)
    }

    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = DavStore::at(Settings::parse(location, options)?);
        if !store.settings.opened {
            marker::require(&store.settings)?;
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
        listing::page(self, filter, after, limit)
    }

    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        self.remove_chunk(label, id)
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        probe::check(&self.settings)
    }
}

fn options() -> Vec<OptionHelp> {
    vec![
        OptionHelp::new(USER, "Whom the server knows; default is nobody.").or_from("OBNAM_PLUGIN_WEBDAV_USER"),
        OptionHelp::new(PASSWORD, "The password (one for apps, where there are such).")
            .secret()
            .or_from("OBNAM_PLUGIN_WEBDAV_PASSWORD"),
        OptionHelp::opened(),
    ]
}

obnam_plugin::export!(DavStore);
