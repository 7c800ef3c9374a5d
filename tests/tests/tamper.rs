//! Damage and attacks by storage: what is lost is named, what is intact comes back, nothing wrong is ever restored.
//!
//! Every damage is looked at twice: by the machine that made the backups, whose caches may hide damage, and by a new one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use obnam_tests::chunks::{self, Chunk};
use obnam_tests::tree::{self, Description, Random};
use obnam_tests::{Ran, Sandbox, args, below};
use serde_json::Value;

/// A repository with three snapshots, several packs of both kinds, index chunks; and how the source was.
struct Scene {
    sandbox: Sandbox,
    /// The state of the source in each snapshot, oldest first.
    states: Vec<(String, BTreeMap<PathBuf, Description>)>,
}

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::with_repository();
        let source = sandbox.source();
        tree::small_files(&source.join("small"), 2_500, 21);
        let mut random = Random(22);
        for name in ["large 1", "large 2", "large 3"] {
            random.write_file(&source.join(name), 18_000_000);
        }
        let mut states = Vec::new();
        let mut keep = || {
            let made = sandbox.back_up();
            states.push((made["snapshot"].as_str().unwrap().to_owned(), tree::describe(&source)));
        };
        keep();
        fs::write(source.join("second"), Random(23).bytes(3_000_000)).unwrap();
        fs::remove_dir_all(source.join("small/003")).unwrap();
        keep();
        tree::small_files(&source.join("more"), 2_300, 24);
        fs::write(source.join("third"), Random(25).bytes(2_000_000)).unwrap();
        keep();
        let scene = Scene { sandbox, states };
        for (family, at_least) in [("data", 5), ("tree", 1), ("index", 1), ("snapshot", 3)] {
            let found = scene.chunks(family).len();
            assert!(found >= at_least, "{found} chunks of the family {family}");
        }
        scene
    }

    /// One repository is enough for tests that put everything back.
    fn shared() -> std::sync::MutexGuard<'static, Scene> {
        static SCENE: OnceLock<std::sync::Mutex<Scene>> = OnceLock::new();
        let scene = SCENE.get_or_init(|| std::sync::Mutex::new(Scene::new()));
        // A test that failed has put back what it changed all the same.
        scene.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn chunks(&self, family: &str) -> Vec<Chunk> {
        chunks::of_family(&self.sandbox.repository(), family)
    }

    fn latest(&self) -> &(String, BTreeMap<PathBuf, Description>) {
        self.states.last().unwrap()
    }

    /// Restores into a fresh directory.
    fn try_restore(&self, snapshot: &str) -> (Ran, PathBuf) {
        let target = self.sandbox.fresh("restored");
        let ran = self.sandbox.obnam(args!["--json", "restore", snapshot, target]);
        (ran, below(&target, &self.sandbox.source()))
    }

    /// Restores a damaged snapshot: every file that is not reported is as it was. Returns how many are reported.
    #[track_caller]
    fn assert_intact_comes_back(&self, what: &str, snapshot: &str, state: &BTreeMap<PathBuf, Description>) -> usize {
        let (ran, restored) = self.try_restore(snapshot);
        assert!(matches!(ran.code, Some(0 | 3)), "{what}: {}", ran.all());
        let problems = ran.result()["problems"].as_array().unwrap().clone();
        assert_eq!(ran.code == Some(3), !problems.is_empty(), "{what}");
        let reported: Vec<PathBuf> =
            problems.iter().map(|problem| PathBuf::from(problem["path"].as_str().unwrap())).collect();
        // Where a directory above the source is lost, nothing is there.
        let found = if restored.exists() { tree::describe(&restored) } else { BTreeMap::new() };
        let differences = tree::differences(state, &found);
        for (path, how) in &differences {
            let path = restored.join(path);
            let told = reported.iter().any(|reported| path.starts_with(reported));
            assert!(told, "{what}: {path:?} is damaged, and not reported: {how}");
        }
        // Zeros stand where something is missing: never other bytes.
        for path in differences.keys().filter(|path| restored.join(path).is_file()) {
            assert_only_zeros_differ(&self.sandbox.source().join(path), &restored.join(path));
        }
        self.sandbox.discard(&restored);
        differences.len()
    }

    /// Both machines: the one that made the backups, and a new one.
    fn on_both_machines(&self, mut look: impl FnMut(bool)) {
        self.sandbox.back_to_machine(1);
        look(false);
        self.forget_second_machine();
        self.sandbox.next_machine();
        look(true);
        self.sandbox.back_to_machine(1);
    }

    fn forget_second_machine(&self) {
        self.sandbox.back_to_machine(2);
        let _ = fs::remove_dir_all(self.sandbox.local());
        self.sandbox.back_to_machine(1);
    }
}

