//! Tar, as POSIX.1-2001 has it ("pax"): headers of the old form, and before each one what they cannot hold, as records.
//! Extended attributes are `SCHILY.xattr.NAME`; sparse files are of GNU's format 1.0. GNU tar, bsdtar and Python read all
//! of it.

use std::io::{self, Write};

use tar::{Builder, EntryType as TarType, Header};

use super::{Archive, Item, Taken};
use crate::format::Time;
use crate::format::entry::{Entry, EntryType, Pair};

/// Length of a block in bytes.
const BLOCK: u64 = 512;
/// The largest number in the 7 octal digits of a header's field.
const MOST: u64 = 0o777_7777;
/// The largest size or time in its 11 octal digits.
const MOST_LONG: u64 = 0o777_7777_7777;
/// What stands where an archive that is not whole ends. No program takes it for a header.
const BROKEN: &[u8] = b"THIS ARCHIVE IS NOT COMPLETE: obnam could not read all of the snapshot.";

/// Writes an archive.
pub struct Tar<W: Write> {
    /// Ends the archive when it is dropped, unless its output is shut by then.
    builder: Builder<Gate<W>>,
    /// Bytes of the member that is being written.
    written: u64,
}

/// Lets bytes through until it is shut: an archive that was cut off gets no end.
struct Gate<W> {
    out: W,
    is_open: bool,
}

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_open { self.out.write(bytes) } else { Err(io::Error::other("the archive was cut off")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Tar<W> {
    fn drop(&mut self) {
        self.builder.get_mut().is_open = false;
    }
}

/// Records that stand before a header.
type Records = Vec<(String, Vec<u8>)>;

impl<W: Write> Tar<W> {
    /// Writes there.
    pub fn new(out: W) -> Self {
        Tar { builder: Builder::new(Gate { out, is_open: true }), written: 0 }
    }

    fn header(&mut self, mut header: Header, records: &Records) -> io::Result<()> {
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(records)?;
        header.set_cksum();
        self.written = 0;
        self.builder.append(&header, io::empty())
    }
}

impl<W: Write> Archive for Tar<W> {
    fn has_links(&self) -> bool {
        true
    }

    fn survives_damage(&self) -> bool {
        true
    }

    fn begin(&mut self, item: &Item) -> io::Result<Taken> {
        let entry = &item.entry;
        let kind = match entry.kind {
            EntryType::Socket => return Ok(Taken::NoSuchKind),
            _ if item.link.is_some() => TarType::Link,
            EntryType::File => TarType::Regular,
            EntryType::Directory => TarType::Directory,
            EntryType::Symlink => TarType::Symlink,
            EntryType::BlockDevice => TarType::Block,
            EntryType::CharDevice => TarType::Char,
            EntryType::Fifo => TarType::Fifo,
        };
        let mut header = Header::new_ustar();
        let mut records = Records::new();
        header.set_entry_type(kind);
        header.set_mode(entry.mode & 0o7777);
        owners(&mut header, &mut records, entry);
        time(&mut header, &mut records, entry.mtime);
        if let Some(device) = entry.device.filter(|_| matches!(kind, TarType::Block | TarType::Char))
            && !set_device(&mut header, device)?
        {
            return Ok(Taken::Refused("tar cannot hold the numbers of this device"));
        }
        let target = item.link.as_ref().or(entry.target.as_ref().filter(|_| kind == TarType::Symlink));
        if let Some(target) = target {
            text(&mut header.as_old_mut().linkname, target, "linkpath", &mut records);
        }
        if item.link.is_none() {
            attributes(&mut records, entry);
        }
        let mut name = item.name.clone();
        let mut map = Vec::new();
        if kind == TarType::Directory {
            name.push(b'/');
        }
        if kind == TarType::Regular {
            if let (Some(size), Some(runs)) = (entry.size, &entry.extents) {
                map = sparse(&mut records, &name, size, runs);
                name = sparse_name(&name);
            }
            let content = entry.content.as_ref().map_or(0, |content| content.size);
            let size = content + map.len() as u64;
            if size > MOST_LONG {
                records.push(("size".into(), size.to_string().into_bytes()));
            }
            header.set_size(size);
        }
        text(&mut header.as_old_mut().name, &name, "path", &mut records);
        self.header(header, &records)?;
        self.data(&map)?;
        Ok(Taken::Whole)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.builder.get_mut().write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(BLOCK) - self.written;
        self.builder.get_mut().write_all(&[0; BLOCK as usize][..padding as usize])
    }

    fn finish(&mut self, is_whole: bool) -> io::Result<()> {
        if is_whole {
            self.builder.finish()?;
        } else {
            let mut block = [0; BLOCK as usize];
            block[..BROKEN.len()].copy_from_slice(BROKEN);
            self.builder.get_mut().write_all(&block)?;
        }
        let out = self.builder.get_mut();
        out.flush()?;
        out.is_open = false;
        Ok(())
    }
}

/// Puts a name into its field; what does not fit in there, or is no ASCII, becomes a record as well.
fn text(field: &mut [u8], value: &[u8], key: &str, records: &mut Records) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    if value.len() > field.len() || !value.is_ascii() {
        records.push((key.into(), value.to_vec()));
    }
}

fn owners(header: &mut Header, records: &mut Records, entry: &Entry) {
    for (key, number) in [("uid", entry.uid), ("gid", entry.gid)] {
        if u64::from(number) > MOST {
            records.push((key.into(), number.to_string().into_bytes()));
        }
    }
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    let ustar = header.as_ustar_mut().expect("it was made as one");
    // These fields end with a NUL.
    if let Some(user) = &entry.user {
        text(&mut ustar.uname[..31], user, "uname", records);
    }
    if let Some(group) = &entry.group {
        text(&mut ustar.gname[..31], group, "gname", records);
    }
}

fn time(header: &mut Header, records: &mut Records, time: Time) {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    header.set_mtime(seconds.min(MOST_LONG));
    if time.nanoseconds != 0 || time.seconds < 0 || seconds > MOST_LONG {
        records.push(("mtime".into(), decimal(time).into_bytes()));
    }
}

/// Seconds with a fraction.
fn decimal(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    match (seconds, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanoseconds:09}"),
        // Half a second before the epoch is the second -1 and half of one.
        _ => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    }
}

