//! Directory entries (format section 9): all that a Unix file has besides its contents.

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use super::content::Content;
use super::{FormatError, Time, to_cbor};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryType {
    /// A regular file.
    File = 0,
    /// A directory.
    Directory = 1,
    /// A symbolic link.
    Symlink = 2,
    /// A block device.
    BlockDevice = 3,
    /// A character device.
    CharDevice = 4,
    /// A FIFO.
    Fifo = 5,
    /// A socket.
    Socket = 6,
}

impl EntryType {
    /// The type's name in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryType::File => "file",
            EntryType::Directory => "directory",
            EntryType::Symlink => "symlink",
            EntryType::BlockDevice => "block device",
            EntryType::CharDevice => "character device",
            EntryType::Fifo => "fifo",
            EntryType::Socket => "socket",
        }
    }
}

impl<C> Encode<C> for EntryType {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u8(*self as u8)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EntryType {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Ok(match d.u8()? {
            0 => EntryType::File,
            1 => EntryType::Directory,
            2 => EntryType::Symlink,
            3 => EntryType::BlockDevice,
            4 => EntryType::CharDevice,
            5 => EntryType::Fifo,
            6 => EntryType::Socket,
            _ => return Err(DecodeError::message("an entry type of a later version")),
        })
    }
}

/// Two numbers: of a device (major, minor), or of an inode on a device, or of an extent (offset, length).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Pair(#[n(0)] pub u64, #[n(1)] pub u64);

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Xattr {
    /// Its whole name, with the namespace.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its value.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// The name's raw bytes; see [`Entry::check_name`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// What it is.
    #[n(1)]
    pub kind: EntryType,
    /// The 12 permission bits.
    #[n(2)]
    pub mode: u32,
    /// Numeric owner.
    #[n(3)]
    pub uid: u32,
    /// Numeric group.
    #[n(4)]
    pub gid: u32,
    /// Name of the owner.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub user: Option<Vec<u8>>,
    /// Name of the group.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub group: Option<Vec<u8>>,
    /// Last change of the contents.
    #[n(7)]
    pub mtime: Time,
    /// Last change of contents or metadata; tells unchanged files, and is not restored.
    #[n(8)]
    pub ctime: Option<Time>,
    /// The inode; tells unchanged files.
    #[n(9)]
    pub inode: Option<u64>,
    /// Contents of a file or directory.
    #[n(10)]
    pub content: Option<Content>,
    /// Where a symbolic link points.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub target: Option<Vec<u8>>,
    /// (device, inode) of a file with more than one link.
    #[n(12)]
    pub hard_link: Option<Pair>,
    /// (major, minor) of a device.
    #[n(13)]
    pub device: Option<Pair>,
    /// Extended attributes, POSIX ACLs among them.
    #[n(14)]
    pub xattrs: Option<Vec<Xattr>>,
    /// Flags as of `FS_IOC_GETFLAGS`.
    #[n(15)]
    pub flags: Option<u32>,
    /// Time of birth.
    #[n(16)]
    pub birth: Option<Time>,
    /// Size of a sparse file with its holes.
    #[n(17)]
    pub size: Option<u64>,
    /// (offset, length) of the runs of data in a sparse file.
    #[n(18)]
    pub extents: Option<Vec<Pair>>,
}

impl Entry {
    /// An entry with this name and kind, and nothing else.
    pub fn new(name: &[u8], kind: EntryType) -> Self {
        Entry {
            name: name.to_vec(),
            kind,
            mode: 0o700,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime: Time::now(),
            ctime: None,
            inode: None,
            content: None,
            target: None,
            hard_link: None,
            device: None,
            xattrs: None,
            flags: None,
            birth: None,
            size: None,
            extents: None,
        }
    }

    /// Length of a regular file in bytes, with its holes; 0 for anything else.
    pub fn file_size(&self) -> u64 {
        let content = self.content.as_ref().filter(|_| self.kind == EntryType::File);
        content.map_or(0, |content| self.size.unwrap_or(content.size))
    }

    /// Refuses names that would leave the directory: empty, `.`, `..`, with a slash or NUL.
    pub fn check_name(&self) -> Result<(), FormatError> {
        let bad = self.name.is_empty()
            || self.name == b"."
            || self.name == b".."
            || self.name.iter().any(|&b| b == b'/' || b == 0);
        if bad { Err(FormatError::Malformed("a directory entry with a name that no file can have")) } else { Ok(()) }
    }
}

/// Reads a directory stream, entry by entry.
pub struct Entries<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Entries<'a> {
    /// Reads the entries that stand in `stream`.
    pub fn new(stream: &'a [u8]) -> Self {
        Entries { decoder: Decoder::new(stream) }
    }
}

impl<'a> Entries<'a> {
    /// The next entry, with the bytes that it stands in.
    pub fn next_with_bytes(&mut self) -> Option<(Result<Entry, FormatError>, &'a [u8])> {
        let start = self.decoder.position();
        let entry = self.next()?;
        Some((entry, &self.decoder.input()[start..self.decoder.position()]))
    }
}

