//! Attackers at the level of the library: those who may only add chunks, hostile members, and hostile stores. Whatever
//! they do, earlier snapshots restore, new backups work, `check` names what was added, and nothing panics.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use obnam::check::Severity;
use obnam::chunk::ChunkId;
use obnam::crypto::public::SignKey;
use obnam::format::blob::{BlobId, BlobKind, MAX_BLOB};
use obnam::format::content::{Content, Item, encode_items};
use obnam::format::entry::{Entry, EntryType, Pair};
use obnam::format::header::{SealFor, create};
use obnam::format::index::{IndexPayload, RECORD_SIZE, Record};
use obnam::format::marker::Marker;
use obnam::format::pack::BlobPlace;
use obnam::format::roster::{Parameters, Removed, Role};
use obnam::format::signed::{Context, sign};
use obnam::format::{FormatError, to_cbor, whole};
use obnam::repository::init::init;
use obnam::repository::open::open;
use obnam::repository::{Repository, RepositoryError};
use obnam::store::ChunkStore;
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];

/// A repository with one backup, before somebody attacks it.
struct Scene {
    world: World,
    source: PathBuf,
    before: Tree,
    snapshot: ChunkId,
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x", noise(1, 30_000)),
        ("y", noise(2, 30_000)),
        ("small", b"a few words".to_vec()),
        ("empty", vec![]),
        ("dir/z", noise(3, 50_000)),
    ]
}

impl Scene {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world(world: World) -> Self {
        let source = world.source("s", &files());
        std::os::unix::fs::symlink("small", source.join("link")).unwrap();
        let before = tree(&source);
        let snapshot = backup(&world.open(), &source).id;
        Scene { world, source, before, snapshot }
    }

    /// The old snapshot restores, here and on a fresh machine; a new backup works and restores.
    fn assert_unharmed(&self) {
        for repository in [self.world.open(), self.world.open_fresh()] {
            assert_restores(&repository, &self.snapshot, &self.source, &self.before);
        }
        std::fs::write(self.source.join("new"), noise(99, 20_000)).unwrap();
        let now = tree(&self.source);
        let outcome = backup(&self.world.open(), &self.source);
        for repository in [self.world.open(), self.world.open_fresh()] {
            assert_restores(&repository, &outcome.id, &self.source, &now);
            assert_restores(&repository, &self.snapshot, &self.source, &self.before);
            let (snapshots, _) = load(&repository);
            assert_eq!(repository.resolve(&snapshots, "latest").unwrap().id, outcome.id);
        }
    }

    /// Like [`Scene::assert_unharmed`], and check warns of the chunk and finds nothing worse.
    fn assert_reported(&self, code: &str, chunk: &str) {
        self.assert_unharmed();
        for repository in [self.world.open(), self.world.open_fresh()] {
            assert_warned(&check(&repository, true), code, chunk);
        }
    }

    /// A second member, who turns hostile. The first one does not trust it.
    fn hostile(&self) -> Party {
        let party = self.world.party("hostile");
        let first = self.world.made.client;
        let mut roster = self.world.admit(vec![(&party, ALL.to_vec(), None)]);
        roster.members.iter_mut().find(|member| member.tag == first).unwrap().trusts = Some(vec![]);
        self.world.write_roster(&mut roster);
        party
    }
}

fn id_of_place(repository: &Repository, kind: BlobKind) -> Vec<(Record, obnam::index::IndexedPack)> {
    let (_, index) = load(repository);
    let mut found = Vec::new();
    for run in &index.runs {
        for place in 0..run.len() {
            let record = run.record(place);
            if record.place.kind == kind {
                found.push((record, run.pack(record.pack).unwrap()));
            }
        }
    }
    found
}

// ---- Whoever may only create chunks ----

#[test]
fn garbage_under_every_label_breaks_nothing() {
    let scene = Scene::new();
    let tag = scene.world.made.client;
    let labels =
        ["repository", "credential", "client", "roster", "data", "tree", "tombstone", "zzz"].map(str::to_owned);
    let tagged = ["index", "snapshot", "note"].map(|family| format!("{family}.{tag}"));
    let strange = ["index.x", "snapshot.0000000000000000", "snapshot.zz.zz", "note", "note.zz"].map(str::to_owned);
    let mut added = Vec::new();
    for to in labels.into_iter().chain(tagged).chain(strange) {
        for garbage in [vec![], b"OBNAMCHK".to_vec(), noise(7, 300), vec![0xff; 70_000]] {
            added.push((to.clone(), scene.world.add(&to, garbage)));
        }
    }
    scene.assert_unharmed();
    for repository in [scene.world.open(), scene.world.open_fresh()] {
        let report = check(&repository, true);
        assert_eq!(report.errors(), 0, "{:#?}", report.findings);
        for (to, id) in &added {
            // Credentials and client chunks that belong to nobody known are never read.
            if ["credential", "client"].contains(&to.as_str()) {
                continue;
            }
            let name = format!("{to}/{id}");
            let reported = report.findings.iter().any(|found| found.chunk.as_deref() == Some(&name));
            assert!(reported, "{name} was not reported: {:#?}", report.findings);
        }
    }
}

