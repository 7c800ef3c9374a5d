//! Hostile members: snapshots and index entries.

use obnam::check::Severity;
use obnam::chunk::ChunkId;
use obnam::format::blob::BlobKind;
use obnam::format::content::Content;
use obnam::format::header::{SealFor, create};
use obnam::format::index::{IndexPayload, RECORD_SIZE, Record};
use obnam::format::pack::BlobPlace;
use obnam::format::signed::{Context, sign};
use obnam::format::{to_cbor, whole};
use obnam::repository::Repository;
use obnam::store::ChunkStore;

use super::{ALL, Scene, files, id_of_place};
use crate::support::*;

#[test]
fn several_members_back_up_and_restore_each_other() {
    let scene = Scene::new();
    let second = scene.world.party("second");
    scene.world.admit(vec![(&second, ALL.to_vec(), None)]);
    let repository = scene.world.open_as(&second);
    assert_eq!(repository.roster.epoch, 2);
    assert_restores(&repository, &scene.snapshot, &scene.source, &scene.before);
    let packs = scene.world.chunks("data").len();
    let outcome = backup(&repository, &scene.source);
    // The contents are those of the first client, whom it trusts.
    assert!(outcome.snapshot.statistics.new_bytes < 1000, "but for parents: {:?}", outcome.snapshot.statistics);
    assert!(scene.world.chunks("data").len() <= packs + 1);
    assert_eq!(outcome.snapshot.sequence, 1);
    assert_eq!(outcome.snapshot.client, second.keys.tag);
    assert_restores(&scene.world.open(), &outcome.id, &scene.source, &scene.before);
    assert_clean(&scene.world.open());
    scene.assert_unharmed();
}

#[test]
fn a_member_cannot_speak_for_another() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let first = scene.world.made.client;
    // It names another client than its signer.
    let mut snapshot = forger.snapshot(9, Content::default(), None);
    snapshot.client = first;
    let id = forger.put_snapshot(&snapshot);
    scene.assert_reported("snapshot-unusable", &format!("snapshot.{}/{id}", hostile.keys.tag));
    // It stands under the label of another client.
    for (family, context) in [("snapshot", Context::Snapshot), ("index", Context::Index)] {
        let to = label(&format!("{family}.{first}"));
        let payload = if context == Context::Index { to_cbor(&IndexPayload::default()) } else { to_cbor(&snapshot) };
        let id = repository.put_signed(&to, context, payload).unwrap().id;
        scene.assert_reported(&format!("{family}-unusable"), &format!("{to}/{id}"));
    }
    // It names the other client as the signer.
    let keys = repository.sealing_keys();
    let to = label(&format!("snapshot.{first}"));
    let header = create(&repository.id, &to, 1, &keys.group, &SealFor::Metadata(&keys.metadata)).unwrap();
    let body = sign(Context::Snapshot, &repository.id, Some(first), &hostile.keys.signing, to_cbor(&snapshot));
    let id = scene.world.add(to.as_str(), whole::seal(header, &body));
    scene.assert_reported("snapshot-unusable", &format!("{to}/{id}"));
}

#[test]
fn snapshots_of_others_do_not_become_the_latest() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let mut snapshot = forger.snapshot(u64::MAX, Content::default(), None);
    snapshot.started.seconds += 1_000_000;
    snapshot.previous = Some(ChunkId::of(b"nowhere"));
    forger.put_snapshot(&snapshot);
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    assert_eq!(
        findings(&report),
        [(Severity::Error, "snapshot-missing", String::new())],
        "the predecessor of the forged snapshot is not there"
    );
}

#[test]
fn a_sequence_number_at_its_end_stops_no_backup() {
    // Whoever has the client's own keys.
    let scene = Scene::new();
    let repository = scene.world.open();
    let forger = Forger::new(&repository);
    let mut snapshot = forger.snapshot(u64::MAX, Content::default(), None);
    snapshot.started.seconds -= 1000;
    forger.put_snapshot(&snapshot);
    scene.assert_unharmed();
    let report = check(&scene.world.open(), false);
    assert!(findings(&report).contains(&(Severity::Error, "history-forked", String::new())), "{report:#?}");
}

#[test]
fn two_snapshots_of_one_number_are_reported() {
    let scene = Scene::new();
    let repository = scene.world.open();
    let forger = Forger::new(&repository);
    forger.put_snapshot(&forger.snapshot(1, Content::default(), None));
    let report = check(&scene.world.open(), false);
    assert_eq!(findings(&report), [(Severity::Error, "history-forked", String::new())]);
    assert_restores(&scene.world.open(), &scene.snapshot, &scene.source, &scene.before);
}