/// The bytes of an entry with another content. Everything else stays as it is, also what this program does not know.
pub fn with_content(entry: &[u8], content: &Content) -> Result<Vec<u8>, FormatError> {
    const CONTENT: u64 = 10;
    let mut decoder = Decoder::new(entry);
    let count = decoder.map()?;
    let mut changed = to_cbor(content);
    let is_end = |decoder: &Decoder<'_>| matches!(decoder.datatype(), Ok(Type::Break));
    let mut left = count.unwrap_or(u64::MAX);
    let mut front = entry[..decoder.position()].to_vec();
    while left > 0 && !(count.is_none() && is_end(&decoder)) {
        let start = decoder.position();
        // Keys of later versions may be of any type.
        let is_content = decoder.probe().u64().ok() == Some(CONTENT);
        decoder.skip()?;
        let value = decoder.position();
        decoder.skip()?;
        if is_content {
            front.extend_from_slice(&entry[start..value]);
            front.append(&mut changed);
        } else {
            front.extend_from_slice(&entry[start..decoder.position()]);
        }
        left -= 1;
    }
    front.extend_from_slice(&entry[decoder.position()..]);
    Ok(front)
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.decoder.position() >= self.decoder.input().len() {
            return None;
        }
        let start = self.decoder.position();
        let entry = self.decoder.decode::<Entry>().map_err(FormatError::from).and_then(|entry| {
            entry.check_name()?;
            Ok(entry)
        });
        if entry.is_err() {
            // An entry that makes no sense costs itself only, as long as it can be told where it ends.
            self.decoder.set_position(start);
            let is_map = matches!(self.decoder.datatype(), Ok(Type::Map));
            if !is_map || self.decoder.skip().is_err() {
                self.decoder.set_position(self.decoder.input().len());
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{from_cbor, to_cbor};
    use super::*;

    pub(crate) fn sample(name: &[u8]) -> Entry {
        Entry {
            name: name.to_vec(),
            kind: EntryType::File,
            mode: 0o644,
            uid: 1000,
            gid: 100,
            user: Some(b"liw".to_vec()),
            group: None,
            mtime: Time { seconds: -1, nanoseconds: 999_999_999 },
            ctime: Some(Time { seconds: 5, nanoseconds: 0 }),
            inode: Some(u64::MAX),
            content: Some(Content::default()),
            target: None,
            hard_link: Some(Pair(1, 2)),
            device: None,
            xattrs: Some(vec![Xattr { name: b"user.a".to_vec(), value: vec![0, 255] }]),
            flags: Some(16),
            birth: None,
            size: Some(1 << 40),
            extents: Some(vec![Pair(4096, 4096)]),
        }
    }

    #[test]
    fn entries_come_back() {
        let entry = sample(b"na\xffme");
        assert_eq!(from_cbor::<Entry>(&to_cbor(&entry)), Ok(entry.clone()));
        let stream = [to_cbor(&entry), to_cbor(&sample(b"z"))].concat();
        let names: Vec<_> = Entries::new(&stream).map(|entry| entry.map(|entry| entry.name)).collect();
        assert_eq!(names, [Ok(b"na\xffme".to_vec()), Ok(b"z".to_vec())]);
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            let stream = to_cbor(&sample(name));
            assert!(matches!(Entries::new(&stream).next(), Some(Err(FormatError::Malformed(_)))), "{name:?}");
        }
    }

    #[test]
    fn another_content_changes_nothing_else() {
        let other =
            Content::new(1, &[super::super::content::Item { id: super::super::blob::BlobId([7; 32]), size: 9 }]);
        let entry = sample(b"a");
        let changed = with_content(&to_cbor(&entry), &other).expect("changes");
        assert_eq!(from_cbor::<Entry>(&changed), Ok(Entry { content: Some(other.clone()), ..entry.clone() }));
        // An unknown key stays, also in a map of no stated length.
        let known = to_cbor(&entry);
        let unknown = [0x18, 200, 0x63, b'n', b'e', b'w'];
        let long = [&[known[0] + 1][..], &known[1..], &unknown].concat();
        let endless = [&[0xbf][..], &known[1..], &unknown, &[0xff]].concat();
        for bytes in [long, endless] {
            let changed = with_content(&bytes, &other).expect("changes");
            assert!(changed.windows(unknown.len()).any(|window| window == unknown));
            let mut entries = Entries::new(&changed);
            let (read, raw) = entries.next_with_bytes().expect("an entry");
            assert_eq!((read.expect("reads").content, raw.len()), (Some(other.clone()), changed.len()));
            assert_eq!(with_content(&changed, entry.content.as_ref().expect("a content")), Ok(bytes));
        }
        assert!(with_content(&known[..20], &other).is_err());
    }

    #[test]
    fn unknown_keys_are_ignored_and_garbage_is_an_error() {
        let mut bytes = to_cbor(&sample(b"a"));
        assert_eq!(bytes[0] & 0xe0, 0xa0, "a CBOR map");
        bytes[0] += 1;
        bytes.extend_from_slice(&[0x18, 200, 0x63, b'n', b'e', b'w']);
        assert_eq!(from_cbor::<Entry>(&bytes), Ok(sample(b"a")));
        // An entry of an unknown type costs itself only.
        let mut unknown = to_cbor(&sample(b"b"));
        let kind = unknown.iter().position(|&byte| byte == 1).expect("the key of the type");
        unknown[kind + 1] = 23;
        let stream = [to_cbor(&sample(b"a")), unknown, to_cbor(&sample(b"c"))].concat();
        let read: Vec<_> = Entries::new(&stream).map(|entry| entry.map(|entry| entry.name).ok()).collect();
        assert_eq!(read, [Some(b"a".to_vec()), None, Some(b"c".to_vec())]);
        let garbage: Vec<_> = Entries::new(&[0xff; 10]).collect();
        assert_eq!(garbage.len(), 1);
        assert!(garbage[0].is_err());
    }
}
