//! Stores that are slow to show what they hold, give short pages, lose what they acknowledged, or serve two at once.

#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::Duration;

use obnam_tests::s3::fake::{Action, Answer, FakeS3, Faults, When};
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args};

/// A bit for several packs.
fn make_tree(source: &std::path::Path, seed: u64) {
    tree::small_files(&source.join(format!("small {seed}")), 150, seed);
    Random(seed).write_file(&source.join(format!("large {seed}")), 20_000_000);
}

#[test]
fn listings_that_lag_lose_nothing() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    fake.set_faults(Faults { list_lags: Duration::from_secs(600), page_size: 2, ..Faults::default() });
    for seed in 1..=3 {
        make_tree(&sandbox.source(), seed);
        // Another machine does not see what was stored a moment ago, and stores it again.
        if seed == 3 {
            sandbox.next_machine();
        }
        let ran = sandbox.obnam(args!["--json", "backup", sandbox.source()]);
        assert!([Some(0), Some(10), Some(13), Some(15)].contains(&ran.code), "{ran:?}");
    }
    fake.set_faults(Faults { page_size: 3, ..Faults::default() });
    sandbox.next_machine();
    sandbox.back_up();
    sandbox.assert_restores();
    for finding in sandbox.check(0) {
        assert_ne!(finding["severity"], "error", "{finding}");
    }
}

#[test]
fn what_a_store_forgets_is_found() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    make_tree(&sandbox.source(), 1);
    sandbox.back_up();
    assert!(sandbox.check(0).is_empty());
    make_tree(&sandbox.source(), 2);
    fake.set_faults(Faults { forgets: true, ..Faults::default() });
    // It was told that all is well, and cannot know better.
    sandbox.obnam(args!["--quiet", "backup", sandbox.source()]).expect(0);
    fake.set_faults(Faults::default());
    sandbox.next_machine();
    assert_eq!(sandbox.snapshots().len(), 1, "the snapshot before is still there");
    sandbox.back_up();
    sandbox.assert_restores();
}

#[test]
fn a_store_that_is_busy_is_waited_for() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    make_tree(&sandbox.source(), 1);
    let faults = Faults::default()
        .trouble(Answer::SlowDown(Some(1)), When::OneIn(7), None)
        .trouble(Answer::TooMany(None), When::OneIn(11), None)
        .trouble(Answer::InternalError, When::OneIn(13), None)
        .trouble(Answer::Unanswered, When::OneIn(3), Some(Action::Put))
        .trouble(Answer::Truncated, When::OneIn(5), Some(Action::Get));
    fake.set_faults(faults);
    sandbox.back_up();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    let statuses: Vec<u16> = fake.requests().iter().map(|request| request.status).collect();
    for status in [0, 429, 500, 503] {
        assert!(statuses.contains(&status), "{status} did not happen");
    }
}

#[test]
fn machines_at_the_same_time() {
    let fake = FakeS3::start(Faults { conflicts_on_race: true, ..Faults::default() });
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    make_tree(&sandbox.source(), 1);
    // The same files from two machines: the same member, so the same blobs, stored side by side.
    let commands: Vec<_> = (0..2)
        .map(|_| {
            sandbox.next_machine();
            sandbox.command(args!["--quiet", "backup", sandbox.source()])
        })
        .collect();
    thread::scope(|scope| {
        for mut command in commands {
            scope.spawn(move || obnam_tests::run(&mut command).expect(0));
        }
    });
    sandbox.next_machine();
    assert_eq!(sandbox.snapshots().len(), 2);
    for snapshot in sandbox.snapshots() {
        let restored = sandbox.restore(&snapshot);
        tree::assert_same(&sandbox.source(), &restored);
        sandbox.discard(&restored);
    }
    // Two machines with the keys of one client: that is told, and nothing else is wrong.
    for finding in sandbox.check(4) {
        assert_eq!(finding["code"], "history-forked", "{finding}");
    }
}