/// Index chunks of the hostile member that say that all blobs of the first client stand elsewhere.
fn redirect(
    scene: &Scene,
    repository: &Repository,
    how: impl Fn(&Forger<'_>, &Record, &obnam::index::IndexedPack) -> Option<IndexPayload>,
) {
    let forger = Forger::new(repository);
    for kind in [BlobKind::Data, BlobKind::Tree, BlobKind::List] {
        for (record, pack) in id_of_place(&scene.world.open(), kind) {
            if let Some(payload) = how(&forger, &record, &pack) {
                forger.index(&payload);
            }
        }
    }
}

#[test]
fn index_entry_that_points_to_other_bytes_is_passed_over() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    redirect(&scene, &repository, |forger, record, _| {
        let garbage = noise(77, record.place.raw as usize);
        let pack = forger.pack_as("data", &[(record.place.kind, record.place.id, &garbage)]);
        Some(forger.index_of(&[&pack]))
    });
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    assert!(report.errors() > 0);
    assert!(
        report.findings.iter().all(|found| found.code == "blob-damaged"),
        "only the garbage itself is found: {:#?}",
        report.findings
    );
}

#[test]
fn index_entries_that_swap_blobs_of_good_packs_are_passed_over() {
    // Each blob is said to stand where another one stands, in the same good pack.
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let all = id_of_place(&scene.world.open(), BlobKind::Data);
    redirect(&scene, &repository, |_, record, _| {
        let same_pack = all.iter().filter(|(other, _)| other.place.id != record.place.id);
        let (other, pack) = same_pack.max_by_key(|(other, _)| other.place.id)?;
        let place = BlobPlace { id: record.place.id, raw: record.place.raw, ..other.place };
        Some(IndexPayload::new(vec![pack.info.clone()], vec![Record { pack: 0, place }]))
    });
    redirect(&scene, &repository, |_, record, pack| {
        // And the same range under the ids of all other blobs.
        let others = all.iter().filter(|(other, _)| other.place.id != record.place.id);
        let records = others.map(|(other, _)| Record {
            pack: 0,
            place: BlobPlace { id: other.place.id, raw: other.place.raw, ..record.place },
        });
        Some(IndexPayload::new(vec![pack.info.clone()], records.collect()))
    });
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    assert!(report.findings.iter().any(|found| found.code == "index-wrong"), "{:#?}", report.findings);
}

#[test]
fn a_forged_place_does_not_make_check_believe_in_what_is_lost() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let all = id_of_place(&scene.world.open(), BlobKind::Data);
    let (lost, kept) = (all[0].1.clone(), all.iter().find(|(_, pack)| pack.info.id != all[0].1.info.id).unwrap());
    redirect(&scene, &repository, |_, record, pack| {
        let place = BlobPlace { id: record.place.id, raw: record.place.raw, ..kept.0.place };
        let is_lost = pack.info.id == lost.info.id;
        is_lost.then(|| IndexPayload::new(vec![kept.1.info.clone()], vec![Record { pack: 0, place }]))
    });
    scene.world.store.remove(&label(&lost.info.label), &lost.info.id).unwrap();
    let report = check(&scene.world.open_fresh(), true);
    assert!(report.findings.iter().any(|found| found.code == "pack-missing"), "{:#?}", report.findings);
    assert!(report.findings.iter().any(|found| found.code == "file-damaged"), "{:#?}", report.findings);
    let restored = restore(&scene.world.open_fresh(), &scene.snapshot);
    assert!(!restored.problems.is_empty());
}

#[test]
fn an_index_with_another_header_for_a_good_pack_hides_nothing() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let other = Forger::new(&repository).pack("data", &[(BlobKind::Data, b"any")]);
    redirect(&scene, &repository, |_, record, pack| {
        let info = obnam::format::index::PackInfo { header: other.header.clone(), ..pack.info.clone() };
        Some(IndexPayload::new(vec![info], vec![Record { pack: 0, place: record.place }]))
    });
    scene.assert_unharmed();
}

#[test]
fn what_a_client_says_later_of_its_packs_hides_nothing_that_it_said_before() {
    // The first client's own keys were stolen: a new index chunk of its own says other things of its packs.
    let scene = Scene::new();
    let repository = scene.world.open();
    let other = Forger::new(&repository).pack("data", &[(BlobKind::Data, b"any")]);
    redirect(&scene, &repository, |_, record, pack| {
        let info = obnam::format::index::PackInfo { header: other.header.clone(), ..pack.info.clone() };
        Some(IndexPayload::new(vec![info], vec![Record { pack: 0, place: record.place }]))
    });
    for repository in [scene.world.open(), scene.world.open_fresh()] {
        assert_restores(&repository, &scene.snapshot, &scene.source, &scene.before);
    }
}