fn assert_only_zeros_differ(source: &Path, restored: &Path) {
    let Ok(source) = fs::read(source) else { return };
    let restored = fs::read(restored).unwrap();
    if source.len() == restored.len() {
        let wrong = source.iter().zip(&restored).position(|(a, b)| a != b && *b != 0);
        assert_eq!(wrong, None, "other bytes than those that were backed up");
    }
}

/// A change to a chunk's file; `undo` puts it back.
struct Damage {
    path: PathBuf,
    original: Vec<u8>,
}

impl Damage {
    fn new(chunk: &Chunk, change: impl FnOnce(&Path, &[u8])) -> Self {
        let damage = Damage { path: chunk.path.clone(), original: chunk.read() };
        change(&chunk.path, &damage.original);
        damage
    }
}

impl Drop for Damage {
    fn drop(&mut self) {
        fs::write(&self.path, &self.original).unwrap();
    }
}

fn flip(place: usize) -> impl Fn(&Path, &[u8]) {
    move |path, bytes| {
        let mut bytes = bytes.to_vec();
        let place = place % bytes.len();
        bytes[place] ^= 0x10;
        fs::write(path, bytes).unwrap();
    }
}

fn text(finding: &Value, key: &str) -> String {
    finding[key].as_str().unwrap_or_default().to_owned()
}

/// Without one of these nobody gets in on a new machine. Whoever has been there has copies, but for the credential.
fn opens(family: &str) -> bool {
    matches!(family, "repository" | "roster" | "client" | "credential")
}

/// Check names the chunk, and the right errors come where nothing opens. Then intact files come back.
fn assert_named(scene: &Scene, what: &str, family: &str, id: &str) {
    scene.on_both_machines(|fresh| {
        let what = format!("{what} of {family}/{id}, {} machine", if fresh { "new" } else { "old" });
        let check = scene.sandbox.obnam(["--json", "check", "--read-data"]);
        if opens(family) && (fresh || check.code != Some(4)) {
            // Some of them have copies on the machine; without one, a clear error says what is wrong.
            assert!(fresh || family == "credential", "{what}: {}", check.all());
            assert!(matches!(check.code, Some(10 | 12 | 13 | 15)), "{what}: {}", check.all());
            let message = text(&check.json()["error"], "message");
            assert!(message.len() > 20, "{what}: {message}");
            let (restore, _) = scene.try_restore("latest");
            assert_eq!(restore.code, check.code, "{what}");
            return;
        }
        assert_eq!(check.code, Some(4), "{what}: {}", check.all());
        assert!(check.text().contains(id), "{what} is not named: {}", check.text());
        let (latest, state) = scene.latest();
        // A new machine has no copies of its own, so what it restores is worth looking at; unless the snapshot itself
        // is what was damaged.
        if !fresh || !scene.sandbox.snapshots().contains(latest) {
            return;
        }
        scene.assert_intact_comes_back(&what, latest, state);
    });
}

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