/// Whether the numbers of a device fit.
fn set_device(header: &mut Header, device: Pair) -> io::Result<bool> {
    let number = |number: u64| u32::try_from(number).ok().filter(|&number| u64::from(number) <= MOST);
    let (Some(major), Some(minor)) = (number(device.0), number(device.1)) else { return Ok(false) };
    header.set_device_major(major)?;
    header.set_device_minor(minor)?;
    Ok(true)
}

fn attributes(records: &mut Records, entry: &Entry) {
    for xattr in entry.xattrs.iter().flatten() {
        // As GNU tar writes them: a keyword ends at its "=".
        let name = String::from_utf8_lossy(&xattr.name).replace('%', "%25").replace('=', "%3D");
        records.push((format!("SCHILY.xattr.{name}"), xattr.value.clone()));
    }
}

/// The records of a sparse file, and the map that stands before its content.
fn sparse(records: &mut Records, name: &[u8], size: u64, runs: &[Pair]) -> Vec<u8> {
    for (key, value) in [("major", b"1".to_vec()), ("minor", b"0".to_vec()), ("name", name.to_vec())] {
        records.push((format!("GNU.sparse.{key}"), value));
    }
    records.push(("GNU.sparse.realsize".into(), size.to_string().into_bytes()));
    let mut runs = runs.to_vec();
    if runs.last().is_none_or(|last| last.0 + last.1 < size) {
        runs.push(Pair(size, 0));
    }
    let mut map = format!("{}\n", runs.len()).into_bytes();
    for Pair(offset, length) in runs {
        map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK as usize), 0);
    map
}

/// The name under which programs that know nothing of sparse files find one.
fn sparse_name(name: &[u8]) -> Vec<u8> {
    let slash = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    [&name[..slash], b"GNUSparseFile.0/", &name[slash..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch() {
        let text = |seconds, nanoseconds| decimal(Time { seconds, nanoseconds });
        assert_eq!(text(5, 0), "5");
        assert_eq!(text(5, 1), "5.000000001");
        assert_eq!(text(-1, 250_000_000), "-0.750000000");
        assert_eq!(text(-3, 0), "-3");
        assert_eq!(text(-3, 999_999_999), "-2.000000001");
        assert_eq!(text(i64::MIN, 1), "-9223372036854775807.999999999");
    }

    #[test]
    fn a_map_covers_the_whole_file() {
        let mut records = Records::new();
        let map = sparse(&mut records, b"a/b", 100, &[Pair(10, 5)]);
        assert_eq!(map.len(), 512);
        assert!(map.starts_with(b"2\n10\n5\n100\n0\n\0"));
        assert!(sparse(&mut records, b"a/b", 15, &[Pair(10, 5)]).starts_with(b"1\n10\n5\n\0"));
        assert_eq!(sparse_name(b"a/b"), b"a/GNUSparseFile.0/b");
        assert_eq!(sparse_name(b"b"), b"GNUSparseFile.0/b");
    }

    #[test]
    fn an_archive_that_is_dropped_has_no_end() {
        let mut bytes = Vec::new();
        drop(Tar::new(&mut bytes));
        assert!(bytes.is_empty());
        Tar::new(&mut bytes).finish(true).expect("memory");
        assert_eq!(bytes, [0; 1024]);
        bytes.clear();
        Tar::new(&mut bytes).finish(false).expect("memory");
        assert!(bytes.starts_with(BROKEN));
    }
}
