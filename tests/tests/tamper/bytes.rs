//! Bytes that are changed, cut off, added, swapped or gone.

use std::fs;
use std::path::Path;

use obnam_tests::Sandbox;
use obnam_tests::chunks::{self, Chunk};
use obnam_tests::tree::Random;

use super::{Damage, Scene, assert_named, flip, opens, snapshot_label, walk};

const FAMILIES: [&str; 8] = ["repository", "credential", "client", "roster", "data", "tree", "index", "snapshot"];

fn in_words(scene: &Scene, what: &str, change: impl Fn(&Path, &[u8])) {
    for family in FAMILIES {
        let chunks = scene.chunks(family);
        // The newest state is what is restored, so its chunks are the interesting ones; and the first ones.
        for chunk in [chunks.first().unwrap(), chunks.last().unwrap()].into_iter().take(chunks.len().min(2)) {
            let _damage = Damage::new(chunk, &change);
            assert_named(scene, what, family, &chunk.id);
        }
    }
    assert!(scene.sandbox.check(0).is_empty(), "all is as it was");
}

#[test]
fn flipped_bytes_are_named_and_never_restored() {
    let scene = Scene::shared();
    let mut random = Random(31);
    for round in 0..2 {
        for family in FAMILIES {
            for chunk in scene.chunks(family).iter().take(2) {
                let length = chunk.read().len();
                let place = if round == 0 { random.below(160.min(length as u64)) } else { random.below(length as u64) };
                let _damage = Damage::new(chunk, flip(place as usize));
                assert_named(&scene, &format!("byte {place} of {length}"), family, &chunk.id);
            }
        }
    }
    assert!(scene.sandbox.check(0).is_empty());
}

#[test]
fn truncated_chunks_are_named() {
    let scene = Scene::shared();
    in_words(&scene, "cutting half", |path, bytes| fs::write(path, &bytes[..bytes.len() / 2]).unwrap());
    in_words(&scene, "emptying", |path, _| fs::write(path, "").unwrap());
}

#[test]
fn appended_bytes_are_named() {
    let scene = Scene::shared();
    in_words(&scene, "a longer end", |path, bytes| fs::write(path, [bytes, b"more"].concat()).unwrap());
}

#[test]
fn swapped_chunks_are_named() {
    let scene = Scene::shared();
    for (one, other) in
        [("data", "data"), ("data", "tree"), ("snapshot", "snapshot"), ("index", "snapshot"), ("client", "roster")]
    {
        let (one, other) = (scene.chunks(one).remove(0), scene.chunks(other).pop().unwrap());
        assert_ne!(one.id, other.id);
        let (first, second) = (one.read(), other.read());
        let _damages = [
            Damage::new(&one, |path, _| fs::write(path, &second).unwrap()),
            Damage::new(&other, |path, _| fs::write(path, &first).unwrap()),
        ];
        for swapped in [&one, &other] {
            assert_named(
                &scene,
                "swapping",
                if opens(one.family()) { "client" } else { swapped.family() },
                &swapped.id,
            );
        }
    }
    assert!(scene.sandbox.check(0).is_empty());
}

#[test]
fn deleted_chunks_are_missed() {
    let scene = Scene::shared();
    for family in FAMILIES {
        for chunk in scene.chunks(family).into_iter().take(3) {
            let _damage = Damage::new(&chunk, |path, _| fs::remove_file(path).unwrap());
            let newest = chunk.id == scene.latest().0;
            scene.on_both_machines(|fresh| {
                let what = format!("without {}/{}, new machine: {fresh}", chunk.label, chunk.id);
                let ran = scene.sandbox.obnam(["--json", "check"]);
                if fresh && opens(family) {
                    assert!(matches!(ran.code, Some(10 | 12 | 13 | 15)), "{what}: {}", ran.all());
                    return;
                }
                if fresh && newest {
                    // Documented: whoever never saw it cannot miss it.
                    assert_eq!(ran.code, Some(0), "{what}: {}", ran.all());
                    return;
                }
                if opens(family) && family != "client" && ran.code != Some(4) {
                    assert!(matches!(ran.code, Some(10 | 12 | 13 | 15)), "{what}: {}", ran.all());
                    return;
                }
                assert_eq!(ran.code, Some(4), "{what}: {}", ran.all());
                // An index chunk that is gone has no name any more; what it named has.
                if matches!(family, "data" | "tree") {
                    assert!(ran.text().contains(&chunk.id), "{what}: {}", ran.text());
                }
                if family == "snapshot" {
                    assert!(ran.text().contains(&chunk.id[..10]), "{what}: {}", ran.text());
                }
                if !newest {
                    let (latest, state) = scene.latest();
                    scene.assert_intact_comes_back(&what, latest, state);
                }
            });
        }
    }
    assert!(scene.sandbox.check(0).is_empty());
}