#[test]
fn truncated_and_changed_copies_break_nothing() {
    let scene = Scene::new();
    let mut added = Vec::new();
    for (to, _, bytes) in scene.world.chunks("") {
        for length in [1, 40, bytes.len() / 2, bytes.len() - 1] {
            added.push((to.to_string(), scene.world.add(to.as_str(), bytes.slice(..length))));
        }
        let mut changed = bytes.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        added.push((to.to_string(), scene.world.add(to.as_str(), changed)));
        let mut longer = bytes.to_vec();
        longer.push(0);
        added.push((to.to_string(), scene.world.add(to.as_str(), longer)));
    }
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    for (to, id) in added.iter().filter(|(to, _)| !["credential", "client"].contains(&to.as_str())) {
        let name = format!("{to}/{id}");
        assert!(report.findings.iter().any(|found| found.chunk.as_deref() == Some(&name)), "{name} was not reported");
    }
}

#[test]
fn a_valid_chunk_under_another_label_is_reported_and_ignored() {
    let scene = Scene::new();
    let other = scene.world.made.client;
    let labels =
        ["repository", "credential", "client", "roster", "data", "tree", "tombstone", "zzz"].map(str::to_owned);
    let tagged = ["index", "snapshot", "note"].map(|family| format!("{family}.{other}"));
    let mut added = Vec::new();
    for (from, id, bytes) in scene.world.chunks("") {
        for to in labels.iter().chain(&tagged).filter(|to| **to != from.as_str()) {
            scene.world.add(to, bytes.clone());
            added.push((to.clone(), id));
        }
    }
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    for (to, id) in added.iter().filter(|(to, _)| !["credential", "client"].contains(&to.as_str())) {
        let name = format!("{to}/{id}");
        assert!(report.findings.iter().any(|found| found.chunk.as_deref() == Some(&name)), "{name} was not reported");
    }
}

/// And every other chunk of it.
#[test]
fn snapshot_of_another_repository_is_reported_and_ignored() {
    let scene = Scene::new();
    let other = Scene::new();
    let mut added = Vec::new();
    for (to, id, bytes) in other.world.chunks("") {
        scene.world.add(to.as_str(), bytes);
        added.push((to.to_string(), id));
    }
    scene.assert_unharmed();
    let report = check(&scene.world.open_fresh(), true);
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    for (to, id) in added.iter().filter(|(to, _)| !["credential", "client"].contains(&to.as_str())) {
        let name = format!("{to}/{id}");
        assert!(report.findings.iter().any(|found| found.chunk.as_deref() == Some(&name)), "{name} was not reported");
    }
}

#[test]
fn second_repository_chunk_is_reported_and_ignored() {
    let scene = Scene::new();
    let id = scene.world.add("repository", Marker::new(&SignKey::random().public()).to_chunk());
    scene.assert_reported("second-repository", &format!("repository/{id}"));
}

#[test]
fn another_repository_at_the_same_place_is_refused() {
    let scene = Scene::new();
    let other = World::new();
    let place = scene.world.place_of(other.store.clone(), "first");
    let refused = open(place, &scene.world.secret, None).err().unwrap();
    assert!(
        matches!(&refused, RepositoryError::NotPinned { pinned, .. } if *pinned == scene.world.made.repository),
        "{refused}"
    );
    // Even for whoever has a credential there.
    let place = scene.world.place_of(other.store.clone(), "first");
    let refused = open(place, &other.secret, None).err().unwrap();
    assert!(matches!(refused, RepositoryError::NotPinned { .. }), "{refused}");
}

#[test]
fn forged_roster_is_reported_and_ignored() {
    let scene = Scene::new();
    let mut roster = scene.world.open().roster;
    roster.epoch = 7;
    let repository = scene.world.made.repository;
    let id = scene.world.add("roster", seal_roster(&repository, &SignKey::random(), &roster));
    // A signature by the right key, but for another context, and one by a member.
    let client = scene.world.open().client;
    let member = scene.world.add("roster", seal_roster(&repository, &client.signing, &roster));
    scene.assert_reported("roster-unusable", &format!("roster/{id}"));
    scene.assert_reported("roster-unusable", &format!("roster/{member}"));
    assert_eq!(scene.world.open().roster.epoch, 1);
}

#[test]
fn foreign_client_chunk_is_reported_and_ignored() {
    // Nobody reads client chunks that no credential names; a credential that names one, made for the public half of
    // somebody's identity, is for another repository or does not open anything.
    let scene = Scene::new();
    scene.world.party("stranger");
    scene.assert_unharmed();
    let stranger = scene.world.party("stranger 2");
    let refused = open(scene.world.place("x"), &stranger.secret, None).err().unwrap();
    assert!(matches!(refused, RepositoryError::NoRoster { .. }), "{refused}");
}

#[test]
fn many_foreign_credentials_do_not_hide_the_right_one() {
    let scene = Scene::new();
    for n in 0..40 {
        scene.world.party(&format!("stranger {n}"));
        scene.world.add("credential", noise(n, 400));
    }
    scene.assert_unharmed();
    // Nor where the store does not say when it took what.
    for (_, (_, stored)) in scene.world.store.chunks.lock().unwrap().iter_mut() {
        *stored = std::time::UNIX_EPOCH;
    }
    scene.assert_unharmed();
}

