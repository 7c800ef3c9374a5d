//! Whoever may only create chunks.

use obnam::chunk::ChunkId;
use obnam::crypto::public::SignKey;
use obnam::format::content::Content;
use obnam::format::header::{SealFor, create};
use obnam::format::index::IndexPayload;
use obnam::format::marker::Marker;
use obnam::format::signed::{Context, sign};
use obnam::format::{to_cbor, whole};
use obnam::repository::RepositoryError;
use obnam::repository::open::open;

use super::Scene;
use crate::support::*;

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
        let id = scene.world.add("credential", scene.world.secret.seal(&crafted).unwrap());
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
