//! History, as `obnam audit` tells it, with the real programs.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use obnam_tests::{Sandbox, args};
use serde_json::json;

fn remove(sandbox: &Sandbox, id: &str) {
    let (label, id, _) = sandbox.chunks().into_iter().find(|(_, known, _)| known == id).unwrap();
    fs::remove_file(sandbox.repository().join(label).join(&id[..2]).join(id)).unwrap();
}

#[test]
fn what_vanishes_is_told_from_what_was_forgotten() {
    let sandbox = Sandbox::with_repository();
    for number in 0..5 {
        fs::write(sandbox.source().join("counter"), format!("{number}")).unwrap();
        sandbox.back_up();
    }
    let all = sandbox.snapshots();
    sandbox.obnam(args!["forget", &all[0], &all[2]]).expect(0);
    for _ in 0..2 {
        let result = sandbox.obnam(args!["--json", "audit"]).expect(0).result();
        let client = &result["clients"][0];
        let numbers = ["newest", "snapshots", "forgotten"].map(|key| client[key].as_u64().unwrap());
        assert_eq!((numbers, &client["missing"], &client["aside"]), ([5, 3, 2], &json!([]), &json!([])));
        let text = sandbox.obnam(args!["audit"]).expect(0).text();
        assert!(text.contains("3 there, 2 forgotten, 0 missing"), "{text}");
        sandbox.next_machine();
    }
    // Somebody makes one vanish: also a machine that never saw it can tell.
    remove(&sandbox, &all[3]);
    sandbox.next_machine();
    let result = sandbox.obnam(args!["--json", "audit"]).expect(4).result();
    assert_eq!(result["clients"][0]["missing"], json!([all[3]]));
    // The newest one: only who has seen it can.
    sandbox.back_to_machine(1);
    remove(&sandbox, &all[4]);
    let text = sandbox.obnam(args!["audit"]).expect(4).text();
    assert!(text.contains("number 5"), "{text}");
}