/// Whoever knows an identity's public half can make credentials for it, of the right repository, that lead nowhere.
#[test]
fn a_crafted_credential_does_not_hide_the_right_one() {
    let scene = Scene::new();
    for n in 0..4 {
        let crafted = obnam::format::client::Credential {
            repository: scene.world.open().id,
            client: ChunkId::from_bytes([n; 32]),
            key_id: [n; 16],
            key: obnam::crypto::Key::random(),
            api_token: None,
        };
        let id = scene.world.add("credential", scene.world.secret.seal(&crafted));
        // Listed before the right one.
        scene.world.store.chunks.lock().unwrap().get_mut(&(label("credential"), id)).unwrap().1 = std::time::UNIX_EPOCH;
    }
    let fresh = scene.world.open_fresh();
    assert!(fresh.warnings.all().iter().filter(|warning| warning.code == "credential-unusable").count() == 4);
    scene.assert_unharmed();
}

#[test]
fn forged_snapshot_is_reported_and_ignored() {
    let scene = Scene::new();
    let repository = scene.world.open();
    let party = scene.world.party("stranger");
    // With the metadata key, but signed by nobody whom the roster knows.
    let keys = repository.sealing_keys();
    let snapshot = Forger::new(&repository).snapshot(5, Content::default(), None);
    for (signer, key) in [(party.keys.tag, &party.keys.signing), (repository.client.tag, &party.keys.signing)] {
        let to = label(&format!("snapshot.{signer}"));
        let header = create(&repository.id, &to, 1, &keys.group, &SealFor::Metadata(&keys.metadata)).unwrap();
        let body = sign(Context::Snapshot, &repository.id, Some(signer), key, to_cbor(&snapshot));
        let id = scene.world.add(to.as_str(), whole::seal(header, &body));
        scene.assert_reported("snapshot-unusable", &format!("{to}/{id}"));
    }
}

#[test]
fn forged_index_segment_is_reported_and_ignored() {
    let scene = Scene::new();
    let repository = scene.world.open();
    let keys = repository.sealing_keys();
    let to = label(&format!("index.{}", repository.client.tag));
    let header = create(&repository.id, &to, 1, &keys.group, &SealFor::Metadata(&keys.metadata)).unwrap();
    let payload = to_cbor(&IndexPayload::default());
    let body = sign(Context::Index, &repository.id, Some(repository.client.tag), &SignKey::random(), payload);
    let id = scene.world.add(to.as_str(), whole::seal(header, &body));
    scene.assert_reported("index-unusable", &format!("{to}/{id}"));
}

#[test]
fn a_signature_for_one_purpose_does_not_fit_another() {
    let scene = Scene::new();
    let repository = scene.world.open();
    let snapshot = Forger::new(&repository).snapshot(5, Content::default(), None);
    let to = label(&format!("snapshot.{}", repository.client.tag));
    let id = repository.put_signed(&to, Context::Index, to_cbor(&snapshot)).unwrap().id;
    scene.assert_reported("snapshot-unusable", &format!("{to}/{id}"));
}

#[test]
fn credential_with_a_huge_work_factor_is_not_tried() {
    let scene = Scene::new();
    let mut recipient = age::scrypt::Recipient::new(age::secrecy::SecretString::from("one".to_owned()));
    recipient.set_work_factor(19);
    let id = scene.world.add("credential", age::encrypt(&recipient, b"x").unwrap());
    let secret = obnam::credential::Secret::Passphrase("one".to_owned().into());
    let refused = open(scene.world.place("x"), &secret, None).err().unwrap();
    assert!(matches!(refused, RepositoryError::NoAccess { .. }), "{refused}");
    scene.assert_unharmed();
    assert!(!id.to_string().is_empty());
}

