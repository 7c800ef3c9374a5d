//! The test vectors of the format: what can be computed from fixed inputs, and sealed examples that were made once.
#![allow(dead_code, clippy::unwrap_used)]

use obnam::chunk::{ChunkId, Label};
use obnam::chunker::{Chunker, KeyedGear};
use obnam::crypto::Key;
use obnam::crypto::aead::{PieceCipher, Purpose};
use obnam::crypto::public::{HpkePrivate, SignKey};
use obnam::format::blob::{BlobHasher, BlobId, BlobKind};
use obnam::format::content::{Content, Item, encode_items};
use obnam::format::entry::{Entry, EntryType, Pair, Xattr};
use obnam::format::header::{Header, OpenWith, SealFor, create};
use obnam::format::index::{IndexPayload, PackInfo, Record};
use obnam::format::marker::Marker;
use obnam::format::note::Note;
use obnam::format::pack::{BlobOpener, BlobPlace, Compressor, PackBuilder, read_directory};
use obnam::format::padme::padme;
use obnam::format::references::{Encoded, Reference};
use obnam::format::roster::Parameters;
use obnam::format::signed::{Context, Signed, sign};
use obnam::format::tombstone::Tombstone;
use obnam::format::{Time, WriterTag, to_cbor, whole};
use serde_json::{Value, json};

const REPOSITORY: ChunkId = ChunkId::from_bytes([0x11; 32]);
const TAG: WriterTag = WriterTag([1, 2, 3, 4, 5, 6, 7, 8]);

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

/// Bytes that everybody can make: the extendable output of BLAKE3 of nothing.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn entry() -> Entry {
    Entry {
        name: b"caf\xe9".to_vec(),
        kind: EntryType::File,
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        user: Some(b"liw".to_vec()),
        group: Some(b"users".to_vec()),
        mtime: Time { seconds: -2, nanoseconds: 500_000_000 },
        ctime: Some(Time { seconds: 1_700_000_000, nanoseconds: 1 }),
        inode: Some(42),
        content: Some(Content::new(0, &items())),
        target: None,
        hard_link: Some(Pair(7, 42)),
        device: None,
        xattrs: Some(vec![Xattr { name: b"user.x".to_vec(), value: vec![0, 255] }]),
        flags: Some(0x80000),
        birth: Some(Time { seconds: 1, nanoseconds: 0 }),
        size: Some(5000),
        extents: Some(vec![Pair(0, 5), Pair(4096, 10)]),
    }
}

fn items() -> [Item; 2] {
    [Item { id: BlobId([0xaa; 32]), size: 5 }, Item { id: BlobId([0xbb; 32]), size: 10 }]
}

fn link() -> Entry {
    Entry {
        name: b"link".to_vec(),
        kind: EntryType::Symlink,
        mode: 0o777,
        user: None,
        group: None,
        ctime: None,
        inode: None,
        content: None,
        target: Some(b"../elsewhere".to_vec()),
        hard_link: None,
        xattrs: None,
        flags: None,
        birth: None,
        size: None,
        extents: None,
        ..entry()
    }
}

fn record() -> Record {
    let place = BlobPlace {
        kind: BlobKind::Tree,
        id: BlobId([0xcc; 32]),
        compressed: true,
        offset: 0x0102_0304,
        stored: 0x0506,
        raw: 0x0708,
    };
    Record { pack: 3, place }
}

