//! The bytes of chunks: in memory, and the parts of them that Obnam asks for.
//!
//! `doing` is what the plugin is at, in the infinitive, as it stands in messages behind "could not": `read chunk
//! data/00ab in /srv`.

use crate::wasi::io::streams::{InputStream, StreamError};
use crate::{ByteRange, Content, Error, error};

/// The content that `put` was handed, whole, whichever form it has: `size` bytes, at most 64 MiB.
///
/// Fewer or more bytes are [`Error::Invalid`], as the contract wants it; a stream that breaks is
/// [`Error::Unavailable`].
pub fn bytes(content: Content, size: u64, doing: &str) -> Result<Vec<u8>, Error> {
    let bytes = match content {
        Content::Bytes(bytes) => bytes,
        Content::Stream(stream) => read(&stream, size, doing)?,
    };
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(wrong_length(bytes.len() as u64, size, doing)) }
}

/// Reads a stream to its end, or at most one byte beyond `size`.
fn read(stream: &InputStream, size: u64, doing: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while bytes.len() as u64 <= size {
        match stream.blocking_read((size + 1 - bytes.len() as u64).min(1 << 20)) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(why)) => {
                let message = format!("could not {doing}: the content cannot be read: {}", why.to_debug_string());
                return Err(error::unavailable(message, None));
            }
        }
    }
    Ok(bytes)
}

/// The answer to `get`, from all the bytes of a chunk: the range of them, or all. [`Error::Invalid`] for a range that
/// runs past their end.
pub fn part(mut bytes: Vec<u8>, range: Option<ByteRange>, doing: &str) -> Result<Content, Error> {
    if let Some(range) = range {
        let end = end(range, bytes.len() as u64, doing)?;
        // No longer than the bytes, which are in memory.
        bytes.truncate(end as usize);
        bytes.drain(..range.offset as usize);
    }
    Ok(Content::Bytes(bytes))
}

/// Where a range ends in a chunk of `size` bytes: the offset behind its last byte. [`Error::Invalid`] when that is past
/// the end; a range of length 0 at the end is fine.
pub fn end(range: ByteRange, size: u64, doing: &str) -> Result<u64, Error> {
    let end = range.offset.checked_add(range.length).filter(|end| *end <= size);
    end.ok_or_else(|| beyond(doing, range, Some(size)))
}

/// The error for a range that runs past the end of a chunk; `size` is how many bytes that has, where it is known.
pub fn beyond(doing: &str, range: ByteRange, size: Option<u64>) -> Error {
    let ByteRange { offset, length } = range;
    let has = size.map_or_else(|| "fewer".to_owned(), |size| size.to_string());
    Error::Invalid(format!("could not {doing}: it has {has} bytes, not {length} at offset {offset}"))
}

/// The error for content of another length than was announced.
pub fn wrong_length(there: u64, size: u64, doing: &str) -> Error {
    Error::Invalid(format!("could not {doing}: there are {there} bytes of content instead of {size}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: u64, length: u64) -> Option<ByteRange> {
        Some(ByteRange { offset, length })
    }

    #[test]
    fn content_has_its_length() {
        let whole = |size| bytes(Content::Bytes(b"abc".to_vec()), size, "store it");
        assert_eq!(whole(3).ok().as_deref(), Some(&b"abc"[..]));
        for size in [0, 2, 4] {
            assert!(matches!(whole(size), Err(Error::Invalid(why)) if why.contains("3 bytes of content")), "{size}");
        }
    }

    #[test]
    fn parts_end_with_the_chunk() {
        let cut = |range| match part(b"abcdef".to_vec(), range, "read it") {
            Ok(Content::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(Content::Stream(_)) | Err(Error::Invalid(_)) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(cut(None).as_deref(), Some("abcdef"));
        assert_eq!(cut(range(2, 3)).as_deref(), Some("cde"));
        assert_eq!(cut(range(0, 6)).as_deref(), Some("abcdef"));
        assert_eq!(cut(range(6, 0)).as_deref(), Some(""));
        for beyond in [range(7, 0), range(6, 1), range(0, 7), range(u64::MAX, 1), range(1, u64::MAX)] {
            assert_eq!(cut(beyond), None, "{beyond:?}");
        }
    }
}