// ---- Hostile members ----

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
    for reference in world.open().references(&theirs.snapshot).unwrap() {
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

/// Stores a directory of these entries and returns its content, with the index that finds it.
fn directory(forger: &Forger<'_>, entries: &[Entry]) -> Content {
    let stream: Vec<u8> = entries.iter().flat_map(to_cbor).collect();
    let pack = forger.pack("tree", &[(BlobKind::Tree, &stream)]);
    forger.index(&forger.index_of(&[&pack]));
    Content::new(0, &[Item { id: pack.blobs[0].id, size: stream.len() as u64 }])
}

fn snapshot_of(forger: &Forger<'_>, sequence: u64, entries: &[Entry]) -> ChunkId {
    let root = directory(forger, entries);
    forger.put_snapshot(&forger.snapshot(sequence, root, None))
}

/// Stores contents and gives a file entry of them.
fn file(forger: &Forger<'_>, name: &[u8], contents: &[u8]) -> Entry {
    let pack = forger.pack("data", &[(BlobKind::Data, contents)]);
    forger.index(&forger.index_of(&[&pack]));
    let item = Item { id: pack.blobs[0].id, size: contents.len() as u64 };
    Entry { content: Some(Content::new(0, &[item])), ..entry(name, EntryType::File) }
}

#[test]
fn content_lists_that_make_no_sense_are_named() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let good = file(&forger, b"zz good", b"good");
    let leaf = good.content.as_ref().unwrap().items().unwrap().next().unwrap();
    let list = |items: &[Item], size: u64| {
        let bytes = encode_items(items);
        let pack = forger.pack("tree", &[(BlobKind::List, &bytes)]);
        forger.index(&forger.index_of(&[&pack]));
        Item { id: pack.blobs[0].id, size }
    };
    let with =
        |name: &str, content: Content| Entry { content: Some(content), ..entry(name.as_bytes(), EntryType::File) };
    // Eight deep is the limit.
    let mut deep = leaf;
    for _ in 0..8 {
        deep = list(&[deep], 4);
    }
    let eight = with("a eight", Content::new(8, &[deep]));
    let nine = with("b nine", Content::new(9, &[list(&[deep], 4)]));
    let too_much = with("c too much", Content::new(1, &[list(&[leaf, leaf], 4)]));
    let overflow =
        with("d overflow", Content::new(1, &[list(&[Item { size: u64::MAX, ..leaf }, Item { size: 5, ..leaf }], 4)]));
    let bad_leaf = with("e wrong length", Content::new(0, &[Item { size: 1000, ..leaf }]));
    // A list of empty things would have no end: 400 to the power of 8 leaves, in no bytes.
    let mut bomb = Item { size: 0, ..leaf };
    for _ in 0..8 {
        bomb = list(&vec![bomb; 400], 0);
    }
    let endless = with("f endless", Content::new(8, &[bomb]));
    let mut lies = Content::new(0, &[leaf]);
    lies.size = 77;
    let lies = with("g lies", lies);
    let tree_blob = directory(&forger, std::slice::from_ref(&good)).items().unwrap().next().unwrap();
    let kind = with("h kind", Content::new(0, &[tree_blob]));
    let snapshot = snapshot_of(&forger, 1, &[eight, nine, too_much, overflow, bad_leaf, endless, lies, kind, good]);
    let restored = restore(&scene.world.open(), &snapshot);
    let root = restored.root();
    assert_eq!(std::fs::read(root.join("a eight")).unwrap(), b"good");
    assert_eq!(std::fs::read(root.join("zz good")).unwrap(), b"good");
    let problems: Vec<_> = restored.problems.iter().map(|p| p.path.file_name().unwrap().to_str().unwrap()).collect();
    let mut expected =
        ["b nine", "c too much", "d overflow", "e wrong length", "f endless", "g lies", "h kind"].to_vec();
    let mut found = problems.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{:#?}", restored.problems);
    let report = check(&scene.world.open(), false);
    for name in expected {
        let end = format!(":/{name}");
        let named = |path: &Option<String>| path.as_ref().is_some_and(|path| path.ends_with(&end));
        assert!(
            report.findings.iter().any(|found| found.code == "file-damaged" && named(&found.path)),
            "{name}: {:#?}",
            report.findings
        );
    }
    scene.assert_unharmed();
}

#[test]
fn hostile_names_in_a_tree_stay_below_the_target() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let names: [&[u8]; 9] = [b"..", b".", b"", b"a/b", b"/evil", b"../evil", b"nul\0", b"..\0", b"x/../../evil"];
    for (name, sequence) in names.iter().zip(1..) {
        for kind in [EntryType::File, EntryType::Directory, EntryType::Symlink, EntryType::Fifo] {
            let mut bad = file(&forger, name, b"evil");
            bad.kind = kind;
            bad.target = Some(b"/".to_vec());
            let snapshot = snapshot_of(&forger, sequence, &[file(&forger, b"a good", b"good"), bad]);
            let restored = restore(&scene.world.open(), &snapshot);
            assert_eq!(restored.problems.len(), 1, "{name:?}: {:?}", restored.problems);
            assert!(restored.problems[0].message.contains("a name that no file can have"), "{:?}", restored.problems);
            assert_eq!(restored.outside(), Vec::<PathBuf>::new());
            let found: Vec<_> = tree(&restored.root()).into_keys().collect();
            assert_eq!(found, [Path::new(""), Path::new("a good")]);
        }
    }
    let report = check(&scene.world.open(), false);
    assert!(report.findings.iter().any(|found| found.code == "file-damaged"), "{:#?}", report.findings);
    scene.assert_unharmed();
}

#[test]
fn restore_does_not_write_through_symlinks() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), "precious").unwrap();
    let before = tree(outside.path());
    let target = outside.path().as_os_str().as_encoded_bytes().to_vec();
    let link = |name: &[u8], target: &[u8]| Entry {
        target: Some(target.to_vec()),
        mode: 0o777,
        ..entry(name, EntryType::Symlink)
    };
    let inner = directory(&forger, &[file(&forger, b"planted", b"evil"), file(&forger, b"precious", b"evil")]);
    let precious = [target.as_slice(), b"/precious"].concat();
    let pair = Some(Pair(1, 2));
    let entries = vec![
        link(b"a", &target),
        Entry { content: Some(inner.clone()), ..entry(b"a", EntryType::Directory) },
        link(b"b", &precious),
        file(&forger, b"b", b"evil"),
        // A directory, then a link of the same name, then the directory again.
        Entry { content: Some(inner.clone()), ..entry(b"c", EntryType::Directory) },
        link(b"c", &target),
        Entry { content: Some(inner), ..entry(b"c", EntryType::Directory) },
        // A hard link whose first name is a symbolic link that points outside.
        link(b"d", &precious),
        Entry { hard_link: pair, ..file(&forger, b"d", b"evil") },
        Entry { hard_link: pair, mode: 0o777, ..file(&forger, b"e", b"evil") },
        // One that is its own first name.
        Entry { hard_link: Some(Pair(3, 4)), ..file(&forger, b"b", b"evil") },
        entry(b"b", EntryType::Fifo),
    ];
    let snapshot = snapshot_of(&forger, 1, &entries);
    let restored = restore(&scene.world.open(), &snapshot);
    assert_eq!(tree(outside.path()), before, "nothing outside was touched");
    assert_eq!(restored.outside(), Vec::<PathBuf>::new());
    let root = restored.root();
    // Links are made as they are.
    assert_eq!(std::fs::read_link(root.join("a")).unwrap(), outside.path());
    assert_eq!(std::fs::read_link(root.join("b")).unwrap().as_os_str().as_encoded_bytes(), precious);
    assert_eq!(std::fs::read(root.join("c/planted")).unwrap(), b"evil");
    assert!(!root.join("c").is_symlink());
    let twice = restored.problems.iter().filter(|problem| problem.message.contains("there twice")).count();
    assert_eq!(twice, 7, "{:#?}", restored.problems);
    scene.assert_unharmed();
}

