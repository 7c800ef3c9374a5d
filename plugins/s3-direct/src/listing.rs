//! Pages of chunks.
//!
//! S3 lists keys in the order of their bytes, and there `data.x/` comes before `data/`. So several labels are listed one by
//! one, in their own order, except where everything fits on one page and can be sorted.

use crate::chunks::S3Store;
use crate::exchange::{Answer, Method, Request, send};
use crate::failures::{not_understood, refused};
use crate::names;
use crate::xml;
use crate::{ChunkInfo, Error, Page};
use obnam_plugin::listing::Listing;

/// The most keys that a store gives at once.
const MOST: usize = 1000;

/// One page, see the contract.
pub fn page(store: &S3Store, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
    let page = Listing::new(filter, after, limit)?;
    if after.is_none() && !names::is_exact(filter) {
        // A single request for all labels, where they are few.
        let found = list(store, &Query { prefix: filter, most: MOST, ..Query::default() })?;
        if !found.truncated {
            return Ok(page.of_all(chunks_of(found.objects)));
        }
    }
    let mut filling = Filling { store, page };
    let done = match filling.page.after() {
        None if names::is_exact(filter) => filling.label(filter, None)?,
        None => filling.labels(filter, "")?,
        Some((label, id)) => {
            filling.label(label, Some(id))? && (names::is_exact(filter) || filling.labels(filter, label)?)
        }
    };
    Ok(if done { filling.page.last() } else { filling.page.to_be_continued() })
}

/// A page that is being filled.
struct Filling<'a> {
    store: &'a S3Store,
    page: Listing<'a>,
}

impl Filling<'_> {
    /// Goes through the labels that pass and come behind `after`. Returns whether that was everything.
    fn labels(&mut self, filter: &str, after: &str) -> Result<bool, Error> {
        for label in labels(self.store, filter)? {
            if label.as_str() > after && (self.page.room() == 0 || !self.label(&label, None)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes through the chunks of one label, behind an id. Returns whether that was everything.
    fn label(&mut self, label: &str, after: Option<&str>) -> Result<bool, Error> {
        let prefix = format!("{label}/");
        let mut after = after.map(|id| format!("{prefix}{id}"));
        loop {
            let most = self.page.room().min(MOST);
            let found =
                list(self.store, &Query { prefix: &prefix, after: after.as_deref(), most, ..Query::default() })?;
            // What is listed may be no chunks.
            let last = found.objects.last().map(|object| object.key.clone());
            for chunk in chunks_of(found.objects) {
                self.page.push(chunk);
            }
            match last {
                Some(last) if found.truncated && self.page.room() > 0 => after = Some(last),
                _ => return Ok(!found.truncated),
            }
        }
    }
}

/// Those objects that are chunks.
fn chunks_of(objects: Vec<xml::Object>) -> impl Iterator<Item = ChunkInfo> {
    objects.into_iter().filter_map(|object| {
        let (label, id) = names::chunk(&object.key)?;
        Some(ChunkInfo { label: label.into(), id: id.into(), size: object.size, stored: object.modified })
    })
}

/// The labels that pass a filter, in ascending order.
fn labels(store: &S3Store, filter: &str) -> Result<Vec<String>, Error> {
    let below = below(store, filter)?;
    let labels = below.prefixes.into_iter().filter_map(|prefix| prefix.strip_suffix('/').map(str::to_owned));
    let mut labels: Vec<String> =
        labels.filter(|label| names::is_label(label) && names::passes(filter, label)).collect();
    labels.sort_unstable();
    Ok(labels)
}

/// The first parts of all keys that begin with a text: objects without a slash, and prefixes with one at their end.
pub fn below(store: &S3Store, prefix: &str) -> Result<xml::Listing, Error> {
    let mut all = xml::Listing::default();
    loop {
        let continuation = all.continuation.take();
        let query = Query { prefix, continuation: continuation.as_deref(), fold: true, most: MOST, ..Query::default() };
        let page = list(store, &query)?;
        all.objects.extend(page.objects);
        all.prefixes.extend(page.prefixes);
        all.continuation = page.continuation.filter(|_| page.truncated);
        if all.continuation.is_none() {
            return Ok(all);
        }
    }
}

/// A request for a list. Keys are without the prefix of the place.
#[derive(Default)]
pub struct Query<'a> {
    /// How the keys begin.
    pub prefix: &'a str,
    /// Behind which key.
    pub after: Option<&'a str>,
    /// What the page before said.
    pub continuation: Option<&'a str>,
    /// Whether to fold keys behind the next slash.
    pub fold: bool,
    /// How many.
    pub most: usize,
}

/// One page as the store gives it, with keys without the prefix of the place.
pub fn list(store: &S3Store, query: &Query) -> Result<xml::Listing, Error> {
    let settings = &store.settings;
    let front = &settings.place.prefix;
    let doing = format!("list {}* in {}", query.prefix, settings.place.describe());
    let prefix = format!("{front}{}", query.prefix);
    let after = query.after.map(|after| format!("{front}{after}"));
    let most = query.most.to_string();
    let mut pairs = vec![("list-type", "2"), ("encoding-type", "url"), ("max-keys", most.as_str())];
    pairs.extend((!prefix.is_empty()).then_some(("prefix", prefix.as_str())));
    pairs.extend(query.fold.then_some(("delimiter", "/")));
    pairs.extend(after.as_deref().map(|after| ("start-after", after)));
    pairs.extend(query.continuation.map(|token| ("continuation-token", token)));
    let request = Request { query: &pairs, ..Request::new("s3:ListBucket", Method::Get, None) };
    let mut answer: Answer = send(settings, &request, &doing)?;
    if answer.status != 200 {
        return Err(match refused(settings, &request, answer, &doing) {
            Error::NotFound(message) => Error::NotInitialised(message),
            error => error,
        });
    }
    let text = answer.text(&doing)?;
    let mut listing = xml::listing(&text).map_err(|why| not_understood(settings, &answer, &text, &why, &doing))?;
    let own = |key: &str| key.strip_prefix(front.as_str()).map(str::to_owned);
    listing.objects.retain_mut(|object| own(&object.key).map(|key| object.key = key).is_some());
    listing.prefixes.retain_mut(|prefix| own(prefix).map(|own| *prefix = own).is_some());
    Ok(listing)
}
