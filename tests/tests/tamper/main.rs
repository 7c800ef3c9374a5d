//! Damage and attacks by storage: what is lost is named, what is intact comes back, nothing wrong is ever restored.
//!
//! Every damage is looked at twice: by the machine that made the backups, whose caches may hide damage, and by a new one.

#![allow(clippy::unwrap_used)]

mod bytes;
mod contents;
mod history;

use std::collections::BTreeMap;
use std::fs;
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