/// The same, below the check for names that are there twice.
#[test]
fn the_target_follows_no_symlink() {
    use obnam::restore::Options;
    use obnam::restore::folder::{Folder, OpenFolders};
    use obnam::restore::metadata::Known;
    use obnam::restore::target::Target;
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("precious"), "precious").unwrap();
    let before = tree(outside.path());
    let target = Target::open(&Options::new(inside.path().to_owned())).unwrap();
    let root = target.root().unwrap().unwrap();
    let top = Folder::root(true);
    let link = |name: &str, to: &Path| {
        let to = Some(to.as_os_str().as_encoded_bytes().to_vec());
        let entry = Entry { target: to, ..entry(name.as_bytes(), EntryType::Symlink) };
        target.make_other(&root, name.as_ref(), &entry).unwrap();
    };
    link("dir", outside.path());
    link("file", &outside.path().join("precious"));
    link("dangling", &outside.path().join("new"));
    assert!(target.make_directory(&root, "dir".as_ref()).is_err());
    let evil = entry(b"evil", EntryType::File);
    for name in ["file", "dangling", "dir"] {
        assert!(target.make_file((&top, &root, name.as_ref()), &evil, true).is_err(), "{name}");
        assert!(target.reopen_file(&root, name.as_ref()).is_err(), "{name}");
    }
    for path in ["dir", "dir/new", "dir/precious", "file", "..", "../evil", "/tmp", "dir/../evil"] {
        let flags = rustix::fs::OFlags::RDONLY;
        assert!(target.open_below(Path::new(path), flags).is_err(), "{path}");
        assert!(target.open_directory(Path::new(path)).is_err(), "{path}");
    }
    let mut folders = OpenFolders::default();
    assert!(folders.get(&target, &Folder::below(&top, "dir".as_ref(), true)).is_err());
    let directory = entry(b"dir", EntryType::Directory);
    assert!(target.finish_directory(Path::new("dir"), &directory, Known::default()).is_err());
    target.link((&root, "file".as_ref()), (&root, "second".as_ref()), false).unwrap();
    assert!(inside.path().join("second").is_symlink(), "the link itself is linked, not what it points to");
    // A second name is not written to.
    std::fs::hard_link(outside.path().join("precious"), inside.path().join("same")).unwrap();
    assert!(target.reopen_file(&root, "same".as_ref()).is_err());
    std::fs::remove_file(inside.path().join("same")).unwrap();
    assert_eq!(tree(outside.path()), before);
}

#[test]
fn entries_out_of_order_or_of_strange_kinds_break_nothing() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let device = |name: &[u8], pair| Entry { device: Some(pair), ..entry(name, EntryType::BlockDevice) };
    let mut entries = vec![
        file(&forger, b"a", b"a"),
        device(b"device", Pair(u64::MAX, 1)),
        Entry { mode: u32::MAX, ..file(&forger, b"mode", b"m") },
        entry(b"no contents", EntryType::File),
        entry(b"no directory", EntryType::Directory),
        entry(b"no target", EntryType::Symlink),
        Entry { user: Some(vec![0, 255]), group: Some(vec![]), uid: u32::MAX, ..file(&forger, b"owner", b"o") },
        Entry {
            mtime: obnam::format::Time { seconds: i64::MIN, nanoseconds: u32::MAX },
            ..file(&forger, b"time", b"t")
        },
        file(&forger, b"z", b"z"),
    ];
    // Out of order and twice: left out, and said.
    entries.push(file(&forger, b"y", b"y"));
    entries.push(file(&forger, b"z", b"other"));
    let snapshot = snapshot_of(&forger, 1, &entries);
    let restored = restore(&scene.world.open(), &snapshot);
    assert_eq!(std::fs::read(restored.root().join("a")).unwrap(), b"a");
    assert_eq!(std::fs::read(restored.root().join("z")).unwrap(), b"z");
    assert!(!restored.root().join("y").exists());
    let said = restored.problems.iter().filter(|problem| problem.message.contains("out of order or there twice"));
    assert_eq!(said.count(), 2, "{:#?}", restored.problems);
    check(&scene.world.open(), true);
    scene.assert_unharmed();
}

#[test]
fn a_huge_directory_restores() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let content = file(&forger, b"x", b"same").content;
    let name = |n: u32| format!("{n:06}").into_bytes();
    let entries: Vec<_> =
        (0..20_000).map(|n| Entry { content: content.clone(), ..entry(&name(n), EntryType::File) }).collect();
    let snapshot = snapshot_of(&forger, 1, &entries);
    let restored = restore(&scene.world.open(), &snapshot);
    assert_eq!(restored.problems, []);
    assert_eq!(std::fs::read_dir(restored.root()).unwrap().count(), 20_000);
}

