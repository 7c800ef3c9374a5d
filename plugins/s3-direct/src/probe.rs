//! What `check` finds: what the place honours, tried on scratch objects, and what is not Obnam's.
//!
//! Nothing else in Obnam relies on what is tried here. The scratch objects lie below [`PROBE`], which no listing shows, and
//! are removed again.

use obnam_plugin::Severity;
use obnam_plugin::wasi::random::random::get_random_bytes;
use sha2::{Digest, Sha256};

use crate::chunks::{S3Store, create};
use crate::exchange::{self, Answer, Body, Method, Request, send};
use crate::failures::refused;
use crate::listing::{self, Query};
use crate::names::{self, MARKER, PROBE};
use crate::{Error, Finding, marker, xml};

/// How many foreign objects are named.
const NAMED: usize = 20;

/// How long a scratch object is, in bytes.
const LENGTH: usize = 64;

/// Clocks that differ by more than this will soon be refused, in seconds.
const SKEW: u64 = 3 * 60;

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Looks at the place and tries it.
pub fn check(store: &S3Store) -> Result<Vec<Finding>, Error> {
    marker::require(store)?;
    let mut findings = Findings::default();
    foreign(store, &mut findings)?;
    let mut scratch = Vec::new();
    let tried = Probe { store, findings: &mut findings, scratch: &mut scratch }.run();
    remove(store, &scratch, &mut findings);
    match tried {
        Ok(()) => {}
        Err(Error::Denied(message)) => findings.warn("read-only", message),
        Err(Error::Quota(message)) => findings.warn("full", message),
        Err(error @ Error::Unavailable(_)) => return Err(error),
        Err(error) => findings.add(Severity::Error, "not-writable", format!("{error}")),
    }
    if !store.settings.place.tls && !store.settings.place.is_here() {
        findings.warn(
            "not-encrypted-on-the-way",
            "the connection has no TLS: others on the network can see when, how much and under which key id is stored \
             (backups themselves are always encrypted)"
                .into(),
        );
    }
    Ok(findings.0)
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, code: &str, message: String) {
        self.0.push(Finding { severity, code: code.into(), message });
    }

    fn info(&mut self, code: &str, message: &str) {
        self.add(Severity::Info, code, message.into());
    }

    fn warn(&mut self, code: &str, message: String) {
        self.add(Severity::Warning, code, message);
    }
}

/// Names what is not Obnam's at the first level.
fn foreign(store: &S3Store, findings: &mut Findings) -> Result<(), Error> {
    let below = match listing::below(store, "") {
        Err(Error::Denied(message)) => {
            findings.warn("no-list", message);
            return Ok(());
        }
        result => result?,
    };
    let objects = below.objects.into_iter().map(|object| object.key).filter(|key| key != MARKER && !key.is_empty());
    let is_ours = |prefix: &String| prefix == PROBE || prefix.strip_suffix('/').is_some_and(names::is_label);
    let foreign: Vec<String> = objects.chain(below.prefixes.into_iter().filter(|prefix| !is_ours(prefix))).collect();
    let front = &store.settings.place.prefix;
    for key in foreign.iter().take(NAMED) {
        findings.warn("foreign-object", format!("{front}{key} is not Obnam's; it is ignored"));
    }
    if foreign.len() > NAMED {
        let message = format!("{} more objects below {front} are not Obnam's; they are ignored", foreign.len() - NAMED);
        findings.warn("foreign-objects", message);
    }
    Ok(())
}

struct Probe<'a> {
    store: &'a S3Store,
    findings: &'a mut Findings,
    /// Keys of objects that may have been made.
    scratch: &'a mut Vec<String>,
}

