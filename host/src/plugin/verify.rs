//! Checks of what a plugin answers. It is trusted for nothing.

use std::time::{Duration, UNIX_EPOCH};

use super::bindings::contract;
use super::failure::Failure;
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter, MAX_CHUNK_SIZE};

/// The most chunks on one page.
pub(super) const PAGE: u32 = 1000;

/// Where a listing stands: what the plugin needs to go on, and what the host needs to check that it does go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Chunks listed so far.
    count: u64,
    /// The last of them.
    last: (Label, ChunkId),
    /// The plugin's own cursor.
    pub(super) next: String,
}

impl Cursor {
    /// The text form that callers carry from page to page.
    pub(super) fn to_text(&self) -> String {
        format!("{} {} {} {}", self.count, self.last.0, self.last.1, self.next)
    }

    /// Parses the text form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let count = parts.next()?.parse().ok()?;
        let last = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Cursor { count, last, next: parts.next()?.to_owned() })
    }
}

/// A page that was checked: its chunks, and where to go on.
pub(super) type CheckedPage = (Vec<ChunkInfo>, Option<Cursor>);

/// Checks a page of a listing that goes on at `cursor`.
pub(super) fn page(
    page: contract::Page,
    filter: &LabelFilter,
    cursor: Option<&Cursor>,
    most: u64,
) -> Result<CheckedPage, Failure> {
    let wrong = |why: String| Err(Failure::Wrong(format!("the listing is wrong: {why}")));
    if page.chunks.len() > PAGE as usize {
        return wrong(format!("a page has {} chunks, asked for were {PAGE}", page.chunks.len()));
    }
    let mut last = cursor.map(|cursor| cursor.last.clone());
    let mut chunks = Vec::with_capacity(page.chunks.len());
    for chunk in page.chunks {
        let info = info(chunk)?;
        if !filter.matches(&info.label) {
            return wrong(format!("it has label {}, which was not asked for", info.label));
        }
        let key = (info.label.clone(), info.id);
        if last.as_ref().is_some_and(|last| *last >= key) {
            return wrong(format!("{}/{} is not in ascending order", info.label, info.id));
        }
        last = Some(key);
        chunks.push(info);
    }
    let count = cursor.map_or(0, |cursor| cursor.count) + chunks.len() as u64;
    if count > most {
        return wrong(format!("it has more than {most} chunks and does not end"));
    }
    match (page.next, last) {
        (None, _) => Ok((chunks, None)),
        (Some(next), Some(last)) if !chunks.is_empty() => Ok((chunks, Some(Cursor { count, last, next }))),
        (Some(_), _) => wrong("a page without chunks says that there are more".into()),
    }
}

/// Checks what is said about one chunk.
pub(super) fn info(info: contract::ChunkInfo) -> Result<ChunkInfo, Failure> {
    let wrong = |why: String| Failure::Wrong(format!("the answer is wrong: {why}"));
    let label = info.label.parse::<Label>().map_err(|error| wrong(error.to_string()))?;
    let id = info.id.parse::<ChunkId>().map_err(|error| wrong(error.to_string()))?;
    if info.size > MAX_CHUNK_SIZE {
        return Err(wrong(format!("{label}/{id} has {} bytes, more than a chunk can have", info.size)));
    }
    let stored = info.stored.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    Ok(ChunkInfo { label, id, size: info.size, stored })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(label: &str, byte: u8) -> contract::ChunkInfo {
        let id = ChunkId::from_bytes([byte; 32]).to_string();
        contract::ChunkInfo { label: label.into(), id, size: 1, stored: Some(1) }
    }

    fn checked(
        chunks: Vec<contract::ChunkInfo>,
        next: Option<&str>,
        cursor: Option<&Cursor>,
    ) -> Result<CheckedPage, String> {
        let answer = contract::Page { chunks, next: next.map(str::to_owned) };
        page(answer, &LabelFilter::All, cursor, 5).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn wrong_pages_are_seen() {
        assert!(checked(vec![entry("a", 1), entry("a", 2), entry("b", 0)], None, None).is_ok());
        let why = |chunks, next| checked(chunks, next, None).unwrap_err();
        assert!(why(vec![entry("a", 2), entry("a", 1)], None).contains("ascending"));
        assert!(why(vec![entry("a", 1), entry("a", 1)], None).contains("ascending"));
        assert!(why(vec![entry("A", 1)], None).contains("not a label"));
        assert!(why(vec![], Some("x")).contains("without chunks"));
        assert!(why((0..6).map(|n| entry("a", n)).collect(), None).contains("does not end"));
        let mut short = entry("a", 1);
        short.id.pop();
        assert!(why(vec![short], None).contains("not a chunk id"));
        let large = contract::ChunkInfo { size: MAX_CHUNK_SIZE + 1, ..entry("a", 1) };
        assert!(why(vec![large], None).contains("more than a chunk"));

        let filter = LabelFilter::Exactly("b".parse().unwrap());
        let answer = contract::Page { chunks: vec![entry("a", 1)], next: None };
        assert!(format!("{:?}", page(answer, &filter, None, 5)).contains("not asked for"));
    }

    #[test]
    fn pages_follow_each_other() {
        let (_, cursor) = checked(vec![entry("a", 1), entry("a", 2)], Some("a b  c"), None).unwrap();
        let cursor = Cursor::parse(&cursor.unwrap().to_text()).unwrap();
        assert_eq!(cursor.next, "a b  c");
        assert!(checked(vec![entry("a", 2)], None, Some(&cursor)).unwrap_err().contains("ascending"));
        assert!(checked(vec![entry("a", 3)], None, Some(&cursor)).is_ok());
        assert!(checked((3..7).map(|n| entry("a", n)).collect(), None, Some(&cursor)).is_err());
        assert_eq!(Cursor::parse("1 a"), None);
        assert_eq!(Cursor::parse("x"), None);
    }
}