fn snapshot_label(sandbox: &Sandbox) -> String {
    let labels = fs::read_dir(sandbox.repository()).unwrap().map(|entry| entry.unwrap().file_name());
    labels.map(|name| name.into_string().unwrap()).find(|name| name.starts_with("snapshot.")).unwrap()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

fn codes(findings: &[Value]) -> Vec<String> {
    findings.iter().map(|finding| text(finding, "code")).collect()
}

#[test]
fn rolled_back_history_is_reported() {
    let scene = Scene::shared();
    let newest = scene.chunks("snapshot").into_iter().find(|chunk| chunk.id == scene.latest().0).unwrap();
    let _damage = Damage::new(&newest, |path, _| fs::remove_file(path).unwrap());
    let listed = scene.sandbox.obnam(["snapshots"]).expect(0);
    assert!(listed.stderr.contains("the store has lost or hides it"), "{}", listed.stderr);
    assert!(listed.stderr.contains(&newest.id[..10]));
    assert!(codes(&scene.sandbox.check(4)).contains(&"history-rolled-back".to_owned()));
    // What there is can be restored; and it is said again.
    let (latest, state) = &scene.states[scene.states.len() - 2];
    let (ran, restored) = scene.try_restore("latest");
    assert_eq!(ran.json()["warnings"][0]["code"], "history-rolled-back");
    assert_eq!(ran.result()["snapshot"], latest.as_str());
    tree::assert_is(state, &restored);
    scene.sandbox.discard(&restored);
    // It is no less missing when it was said once.
    let listed = scene.sandbox.obnam(["snapshots"]).expect(0);
    assert!(listed.stderr.contains("the store has lost or hides it"));
}

#[test]
fn a_hole_in_history_is_reported_to_everybody() {
    let scene = Scene::shared();
    let middle = scene.chunks("snapshot").into_iter().find(|chunk| chunk.id == scene.states[1].0).unwrap();
    let _damage = Damage::new(&middle, |path, _| fs::remove_file(path).unwrap());
    scene.on_both_machines(|_| {
        let findings = scene.sandbox.check(4);
        assert!(codes(&findings).contains(&"snapshot-missing".to_owned()), "{findings:?}");
    });
}

#[test]
fn forked_history_is_reported() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "1").unwrap();
    sandbox.back_up();
    // Storage shows one state to one machine and another to its twin: both go on from there.
    let copy = sandbox.path("copy");
    copy_all(&sandbox.repository(), &copy);
    fs::write(sandbox.source().join("a"), "2").unwrap();
    let one = sandbox.back_up();
    sandbox.next_machine();
    fs::rename(sandbox.repository(), sandbox.path("original")).unwrap();
    fs::rename(&copy, sandbox.repository()).unwrap();
    fs::write(sandbox.source().join("a"), "another 2").unwrap();
    let other = sandbox.back_up();
    copy_all(&sandbox.path("original"), &sandbox.repository());
    for _ in 0..2 {
        let said = sandbox.obnam(["snapshots"]).expect(0).stderr;
        for snapshot in [&one, &other] {
            assert!(said.contains(&snapshot["snapshot"].as_str().unwrap()[..10]), "{said}");
        }
        let findings = sandbox.check(4);
        assert!(codes(&findings).iter().any(|code| code.starts_with("history-forked")), "{findings:?}");
        sandbox.back_to_machine(1);
    }
    // Both states are there, and the next backup works.
    for (snapshot, content) in [(&one, "2"), (&other, "another 2")] {
        let restored = sandbox.restore(snapshot["snapshot"].as_str().unwrap());
        assert_eq!(fs::read_to_string(restored.join("a")).unwrap(), content);
    }
    sandbox.back_up();
    sandbox.assert_restores();
}

fn copy_all(from: &Path, to: &Path) {
    for path in walk(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        if !target.exists() {
            fs::copy(path, target).unwrap();
        }
    }
}

