//! Chunks as objects: put, get, stat, remove.

use aws_smithy_types::base64;
use obnam_plugin::content::{self, beyond};
use obnam_plugin::error::unavailable;
use obnam_plugin::http::{self, Reading};

use crate::exchange::{Body, Method, Request, send};
use crate::failures::refused;
use crate::listing::{self, Query};
use crate::names;
use crate::settings::Settings;
use crate::xml;
use crate::{ByteRange, ChunkInfo, Content, Error, PutOutcome, RemoveOutcome};

/// An opened bucket, or a part of one.
pub struct S3Store {
    /// Where it is, and who asks.
    pub settings: Settings,
    /// The answer whose stream Obnam reads.
    pub reading: Reading,
}

/// What a HEAD tells.
struct Head {
    size: u64,
    stored: Option<u64>,
    /// The SHA-256 that the store keeps beside the object, in base64.
    checksum: Option<String>,
}

impl S3Store {
    /// The place, not looked at yet.
    pub fn at(settings: Settings) -> Result<Self, Error> {
        if settings.credentials.is_none() {
            return Err(Error::Denied(format!(
                "there are no keys for {}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for keys from \
                 ~/.aws/credentials",
                settings.place.describe()
            )));
        }
        Ok(S3Store { settings, reading: Reading::default() })
    }

    /// What is done to a chunk, for messages.
    fn doing(&self, what: &str, label: &str, id: &str) -> String {
        format!("{what} chunk {label}/{id} in {}", self.settings.place.describe())
    }

    /// Stores a chunk, see the contract. One request, unless the store says that it has the chunk.
    pub fn put_chunk(&self, label: &str, id: &str, size: u64, content: &Content) -> Result<PutOutcome, Error> {
        let doing = self.doing("store", label, id);
        let key = format!("{label}/{id}");
        let body = Body::of(content, size, &doing)?;
        let sha256 = names::sha256(id).ok_or_else(|| Error::Invalid(format!("could not {doing}: that is no id")))?;
        let mut request = Request { sha256: id, ..create(&self.settings, &key, &sha256, body) };
        if let Some(class) = self.settings.storage_class(label) {
            request.headers.push(("x-amz-storage-class", class.to_owned()));
        }
        let mut answer = send(&self.settings, &request, &doing)?;
        match answer.status {
            200 | 201 | 204 => {
                answer.text(&doing)?;
                Ok(PutOutcome::Stored)
            }
            412 => {
                answer.text(&doing)?;
                drop(answer);
                self.already_present(label, id, size, &base64::encode(sha256), &doing)
            }
            _ => Err(refused(&self.settings, &request, answer, &doing)),
        }
    }

    /// The answer for a chunk that was there before.
    fn already_present(
        &self,
        label: &str,
        id: &str,
        size: u64,
        sha256: &str,
        doing: &str,
    ) -> Result<PutOutcome, Error> {
        let head = match self.head(&format!("{label}/{id}"), doing) {
            Ok(head) => head,
            // Who may create only cannot look. Nobody can know the id of a chunk before it is stored, so what has its
            // name is the same chunk, stored by a call whose answer was lost.
            Err(Error::Denied(_)) => return Ok(PutOutcome::AlreadyPresent),
            Err(Error::NotFound(_)) => {
                return Err(unavailable(format!("could not {doing}: it comes and goes"), None));
            }
            Err(error) => return Err(error),
        };
        if head.size != size {
            return Err(Error::Corrupt(format!(
                "could not {doing}: something else has its name, {} bytes instead of {size}; remove it there",
                head.size
            )));
        }
        if head.checksum.is_some_and(|known| is_whole(&known) && known != sha256) {
            return Err(Error::Corrupt(format!(
                "could not {doing}: something else has its name, with another checksum; remove it there"
            )));
        }
        Ok(PutOutcome::AlreadyPresent)
    }