#[test]
fn directories_deeper_than_any_stack_are_named() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    let mut content = Content::default();
    for _ in 0..30_000 {
        let stream = to_cbor(&Entry { content: Some(content), ..entry(b"d", EntryType::Directory) });
        content = Content::new(0, &[Item { id: forger.hasher.id(BlobKind::Tree, &stream), size: stream.len() as u64 }]);
        blobs.push(stream);
    }
    let named: Vec<_> = blobs.iter().map(|blob| (BlobKind::Tree, blob.as_slice())).collect();
    let pack = forger.pack("tree", &named);
    forger.index(&forger.index_of(&[&pack]));
    let snapshot = forger.put_snapshot(&forger.snapshot(1, content, None));
    let report = check(&scene.world.open(), false);
    let found: Vec<_> = report.findings.iter().filter(|found| found.message.contains("too deep")).collect();
    assert_eq!(found.len(), 1, "{:.1000?}", report.findings);
    assert_eq!(found[0].code, "file-damaged");
    let restored = restore(&scene.world.open(), &snapshot);
    assert!(
        restored.problems.iter().any(|problem| problem.message.contains("too deep")),
        "{:.1000?}",
        restored.problems
    );
    scene.assert_unharmed();
}

// ---- Rosters ----

#[test]
fn roster_below_the_highest_epoch_seen_is_refused() {
    let scene = Scene::new();
    let mut roster = scene.world.open().roster;
    let id = scene.world.write_roster(&mut roster);
    assert_eq!(scene.world.open().roster.epoch, 2);
    scene.world.store.remove(&label("roster"), &id).unwrap();
    let refused = scene.world.try_open().err().unwrap();
    assert!(matches!(refused, RepositoryError::RosterRollback { found: 1, seen: 2 }), "{refused}");
}

#[test]
fn two_rosters_of_one_epoch_are_both_refused() {
    let scene = Scene::new();
    let root = scene.world.open().client.root.unwrap();
    let mut roster = scene.world.open().roster;
    let one = scene.world.write_roster(&mut roster);
    roster.members[0].name = "other".into();
    let two = scene.world.add("roster", seal_roster(&scene.world.made.repository, &root, &roster));
    let refused = scene.world.try_open().err().unwrap();
    let RepositoryError::RosterConflict { epoch: 2, first, second } = refused else { panic!("{refused}") };
    assert_eq!([first, second].iter().collect::<std::collections::BTreeSet<_>>(), [one, two].iter().collect());
    // A higher one, by the holder of the root key, ends it.
    roster.epoch = 3;
    scene.world.add("roster", seal_roster(&scene.world.made.repository, &root, &roster));
    scene.assert_unharmed();
    assert_eq!(scene.world.open().roster.epoch, 3);
}

#[test]
fn unknown_features_and_parameters() {
    let scene = Scene::new();
    let root = scene.world.open().client.root.unwrap();
    let good = scene.world.open().roster;
    let repository = scene.world.made.repository;
    let refuse = |roster: &obnam::format::roster::Roster| {
        let id = scene.world.add("roster", seal_roster(&repository, &root, roster));
        let refused = scene.world.try_open().err().unwrap();
        scene.world.store.remove(&label("roster"), &id).unwrap();
        refused
    };
    let mut next = good.clone();
    next.epoch = 2;
    let feature = obnam::format::roster::Roster { mandatory: vec!["time-travel".into()], ..next.clone() };
    let refused = refuse(&feature);
    assert!(matches!(&refused, RepositoryError::TooNew(FormatError::TooNew(what)) if what.contains("time-travel")));
    let chunker = Parameters { chunker: "other".into(), ..good.parameters.clone() };
    let refused = refuse(&obnam::format::roster::Roster { parameters: chunker, ..next.clone() });
    assert!(matches!(&refused, RepositoryError::TooNew(FormatError::TooNew(what)) if what.contains("other")));
    for bad in [
        Parameters { chunk_min: 0, ..good.parameters.clone() },
        Parameters { chunk_max: u64::MAX, ..good.parameters.clone() },
        Parameters { chunk_average: 1 << 40, ..good.parameters.clone() },
        Parameters { data_pack: u64::MAX, ..good.parameters.clone() },
        Parameters { tree_pack: 65 << 20, ..good.parameters.clone() },
        Parameters { small: 33 << 20, ..good.parameters.clone() },
    ] {
        let refused = refuse(&obnam::format::roster::Roster { parameters: bad.clone(), ..next.clone() });
        let expected =
            matches!(refused, RepositoryError::TooNew(FormatError::Malformed("parameters out of their ranges")));
        assert!(expected, "{bad:?}: {refused}");
    }
    // An optional feature, and keys that this version does not know, do no harm.
    next.optional = vec!["time-travel".into()];
    let mut payload = to_cbor(&next);
    assert_eq!(payload[0] & 0xe0, 0xa0, "a map");
    payload[0] += 1;
    minicbor::Encoder::new(&mut payload).u32(999).unwrap().str("what is this?").unwrap();
    scene.world.add("roster", seal_roster_payload(&repository, &root, &next, payload));
    assert_eq!(scene.world.open().roster.epoch, 2);
    scene.assert_unharmed();
    assert_clean(&scene.world.open());
}

