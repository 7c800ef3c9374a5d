//! Whatever bytes come, parsers answer with a value or an error: no panic, and no memory beyond what the input is worth.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::OnceLock;

use obnam::chunk::ChunkId;
use obnam::credential::Secret;
use obnam::crypto::Key;
use obnam::crypto::public::HpkePrivate;
use obnam::format::blob::{BlobHasher, BlobId, BlobKind};
use obnam::format::client::ClientKeys;
use obnam::format::content::{Content, Item, decode_items, encode_items};
use obnam::format::entry::{Entries, EntryType};
use obnam::format::header::{Header, OpenWith, SealFor, create};
use obnam::format::index::{IndexPayload, PackInfo, Record};
use obnam::format::marker::Marker;
use obnam::format::pack::{BlobOpener, BlobPlace, Compressor, PackBuilder, read_directory};
use obnam::format::references;
use obnam::format::roster::Roster;
use obnam::format::signed::Signed;
use obnam::format::snapshot::Snapshot;
use obnam::format::tombstone::Tombstone;
use obnam::format::{WriterTag, from_cbor, to_cbor, whole};
use obnam::index::run::{Run, Segment, merge};
use proptest::prelude::*;
use support::*;

const REPOSITORY: ChunkId = ChunkId::from_bytes([1; 32]);

/// Good examples of everything, to be damaged.
struct Examples {
    private: HpkePrivate,
    metadata: Key,
    pack: Vec<u8>,
    sealed: Vec<u8>,
    index: Vec<u8>,
    entries: Vec<u8>,
    snapshot: Vec<u8>,
    roster: Vec<u8>,
    tombstone: Vec<u8>,
    marker: Vec<u8>,
    credential: Vec<u8>,
    secret: Secret,
    run: Vec<u8>,
}

fn examples() -> &'static Examples {
    static EXAMPLES: OnceLock<Examples> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let (private, metadata) = (HpkePrivate::random(), Key::random());
        let data = label("data");
        let header = create(&REPOSITORY, &data, 1, &[0; 16], &SealFor::Data(&private.public())).unwrap();
        let hasher = BlobHasher::new(&Key::from_bytes([2; 32]));
        let mut pack = PackBuilder::new(data, header, 0);
        let mut compressor = Compressor::new(3);
        for n in 0..20u8 {
            let blob = vec![n; 10 + usize::from(n) * 30];
            pack.add(BlobKind::Data, hasher.id(BlobKind::Data, &blob), &blob, &mut compressor);
        }
        let pack = pack.finish();
        let info = PackInfo {
            label: "data".into(),
            id: pack.id,
            size: pack.bytes.len() as u64,
            header: pack.header.clone(),
            writer: WriterTag([3; 8]),
        };
        let records = pack.blobs.iter().map(|place| Record { pack: 0, place: *place }).collect();
        let payload = IndexPayload::new(vec![info.clone()], records);
        let segment = Segment {
            chunk: Some(ChunkId::of(b"x")),
            signer: WriterTag([3; 8]),
            packs: vec![info],
            records: payload.records().unwrap(),
        };
        let tmp = tempfile::tempdir().unwrap();
        let run = merge(&[&segment], tmp.path(), &tmp.path().join("run")).unwrap();
        let run = std::fs::read(run.path()).unwrap();
        let world = World::new();
        let source = world.source("s", &[("a", vec![1; 100]), ("b", noise(1, 20_000))]);
        let repository = world.open();
        let snapshot = backup(&repository, &source).snapshot;
        let to = label("index.0303030303030303");
        let header = create(&REPOSITORY, &to, 1, &[0; 16], &SealFor::Metadata(&metadata)).unwrap();
        let mut file = entry(b"name", EntryType::File);
        file.content = Some(Content::new(0, &[Item { id: BlobId([4; 32]), size: 5 }]));
        let mut link = entry(b"link", EntryType::Symlink);
        link.target = Some(b"target".to_vec());
        let entries = [to_cbor(&file), to_cbor(&link)].concat();
        let tombstone = to_cbor(&Tombstone {
            packs: vec![pack.id; 5],
            created: obnam::format::Time::now(),
            grace: 10,
            snapshots: None,
            indexes: None,
        });
        Examples {
            private,
            metadata,
            pack: pack.bytes.to_vec(),
            sealed: whole::seal(header, &to_cbor(&payload)),
            index: to_cbor(&payload),
            entries,
            snapshot: to_cbor(&snapshot),
            roster: to_cbor(&repository.roster),
            tombstone,
            marker: world.chunks("repository")[0].2.to_vec(),
            credential: world.chunks("credential")[0].2.to_vec(),
            secret: world.secret.clone(),
            run,
        }
    })
}