impl Probe<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let bytes = get_random_bytes(LENGTH as u64);
        let sha256 = sha256(&bytes);
        let key = key_of(&sha256);
        self.scratch.push(key.clone());
        let first = self.put(&key, &sha256, &bytes)?;
        self.clock(&first);
        self.create_only(&key, &sha256, &bytes)?;
        self.wrong_bytes()?;
        self.reading(&key, &bytes)?;
        self.listing(&key)
    }

    /// Stores a scratch object that nobody has stored before.
    fn put(&mut self, key: &str, sha256: &[u8; 32], bytes: &[u8]) -> Result<Answer, Error> {
        let doing = self.doing("write a scratch object");
        let request = create(&self.store.settings, key, sha256, Body::Bytes(bytes));
        let mut answer = send(&self.store.settings, &request, &doing)?;
        if !matches!(answer.status, 200 | 201 | 204) {
            return Err(refused(&self.store.settings, &request, answer, &doing));
        }
        answer.text(&doing)?;
        Ok(answer)
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} in {}", self.store.settings.place.describe())
    }

    fn clock(&mut self, answer: &Answer) {
        let now = exchange::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let Some(date) = answer.header("date").and_then(xml::http_time).filter(|date| date.abs_diff(now) > SKEW) {
            let direction = if now > date { "ahead of" } else { "behind" };
            self.findings.warn(
                "clock-skew",
                format!(
                    "this computer's clock is {} seconds {direction} the store's; stores refuse everything from 15 \
                     minutes on, so set the clock",
                    date.abs_diff(now)
                ),
            );
        }
    }

    /// Stores the object for a second time.
    fn create_only(&mut self, key: &str, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), Error> {
        if !self.store.settings.create_only {
            self.findings.warn(
                "no-create-only",
                "the store is not asked to refuse to replace objects (create-only=no): whoever has a key that may write \
                 here can also replace objects, so its holder can destroy backups"
                    .into(),
            );
            return Ok(());
        }
        let doing = self.doing("write a scratch object again");
        let request = create(&self.store.settings, key, sha256, Body::Bytes(bytes));
        let mut answer = send(&self.store.settings, &request, &doing)?;
        match answer.status {
            409 | 412 => {
                answer.text(&doing)?;
                self.findings.info("create-only", "the store never replaces an object (it honours if-none-match)");
            }
            200 | 201 | 204 => {
                answer.text(&doing)?;
                self.findings.warn(
                    "no-create-only",
                    "the store ignores if-none-match: whoever has a key that may write here can also replace objects, so \
                     its holder can destroy backups. Obnam itself never replaces anything. Give such keys to nobody whom \
                     you do not trust with all backups in this place, or keep versions or copies of the bucket"
                        .into(),
                );
            }
            _ => return Err(refused(&self.store.settings, &request, answer, &doing)),
        }
        Ok(())
    }

    /// Stores other bytes than the checksum says.
    fn wrong_bytes(&mut self) -> Result<(), Error> {
        let announced = sha256(&get_random_bytes(LENGTH as u64));
        let key = key_of(&announced);
        self.scratch.push(key.clone());
        let doing = self.doing("write a scratch object with a wrong checksum");
        let other = get_random_bytes(LENGTH as u64);
        let request = create(&self.store.settings, &key, &announced, Body::Bytes(&other));
        let mut answer = send(&self.store.settings, &request, &doing)?;
        let refuses = (400..500).contains(&answer.status);
        if !refuses && !matches!(answer.status, 200 | 201 | 204) {
            return Err(refused(&self.store.settings, &request, answer, &doing));
        }
        answer.text(&doing)?;
        drop(answer);
        let stores = self.store.exists(&key, &doing)?;
        match (refuses, stores) {
            (true, false) => {
                self.findings.info("checksum", "the store refuses bytes that do not match their checksum");
            }
            (true, true) => self.findings.warn(
                "checksum-too-late",
                "the store complains about bytes that do not match their checksum, but keeps them: uploads that were \
                 damaged on their way are noticed, and may lie in the way of the next try"
                    .into(),
            ),
            (false, _) => self.findings.warn(
                "no-checksum",
                "the store ignores checksums (x-amz-checksum-sha256): bytes that are damaged on their way to it are \
                 noticed only when they are read. Run 'obnam check --read-data' now and then"
                    .into(),
            ),
        }
        Ok(())
    }

    /// Reads what was stored: whole, its length, a part.
    fn reading(&mut self, key: &str, bytes: &[u8]) -> Result<(), Error> {
        let doing = self.doing("read a scratch object");
        let settings = &self.store.settings;
        let mut request = Request::new("s3:GetObject", Method::Get, Some(key));
        let mut whole = send(settings, &request, &doing)?;
        let same = whole.status == 200 && whole.bytes(&doing)? == bytes;
        match whole.status {
            200 if same => {
                self.findings.info("read-after-write", "what was written can be read at once");
            }
            200 => self.findings.add(
                Severity::Error,
                "read-differs",
                "the store gives back other bytes than it was given".into(),
            ),
            404 => self.findings.warn(
                "no-read-after-write",
                "what was just written cannot be read yet: a restore right after a backup may fail at first".into(),
            ),
            403 => {
                self.findings.info("no-read", "this key may write, but not read scratch objects");
                return Ok(());
            }
            _ => return Err(refused(settings, &request, whole, &doing)),
        }
        request.headers.push(("range", "bytes=1-9".into()));
        let mut part = send(settings, &request, &doing)?;
        if part.status == 206 && part.bytes(&doing)? == bytes[1..10] {
            self.findings.info("ranges", "parts of objects can be read");
        } else if whole.status == 200 {
            let message = "the store cannot read parts of objects: restoring single files will fail";
            self.findings.add(Severity::Error, "no-ranges", message.into());
        }
        Ok(())
    }

    /// Looks for the object in a listing, with its length.
    fn listing(&mut self, key: &str) -> Result<(), Error> {
        let listing = listing::list(self.store, &Query { prefix: key, most: 10, ..Query::default() })?;
        match listing.objects.iter().find(|object| object.key == key) {
            Some(object) if object.size == LENGTH as u64 => {
                self.findings.info("list-after-write", "what was written is listed at once, with its length");
            }
            Some(object) => self.findings.add(
                Severity::Error,
                "list-differs",
                format!("the store lists an object of {LENGTH} bytes with {} bytes", object.size),
            ),
            None => self.findings.warn(
                "no-list-after-write",
                "what was just written is not listed yet: a backup right after another one may store some things twice, \
                 and the newest snapshot may be missing from lists for a while"
                    .into(),
            ),
        }
        Ok(())
    }
}

/// Removes the scratch objects.
fn remove(store: &S3Store, scratch: &[String], findings: &mut Findings) {
    for key in scratch {
        let doing = format!("remove the scratch object {key}");
        if let Err(error) = store.remove_object(key, &doing) {
            let why = if matches!(error, Error::Denied(_)) {
                "this key may not remove objects".to_owned()
            } else {
                format!("{error}")
            };
            findings.info(
                "scratch-left",
                &format!(
                    "scratch objects of {LENGTH} bytes stay below {}{PROBE}: {why}. They do no harm; whoever may can \
                     remove them",
                    store.settings.place.prefix
                ),
            );
            return;
        }
    }
}

/// The key of a scratch object.
fn key_of(sha256: &[u8; 32]) -> String {
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PROBE}{hex}")
}