#[test]
fn garbage_under_every_label_breaks_nothing() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 2_300, 51);
    let first = sandbox.back_up();
    let before = tree::describe(&sandbox.source());
    let repository = sandbox.repository();
    let own: Vec<Chunk> = chunks::all(&repository);
    let tag = snapshot_label(&sandbox).split_once('.').unwrap().1.to_owned();
    let mut labels: Vec<String> =
        ["repository", "roster", "credential", "client", "tree", "data", "tombstone", "unknown", "snapshot", "index"]
            .map(str::to_owned)
            .to_vec();
    for tag in [tag.as_str(), "0123456789abcdef", "x", ""] {
        labels.extend(["snapshot", "index"].map(|family| format!("{family}.{tag}")));
    }
    let mut random = Random(52);
    let mut garbage = Vec::new();
    for label in &labels {
        let mut header = own.iter().find(|chunk| chunk.family() == label.split('.').next().unwrap()).map(Chunk::read);
        if let Some(bytes) = &mut header {
            // Nearly right.
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        let pieces = [Some(Vec::new()), Some(random.bytes(40)), Some(random.bytes(9_000)), header];
        for bytes in pieces.into_iter().flatten() {
            garbage.push(chunks::add(&repository, label, &bytes));
        }
        // Chunks that are good, in places where they do not belong.
        for chunk in own.iter().filter(|chunk| chunk.label != *label) {
            garbage.push(chunks::add(&repository, label, &chunk.read()));
        }
    }
    for machine in 1..=2 {
        if machine == 2 {
            sandbox.next_machine();
        }
        let findings = sandbox.obnam(["--json", "check", "--read-data"]).expect(0).result()["findings"].clone();
        let findings = findings.as_array().unwrap();
        assert!(findings.iter().all(|finding| finding["severity"] == "warning"));
        for chunk in &garbage {
            // Credentials and client chunks of others cannot be told from garbage, nor can empty places be read.
            if matches!(chunk.family(), "credential" | "client") {
                continue;
            }
            let name = format!("{}/{}", chunk.label, chunk.id);
            assert!(findings.iter().any(|finding| finding["chunk"] == name.as_str()), "{name} is not reported");
        }
        let restored = sandbox.restore(first["snapshot"].as_str().unwrap());
        tree::assert_is(&before, &restored);
        sandbox.discard(&restored);
        fs::write(sandbox.source().join(format!("new {machine}")), "new").unwrap();
        sandbox.back_up();
        sandbox.assert_restores();
    }
}

#[test]
fn stored_bytes_hold_neither_names_nor_contents() {
    let sandbox = Sandbox::with_repository();
    let folder = sandbox.source().join("VerySecretFolder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("HiddenName.txt"), "TheContentsThatNobodyMayRead ".repeat(1_000)).unwrap();
    let noise = Random(61).bytes(100_000);
    fs::write(folder.join("noise"), &noise).unwrap();
    sandbox.obnam(args!["backup", "--tag", "PrivateTag", "--host", "MyOwnHost", sandbox.source()]).expect(0);
    let plain = fs::read_to_string(sandbox.identity()).unwrap();
    let key = plain.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let source = sandbox.source();
    let secrets: [&[u8]; 8] = [
        b"VerySecretFolder",
        b"HiddenName",
        b"TheContentsThatNobody",
        b"PrivateTag",
        b"MyOwnHost",
        &noise[5_000..5_016],
        key.as_bytes(),
        source.parent().unwrap().file_name().unwrap().as_bytes(),
    ];
    let mut seen = 0;
    for file in walk(&sandbox.repository()) {
        let bytes =
            [fs::read(&file).unwrap(), file.as_os_str().as_bytes()[sandbox.repository().as_os_str().len()..].to_vec()];
        for bytes in &bytes {
            seen += bytes.len();
            for secret in secrets {
                assert!(
                    !bytes.windows(secret.len()).any(|window| window == secret),
                    "{} has {secret:?}",
                    file.display()
                );
            }
        }
    }
    assert!(seen > 100_000);
}
