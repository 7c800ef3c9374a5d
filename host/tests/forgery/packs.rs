//! Hostile members: packs that lie, and bombs.

use obnam::check::Severity;
use obnam::chunk::ChunkId;
use obnam::format::blob::{BlobId, BlobKind, MAX_BLOB};
use obnam::format::content::{Content, Item};
use obnam::format::entry::EntryType;
use obnam::format::header::{SealFor, create};
use obnam::format::index::{IndexPayload, Record};
use obnam::format::pack::BlobPlace;
use obnam::format::whole;
use obnam::repository::Repository;

use super::Scene;
use super::trees::snapshot_of;
use crate::support::*;

#[test]
fn packs_that_lie_are_named() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    // A blob whose contents do not fit its id.
    let wrong = forger.pack_as("data", &[(BlobKind::Data, BlobId([5; 32]), b"no such id")]);
    // A directory that says other things than the pieces.
    let lie = lying_pack(&repository);
    let mut index = forger.index_of(&[&wrong]);
    index.packs.push(obnam::format::index::PackInfo {
        label: "data".into(),
        id: ChunkId::of(&lie),
        size: lie.len() as u64,
        header: lie[..lie.len().min(200)].to_vec(),
        writer: hostile.keys.tag,
    });
    forger.index(&index);
    let id = scene.world.add("data", lie);
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    let found = findings(&report);
    assert!(found.contains(&(Severity::Error, "blob-damaged", format!("data/{}", wrong.id))), "{found:#?}");
    assert!(
        found.iter().any(|(_, code, chunk)| *code == "pack-unusable" && *chunk == format!("data/{id}")),
        "{found:#?}"
    );
}

/// A pack whose directory names more bytes than there are.
fn lying_pack(repository: &Repository) -> Vec<u8> {
    use obnam::crypto::aead::Purpose;
    let keys = repository.sealing_keys();
    let header =
        create(&repository.id, &label("data"), keys.epoch, &keys.group, &SealFor::Data(&keys.data_public)).unwrap();
    let (mut bytes, cipher) = (header.bytes, header.cipher);
    let start = bytes.len();
    bytes.extend_from_slice(b"piece");
    cipher.seal_tail(Purpose::Blob, start as u64, &mut bytes, start);
    let start = bytes.len();
    bytes.extend_from_slice(&2u32.to_le_bytes());
    for stored in [u32::MAX, 5] {
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&stored.to_le_bytes());
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[8; 32]);
    }
    cipher.seal_tail(Purpose::Directory, 0, &mut bytes, start);
    let length = (bytes.len() - start) as u32;
    let start = bytes.len();
    bytes.extend_from_slice(&length.to_le_bytes());
    cipher.seal_tail(Purpose::Footer, 0, &mut bytes, start);
    bytes
}

#[test]
fn compression_bombs_stay_small() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    // Sealed by hand: a zstd frame of 1 GiB of zeros, as a blob of any length that its index claims.
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 3).unwrap();
    let id = forger.hasher.id(BlobKind::Data, b"bomb");
    for raw in [1 << 30, u32::MAX, MAX_BLOB as u32, 1] {
        use obnam::crypto::aead::Purpose;
        let keys = repository.sealing_keys();
        let header =
            create(&repository.id, &label("data"), keys.epoch, &keys.group, &SealFor::Data(&keys.data_public)).unwrap();
        let (mut bytes, cipher, head) = (header.bytes.clone(), header.cipher, header.bytes);
        let start = bytes.len();
        bytes.extend_from_slice(&bomb);
        cipher.seal_tail(Purpose::Blob, start as u64, &mut bytes, start);
        let stored = (bytes.len() - start) as u32;
        let place = BlobPlace { kind: BlobKind::Data, id, compressed: true, offset: start as u32, stored, raw };
        let pack = scene.world.add("data", bytes.clone());
        let info = obnam::format::index::PackInfo {
            label: "data".into(),
            id: pack,
            size: bytes.len() as u64,
            header: head,
            writer: hostile.keys.tag,
        };
        let index = IndexPayload::new(vec![info], vec![Record { pack: 0, place }]);
        forger.index(&index);
        let mut file = entry(b"bomb", EntryType::File);
        file.content = Some(Content::new(0, &[Item { id, size: raw.into() }]));
        let snapshot = snapshot_of(&forger, 1, &[file]);
        let restored = restore(&scene.world.open(), &snapshot);
        assert_eq!(restored.problems.len(), 1, "{:?}", restored.problems);
        assert!(restored.problems[0].message.contains("are lost, zeros stand in their place"));
    }
    scene.assert_unharmed();
}

#[test]
fn a_bomb_in_a_snapshot_is_refused() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let keys = repository.sealing_keys();
    let to = label(&format!("snapshot.{}", hostile.keys.tag));
    let header = create(&repository.id, &to, keys.epoch, &keys.group, &SealFor::Metadata(&keys.metadata)).unwrap();
    let id = scene.world.add(to.as_str(), whole::seal(header, &vec![0; 65 << 20]));
    scene.assert_reported("snapshot-unusable", &format!("{to}/{id}"));
}