/// What is done to a good example.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Ones(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let place = any::<prop::sample::Index>;
    let one = prop_oneof![
        (place(), 1u8..).prop_map(|(place, bits)| Damage::Flip(place, bits)),
        (place(), any::<u8>()).prop_map(|(place, byte)| Damage::Set(place, byte)),
        place().prop_map(Damage::Cut),
        (place(), 1usize..60).prop_map(|(place, length)| Damage::Remove(place, length)),
        (place(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(place, bytes)| Damage::Insert(place, bytes)),
        (place(), 1usize..9).prop_map(|(place, length)| Damage::Ones(place, length)),
    ];
    prop::collection::vec(one, 1..5)
}

fn damaged(good: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        match damage {
            Damage::Flip(place, bits) => {
                let place = place.index(bytes.len());
                bytes[place] ^= bits;
            }
            Damage::Set(place, byte) => {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            Damage::Cut(place) => bytes.truncate(place.index(bytes.len())),
            Damage::Remove(place, length) => {
                let place = place.index(bytes.len());
                let end = (place + length).min(bytes.len());
                bytes.drain(place..end);
            }
            Damage::Insert(place, more) => {
                let place = place.index(bytes.len());
                bytes.splice(place..place, more.iter().copied());
            }
            Damage::Ones(place, length) => {
                let place = place.index(bytes.len());
                let end = (place + length).min(bytes.len());
                bytes[place..end].fill(0xff);
            }
        }
    }
    bytes
}

/// Gives bytes to every parser. Returns how many of them accepted.
fn parse_all(bytes: &[u8]) -> usize {
    let examples = examples();
    let mut accepted = 0;
    let mut note = |ok: bool| accepted += usize::from(ok);
    if let Ok(header) = Header::parse(bytes) {
        assert!(header.length() <= bytes.len());
        assert!(header.label().len() <= 255);
        for with in [OpenWith::Data(&examples.private), OpenWith::Metadata(&examples.metadata)] {
            if let Ok(sealed) = header.open(&with) {
                if let Ok(directory) = read_directory(bytes, &header, &sealed.cipher) {
                    assert!(directory.len() * 44 <= bytes.len());
                    for place in directory {
                        assert!((place.offset + place.stored) as usize <= bytes.len());
                    }
                }
                if let Ok(body) = whole::open_behind(&header, bytes, &with) {
                    assert!(body.len() <= whole::MAX_BODY);
                }
            }
        }
    }
    note(
        whole::open(bytes, &REPOSITORY, &label("index.0303030303030303"), &OpenWith::Metadata(&examples.metadata))
            .is_ok(),
    );
    if let Ok(payload) = from_cbor::<IndexPayload>(bytes)
        && let Ok(records) = payload.records()
    {
        assert!(records.len() * 52 <= bytes.len());
        note(true);
    }
    let mut count = 0;
    for entry in Entries::new(bytes) {
        count += 1;
        if let Ok(entry) = entry {
            assert!(!entry.name.is_empty() && !entry.name.contains(&b'/'));
            if let Some(items) = entry.content.as_ref().and_then(|content| content.items().ok()) {
                assert!(items.count() * 40 <= bytes.len());
            }
        }
    }
    assert!(count <= bytes.len());
    if let Ok(items) = decode_items(bytes) {
        assert_eq!(encode_items(&items.collect::<Vec<_>>()), bytes);
    }
    if let Ok(references) = references::decode(bytes, None) {
        assert_eq!(references.len() * 40, bytes.len());
    }
    note(references::decode(&[0; 80], Some(bytes)).is_ok());
    note(from_cbor::<Snapshot>(bytes).is_ok());
    if let Ok(roster) = from_cbor::<Roster>(bytes) {
        let _ = roster.check();
        for member in &roster.members {
            let _ = member.verify_key();
        }
        note(true);
    }
    note(from_cbor::<Tombstone>(bytes).is_ok());
    note(Signed::parse(bytes).is_ok());
    note(ClientKeys::from_body(bytes).is_ok());
    note(Marker::from_chunk(bytes).is_ok_and(|marker| marker.root_key().is_ok()));
    note(examples.secret.open(bytes).is_ok());
    note(obnam::format::client::Credential::from_plaintext(bytes).is_ok());
    accepted
}

