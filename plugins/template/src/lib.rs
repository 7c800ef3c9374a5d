//! A storage plugin for Obnam, which hands it chunks (encrypted bytes under a label and an id) to keep.
//!
//! This one keeps each as a file `<directory>/<label>/<id>` below the directory that the user names. To keep them
//! elsewhere, replace what is about files; comments say what each function has to see to. `cargo doc --open -p
//! obnam-plugin` has what helps with it, HTTP for example, and `obnam/wit/chunk-store.wit` the whole contract.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use obnam_plugin::listing::Listing;
use obnam_plugin::options::Options;
use obnam_plugin::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, Page, Plugin, PutOutcome,
    RemoveOutcome, chunk, content, error, files,
};

/// The file that `init` leaves. Upper case, so that it cannot be a label.
const MARKER: &str = "CHUNK-STORE";

/// What it says. Another version of the layout gets another text.
const MARKER_TEXT: &str = "Chunks of Obnam, version 1.\n";

/// An opened place. Obnam makes several of these, calls each from one thread, and throws them away at any time: keep
/// what makes calls quicker in here, and nothing that must last.
struct Store {
    directory: PathBuf,
}

impl Plugin for Store {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Keeps chunks as files in a directory.".into(),
            // `file` stands for paths. For a server it may be `https`, or a scheme of your own such as `dav` in
            // `dav:https://HOST/PATH`.
            schemes: vec!["file".into()],
            // OptionHelp::new("token", "What the server knows you by.").secret().or_from("OBNAM_PLUGIN_TOKEN") and the
            // like. Their names go into `parse` too.
            options: Vec::new(),
            // As bytes, since std::fs can do nothing with a stream. Over HTTP a stream is quicker: http::Body::of.
            bodies: Bodies::Bytes,
        }
    }

    // What the user has to grant: a directory, or Grants::origins([host]) where url::Host says how to parse one.
    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
        let store = Store::parse(location, options)?;
        Ok(Grants::directory(&store.directory.display().to_string()))
    }

    // Prepares an empty place, and refuses any other one: what is there may be somebody's only copy.
    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = Store::parse(location, options)?;
        let doing = format!("prepare {location}");
        let names = files::names(&store.directory).map_err(|why| error::of_io(&why, &doing))?;
        for name in &names {
            match name.as_str() {
                MARKER => store.require_marker()?,
                "lost+found" => {}
                name if name.starts_with(files::TEMPORARY) => {}
                // The directories of labels stay when the last chunk is removed from them.
                name if store.is_label(name) && store.ids(name)?.is_empty() => {}
                name => {
                    return Err(Error::AlreadyInitialised(format!(
                        "could not {doing}: it is not empty, it holds {name} for one; choose an empty directory"
                    )));
                }
            }
        }
        let marker = store.directory.join(MARKER);
        files::create(&marker, MARKER_TEXT.as_bytes()).map_err(|why| error::of_io(&why, &doing))?;
        Ok(store)
    }

    // Creates nothing: an unmounted disk, or a wrong address, must not become a fresh store.
    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let store = Store::parse(location, options)?;
        store.require_marker()?;
        Ok(store)
    }

    // All or nothing, durable when it returns, and never in place of what is there: files::create does all three. For a
    // place that has no such thing: write under another name, make it durable, then rename where that does not replace.
    fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error> {
        let doing = self.doing("store", label, id);
        let bytes = content::bytes(content, size, &doing)?;
        let created = files::create_directory(&self.directory.join(label))
            .and_then(|()| files::create(&self.path(label, id), &bytes))
            .map_err(|why| error::of_io(&why, &doing))?;
        if created {
            return Ok(PutOutcome::Stored);
        }
        match self.stat(label, id)?.size {
            there if there == size => Ok(PutOutcome::AlreadyPresent),
            there => Err(Error::Corrupt(format!(
                "could not {doing}: something else has its name, {there} bytes instead of {size}; move it away"
            ))),
        }
    }

    // Exactly the range, or all.
    fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        let doing = self.doing("read", label, id);
        let fail = |why| error::of_io(&why, &doing);
        let mut file = File::open(self.path(label, id)).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let range = range.unwrap_or(ByteRange { offset: 0, length: size });
        content::end(range, size, &doing)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(range.offset))
            .and_then(|_| file.take(range.length).read_to_end(&mut bytes))
            .map_err(fail)?;
        Ok(Content::Bytes(bytes))
    }

    fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        let fail = |why| error::of_io(&why, &self.doing("look at", label, id));
        let there = fs::metadata(self.path(label, id)).map_err(fail)?;
        let stored = there.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let stored = stored.map(|since| since.as_secs());
        Ok(ChunkInfo { label: label.into(), id: id.into(), size: there.len(), stored })
    }

    // In the order of labels, and of ids within a label. Where everything can only be listed at once: Listing::of_all.
    fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        let mut page = Listing::new(filter, after, limit)?;
        for label in self.names("")?.into_iter().filter(|name| page.wants_label(name)).collect::<Vec<_>>() {
            for id in self.ids(&label)?.into_iter().filter(|id| page.wants(&label, id)).collect::<Vec<_>>() {
                if page.room() == 0 {
                    return Ok(page.to_be_continued());
                }
                match self.stat(&label, &id) {
                    // It was removed meanwhile.
                    Err(Error::NotFound(_)) => {}
                    info => drop(page.push(info?)),
                }
            }
        }
        Ok(page.last())
    }

    // What is not there counts as removed.
    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        let removed = files::remove(&self.path(label, id));
        removed.map_err(|why| error::of_io(&why, &self.doing("remove", label, id)))?;
        Ok(RemoveOutcome::Removed)
    }

    // What the place does not guarantee, and what is odd about it; for `obnam check --store`.
    fn check(&self) -> Result<Vec<Finding>, Error> {
        self.require_marker()?;
        let mut findings = Vec::new();
        for label in self.names("")?.iter().filter(|name| self.is_label(name)) {
            let left = self.names(label)?.iter().filter(|name| name.starts_with(files::TEMPORARY)).count();
            if left > 0 {
                let message = format!(
                    "{left} unfinished files in {} belong to backups that are running or were interrupted; old ones can \
                     be removed",
                    self.directory.join(label).display()
                );
                findings.push(Finding::info("unfinished-files", message));
            }
        }
        Ok(findings)
    }
}

