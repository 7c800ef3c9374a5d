//! `obnam stats`, as a user sees it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use obnam_tests::tree::Random;
use obnam_tests::{Sandbox, chunks};

#[test]
fn equal_data_counts_once() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    let noise = Random(1).bytes(3_000_000);
    fs::write(source.join("a"), &noise).unwrap();
    fs::write(source.join("b"), &noise).unwrap();
    fs::write(source.join("text"), "again and again\n".repeat(50_000)).unwrap();
    sandbox.back_up();
    fs::write(source.join("new"), Random(2).bytes(1_000_000)).unwrap();
    sandbox.back_up();

    let stats = |arguments: &[&str]| sandbox.obnam([&["--json", "stats"], arguments].concat()).expect(0).result();
    let all = stats(&[]);
    let chunks = sandbox.chunks();
    assert_eq!(all["repository"]["chunks"], chunks.len());
    assert_eq!(all["repository"]["bytes"], chunks.iter().map(|(_, _, size)| size).sum::<u64>());
    assert_eq!(all["repository"]["labels"]["snapshot"]["chunks"], 2);
    assert_eq!(all["repository"]["snapshots"], 2);
    let data = |stats: &serde_json::Value| {
        let needs = &stats["snapshots"]["needs"];
        assert_eq!(needs["missing"], 0);
        needs["bytes"].as_u64().unwrap() - needs["tree_bytes"].as_u64().unwrap()
    };
    let first = stats(&[&sandbox.snapshots()[0]]);
    assert_eq!(first["snapshots"]["restored"]["bytes"], 6_800_000);
    assert_eq!(all["snapshots"]["restored"]["bytes"], 6_800_000 + 7_800_000);
    // The text consists of pieces that are equal, too.
    assert!((3_000_000..=3_800_000).contains(&data(&first)), "{first}");
    assert_eq!(data(&all), data(&first) + 1_000_000);
    assert_eq!(data(&stats(&["latest"])), data(&all));
    let needs = &all["snapshots"]["needs"];
    let stored = needs["stored_bytes"].as_u64().unwrap();
    assert!(stored > 4_000_000 && stored < 4_200_000, "{needs}");
    assert!(needs["deduplication"].as_f64().unwrap() > 2.5 && needs["compression"].as_f64().unwrap() >= 1.0);

    let text = sandbox.obnam(["stats", "latest"]).expect(0).text();
    assert!(text.contains("to restore") && text.contains("7.4 MiB") && text.contains("compressed"), "{text}");
    sandbox.obnam(["stats", "ffff"]).expect(17).says(&["ffff"]);

    // What is lost is said.
    for family in ["tree", "data"] {
        for chunk in chunks::of_family(&sandbox.repository(), family) {
            fs::remove_file(chunk.path).unwrap();
        }
    }
    let json = sandbox.obnam(["--json", "stats"]).expect(3).json();
    assert_eq!((&json["status"], &json["warnings"][0]["code"]), (&"incomplete".into(), &"blobs-missing".into()));
}