fn open_run(bytes: &[u8]) -> bool {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("x.run");
    std::fs::write(&path, bytes).unwrap();
    let Ok(run) = Run::open(&path) else { return false };
    for place in 0..run.len() {
        let record = run.record(place);
        assert!(run.find(&record.place.id).any(|(found, _)| found == place));
        run.pack(record.pack).unwrap();
    }
    true
}

#[test]
fn good_examples_are_accepted() {
    let examples = examples();
    for good in [
        &examples.sealed,
        &examples.index,
        &examples.snapshot,
        &examples.roster,
        &examples.tombstone,
        &examples.marker,
        &examples.credential,
    ] {
        assert!(parse_all(good) >= 1);
    }
    assert_eq!(Entries::new(&examples.entries).filter(Result::is_ok).count(), 2);
    assert!(open_run(&examples.run));
    let header = Header::parse(&examples.pack).unwrap();
    let sealed = header.open(&OpenWith::Data(&examples.private)).unwrap();
    assert_eq!(read_directory(&examples.pack, &header, &sealed.cipher).unwrap().len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse_all(&bytes);
        prop_assert!(!open_run(&bytes));
    }

    #[test]
    fn random_bytes_behind_good_beginnings(bytes in prop::collection::vec(any::<u8>(), 0..300), keep in any::<prop::sample::Index>()) {
        let examples = examples();
        for good in [&examples.pack, &examples.sealed, &examples.marker, &examples.credential, &examples.run] {
            let start = &good[..keep.index(good.len().min(200))];
            parse_all(&[start, &bytes].concat());
            prop_assert!(!open_run(&[start, &bytes].concat()));
        }
    }

    #[test]
    fn damaged_examples(damages in damage()) {
        let examples = examples();
        for good in [
            &examples.pack, &examples.sealed, &examples.index, &examples.entries, &examples.snapshot, &examples.roster,
            &examples.tombstone, &examples.marker, &examples.credential,
        ] {
            parse_all(&damaged(good, &damages));
        }
        let bytes = damaged(&examples.run, &damages);
        prop_assert!(!open_run(&bytes) || bytes == examples.run);
    }

    #[test]
    fn sealed_chunks_are_refused_after_any_change(damages in damage()) {
        let examples = examples();
        let to = label("index.0303030303030303");
        let bytes = damaged(&examples.sealed, &damages);
        let opened = whole::open(&bytes, &REPOSITORY, &to, &OpenWith::Metadata(&examples.metadata));
        prop_assert!(opened.is_err() || bytes == examples.sealed);
    }

    #[test]
    fn blobs_of_any_claim(
        kind in 0u8..3, compressed: bool, raw: u32, offset: u32, piece in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let examples = examples();
        let header = Header::parse(&examples.pack).unwrap();
        let sealed = header.open(&OpenWith::Data(&examples.private)).unwrap();
        let hasher = BlobHasher::new(&Key::from_bytes([2; 32]));
        let id = BlobId([0; 32]);
        let kind = BlobKind::try_from(kind).unwrap();
        let place = BlobPlace { kind, id, compressed, offset, stored: piece.len() as u32, raw };
        prop_assert!(BlobOpener::default().open(&sealed.cipher, &hasher, &place, &piece).is_err());
        // Sealed by somebody who has the key, with any frame and any claim.
        let mut buffer = piece.clone();
        sealed.cipher.seal_tail(obnam::crypto::aead::Purpose::Blob, offset.into(), &mut buffer, 0);
        prop_assert!(BlobOpener::default().open(&sealed.cipher, &hasher, &place, &buffer).is_err());
    }
}
