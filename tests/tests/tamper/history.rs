//! Snapshots that are withheld, taken back or doubled.

use std::fs;
use std::path::Path;

use obnam_tests::Sandbox;
use obnam_tests::tree;
use serde_json::Value;

use super::{Damage, Scene, text, walk};

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