#[test]
fn odd_compression_levels_stop_nothing() {
    for level in [i32::MIN, -1, 0, i32::MAX] {
        let scene = Scene::in_world(World::with(Parameters { compression_level: level, ..small_parameters() }));
        assert_restores(&scene.world.open(), &scene.snapshot, &scene.source, &scene.before);
    }
}

#[test]
fn what_a_removed_member_made_later_is_ignored() {
    let scene = Scene::new();
    let second = scene.world.party("second");
    let mut roster = scene.world.admit(vec![(&second, ALL.to_vec(), None)]);
    let repository = scene.world.open_as(&second);
    let kept = backup(&repository, &scene.source);
    let member = roster.members.iter_mut().find(|member| member.tag == second.keys.tag).unwrap();
    member.removed = Some(Removed { sequence: 1, snapshot: Some(kept.id) });
    scene.world.write_roster(&mut roster);
    // It still has its keys, and an open repository.
    std::fs::write(scene.source.join("later"), "later").unwrap();
    let later = backup(&repository, &scene.source);
    std::fs::remove_file(scene.source.join("later")).unwrap();
    let (snapshots, _) = load(&scene.world.open());
    assert!(snapshots.iter().any(|info| info.id == kept.id));
    assert!(snapshots.iter().all(|info| info.id != later.id));
    let report = check(&scene.world.open(), true);
    assert_warned(&report, "snapshot-unusable", &format!("snapshot.{}/{}", second.keys.tag, later.id));
    // What it made is not deduplicated against any more.
    let own = backup(&scene.world.open(), &scene.source);
    assert_eq!(own.snapshot.sequence, 2);
    // The removed member cannot open the new roster, and is told that there is one which it cannot open.
    let repository = open(scene.world.place("second"), &second.secret, None).unwrap();
    assert_eq!(repository.roster.epoch, 2);
    assert!(repository.warnings.all().iter().any(|warning| warning.code == "roster-unusable"));
    // It is refused where the roster is sealed for it too.
    roster.members.iter_mut().find(|member| member.tag == second.keys.tag).unwrap().removed = None;
    let root = scene.world.open().client.root.unwrap();
    roster.epoch += 1;
    let mut payload = roster.clone();
    payload.members.iter_mut().find(|member| member.tag == second.keys.tag).unwrap().removed =
        Some(Removed { sequence: 1, snapshot: Some(kept.id) });
    let chunk = seal_roster_payload(&scene.world.made.repository, &root, &roster, to_cbor(&payload));
    scene.world.add("roster", chunk);
    let refused = open(scene.world.place("second"), &second.secret, None).err().unwrap();
    assert!(matches!(refused, RepositoryError::NotMember { .. }), "{refused}");
}

#[test]
fn tombstones_count_only_from_maintainers() {
    let scene = Scene::new();
    let writer = scene.world.party("writer");
    scene.world.admit(vec![(&writer, vec![Role::Writer, Role::Reader], None)]);
    let repository = scene.world.open_as(&writer);
    let packs: Vec<ChunkId> = scene.world.chunks("data").into_iter().map(|(_, id, _)| id).collect();
    let payload =
        obnam::format::tombstone::Tombstone { packs: packs.clone(), created: obnam::format::Time::now(), grace: 1000 };
    let id = repository.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap().id;
    assert!(scene.world.open().tombstoned().unwrap().is_empty());
    scene.assert_reported("tombstone-unusable", &format!("tombstone/{id}"));
    scene.world.open().put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap();
    assert_eq!(scene.world.open().tombstoned().unwrap(), packs.into_iter().collect());
}

#[test]
fn init_refuses_places_that_hold_something() {
    let world = World::new();
    let again = init(&world.place("first"), std::slice::from_ref(&world.secret), "x", small_parameters());
    assert!(matches!(again, Err(RepositoryError::Exists { .. })), "{again:?}");
    world.store.remove(&label("repository"), &world.made.repository).unwrap();
    world.add("data", Bytes::from_static(b"somebody's"));
    let again = init(&world.place("first"), std::slice::from_ref(&world.secret), "x", small_parameters());
    assert!(matches!(again, Err(RepositoryError::Foreign { .. })), "{again:?}");
}

// ---- Hostile stores ----

#[test]
fn each_withheld_chunk_is_named_and_nothing_panics() {
    let scene = Scene::new();
    std::fs::write(scene.source.join("more"), noise(50, 40_000)).unwrap();
    let second = backup(&scene.world.open(), &scene.source).id;
    for (of, id, _) in scene.world.chunks("") {
        let copy = scene.world.copy();
        copy.remove(&of, &id).unwrap();
        // For the machine that has seen everything, and for one that sees this for the first time.
        for machine in ["first", "fresh"] {
            let fresh = format!("{machine}-{id}");
            let machine = if machine == "first" { machine } else { &fresh };
            let place = scene.world.place_of(copy.clone(), machine);
            let repository = match open(place, &scene.world.secret, Some(scene.world.made.repository)) {
                Ok(repository) => repository,
                Err(error) => {
                    let needed = ["repository", "roster", "credential", "client"];
                    assert!(needed.contains(&of.as_str()), "{of}: {error}");
                    continue;
                }
            };
            let report = check(&repository, true);
            let newest_on_fresh = id == second && machine != "first";
            assert!(
                report.errors() > 0 || newest_on_fresh,
                "{of}/{id} is withheld from {machine}, but check finds only {:#?}",
                report.findings
            );
            if ["data", "tree"].contains(&of.as_str()) {
                let name = format!("{of}/{id}");
                assert!(findings(&report).contains(&(Severity::Error, "pack-missing", name)), "{:#?}", report.findings);
                let lost = report.findings.iter().any(|found| found.code == "file-damaged");
                assert!(lost, "files of {of}/{id} are not named: {:#?}", report.findings);
            }
            // What is there restores; what is not is said.
            let (snapshots, index) = load(&repository);
            for info in &snapshots {
                restore_root(&repository, &index, &info.snapshot.root);
            }
        }
    }
}