    /// Reads a chunk, see the contract. One request.
    pub fn get_chunk(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        let doing = self.doing("read", label, id);
        let key = format!("{label}/{id}");
        if let Some(range @ ByteRange { length: 0, .. }) = range {
            // A range of HTTP has at least one byte.
            content::end(range, self.head(&key, &doing)?.size, &doing)?;
            return Ok(Content::Bytes(Vec::new()));
        }
        let mut request = Request::new("s3:GetObject", Method::Get, Some(&key));
        if let Some(range) = range {
            let header = http::range_header(range).ok_or_else(|| beyond(&doing, range, None))?;
            request.headers.push(("range", header));
        }
        let mut answer = send(&self.settings, &request, &doing)?;
        if !http::is_wanted(&mut answer, range, &doing)? {
            return Err(refused(&self.settings, &request, answer, &doing));
        }
        self.reading.hand_over(answer, &doing)
    }

    fn head(&self, key: &str, doing: &str) -> Result<Head, Error> {
        let mut request = Request::new("s3:GetObject", Method::Head, Some(key));
        request.headers.push(("x-amz-checksum-mode", "ENABLED".into()));
        let answer = send(&self.settings, &request, doing)?;
        if answer.status != 200 {
            return Err(refused(&self.settings, &request, answer, doing));
        }
        let size = match answer.number("content-length") {
            Some(size) => size,
            // Some servers leave the length of an empty object out.
            None => self.listed_size(key)?.ok_or_else(|| {
                Error::Other(format!("could not {doing}: the store does not say how many bytes it has"))
            })?,
        };
        Ok(Head {
            size,
            stored: answer.header("last-modified").and_then(xml::http_time),
            checksum: answer.header("x-amz-checksum-sha256").map(str::to_owned),
        })
    }

    /// The length of an object as a listing has it.
    fn listed_size(&self, key: &str) -> Result<Option<u64>, Error> {
        let listing = listing::list(self, &Query { prefix: key, most: 1, ..Query::default() })?;
        Ok(listing.objects.into_iter().find(|object| object.key == key).map(|object| object.size))
    }

    /// What is known of a chunk.
    pub fn stat_chunk(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        let head = self.head(&format!("{label}/{id}"), &self.doing("look at", label, id))?;
        Ok(ChunkInfo { label: label.into(), id: id.into(), size: head.size, stored: head.stored })
    }

    /// Whether there is an object with this key.
    pub fn exists(&self, key: &str, doing: &str) -> Result<bool, Error> {
        match self.head(key, doing) {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a chunk.
    pub fn remove_chunk(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        self.remove_object(&format!("{label}/{id}"), &self.doing("remove", label, id))?;
        Ok(RemoveOutcome::Removed)
    }

    /// Removes an object, if it is there.
    pub fn remove_object(&self, key: &str, doing: &str) -> Result<(), Error> {
        let request = Request::new("s3:DeleteObject", Method::Delete, Some(key));
        let mut answer = send(&self.settings, &request, doing)?;
        if matches!(answer.status, 200 | 202 | 204) {
            answer.text(doing)?;
            return Ok(());
        }
        match refused(&self.settings, &request, answer, doing) {
            Error::NotFound(_) => Ok(()),
            error => Err(error),
        }
    }
}

/// The request that stores an object under a key that nothing has yet.
pub fn create<'a>(settings: &Settings, key: &'a str, sha256: &[u8; 32], body: Body<'a>) -> Request<'a> {
    let mut headers = vec![("x-amz-checksum-sha256", base64::encode(sha256))];
    headers.extend(settings.create_only.then(|| ("if-none-match", "*".to_owned())));
    Request { headers, body, ..Request::new("s3:PutObject", Method::Put, Some(key)) }
}

/// Whether a checksum is one of the whole object, not one of the checksums of its parts.
fn is_whole(checksum: &str) -> bool {
    !checksum.contains('-')
}
