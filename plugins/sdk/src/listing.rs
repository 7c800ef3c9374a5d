//! Pages of a listing, in the one order that is right: by label, then by id.
//!
//! That is not the order of the texts `label/id`: `data/00` is such a text behind `data.x/00`, since a slash comes
//! behind a dot, but the label `data` comes before `data.x`. A place that lists names in the order of their bytes lists
//! labels wrongly, so go through the labels in their own order, or sort.

use crate::{ChunkInfo, Error, Page, chunk};

/// A page of a listing that is being filled.
///
/// Where pages end is written into [`Page::next`] as `label/id` of the last chunk, so that chunks that come or go
/// meanwhile shift no other one off the listing; a number of chunks would.
///
/// A place that lists one label after the other:
///
/// ```
/// use obnam_plugin::listing::Listing;
/// # use obnam_plugin::{ChunkInfo, Error, Page};
/// # fn labels() -> Vec<String> { vec!["data".into(), "data.x".into(), "tree".into()] }
/// # fn ids(_: &str) -> Vec<String> { vec!["00".repeat(32), "01".repeat(32)] }
///
/// fn list(filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
///     let mut page = Listing::new(filter, after, limit)?;
///     for label in labels() {
///         for id in ids(&label) {
///             if page.wants(&label, &id) && !page.push(ChunkInfo { label: label.clone(), id, size: 1, stored: None }) {
///                 return Ok(page.to_be_continued());
///             }
///         }
///     }
///     Ok(page.last())
/// }
/// # let first = list("data", None, 1).unwrap();
/// # assert_eq!((first.chunks.len(), first.next.is_some()), (1, true));
/// # let second = list("data", first.next.as_deref(), 1).unwrap();
/// # assert_eq!((second.chunks[0].id.as_str(), second.next), ("01".repeat(32).as_str(), None));
/// ```
pub struct Listing<'a> {
    filter: &'a str,
    after: Option<(&'a str, &'a str)>,
    limit: usize,
    chunks: Vec<ChunkInfo>,
}

impl<'a> Listing<'a> {
    /// An empty page, from what `list` is asked. [`Error::Invalid`] for an `after` that is no end of such a page.
    pub fn new(filter: &'a str, after: Option<&'a str>, limit: u32) -> Result<Self, Error> {
        let foreign = |after| Error::Invalid(format!("{after:?} is not where a page of this listing ended"));
        let ended = |after| chunk::chunk(after).filter(|(label, _)| chunk::passes(filter, label));
        let after = after.map(|after| ended(after).ok_or_else(|| foreign(after))).transpose()?;
        Ok(Listing { filter, after, limit: limit as usize, chunks: Vec::new() })
    }

    /// Label and id of the last chunk on the page before; none on the first page.
    pub fn after(&self) -> Option<(&'a str, &'a str)> {
        self.after
    }

    /// Whether chunks of this label can stand on this page or a later one. Names that are no labels cannot.
    pub fn wants_label(&self, label: &str) -> bool {
        let behind = self.after.is_none_or(|(after, _)| label >= after);
        behind && chunk::is_label(label) && chunk::passes(self.filter, label)
    }

    /// The id that chunks of this label must be behind: empty, unless the page before ended within the label.
    pub fn floor(&self, label: &str) -> &'a str {
        self.after.filter(|(after, _)| *after == label).map_or("", |(_, id)| id)
    }

    /// Whether this chunk can stand on this page or a later one. Names that are no ids cannot.
    pub fn wants(&self, label: &str, id: &str) -> bool {
        self.wants_label(label) && chunk::is_id(id) && id > self.floor(label)
    }

    /// How many more chunks the page can take.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.chunks.len())
    }

    /// Adds a chunk, which must come behind those that are there. Answers `false`, and leaves it out, when the page is
    /// full.
    pub fn push(&mut self, chunk: ChunkInfo) -> bool {
        let fits = self.room() > 0;
        if fits {
            self.chunks.push(chunk);
        }
        fits
    }

    /// The page, when there are chunks behind it.
    pub fn to_be_continued(self) -> Page {
        let next = self.chunks.last().map(|chunk| format!("{}/{}", chunk.label, chunk.id));
        Page { chunks: self.chunks, next }
    }

    /// The page, when it is the last one.
    pub fn last(self) -> Page {
        Page { chunks: self.chunks, next: None }
    }

    /// The page out of all the chunks of a place, in whatever order they come. For places that can only be listed
    /// whole.
    pub fn of_all(mut self, all: impl IntoIterator<Item = ChunkInfo>) -> Page {
        let mut chunks: Vec<_> = all.into_iter().filter(|chunk| self.wants(&chunk.label, &chunk.id)).collect();
        chunks.sort_unstable_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
        for chunk in chunks {
            if !self.push(chunk) {
                return self.to_be_continued();
            }
        }
        self.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<ChunkInfo> {
        let names = ["tree", "data.x", "data", "data-y", "Upper"];
        let ids = ["0b".repeat(32), "0a".repeat(32), "x".into()];
        let chunk = |label: &str, id: &String| ChunkInfo { label: label.into(), id: id.clone(), size: 1, stored: None };
        names.iter().flat_map(|label| ids.iter().map(|id| chunk(label, id)).collect::<Vec<_>>()).collect()
    }

    /// All pages, as `label:first two digits`.
    fn pages(filter: &str, limit: u32) -> Vec<String> {
        let (mut pages, mut after) = (Vec::new(), None::<String>);
        loop {
            let listing = Listing::new(filter, after.as_deref(), limit).unwrap_or_else(|error| panic!("{error}"));
            let page = listing.of_all(all());
            let names = page.chunks.iter().map(|chunk| format!("{}:{}", chunk.label, &chunk.id[..2]));
            pages.push(names.collect::<Vec<_>>().join(" "));
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn labels_come_in_their_own_order() {
        let order = "data:0a data:0b data-y:0a data-y:0b data.x:0a data.x:0b tree:0a tree:0b";
        assert_eq!(pages("", 1000), [order]);
        for limit in 1..9 {
            assert_eq!(pages("", limit).join(" "), order, "{limit}");
        }
        assert_eq!(pages("data", 1), ["data:0a", "data:0b"]);
        assert_eq!(pages("data.", 3), ["data.x:0a data.x:0b"]);
        assert_eq!(pages("none", 1), [""]);
    }

    #[test]
    fn what_vanished_is_no_place_to_lose_others() {
        let gone = format!("data/{}", "0a1".repeat(32).split_at(64).0);
        let page = Listing::new("", Some(&gone), 1).unwrap_or_else(|error| panic!("{error}")).of_all(all());
        assert_eq!((page.chunks[0].label.as_str(), &page.chunks[0].id[..2]), ("data", "0b"));
    }

    #[test]
    fn ends_of_other_listings_are_refused() {
        let end = format!("data/{}", "0a".repeat(32));
        for (filter, after) in [("tree", end.as_str()), ("", "data/0a"), ("", "7"), ("", "")] {
            assert!(matches!(Listing::new(filter, Some(after), 1), Err(Error::Invalid(_))), "{filter} {after}");
        }
        assert!(Listing::new("data", Some(&end), 1).is_ok());
    }
}