/// All that follows from fixed inputs. Keys are 32 times one byte, which is named.
pub fn computed() -> Value {
    let contexts = [
        "obnam v1 metadata wrap",
        "obnam v1 client wrap",
        "obnam v1 key commitment",
        "obnam v1 content",
        "obnam v1 blob id data",
        "obnam v1 blob id tree",
        "obnam v1 blob id list",
        "obnam v1 gear",
        "obnam v1 tree cut",
    ];
    let derived: serde_json::Map<String, Value> = contexts
        .iter()
        .map(|context| ((*context).to_owned(), hex::encode(key(7).derive(context).as_bytes()).into()))
        .collect();
    let lengths = [0, 1, 2, 7, 9, 100, 1000, 65_537, 1 << 20, (1 << 24) + 1, (1 << 26) - 1];
    let padded: Vec<Value> = lengths.iter().map(|length| json!([length, padme(*length)])).collect();
    let hasher = BlobHasher::new(&key(1));
    let blob_id = |kind| hex::encode(hasher.id(kind, b"a blob").0);

    let cipher = PieceCipher::new(&key(2), [3; 32]);
    let piece = |purpose, position| {
        let mut piece = b"a piece".to_vec();
        cipher.seal_tail(purpose, position, &mut piece, 0);
        hex::encode(piece)
    };

    let mut table = vec![0; 2048];
    blake3::Hasher::new_keyed(key(7).derive("obnam v1 gear").as_bytes()).finalize_xof().fill(&mut table);
    let words: Vec<String> = table
        .chunks_exact(8)
        .take(4)
        .map(|word| format!("{:016x}", u64::from_le_bytes(word.try_into().unwrap())))
        .collect();
    let parameters = Parameters { chunk_min: 256, chunk_average: 1024, chunk_max: 4096, ..Parameters::default() };
    let chunker = KeyedGear::new(&key(7), &parameters).unwrap();
    let data = noise(16 << 10);
    let mut cuts = Vec::new();
    let mut rest = data.as_slice();
    while !rest.is_empty() {
        let length = chunker.cut(rest);
        cuts.push(length);
        rest = &rest[length..];
    }
    let large = KeyedGear::new(&key(7), &Parameters::default()).unwrap();
    let first_large = large.cut(&noise(8 << 20));

    let seed = SignKey::from_key(key(4));
    let signed = |context| hex::encode(sign(context, &REPOSITORY, Some(TAG), &seed, b"payload".to_vec()));
    let pack = PackInfo {
        label: "data".into(),
        id: ChunkId::from_bytes([0xdd; 32]),
        size: 1 << 24,
        header: vec![1, 2, 3],
        writer: TAG,
    };
    let mut found = record();
    found.pack = 0;
    found.place.offset = 300;
    json!({
        "derive, key 07": derived,
        "keyed, key 07, of 'data'": hex::encode(key(7).keyed_hash(b"data")),
        "padme": padded,
        "blob ids, blob id key 01, of 'a blob'": {
            "data": blob_id(BlobKind::Data), "tree": blob_id(BlobKind::Tree), "list": blob_id(BlobKind::List),
        },
        "pieces, key 02, header hash 03, of 'a piece'": {
            "blob at 300": piece(Purpose::Blob, 300),
            "directory": piece(Purpose::Directory, 0),
            "footer": piece(Purpose::Footer, 0),
            "whole": piece(Purpose::Whole, 0),
        },
        "chunker, key 07": {
            "first gear words": words,
            "cuts of 16 KiB of the BLAKE3 output of nothing, 256/1024/4096": cuts,
            "first cut of 8 MiB of it, default parameters": first_large,
        },
        "signed, seed 04, repository 11, signer 0102030405060708, payload 'payload'": {
            "public key": hex::encode(seed.public().as_bytes()),
            "index": signed(Context::Index),
            "snapshot": signed(Context::Snapshot),
            "tombstone": signed(Context::Tombstone),
            "roster, without signer": hex::encode(sign(Context::Roster, &REPOSITORY, None, &seed, b"payload".to_vec())),
        },
        "hpke public key of private key 05": hex::encode(HpkePrivate::from_key(key(5)).public().as_bytes()),
        "index record": hex::encode(record().to_bytes()),
        "index payload": hex::encode(to_cbor(&IndexPayload::new(vec![pack], vec![found]))),
        "content items": hex::encode(encode_items(&items())),
        "content": hex::encode(to_cbor(&Content::new(2, &items()))),
        "references": hex::encode(Encoded::of(&[Reference { pack: ChunkId::from_bytes([0xee; 32]), live: 77, used: None }]).records),
        "entry of a file": hex::encode(to_cbor(&entry())),
        "entry of a link": hex::encode(to_cbor(&link())),
        "parameters": hex::encode(to_cbor(&Parameters::default())),
        "note": hex::encode(to_cbor(&Note {
            snapshot: ChunkId::from_bytes([0xee; 32]),
            tags: vec!["keep".into()],
            created: Time { seconds: 1, nanoseconds: 2 },
        })),
        "note, signed as above": signed(Context::Note),
        "tombstone": hex::encode(to_cbor(&Tombstone {
            packs: vec![ChunkId::from_bytes([0xee; 32])],
            created: Time { seconds: 1, nanoseconds: 2 },
            grace: 86_400,
            snapshots: None,
            indexes: None,
        })),
    })
}

const BLOBS: [&[u8]; 3] = [b"first", b"", &[7; 1000]];