#[test]
fn entries_of_untrusted_members_are_not_deduplicated_against() {
    let world = World::new();
    let (first, second) = (world.made.client, world.party("second"));
    let mut roster = world.admit(vec![(&second, ALL.to_vec(), None)]);
    let source = world.source("s", &files());
    let before = tree(&source);
    let theirs = backup(&world.open_as(&second), &source);
    assert!(theirs.snapshot.statistics.new_bytes > 100_000);
    // Distrusted: everything is stored again.
    roster.members.iter_mut().find(|member| member.tag == first).unwrap().trusts = Some(vec![]);
    world.write_roster(&mut roster);
    let own = backup(&world.open(), &source);
    assert_eq!(own.snapshot.statistics.new_bytes, theirs.snapshot.statistics.new_bytes);
    // Their packs vanish; the own snapshot does not need them.
    for reference in world.open().references_of(&theirs.snapshot).unwrap() {
        for of in ["data", "tree"] {
            world.store.remove(&label(of), &reference.pack).unwrap();
        }
    }
    assert_restores(&world.open(), &own.id, &source, &before);
}

#[test]
fn trusted_members_are_deduplicated_against_by_name() {
    let world = World::new();
    let (first, second, third) = (world.made.client, world.party("second"), world.party("third"));
    let mut roster = world.admit(vec![(&second, ALL.to_vec(), None), (&third, ALL.to_vec(), None)]);
    let source = world.source("s", &files());
    backup(&world.open_as(&second), &source);
    let trust = |roster: &mut obnam::format::roster::Roster, tags| {
        roster.members.iter_mut().find(|member| member.tag == first).unwrap().trusts = Some(tags);
        world.write_roster(roster);
    };
    trust(&mut roster, vec![third.keys.tag]);
    let copy = world.source("copy", &[("x", noise(1, 30_000))]);
    assert!(backup(&world.open(), &copy).snapshot.statistics.new_bytes > 30_000);
    trust(&mut roster, vec![second.keys.tag]);
    let copy = world.source("copy2", &[("x", noise(2, 30_000))]);
    assert!(backup(&world.open(), &copy).snapshot.statistics.new_bytes < 5_000);
}

#[test]
fn malformed_index_segments_of_members_are_reported() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let pack = forger.pack("data", &[(BlobKind::Data, b"one"), (BlobKind::Data, b"two")]);
    let good = forger.index_of(&[&pack]);
    let record = |change: &dyn Fn(&mut Record)| {
        let mut record = Record { pack: 0, place: pack.blobs[0] };
        change(&mut record);
        IndexPayload::new(good.packs.clone(), vec![record])
    };
    let with_pack = |change: &dyn Fn(&mut obnam::format::index::PackInfo)| {
        let mut payload = good.clone();
        change(&mut payload.packs[0]);
        payload
    };
    let unsorted = {
        let (a, b) = good.records.split_at(RECORD_SIZE);
        IndexPayload { records: [b, a].concat(), ..good.clone() }
    };
    let mut kind = good.clone();
    kind.records[48] = 9;
    let mut compression = good.clone();
    compression.records[49] = 9;
    let bad: Vec<(&str, IndexPayload)> = vec![
        ("no such pack", record(&|record| record.pack = 1)),
        ("no such pack at all", record(&|record| record.pack = u32::MAX)),
        ("behind the end", record(&|record| record.place.offset = u32::MAX)),
        ("too long", record(&|record| record.place.stored = u32::MAX)),
        ("unsorted", unsorted),
        ("cut", IndexPayload { records: good.records[..60].to_vec(), ..good.clone() }),
        ("kind", kind),
        ("compression", compression),
        ("label", with_pack(&|pack| pack.label = "snapshot.x".into())),
        ("no label", with_pack(&|pack| pack.label = "../../etc/passwd".into())),
        ("size", with_pack(&|pack| pack.size = u64::MAX)),
    ];
    for (what, payload) in bad {
        let id = forger.index(&payload);
        let report = check(&scene.world.open(), false);
        let name = format!("index.{}/{id}", hostile.keys.tag);
        assert!(
            findings(&report).contains(&(Severity::Warning, "index-unusable", name.clone())),
            "{what}: {:#?}",
            report.findings
        );
        // The same in a snapshot.
        let id = forger.put_snapshot(&forger.snapshot(1, Content::default(), Some(&payload)));
        let report = check(&scene.world.open(), false);
        let name = format!("snapshot.{}/{id}", hostile.keys.tag);
        assert!(
            findings(&report).contains(&(Severity::Warning, "index-unusable", name)),
            "{what}: {:#?}",
            report.findings
        );
    }
    scene.assert_unharmed();
}

#[test]
fn an_index_of_impossible_lengths_costs_nothing() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    redirect(&scene, &repository, |_, record, pack| {
        let info = obnam::format::index::PackInfo { size: 64 << 20, ..pack.info.clone() };
        let place = BlobPlace { stored: 60 << 20, ..record.place };
        let tiny = BlobPlace { stored: 3, ..record.place };
        let header = obnam::format::index::PackInfo { header: vec![1, 2, 3], ..pack.info.clone() };
        let records = vec![Record { pack: 0, place }, Record { pack: 0, place: tiny }, Record { pack: 1, place }];
        Some(IndexPayload::new(vec![info, header], records))
    });
    scene.assert_unharmed();
}
