//! What a storage plugin of Obnam is written with: from nothing to a plugin.
//!
//! Obnam keeps backups as *chunks*: some bytes under a *label* (`data`, `snapshot.4f2a`) and an *id*, the SHA-256 of
//! the bytes. They are encrypted before a plugin sees them, stored once, and never changed. A plugin stores, reads,
//! lists and removes chunks at some kind of place. It is a WebAssembly component, runs in a sandbox, and reaches
//! nothing but the directory or the host that the user named.
//!
//! # 1. A project
//!
//! `obnam plugin new NAME` writes one that works: a whole plugin, this crate, and a test. By hand it is a package with
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! obnam-plugin = { path = "obnam/plugins/sdk" }
//! ```
//!
//! # 2. A plugin
//!
//! A type of yours implements [`Plugin`], and [`export!`] makes a component of it. A value of the type is an opened
//! place. This one keeps each chunk as a file `DIRECTORY/<label>/<id>`:
//!
//! ```
//! use std::fs;
//! use std::path::PathBuf;
//!
//! use obnam_plugin::listing::Listing;
//! use obnam_plugin::options::Options;
//! use obnam_plugin::{
//!     Bodies, ByteRange, ChunkInfo, Content, Description, Error, Grants, Page, Plugin, PutOutcome, RemoveOutcome,
//!     chunk, content, error, files,
//! };
//!
//! struct Folder(PathBuf);
//!
//! /// What `init` leaves, so that `open` can tell a store from a disk that is not mounted.
//! const MARKER: &str = "MARKER";
//!
//! impl Folder {
//!     fn path(&self, label: &str, id: &str) -> PathBuf {
//!         self.0.join(label).join(id)
//!     }
//!
//!     /// All labels in their order.
//!     fn labels(&self) -> Result<Vec<String>, Error> {
//!         let names = files::names(&self.0).map_err(|why| error::of_io(&why, "list the labels"))?;
//!         Ok(names.into_iter().filter(|name| chunk::is_label(name)).collect())
//!     }
//! }
//!
//! impl Plugin for Folder {
//!     fn describe() -> Description {
//!         Description {
//!             name: "folder".into(),
//!             version: "0.1.0".into(),
//!             summary: "Keeps chunks as files in a directory.".into(),
//!             schemes: vec!["file".into()],
//!             options: Vec::new(),
//!             bodies: Bodies::Bytes,
//!         }
//!     }
//!
//!     fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
//!         Options::new(options, &[])?;
//!         if !location.starts_with('/') {
//!             return Err(Error::Invalid(format!("{location:?} is not the absolute path of a directory")));
//!         }
//!         Ok(Grants::directory(location))
//!     }
//!
//!     fn init(location: &str, _: &[(String, String)]) -> Result<Self, Error> {
//!         let store = Folder(location.into());
//!         if let Some(label) = store.labels()?.first() {
//!             return Err(Error::AlreadyInitialised(format!("{location} holds chunks, of {label} for one")));
//!         }
//!         files::create(&store.0.join(MARKER), b"").map_err(|why| error::of_io(&why, &format!("prepare {location}")))?;
//!         Ok(store)
//!     }
//!
//!     fn open(location: &str, _: &[(String, String)]) -> Result<Self, Error> {
//!         let store = Folder(location.into());
//!         if !store.0.join(MARKER).exists() {
//!             return Err(Error::NotInitialised(format!("{location} is no store; is the disk mounted?")));
//!         }
//!         Ok(store)
//!     }
//!
//!     fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error> {
//!         let doing = format!("store chunk {label}/{id}");
//!         let bytes = content::bytes(content, size, &doing)?;
//!         let path = self.path(label, id);
//!         let created = files::create_directory(&self.0.join(label)).and_then(|()| files::create(&path, &bytes));
//!         if created.map_err(|why| error::of_io(&why, &doing))? {
//!             return Ok(PutOutcome::Stored);
//!         }
//!         match self.stat(label, id)?.size {
//!             there if there == size => Ok(PutOutcome::AlreadyPresent),
//!             there => Err(Error::Corrupt(format!("could not {doing}: there is one with {there} bytes, not {size}"))),
//!         }
//!     }
//!
//!     fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
//!         let doing = format!("read chunk {label}/{id}");
//!         let bytes = fs::read(self.path(label, id)).map_err(|why| error::of_io(&why, &doing))?;
//!         content::part(bytes, range, &doing)
//!     }
//!
//!     fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
//!         let there = fs::metadata(self.path(label, id));
//!         let there = there.map_err(|why| error::of_io(&why, &format!("look at chunk {label}/{id}")))?;
//!         Ok(ChunkInfo { label: label.into(), id: id.into(), size: there.len(), stored: None })
//!     }
//!
//!     fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
//!         let mut page = Listing::new(filter, after, limit)?;
//!         for label in self.labels()?.into_iter().filter(|label| page.wants_label(label)).collect::<Vec<_>>() {
//!             let ids = files::names(&self.0.join(&label)).map_err(|why| error::of_io(&why, &format!("list {label}")))?;
//!             for id in ids.into_iter().filter(|id| chunk::is_id(id)) {
//!                 if page.wants(&label, &id) && !page.push(self.stat(&label, &id)?) {
//!                     return Ok(page.to_be_continued());
//!                 }
//!             }
//!         }
//!         Ok(page.last())
//!     }
//!
//!     fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
//!         let removed = files::remove(&self.path(label, id));
//!         removed.map_err(|why| error::of_io(&why, &format!("remove chunk {label}/{id}")))?;
//!         Ok(RemoveOutcome::Removed)
//!     }
//! }
//!
//! obnam_plugin::export!(Folder);
//!
//! // It can be tried without a sandbox, as in a test of yours:
//! fn main() -> Result<(), Error> {
//!     let place = std::env::temp_dir().join(format!("obnam-plugin-example-{}", std::process::id()));
//!     fs::create_dir(&place).map_err(|why| error::of_io(&why, "make a place"))?;
//!     let id = "ab".repeat(32);
//!     let store = Folder::init(&place.display().to_string(), &[])?;
//!     assert_eq!(store.put("data", &id, 5, Content::Bytes(b"hello".to_vec()))?, PutOutcome::Stored);
//!     let part = store.get("data", &id, Some(ByteRange { offset: 1, length: 3 }))?;
//!     assert!(matches!(part, Content::Bytes(bytes) if bytes == b"ell"));
//!     assert_eq!(store.list("data", None, 1000)?.chunks.len(), 1);
//!     store.remove("data", &id)?;
//!     assert!(matches!(store.stat("data", &id), Err(Error::NotFound(_))));
//!     fs::remove_dir_all(&place).map_err(|why| error::of_io(&why, "clean up"))
//! }
//! ```
//!
//! What matters most, and what the helpers above see to: nothing that is there is ever replaced, a chunk is there as a
//! whole or not at all, and what was answered survives a power failure.
//!
//! # 3. Trying it
//!
//! ```text
//! cargo build --target wasm32-wasip2 --release
//! obnam plugin test target/wasm32-wasip2/release/NAME.wasm --location /some/new/directory
//! ```
//!
//! tries each promise of the contract and says which one is not kept. `obnam --backend FILE.wasm --repo LOCATION init`
//! uses the plugin.
//!
//! # What there is
//!
//! | module | what it is for |
//! |---|---|
//! | [`Plugin`], [`export!`] | the contract (`wit/chunk-store.wit`), function by function |
//! | [`chunk`] | labels, ids and filters |
//! | [`content`] | contents in memory, and ranges of them |
//! | [`listing`] | pages, in the right order |
//! | [`options`] | what the user says |
//! | [`error`] | what went wrong, in words |
//! | [`files`] | files that are durable when they are there |
//! | [`http`], [`url`] | a request and its answer over `wasi:http`, with bodies that never enter the sandbox |
//! | [`log!`] | words for Obnam's log |
//! | [`tokens`], [`export_tokens!`] | the optional interface of places that give out tokens (`wit/tokens.wit`) |
//! | [`wasi`] | the interfaces of WASI 0.2 themselves, where `std` does not suffice |
//!
//! A component imports only what it uses: a plugin that never calls [`http`] imports no HTTP.

