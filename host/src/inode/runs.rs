//! Holes: the runs of data in a sparse file, found with `SEEK_DATA` and `SEEK_HOLE`, and read one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::format::entry::Pair;

/// Shorter holes are data, in bytes.
pub const MIN_HOLE: u64 = 64 << 10;
/// A file has no more runs than this: where there are more, the shortest holes become data.
pub const MAX_RUNS: usize = 8192;

/// Runs in the making: ascending, and apart by at least `min_hole`.
struct Runs {
    runs: Vec<Pair>,
    min_hole: u64,
}

impl Runs {
    fn push(&mut self, start: u64, end: u64) {
        append(&mut self.runs, self.min_hole, Pair(start, end - start));
        if self.runs.len() > MAX_RUNS {
            // Half of the holes, and each that is as short.
            let mut holes: Vec<u64> = self.runs.windows(2).map(|two| two[1].0 - (two[0].0 + two[0].1)).collect();
            let middle = holes.len() / 2;
            self.min_hole = *holes.select_nth_unstable(middle).1 + 1;
            for run in std::mem::take(&mut self.runs) {
                append(&mut self.runs, self.min_hole, run);
            }
        }
    }
}

fn append(runs: &mut Vec<Pair>, min_hole: u64, run: Pair) {
    let last_end = runs.last().map_or(0, |last| last.0 + last.1);
    match runs.last_mut() {
        Some(last) if run.0 - last_end < min_hole => last.1 = run.0 + run.1 - last.0,
        None if run.0 < min_hole => runs.push(Pair(0, run.0 + run.1)),
        _ => runs.push(run),
    }
}

/// The runs of data below `size` in a file, as (offset, length); `None` if it has no hole worth the name. Leaves the
/// file's position anywhere.
pub fn find(file: &File, size: u64) -> io::Result<Option<Vec<Pair>>> {
    let mut found = Runs { runs: Vec::new(), min_hole: MIN_HOLE };
    let mut position = 0;
    while position < size {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // It has become shorter meanwhile.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        if start >= end {
            break;
        }
        found.push(start, end);
        position = end;
    }
    let mut runs = found.runs;
    if let Some(last) = runs.last_mut()
        && size - (last.0 + last.1) < MIN_HOLE
    {
        last.1 = size - last.0;
    }
    Ok(Some(runs).filter(|runs| runs.as_slice() != [Pair(0, size)] && size >= MIN_HOLE))
}

/// Reads runs of a file, one after the other. Ends early where the file does.
pub struct RunReader<'a> {
    file: &'a File,
    runs: &'a [Pair],
    /// Bytes of the first run that were read.
    position: u64,
    /// Bytes read in all.
    pub total: u64,
}

impl<'a> RunReader<'a> {
    /// A reader at the beginning of the first run.
    pub fn new(file: &'a File, runs: &'a [Pair]) -> Self {
        RunReader { file, runs, position: 0, total: 0 }
    }
}

impl io::Read for RunReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Pair(offset, length)) = self.runs.first() else { return Ok(0) };
        let rest = usize::try_from(length - self.position).unwrap_or(usize::MAX);
        let most = buffer.len().min(rest);
        let count = self.file.read_at(&mut buffer[..most], offset + self.position)?;
        self.position += count as u64;
        self.total += count as u64;
        if self.position == *length {
            self.runs = &self.runs[1..];
            self.position = 0;
        }
        Ok(count)
    }
}

/// Shortens runs to this many bytes together.
pub fn truncate(runs: &mut Vec<Pair>, mut total: u64) {
    for run in runs.iter_mut() {
        run.1 = run.1.min(total);
        total -= run.1;
    }
    runs.retain(|run| run.1 > 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn sparse(runs: &[(u64, usize)], size: u64) -> File {
        let file = tempfile::tempfile().expect("makes a file");
        file.set_len(size).expect("sets its length");
        for (offset, length) in runs {
            file.write_all_at(&vec![offset.to_le_bytes()[1] | 1; *length], *offset).expect("writes");
        }
        file
    }

    #[test]
    fn runs_of_data_are_found() {
        const M: u64 = 1 << 20;
        type Case<'a> = (&'a [(u64, usize)], u64, Option<&'a [Pair]>);
        let cases: [Case<'_>; 7] = [
            (&[], 10 * M, Some(&[])),
            (&[(0, 4096)], 10 * M, Some(&[Pair(0, 4096)])),
            (&[(10 * M - 4096, 4096)], 10 * M, Some(&[Pair(10 * M - 4096, 4096)])),
            (&[(M, 8192), (2 * M, 4096)], 10 * M, Some(&[Pair(M, 8192), Pair(2 * M, 4096)])),
            // Short holes are data, at the ends too.
            (&[(4096, 4096), (16384, 4096), (M, 4096)], M + 8192, Some(&[Pair(0, 20480), Pair(M, 8192)])),
            (&[(4096, 4096)], 12288, None),
            (&[(0, 12288)], 12288, None),
        ];
        for (data, size, expected) in cases {
            let file = sparse(data, size);
            let found = find(&file, size).expect("seeks");
            assert_eq!(found.as_deref(), expected, "{data:?} of {size}");
        }
    }

    #[test]
    fn there_are_never_too_many_runs() {
        let mut runs = Runs { runs: Vec::new(), min_hole: MIN_HOLE };
        for number in 0..100_000u64 {
            // Ever longer holes.
            let start = number * number * 1000 + number * MIN_HOLE * 2;
            runs.push(start, start + 1000);
            assert!(runs.runs.len() <= MAX_RUNS);
        }
        assert!(runs.runs.len() > MAX_RUNS / 8, "{}", runs.runs.len());
        assert!(runs.runs.is_sorted_by(|a, b| a.0 + a.1 < b.0));
    }

    #[test]
    fn runs_are_read_one_after_the_other() {
        let file = sparse(&[(1 << 20, 5000), (3 << 20, 3)], 4 << 20);
        let mut runs = vec![Pair(1 << 20, 5000), Pair(3 << 20, 3)];
        let mut content = Vec::new();
        RunReader::new(&file, &runs).read_to_end(&mut content).expect("reads");
        let mut whole = Vec::new();
        (&file).read_to_end(&mut whole).expect("reads");
        assert_eq!(content, [&whole[1 << 20..][..5000], &whole[3 << 20..][..3]].concat());
        // The file becomes shorter while it is read.
        file.set_len((1 << 20) + 10).expect("cuts");
        let mut reader = RunReader::new(&file, &runs);
        content.clear();
        reader.read_to_end(&mut content).expect("reads");
        assert_eq!((content.len(), reader.total), (10, 10));
        truncate(&mut runs, 10);
        assert_eq!(runs, [Pair(1 << 20, 10)]);
    }
}