#[test]
fn an_old_state_of_the_store_is_reported() {
    let scene = Scene::new();
    let old = scene.world.copy();
    std::fs::write(scene.source.join("more"), "more").unwrap();
    let second = backup(&scene.world.open(), &scene.source);
    let repository = open(scene.world.place_of(old.clone(), "first"), &scene.world.secret, None).unwrap();
    let report = check(&repository, true);
    assert_eq!(findings(&report), [(Severity::Error, "history-rolled-back", String::new())]);
    // What is made on top of it does not take the number of what is hidden.
    let third = backup(&repository, &scene.source);
    assert_eq!(third.snapshot.sequence, second.snapshot.sequence + 1);
    assert_restores(&repository, &scene.snapshot, &scene.source, &scene.before);
}

#[test]
fn another_snapshot_in_place_of_one_that_was_seen_is_reported() {
    let scene = Scene::new();
    // The store hides the newest snapshot behind one with the same number.
    let repository = scene.world.open();
    let of = label(&format!("snapshot.{}", scene.world.made.client));
    scene.world.store.remove(&of, &scene.snapshot).unwrap();
    let forger = Forger::new(&repository);
    forger.put_snapshot(&forger.snapshot(1, Content::default(), None));
    let report = check(&scene.world.open(), false);
    assert!(findings(&report).contains(&(Severity::Error, "history-forked", String::new())), "{report:#?}");
}

/// Answers ranges with bytes of another chunk, and lies about sizes.
struct Liar {
    inner: std::sync::Arc<obnam::store::memory::MemoryStore>,
    ranges: bool,
    sizes: Option<u64>,
}

impl ChunkStore for Liar {
    fn init(&self) -> Result<(), obnam::store::StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), obnam::store::StoreError> {
        self.inner.open()
    }
    fn put(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
        bytes: Bytes,
    ) -> Result<obnam::store::PutOutcome, obnam::store::StoreError> {
        self.inner.put(label, id, bytes)
    }
    fn get(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, obnam::store::StoreError> {
        match range {
            Some(range) if self.ranges => Ok(noise(range.start, (range.end - range.start) as usize).into()),
            range => self.inner.get(label, id, range),
        }
    }
    fn stat(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
    ) -> Result<obnam::chunk::ChunkInfo, obnam::store::StoreError> {
        self.inner.stat(label, id)
    }
    fn list_page(
        &self,
        filter: &obnam::chunk::LabelFilter,
        after: Option<&str>,
    ) -> Result<obnam::store::ListPage, obnam::store::StoreError> {
        let mut page = self.inner.list_page(filter, after)?;
        for info in &mut page.chunks {
            info.size = self.sizes.unwrap_or(info.size);
        }
        Ok(page)
    }
    fn remove(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
    ) -> Result<obnam::store::RemoveOutcome, obnam::store::StoreError> {
        self.inner.remove(label, id)
    }
    fn check(&self) -> Result<Vec<obnam::store::Finding>, obnam::store::StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

#[test]
fn wrong_bytes_for_ranges_are_never_restored() {
    let scene = Scene::new();
    let liar = Liar { inner: scene.world.store.clone(), ranges: true, sizes: None };
    let repository = open(scene.world.place_of(std::sync::Arc::new(liar), "first"), &scene.world.secret, None).unwrap();
    let restored = restore(&repository, &scene.snapshot);
    assert!(!restored.problems.is_empty());
    let at = restored.at(&scene.source);
    if at.exists() {
        for (path, (mode, _, contents)) in tree(&at).into_iter().filter(|(_, (mode, ..))| mode & 0o170_000 == 0o100_000)
        {
            assert!(
                contents.iter().all(|byte| *byte == 0) || contents == scene.before[&path].2,
                "{} ({mode:o}) has wrong bytes",
                path.display()
            );
        }
    }
    scene.assert_unharmed();
}

#[test]
fn lies_about_sizes_are_named_and_cost_nothing() {
    let scene = Scene::new();
    for size in [0, 1, 1 << 20] {
        let liar = Liar { inner: scene.world.store.clone(), ranges: false, sizes: Some(size) };
        let repository =
            open(scene.world.place_of(std::sync::Arc::new(liar), "first"), &scene.world.secret, None).unwrap();
        assert_restores(&repository, &scene.snapshot, &scene.source, &scene.before);
        let report = check(&repository, true);
        assert!(report.findings.iter().any(|found| found.code == "pack-size"), "{:#?}", report.findings);
    }
    let liar = Liar { inner: scene.world.store.clone(), ranges: false, sizes: Some(u64::MAX) };
    let refused = open(scene.world.place_of(std::sync::Arc::new(liar), "first"), &scene.world.secret, None);
    assert!(matches!(refused.err().unwrap(), RepositoryError::NoRoster { .. }));
    scene.assert_unharmed();
}
