//! What is added to a repository, and what a repository shows to a thief.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use obnam_tests::chunks::{self, Chunk};
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args};

use super::{snapshot_label, walk};

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