impl Store {
    /// What the location and the options say. Nothing is looked at.
    fn parse(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        Options::new(options, &[])?;
        if !location.starts_with('/') {
            return Err(Error::Invalid(format!("{location:?} is not the absolute path of a directory")));
        }
        Ok(Store { directory: location.into() })
    }

    fn path(&self, label: &str, id: &str) -> PathBuf {
        self.directory.join(label).join(id)
    }

    /// What is done to a chunk, for messages.
    fn doing(&self, what: &str, label: &str, id: &str) -> String {
        format!("{what} chunk {label}/{id} in {}", self.directory.display())
    }

    /// The names in a directory below the granted one, or in that itself.
    fn names(&self, below: &str) -> Result<Vec<String>, Error> {
        let directory = self.directory.join(below);
        files::names(&directory).map_err(|why| error::of_io(&why, &format!("list {}", directory.display())))
    }

    /// Whether this is the directory of a label.
    fn is_label(&self, name: &str) -> bool {
        chunk::is_label(name) && self.directory.join(name).is_dir()
    }

    /// The ids of the chunks of a label.
    fn ids(&self, label: &str) -> Result<Vec<String>, Error> {
        Ok(self.names(label)?.into_iter().filter(|name| chunk::is_id(name)).collect())
    }

    fn require_marker(&self) -> Result<(), Error> {
        let directory = self.directory.display();
        match fs::read_to_string(self.directory.join(MARKER)) {
            Ok(text) if text == MARKER_TEXT => Ok(()),
            Ok(_) => Err(Error::Unsupported(format!(
                "{directory} was prepared by another version of this plugin, or its file {MARKER} is damaged"
            ))),
            Err(why) if why.kind() == ErrorKind::NotFound => Err(Error::NotInitialised(format!(
                "{directory} is not a chunk store: it has no file {MARKER}. Is the disk mounted? A new store is prepared \
                 by 'obnam init'"
            ))),
            Err(why) => Err(error::of_io(&why, &format!("read the file {MARKER} in {directory}"))),
        }
    }
}

obnam_plugin::export!(Store);

#[cfg(test)]
mod tests {
    use super::*;

    /// In the sandbox and by the whole contract it is tried by `obnam plugin test`.
    #[test]
    fn a_chunk_is_stored_once_and_read_in_parts() -> Result<(), Error> {
        let directory = std::env::temp_dir().join(format!("{}-{}", env!("CARGO_PKG_NAME"), std::process::id()));
        fs::create_dir(&directory).expect("a place for the test");
        let location = directory.display().to_string();
        assert!(matches!(Store::open(&location, &[]), Err(Error::NotInitialised(_))));
        let store = Store::init(&location, &[])?;
        let id = "0a".repeat(32);
        let put = |bytes: &[u8]| store.put("data", &id, bytes.len() as u64, Content::Bytes(bytes.to_vec()));
        assert_eq!(put(b"hello")?, PutOutcome::Stored);
        assert_eq!(put(b"HELLO")?, PutOutcome::AlreadyPresent);
        assert!(matches!(put(b"other"), Ok(PutOutcome::AlreadyPresent)));
        assert!(matches!(put(b"longer"), Err(Error::Corrupt(_))));
        let get = |offset, length| match store.get("data", &id, Some(ByteRange { offset, length })) {
            Ok(Content::Bytes(bytes)) => Ok(bytes),
            Ok(Content::Stream(_)) => Err(Error::Other("bytes were expected".into())),
            Err(error) => Err(error),
        };
        assert_eq!(get(1, 3)?, b"ell");
        assert!(matches!(get(1, 5), Err(Error::Invalid(_))));
        assert_eq!(store.list("", None, 1000)?.chunks.len(), 1);
        assert!(matches!(Store::init(&location, &[]), Err(Error::AlreadyInitialised(_))));
        store.remove("data", &id)?;
        assert!(matches!(store.stat("data", &id), Err(Error::NotFound(_))));
        Store::init(&location, &[])?;
        fs::remove_dir_all(&directory).expect("the place is removed again");
        Ok(())
    }
}
