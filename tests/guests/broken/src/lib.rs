//! A plugin for directories that breaks one promise of the contract: the one that its option `fault` names. Without it,
//! it keeps them all (but for power failures). Locations are `broken:` and the path of a directory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use obnam_plugin::error::unavailable;
use obnam_plugin::wasi::random::random::get_random_u64;
use obnam_plugin::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, OptionHelp, Page, Plugin, PutOutcome,
    RemoveOutcome, chunk, content, files,
};

static DESCRIBED: AtomicU32 = AtomicU32::new(0);

fn fault(options: &[(String, String)]) -> String {
    options.iter().find(|(name, _)| name == "fault").map(|(_, value)| value.clone()).unwrap_or_default()
}

fn directory(location: &str) -> PathBuf {
    PathBuf::from(location.strip_prefix("file:").unwrap_or(location))
}

struct Place {
    root: PathBuf,
    fault: String,
    /// For `forgets`.
    memory: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Place {
    fn at(location: &str, options: &[(String, String)]) -> Self {
        Place { root: directory(location), fault: fault(options), memory: RefCell::default() }
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn path(&self, label: &str, id: &str) -> PathBuf {
        self.root.join(label).join(id)
    }

    fn read(&self, label: &str, id: &str) -> Result<Vec<u8>, Error> {
        if self.is("forgets")
            && let Some(bytes) = self.memory.borrow().get(&format!("{label}/{id}"))
        {
            return Ok(bytes.clone());
        }
        fs::read(self.path(label, id)).map_err(|error| match error.kind() {
            ErrorKind::NotFound if self.is("absent-is-other") => Error::Other("it is not there".into()),
            ErrorKind::NotFound => Error::NotFound("it is not there".into()),
            _ => Error::Other(error.to_string()),
        })
    }

    /// All chunks in order.
    fn all(&self) -> Vec<(String, String, u64)> {
        let mut all = Vec::new();
        let names = |path: &Path| files::names(path).unwrap_or_default();
        for label in names(&self.root).into_iter().filter(|name| chunk::is_label(name)) {
            for id in names(&self.root.join(&label)).into_iter().filter(|name| chunk::is_id(name)) {
                if let Ok(metadata) = fs::metadata(self.path(&label, &id)) {
                    all.push((label.clone(), id, metadata.len()));
                }
            }
        }
        if self.is("lists-as-texts") {
            all.sort_by_key(|(label, id, _)| format!("{label}/{id}"));
        } else {
            all.sort();
        }
        if self.is("lists-a-thousand") {
            all.truncate(1000);
        }
        all
    }
}

fn io(error: std::io::Error) -> Error {
    Error::Other(error.to_string())
}

impl Plugin for Place {
    fn describe() -> Description {
        Description {
            name: "broken".into(),
            version: format!("0.1.{}", DESCRIBED.fetch_add(1, Ordering::Relaxed) / 1000),
            summary: "Breaks a promise.".into(),
            schemes: vec!["file".into()],
            options: vec![OptionHelp::new("fault", "What to do wrong.")],
            bodies: Bodies::Bytes,
        }
    }

    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error> {
        let fault = fault(options);
        if fault == "plan-traps" && location.contains(':') {
            panic!("what a location");
        }
        if fault != "takes-any-option" && options.iter().any(|(name, _)| name != "fault") {
            return Err(Error::Invalid("there is no such option".into()));
        }
        Ok(match fault.as_str() {
            "plan-changes" => Grants::directory(&format!("{location}/{}", get_random_u64())),
            _ => Grants::directory(location),
        })
    }

    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let place = Place::at(location, options);
        if !place.all().is_empty() {
            match place.fault.as_str() {
                "init-wipes" => {
                    for (label, id, _) in place.all() {
                        fs::remove_file(place.path(&label, &id)).map_err(io)?;
                    }
                }
                _ => return Err(Error::AlreadyInitialised("there are chunks".into())),
            }
        }
        if place.is("init-once") && place.root.join("MARKER").exists() {
            return Err(Error::AlreadyInitialised("it was prepared before".into()));
        }
        fs::write(place.root.join("MARKER"), "x").map_err(io)?;
        Ok(place)
    }

    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let place = Place::at(location, options);
        if !place.root.join("MARKER").exists() && !place.is("opens-anything") {
            return Err(Error::NotInitialised("it was never prepared".into()));
        }
        Ok(place)
    }

    fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error> {
        let Content::Bytes(mut bytes) = content else { return Err(Error::Unsupported("bytes, please".into())) };
        if bytes.len() as u64 != size && !self.is("takes-any-size") {
            return Err(Error::Invalid("that is another size".into()));
        }
        match self.fault.as_str() {
            "no-empty-chunks" if bytes.is_empty() => return Err(Error::Invalid("there is nothing in it".into())),
            "no-large-chunks" if bytes.len() > 32 << 20 => return Err(Error::Quota("that is too much".into())),
            "short-labels" if label.len() > 32 => return Err(Error::Invalid("what a label".into())),
            "text-only" => bytes.retain(|byte| *byte != b'\r'),
            "forgets" => {
                self.memory.borrow_mut().insert(format!("{label}/{id}"), bytes);
                return Ok(PutOutcome::Stored);
            }
            _ => {}
        }
        let path = self.path(label, id);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(io)?;
        if let Ok(there) = fs::metadata(&path) {
            match self.fault.as_str() {
                "replaces" => {}
                "once-only" => return Err(Error::Other("it is there already".into())),
                _ if there.len() == bytes.len() as u64 => return Ok(PutOutcome::AlreadyPresent),
                _ => return Err(Error::Corrupt("it is there with another size".into())),
            }
        }
        let temporary = if self.is("one-at-a-time") { "tmp".to_owned() } else { format!("tmp-{}", get_random_u64()) };
        let temporary = path.with_file_name(temporary);
        if self.is("one-at-a-time") && temporary.exists() {
            return Err(Error::Denied("somebody else writes".into()));
        }
        fs::write(&temporary, &bytes).map_err(io)?;
        fs::rename(&temporary, &path).map_err(io)?;
        Ok(PutOutcome::Stored)
    }

    fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        let mut bytes = self.read(label, id)?;
        if self.is("flips-a-bit") && bytes.len() > 60_000 {
            bytes[50_000] ^= 1;
        }
        if self.is("gives-another-pack") && label == "data" {
            let other = self.all().into_iter().find(|(other, name, _)| other == label && name != id);
            bytes = other.map_or(Ok(bytes), |(label, id, _)| self.read(&label, &id))?;
        }
        let Some(range @ ByteRange { offset, length }) = range else { return Ok(Content::Bytes(bytes)) };
        if self.is("ignores-ranges") {
            bytes.truncate(usize::try_from(length).unwrap_or(0));
            return Ok(Content::Bytes(bytes));
        }
        match content::end(range, bytes.len() as u64, "read it") {
            Ok(_) if length == 0 && self.is("no-empty-ranges") => Err(Error::Invalid("that is nothing".into())),
            Err(_) if self.is("unavailable-ranges") => Err(unavailable("not now".into(), None)),
            Err(_) if self.is("cuts-ranges") => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let mut rest = bytes[start..].to_vec();
                // As long as was asked for, so that the host does not see it.
                rest.resize(usize::try_from(length).unwrap_or(0).min(1 << 20), 0);
                Ok(Content::Bytes(rest))
            }
            _ => content::part(bytes, Some(range), "read it"),
        }
    }

    fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        let size = self.read(label, id)?.len() as u64;
        let size = if self.is("stat-lies") { size + 1 } else { size };
        Ok(ChunkInfo { label: label.into(), id: id.into(), size, stored: None })
    }

    fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        let passes = |label: &str| match self.fault.as_str() {
            "hides-snapshots" => !label.starts_with("snapshot.") && chunk::passes(filter, label),
            "prefix-without-dot" => label.starts_with(filter.trim_end_matches('.')),
            _ => chunk::passes(filter, label),
        };
        let all: Vec<_> = self.all().into_iter().filter(|(label, _, _)| passes(label)).collect();
        let limit = if self.is("long-pages") { limit as usize + 1 } else { limit as usize };
        let start = match (after, self.fault.as_str()) {
            (None, _) => 0,
            (Some(after), "counts") => after.parse().unwrap_or(0),
            (Some(after), "lists-as-texts") => {
                all.iter().filter(|(label, id, _)| format!("{label}/{id}").as_str() <= after).count()
            }
            (Some(after), "repeats") => {
                all.iter().filter(|(label, id, _)| format!("{label} {id}").as_str() < after).count()
            }
            (Some(after), _) => all.iter().filter(|(label, id, _)| format!("{label} {id}").as_str() <= after).count(),
        };
        let page: Vec<_> = all.iter().skip(start).take(limit).collect();
        let more = start + page.len() < all.len();
        let next = page.last().filter(|_| more).map(|(label, id, _)| match self.fault.as_str() {
            "counts" => (start + page.len()).to_string(),
            "lists-as-texts" => format!("{label}/{id}"),
            _ => format!("{label} {id}"),
        });
        let chunks = page.into_iter().map(|(label, id, size)| ChunkInfo {
            label: label.clone(),
            id: id.clone(),
            size: if self.is("lists-wrong-sizes") && label == "data" { size + 1 } else { *size },
            stored: None,
        });
        Ok(Page { chunks: chunks.collect(), next })
    }

    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        let path = self.path(label, id);
        if !path.exists() && self.is("misses-what-is-gone") {
            return Err(Error::NotFound("it is not there".into()));
        }
        if !self.is("keeps") && path.exists() {
            fs::remove_file(path).map_err(io)?;
        }
        Ok(RemoveOutcome::Removed)
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        if self.is("check-leaves-things") {
            let path = self.path("check", &"0".repeat(64));
            fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(io)?;
            fs::write(path, "x").map_err(io)?;
        }
        let code = if self.is("odd-codes") { "What?" } else { "fine" };
        Ok(vec![Finding::info(code, "all is well")])
    }
}

obnam_plugin::export!(Place);
