//! Sparse files: where in a file the bytes of its content go (format section 9, keys 17 and 18).

use crate::format::FormatError;
use crate::format::entry::{Entry, Pair};

/// A run of data.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Offset in the content.
    content: u64,
    /// Offset in the file.
    file: u64,
    length: u64,
}

/// The runs of a sparse file; any other file has none and is its content.
#[derive(Debug, Clone)]
pub struct Layout {
    runs: Vec<Run>,
    size: u64,
}

impl Layout {
    /// That of a file; `None` if it is not sparse. Runs that overlap, leave the file, or are not as long together as
    /// the content are refused.
    pub fn of(entry: &Entry) -> Result<Option<Self>, FormatError> {
        let malformed = Err(FormatError::Malformed("holes and runs of data that make no file"));
        let (size, extents) = match (entry.size, &entry.extents) {
            (None, None) => return Ok(None),
            (Some(size), Some(extents)) => (size, extents),
            _ => return malformed,
        };
        let mut runs: Vec<Run> = Vec::with_capacity(extents.len());
        let (mut content, mut end) = (0, 0);
        for &Pair(file, length) in extents {
            let next_end = file.checked_add(length).filter(|&next| file >= end && length > 0 && next <= size);
            let Some(next_end) = next_end else { return malformed };
            runs.push(Run { content, file, length });
            content += length;
            end = next_end;
        }
        if entry.content.as_ref().is_none_or(|whole| whole.size == content) {
            Ok(Some(Layout { runs, size }))
        } else {
            malformed
        }
    }

    /// Length of the file in bytes, with its holes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Cuts bytes of the content that stand at `offset` there into pieces with their offsets in the file.
    pub fn pieces<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
        let first = self.runs.partition_point(|run| run.content + run.length <= offset);
        let end = offset + bytes.len() as u64;
        self.runs[first..].iter().take_while(move |run| run.content < end).map(move |run| {
            let from = run.content.max(offset);
            let to = (run.content + run.length).min(end);
            (run.file + (from - run.content), &bytes[(from - offset) as usize..(to - offset) as usize])
        })
    }

    /// The data between two offsets of the file: (offset in the file, offset in the content, length), in order.
    pub fn data(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64, u64)> {
        let first = self.runs.partition_point(|run| run.file + run.length <= start);
        self.runs[first..].iter().take_while(move |run| run.file < end).map(move |run| {
            let from = run.file.max(start);
            let to = (run.file + run.length).min(end);
            (from, run.content + (from - run.file), to - from)
        })
    }

    /// Where the next data begins, at or behind an offset of the file.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        self.data(offset, self.size).next().map(|(start, ..)| start)
    }

    /// Where the next hole begins, at or behind an offset of the file; its end counts as one.
    pub fn next_hole(&self, offset: u64) -> u64 {
        let mut end = offset;
        for (start, _, length) in self.data(offset, self.size) {
            if start > end {
                break;
            }
            end = start + length;
        }
        end
    }

    /// Where in the file a byte of the content goes.
    pub fn position(&self, offset: u64) -> u64 {
        self.pieces(offset, &[0]).next().map_or(self.size, |(position, _)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::blob::BlobId;
    use crate::format::content::{Content, Item};
    use crate::format::entry::tests::sample;

    fn entry(content: u64, size: Option<u64>, extents: Option<&[(u64, u64)]>) -> Entry {
        let mut entry = sample(b"a");
        entry.content = Some(Content::new(0, &[Item { id: BlobId([0; 32]), size: content }]));
        let pair = |&(offset, length): &(u64, u64)| Pair(offset, length);
        (entry.size, entry.extents) = (size, extents.map(|runs| runs.iter().map(pair).collect()));
        entry
    }

    #[test]
    fn content_cut_anywhere_goes_to_its_runs() {
        let layout = Layout::of(&entry(9, Some(100), Some(&[(10, 4), (14, 2), (50, 3)]))).expect("fits").expect("runs");
        let content: Vec<u8> = (1..10).collect();
        let mut expected = [0; 100];
        expected[10..16].copy_from_slice(&content[..6]);
        expected[50..53].copy_from_slice(&content[6..]);
        for step in 1..=9 {
            let mut file = [0; 100];
            for (number, blob) in content.chunks(step).enumerate() {
                for (at, piece) in layout.pieces((number * step) as u64, blob) {
                    file[at as usize..][..piece.len()].copy_from_slice(piece);
                }
            }
            assert_eq!(file, expected, "blobs of {step}");
        }
        assert_eq!([0, 3, 4, 6, 8, 9].map(|offset| layout.position(offset)), [10, 13, 14, 50, 52, 100]);
        let hole = Layout::of(&entry(0, Some(1 << 40), Some(&[]))).expect("fits").expect("a hole");
        assert_eq!((hole.size(), hole.pieces(0, &[]).count()), (1 << 40, 0));
    }

    #[test]
    fn any_part_of_a_file_is_found_in_its_content() {
        let layout = Layout::of(&entry(9, Some(100), Some(&[(10, 4), (14, 2), (50, 3)]))).expect("fits").expect("runs");
        let data = |start, end| layout.data(start, end).collect::<Vec<_>>();
        assert_eq!(data(0, 100), [(10, 0, 4), (14, 4, 2), (50, 6, 3)]);
        assert_eq!(data(12, 15), [(12, 2, 2), (14, 4, 1)]);
        assert_eq!(data(51, 52), [(51, 7, 1)]);
        assert!(data(16, 50).is_empty() && data(53, 100).is_empty());
        assert_eq!([0, 11, 16, 53].map(|offset| layout.next_data(offset)), [Some(10), Some(11), Some(50), None]);
        assert_eq!([0, 10, 15, 20, 50, 99].map(|offset| layout.next_hole(offset)), [0, 16, 16, 20, 53, 99]);
    }

    #[test]
    fn runs_that_make_no_file_are_refused() {
        type Case<'a> = (u64, Option<u64>, Option<&'a [(u64, u64)]>);
        let bad: [Case<'_>; 9] = [
            (5, Some(100), None),
            (5, None, Some(&[(0, 5)])),
            (5, Some(100), Some(&[(0, 4)])),
            (5, Some(100), Some(&[(0, 6)])),
            (5, Some(100), Some(&[(96, 5)])),
            (5, Some(100), Some(&[(10, 3), (12, 2)])),
            (5, Some(100), Some(&[(10, 3), (5, 2)])),
            (5, Some(100), Some(&[(10, 5), (20, 0)])),
            (5, Some(u64::MAX), Some(&[(u64::MAX - 1, 5)])),
        ];
        for (content, size, runs) in bad {
            assert!(Layout::of(&entry(content, size, runs)).is_err(), "{content} {size:?} {runs:?}");
        }
        assert!(Layout::of(&entry(5, None, None)).expect("no sparse file").is_none());
    }
}