/// Chunks that are sealed with fresh random keys under fixed long-lived ones: made once, and opened ever after.
pub fn sealed() -> Value {
    let (data, metadata, client, member) =
        (HpkePrivate::from_key(key(5)), key(6), key(8), HpkePrivate::from_key(key(9)));
    let index = label(&format!("index.{TAG}"));
    let whole = |to: &Label, epoch, id: [u8; 16], with: &SealFor<'_>| {
        hex::encode(whole::seal(create(&REPOSITORY, to, epoch, &id, with).unwrap(), b"a body"))
    };
    let header = create(&REPOSITORY, &label("data"), 3, &[0x22; 16], &SealFor::Data(&data.public())).unwrap();
    let mut pack = PackBuilder::new(label("data"), header, 0);
    let hasher = BlobHasher::new(&key(1));
    let mut compressor = Compressor::new(3);
    for blob in BLOBS {
        pack.add(BlobKind::Data, hasher.id(BlobKind::Data, blob), blob, &mut compressor);
    }
    let marker = Marker::new(&SignKey::from_key(key(4)).public());
    json!({
        "pack, data private key 05, blob id key 01, epoch 3, group 22, repository 11": hex::encode(pack.finish().bytes),
        "index chunk, metadata key 06, epoch 3, group 22": whole(&index, 3, [0x22; 16], &SealFor::Metadata(&metadata)),
        "client chunk, client key 08, key id 33": whole(&label("client"), 0, [0x33; 16], &SealFor::Client(&client)),
        "roster chunk, member 0102030405060708, hpke private key 09": whole(
            &label("roster"),
            1,
            [0; 16],
            &SealFor::Members(&[(WriterTag([0; 8]), data.public()), (TAG, member.public())]),
        ),
        "repository chunk, root seed 04": hex::encode(marker.to_chunk()),
    })
}

/// Opens what [`sealed`] made, whenever that was, and checks each byte whose value the format gives.
pub fn open_sealed(sealed: &Value) {
    let get = |begin: &str| {
        let (_, value) = sealed.as_object().unwrap().iter().find(|(name, _)| name.starts_with(begin)).unwrap();
        hex::decode(value.as_str().unwrap()).unwrap()
    };
    let tag = TAG.to_string();
    let cases = [
        ("pack", "data", 1u8, 80, 3u64, [0x22u8; 16]),
        ("index", &format!("index.{tag}"), 2, 72, 3, [0x22; 16]),
        ("client", "client", 3, 72, 0, [0x33; 16]),
        ("roster", "roster", 4, 2 * 88, 1, [0; 16]),
    ];
    for (name, of, wrap, wrapped, epoch, id) in cases {
        // The layout by hand, offset by offset, as in the table of section 3.
        let chunk = get(name);
        assert_eq!(&chunk[..8], b"OBNAMCHK", "{name}");
        assert_eq!(chunk[8..12], [1, 0, 1, 0], "{name}: version and suite");
        assert_eq!(chunk[12], wrap, "{name}");
        assert_eq!(usize::from(chunk[13]), of.len(), "{name}");
        assert_eq!(chunk[14..16], [0, 0], "{name}");
        assert_eq!(chunk[16..20], u32::to_le_bytes(wrapped), "{name}");
        assert_eq!(chunk[20..24], [0; 4], "{name}");
        assert_eq!(chunk[24..32], epoch.to_le_bytes(), "{name}");
        assert_eq!(chunk[32..48], id, "{name}");
        assert_eq!(chunk[48..80], [0x11; 32], "{name}");
        assert_eq!(&chunk[80..80 + of.len()], of.as_bytes(), "{name}");
        assert_eq!(padme(chunk.len() as u64), chunk.len() as u64, "{name}");
        let header = Header::parse(&chunk).unwrap();
        assert_eq!(header.length(), 80 + of.len() + wrapped as usize + 32, "{name}");
        header.check_place(&REPOSITORY, &label(of)).unwrap();
    }
    let data = HpkePrivate::from_key(key(5));
    let pack = get("pack");
    let header = Header::parse(&pack).unwrap();
    let opened = header.open(&OpenWith::Data(&data)).unwrap();
    let places = read_directory(&pack, &header, &opened.cipher).unwrap();
    assert_eq!(places.len(), BLOBS.len());
    let hasher = BlobHasher::new(&key(1));
    for (place, blob) in places.iter().zip(BLOBS) {
        let piece = &pack[place.offset as usize..][..place.stored as usize];
        assert_eq!(BlobOpener::default().open(&opened.cipher, &hasher, place, piece).unwrap(), blob);
    }
    assert!(!places[0].compressed && places[2].compressed);
    let open = |name: &str, of: &str, with: &OpenWith<'_>| {
        assert_eq!(whole::open(&get(name), &REPOSITORY, &label(of), with).unwrap(), b"a body", "{name}");
    };
    open("index", &format!("index.{tag}"), &OpenWith::Metadata(&key(6)));
    open("client", "client", &OpenWith::Client(&key(8)));
    open("roster", "roster", &OpenWith::Member(TAG, &HpkePrivate::from_key(key(9))));
    let marker = Marker::from_chunk(&get("repository")).unwrap();
    assert_eq!(marker.root_key().unwrap(), SignKey::from_key(key(4)).public());
}

/// The signature is over what section 3 says, in this order.
pub fn check_signed_layout(body: &str) {
    let signed = Signed::parse(&hex::decode(body).unwrap()).unwrap();
    let message = [b"obnam v1 index\0".as_slice(), REPOSITORY.as_bytes(), b"payload"].concat();
    SignKey::from_key(key(4)).public().verify(&message, &signed.signature).unwrap();
    assert_eq!(signed.payload, b"payload");
    assert_eq!(signed.signer, Some(TAG));
}