#![warn(missing_docs)]

pub mod chunk;
pub mod content;
mod describe;
pub mod error;
pub mod files;
pub mod http;
pub mod listing;
#[doc(hidden)]
pub mod log;
pub mod options;
mod plugin;
pub mod url;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package obnam:sdk;
            world sdk {
                include obnam:chunk-store/plugin@0.1.0;
                import wasi:http/types@0.2.12;
                import wasi:http/outgoing-handler@0.2.12;
                import wasi:clocks/wall-clock@0.2.12;
                import wasi:clocks/monotonic-clock@0.2.12;
                import wasi:random/random@0.2.12;
                import wasi:filesystem/preopens@0.2.12;
                import wasi:filesystem/types@0.2.12;
            }
        ",
        world: "obnam:sdk/sdk",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_bindings",
        default_bindings_module: "obnam_plugin::bindings",
    });
}

/// What `wit-bindgen` makes of the optional interface for tokens.
#[allow(missing_docs)]
#[doc(hidden)]
pub mod token_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "obnam:chunk-store/token-plugin",
        pub_export_macro: true,
        export_macro_name: "export_token_bindings",
        default_bindings_module: "obnam_plugin::token_bindings",
    });
}

pub use token_bindings::exports::obnam::chunk_store::tokens;

impl From<Error> for tokens::TokenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(message) => tokens::TokenError::Denied(message),
            Error::Invalid(message) => tokens::TokenError::Invalid(message),
            Error::Quota(message) => tokens::TokenError::Quota(message),
            Error::Unavailable(error) => tokens::TokenError::Unavailable((error.message, error.delay_ms)),
            Error::NotFound(message)
            | Error::NotInitialised(message)
            | Error::AlreadyInitialised(message)
            | Error::Corrupt(message)
            | Error::Archived(message)
            | Error::Unsupported(message)
            | Error::Other(message) => tokens::TokenError::Other(message),
        }
    }
}

pub use bindings::exports::obnam::chunk_store::chunk_store::{
    Bodies, ByteRange, ChunkInfo, Content, Description, DirectoryWish, Error, Finding, Grants, OptionHelp, Page,
    PutOutcome, RemoveOutcome, Severity, UnavailableError,
};
pub use bindings::wasi;
pub use plugin::{Exported, Plugin};

/// Exports a type that implements [`Plugin`] as the component's `chunk-store`. Once per component, at the top of the
/// crate.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        type ExportedPlugin = $crate::Exported<$plugin>;
        $crate::bindings::export_bindings!(ExportedPlugin with_types_in $crate::bindings);
    };
}

/// Exports a type that implements [`tokens::Guest`] as the interface for tokens, beside [`export!`].
#[macro_export]
macro_rules! export_tokens {
    ($plugin:ident) => {
        $crate::token_bindings::export_token_bindings!($plugin with_types_in $crate::token_bindings);
    };
}

/// The option that Obnam sets by itself to `yes` for further instances of a store that one instance has opened.
pub const OPENED: &str = "opened";
