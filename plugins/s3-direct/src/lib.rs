//! Obnam's storage plugin for S3: Amazon's, and whatever else speaks its protocol, straight from the client.
//!
//! Layout below bucket and prefix:
//!
//! ```text
//! OBNAM-CHUNK-STORE            the marker: one line of text, says that `init` was here
//! <label>/<id>                 a chunk
//! OBNAM-PROBE/<id>             scratch objects of `check`
//! ```
//!
//! A chunk is one object, put by one request, so it is either absent or whole. The request says that it creates only
//! (`if-none-match: *`), how long the chunk is, and its SHA-256, which is its id: twice, as the hash of the payload
//! that is signed, and as a checksum that the store keeps. Bytes are spliced between Obnam's stream and the request,
//! and never enter the sandbox.
//!
//! The modules `location`, `names`, `settings`, `signing` and `xml` know nothing of WASI, and are tested without it.

mod chunks;
mod exchange;
mod failures;
mod listing;
mod location;
mod marker;
mod names;
mod probe;
mod settings;
mod signing;
mod xml;

use obnam_plugin::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, OptionHelp, Page, Plugin, PutOutcome,
    RemoveOutcome,
};

use chunks::S3Store;
use settings::Settings;

impl Plugin for S3Store {
    fn describe() -> Description {
        Description {
            name: "s3-direct".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Keeps chunks as objects in a bucket of Amazon S3, or of any store that speaks its protocol."
                .into(),
            schemes: vec!["s3".into()],
            options: options(),
            bodies: Bodies::Stream,
        }
    }

    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
        Ok(Grants::origins([Settings::parse(location, options)?.place.origin()]))
    }

    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = S3Store::at(Settings::parse(location, options)?)?;
        marker::create_in(&store)?;
        Ok(store)
    }

    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = S3Store::at(Settings::parse(location, options)?)?;
        if !store.settings.opened {
            marker::require(&store)?;
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
        probe::check(self)
    }
}

fn options() -> Vec<OptionHelp> {
    vec![
        OptionHelp::new("region", "The region of the bucket; default us-east-1.").or_from("AWS_REGION"),
        OptionHelp::new(
            "style",
            "Where the bucket stands in an address: path (https://HOST/BUCKET, the default for a HOST of your own) or \
             virtual (https://BUCKET.HOST, the default for AWS).",
        ),
        OptionHelp::new(
            "storage-class",
            "Storage classes by label, for example data=STANDARD_IA,tree=STANDARD; default is what the store takes.",
        ),
        OptionHelp::new("create-bucket", "Whether init makes the bucket if there is none: yes or no (default)."),
        OptionHelp::new(
            "create-only",
            "Whether uploads say that they must not replace anything (if-none-match): yes (default), or no for a store \
             that refuses to hear it. Obnam never sends other bytes for a name either way.",
        ),
        OptionHelp::new("access-key-id", "The name of the key.").or_from("AWS_ACCESS_KEY_ID"),
        OptionHelp::new("secret-access-key", "The key.").secret().or_from("AWS_SECRET_ACCESS_KEY"),
        OptionHelp::new("session-token", "The token that temporary keys come with.")
            .secret()
            .or_from("AWS_SESSION_TOKEN"),
        OptionHelp::opened(),
    ]
}

obnam_plugin::export!(S3Store);