#[test]
fn a_foreign_client_chunk_does_not_hide_that_the_own_one_is_gone() {
    let scene = Scene::shared();
    for family in ["client", "roster"] {
        let chunk = scene.chunks(family).remove(0);
        let _damage = Damage::new(&chunk, |path, _| fs::remove_file(path).unwrap());
        let garbage = chunks::add(&scene.sandbox.repository(), family, b"garbage");
        let ran = scene.sandbox.obnam(["--json", "check"]);
        fs::remove_file(garbage.path).unwrap();
        // Without its roster a client may refuse to work; but it must not say that all is well.
        assert!(matches!(ran.code, Some(4 | 15)), "{family}: {}", ran.all());
    }
}

#[test]
fn deleted_pack_costs_only_its_own_files() {
    let scene = Scene::shared();
    let (latest, state) = scene.latest();
    let mut costs = Vec::new();
    for chunk in scene.chunks("data") {
        let _damage = Damage::new(&chunk, |path, _| fs::remove_file(path).unwrap());
        costs.push(scene.assert_intact_comes_back(&chunk.id, latest, state));
        // What a file has lost is told with the file's name, by check, too.
        let findings = scene.sandbox.obnam(["--json", "check"]).expect(4).result()["findings"].clone();
        let damaged = findings.as_array().unwrap().iter().filter(|finding| finding["code"] == "file-damaged").count();
        assert!(damaged > 0, "{findings}");
    }
    let files = state.values().filter(|description| description.contents.is_some()).count();
    assert!(costs.iter().all(|&cost| cost < files), "{costs:?} of {files}");
    assert!(costs.iter().filter(|&&cost| cost > 0).count() >= 4, "{costs:?}");
    // Snapshots that do not need a pack are not touched by its loss.
    let oldest = &scene.states[0];
    let newer: Vec<Chunk> = {
        let references = |id: &str| -> String { scene.sandbox.obnam(["--json", "ls", id]).expect(0).text() };
        assert!(!references(&oldest.0).contains("source/third"));
        scene.chunks("data")
    };
    let untouched = newer.iter().filter(|chunk| {
        let _damage = Damage::new(chunk, |path, _| fs::remove_file(path).unwrap());
        scene.assert_intact_comes_back(&chunk.id, &oldest.0, &oldest.1) == 0
    });
    assert!(untouched.count() >= 1);
}

#[test]
fn any_good_copy_of_a_blob_is_used() {
    // Two machines with the same keys that know nothing of each other's last backup store the same blobs twice.
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(source.join("a"), Random(41).bytes(2_000_000)).unwrap();
    let aside = sandbox.path("aside");
    let first = sandbox.back_up();
    fs::rename(sandbox.repository().join(snapshot_label(&sandbox)), &aside).unwrap();
    sandbox.next_machine();
    sandbox.back_up();
    for entry in walk(&aside) {
        let target = sandbox.repository().join(snapshot_label(&sandbox)).join(entry.strip_prefix(&aside).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::rename(entry, target).unwrap();
    }
    let packs = chunks::of_family(&sandbox.repository(), "data");
    assert!(packs.len() >= 2, "the same contents are there twice");
    for pack in &packs {
        let size = pack.read().len();
        if size < 1_000_000 {
            continue;
        }
        for change in
            [&flip(size / 2) as &dyn Fn(&Path, &[u8]), &|path: &Path, _: &[u8]| fs::remove_file(path).unwrap()]
        {
            let _damage = Damage::new(pack, change);
            sandbox.next_machine();
            let restored = sandbox.restore(first["snapshot"].as_str().unwrap());
            assert!(fs::read(restored.join("a")).unwrap() == fs::read(source.join("a")).unwrap());
        }
    }
}
