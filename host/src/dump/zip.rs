//! Zip, for those who have nothing else: files, directories and symbolic links, with modes and times to the second. A file
//! with several names is there as often; holes are zeros; owners and attributes are not in there.

use std::io::{self, Write};

use zip::write::{FileOptions, FullFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::plain::Filler;
use super::{Archive, Item, Taken};
use crate::format::Time;
use crate::format::entry::{Entry, EntryType};

/// Files from this size on, in bytes, get the long form of sizes: they might end up above 4 GiB.
const LARGE: u64 = 3 << 30;
/// Header id of "extended timestamp" (Info-ZIP).
const TIMESTAMP: u16 = 0x5455;

/// Writes an archive. The list at its end is in memory until then: some 500 bytes for each entry.
pub struct Zip<W: Write> {
    /// Taken when the archive has ended.
    writer: Option<ZipWriter<StreamWriter<W>>>,
    filler: Filler,
}

impl<W: Write> Zip<W> {
    /// Writes there.
    pub fn new(out: W) -> Self {
        Zip { writer: Some(ZipWriter::new_stream(out)), filler: Filler::default() }
    }

    fn writer(&mut self) -> &mut ZipWriter<StreamWriter<W>> {
        self.writer.as_mut().expect("nothing comes after the end")
    }
}

impl<W: Write> Drop for Zip<W> {
    fn drop(&mut self) {
        // It would write the end of a whole archive when it is dropped.
        std::mem::forget(self.writer.take());
    }
}

impl<W: Write> Archive for Zip<W> {
    fn has_links(&self) -> bool {
        false
    }

    fn survives_damage(&self) -> bool {
        false
    }

    fn begin(&mut self, item: &Item) -> io::Result<Taken> {
        let entry = &item.entry;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).ok();
        let Some(name) = text(&item.name) else {
            return Ok(Taken::Refused("zip cannot hold a name that is not UTF-8; use --archive tar"));
        };
        let options = options(entry)?;
        match entry.kind {
            EntryType::Directory => self.writer().add_directory(name, options)?,
            EntryType::Symlink => match entry.target.as_deref().map(text) {
                Some(Some(target)) => self.writer().add_symlink(name, target, options)?,
                _ => return Ok(Taken::Refused("zip cannot hold a target that is not UTF-8; use --archive tar")),
            },
            EntryType::File => {
                let options = options.large_file(entry.file_size() >= LARGE);
                self.writer().start_file(name, options)?;
                self.filler = Filler::new(item.layout.clone());
            }
            _ => return Ok(Taken::NoSuchKind),
        }
        Ok(Taken::Whole)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.filler.data(bytes, self.writer.as_mut().expect("nothing comes after the end"))
    }

    fn end(&mut self) -> io::Result<()> {
        self.filler.end(self.writer.as_mut().expect("nothing comes after the end"))
    }

    fn finish(&mut self, is_whole: bool) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if is_whole {
            return writer.finish()?.into_inner().flush();
        }
        std::mem::forget(writer);
        Ok(())
    }
}

fn options(entry: &Entry) -> io::Result<FullFileOptions<'static, 'static>> {
    let mut options: FullFileOptions<'_, '_> = FileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(entry.mode & 0o777)
        .last_modified_time(moment(entry.mtime));
    if let Ok(seconds) = i32::try_from(entry.mtime.seconds) {
        let mut field = vec![1];
        field.extend_from_slice(&seconds.to_le_bytes());
        options.add_extra_field(TIMESTAMP, field, false)?;
    }
    Ok(options)
}

/// The time as DOS has it: between 1980 and 2107, and in UTC, because the machine that reads it may be anywhere.
fn moment(time: Time) -> DateTime {
    let convert = || {
        let time = jiff::Timestamp::new(time.seconds, 0).ok()?.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let (year, month, day) = (u16::try_from(time.year()).ok()?, time.month() as u8, time.day() as u8);
        let (hour, minute, second) = (time.hour() as u8, time.minute() as u8, time.second() as u8);
        DateTime::from_date_and_time(year, month, day, hour, minute, second).ok()
    };
    convert().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_dropped_has_no_end() {
        let mut bytes = Vec::new();
        drop(Zip::new(&mut bytes));
        assert!(bytes.is_empty());
        Zip::new(&mut bytes).finish(false).expect("memory");
        assert!(bytes.is_empty());
        Zip::new(&mut bytes).finish(true).expect("memory");
        assert!(bytes.starts_with(b"PK"));
    }
}
