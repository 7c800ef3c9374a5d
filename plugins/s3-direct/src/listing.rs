//! Pages of chunks.
//!
//! S3 lists keys in the order of their bytes, and there `data.x/` comes before `data/`. So several labels are listed one by
//! one, in their own order, except where everything fits on one page and can be sorted.

use crate::chunks::S3Store;
use crate::exchange::{Answer, Method, Request, send};
use crate::failures::{not_understood, refused};
use crate::names;
use crate::xml::{self, Listing};
use crate::{ChunkInfo, Error, Page};

/// The most keys that a store gives at once.
const MOST: usize = 1000;

/// One page; `after` is the `label/id` of the last chunk on the page before.
pub fn page(store: &S3Store, filter: &str, after: Option<&str>, limit: usize) -> Result<Page, Error> {
    let mut page = Filling { store, chunks: Vec::new(), limit: limit.min(MOST) };
    let done = match after {
        None if names::is_exact(filter) => page.label(filter, None)?,
        None => match page.all_at_once(filter)? {
            true => return Ok(Page { chunks: page.chunks, next: None }),
            false => page.labels(filter, "")?,
        },
        Some(cursor) => {
            let (label, id) = names::chunk(cursor)
                .filter(|(label, _)| names::passes(filter, label))
                .ok_or_else(|| Error::Invalid(format!("{cursor:?} is not where a page of this listing ended")))?;
            page.label(label, Some(id))? && (names::is_exact(filter) || page.labels(filter, label)?)
        }
    };
    let next = page.chunks.last().filter(|_| !done).map(|chunk| format!("{}/{}", chunk.label, chunk.id));
    Ok(Page { chunks: page.chunks, next })
}

/// A page that is being filled.
struct Filling<'a> {
    store: &'a S3Store,
    chunks: Vec<ChunkInfo>,
    limit: usize,
}

impl Filling<'_> {
    /// Tries a single request for all labels that pass. Returns whether that was everything; if not, nothing was filled in.
    fn all_at_once(&mut self, filter: &str) -> Result<bool, Error> {
        let listing = list(self.store, &Query { prefix: filter, most: MOST, ..Query::default() })?;
        let mut chunks: Vec<ChunkInfo> = self.chunks_of(listing.objects).collect();
        if listing.truncated || chunks.len() > self.limit {
            return Ok(false);
        }
        chunks.retain(|chunk| names::passes(filter, &chunk.label));
        chunks.sort_unstable_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
        self.chunks = chunks;
        Ok(true)
    }

    /// Goes through the labels that pass and come behind `after`. Returns whether that was everything.
    fn labels(&mut self, filter: &str, after: &str) -> Result<bool, Error> {
        for label in labels(self.store, filter)? {
            if label.as_str() > after && (self.is_full() || !self.label(&label, None)?) {
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
            let most = self.limit - self.chunks.len();
            let query = Query { prefix: &prefix, after: after.as_deref(), most, ..Query::default() };
            let listing = list(self.store, &query)?;
            let truncated = listing.truncated;
            // What is listed may be no chunks.
            let last = listing.objects.last().map(|object| object.key.clone());
            let chunks: Vec<ChunkInfo> = self.chunks_of(listing.objects).collect();
            self.chunks.extend(chunks);
            match last {
                Some(last) if truncated && !self.is_full() => after = Some(last),
                _ => return Ok(!truncated),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.chunks.len() >= self.limit
    }

    /// Those objects that are chunks.
    fn chunks_of(&self, objects: Vec<xml::Object>) -> impl Iterator<Item = ChunkInfo> + use<> {
        objects.into_iter().filter_map(|object| {
            let (label, id) = names::chunk(&object.key)?;
            Some(ChunkInfo { label: label.into(), id: id.into(), size: object.size, stored: object.modified })
        })
    }
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
pub fn below(store: &S3Store, prefix: &str) -> Result<Listing, Error> {
    let mut all = Listing::default();
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
pub fn list(store: &S3Store, query: &Query) -> Result<Listing, Error> {
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
