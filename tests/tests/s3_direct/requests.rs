//! How many requests a command makes.

use std::fs;
use std::thread;
use std::time::Duration;

use obnam_tests::s3::fake::{Action, FakeS3, Faults, Recorded};
use obnam_tests::{Sandbox, args};

/// What an unchanged backup costs (stated in docs/s3.md): marker, credential, lists of `repository`, `roster`, `snapshot.`,
/// `index.`, `note.` and `tombstone`, `tombstone` again before the commit, and the snapshot.
const UNCHANGED: usize = 10;

/// The requests of a backup of as many files, after one of the same.
fn unchanged_backup(files: usize) -> Vec<Recorded> {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    for number in 0..files {
        let folder = sandbox.source().join(format!("folder-{}", number % 20));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}")), number.to_string()).unwrap();
    }
    // What was changed in the second of a backup is read again by the next one.
    thread::sleep(Duration::from_millis(2100));
    sandbox.back_up();
    fake.forget_requests();
    let statistics = sandbox.back_up()["statistics"].clone();
    assert_eq!(statistics["unchanged_files"], files);
    fake.requests()
}

fn shape(requests: &[Recorded]) -> Vec<String> {
    let shown = |request: &Recorded| format!("{:?} {} {}", request.action, request.path, request.query);
    requests.iter().map(shown).collect()
}

#[test]
fn an_unchanged_backup_costs_the_same_for_any_number_of_files() {
    for files in [1, 1500] {
        let requests = unchanged_backup(files);
        let puts = requests.iter().filter(|request| request.action == Action::Put).count();
        // A directory above the source, such as /tmp, may have changed: then there is a small pack of trees too.
        assert!((1..=2).contains(&puts), "{files} files: {:#?}", shape(&requests));
        assert_eq!(requests.len() - puts, UNCHANGED - 1, "{files} files: {:#?}", shape(&requests));
    }
}

#[test]
fn nothing_is_looked_at_before_it_is_stored() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    for number in 0..40 {
        let bytes: Vec<u8> = (0..1_000_000_u32)
            .flat_map(|n| blake3::hash(&[n, number].map(u32::to_le_bytes).concat()).as_bytes()[..1].to_vec())
            .collect();
        fs::write(sandbox.source().join(number.to_string()), bytes).unwrap();
    }
    fake.forget_requests();
    sandbox.back_up();
    let requests = fake.requests();
    assert!(requests.iter().all(|request| request.action != Action::Head), "{:#?}", shape(&requests));
    let puts = requests.iter().filter(|request| request.action == Action::Put).count();
    // Packs, one for trees, and the snapshot with its index.
    assert!((3..8).contains(&puts), "{:#?}", shape(&requests));
    // The first command on a machine reads the repository, client and roster chunks besides.
    assert_eq!(requests.len() - puts, UNCHANGED - 1 + 3, "{:#?}", shape(&requests));
    fake.forget_requests();
    sandbox.obnam(args!["snapshots"]).expect(0);
    assert_eq!(fake.requests().len(), UNCHANGED - 2, "{:#?}", shape(&fake.requests()));
}
