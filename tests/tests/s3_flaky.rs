//! A flaky store: one request of twenty is reset, delayed, answered 500, 503 or 429, cut short, or loses a bit.
//!
//! Whatever the seed, commands succeed or fail cleanly, and nothing is ever stored or restored wrong.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use obnam_tests::proxy::{Behaviour, Proxy};
use obnam_tests::s3::garage::Garage;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, below};

/// It worked, or ended with one of the documented codes and a sentence about what was being done.
#[track_caller]
fn succeeds_or_fails_cleanly(ran: Ran, also: &[i32]) -> bool {
    let code = ran.code.expect("no signal");
    assert!([0, 10, 12, 13, 15].contains(&code) || also.contains(&code), "{ran:?}");
    // A check prints what it finds.
    let said = format!("{}{}", ran.text(), ran.stderr);
    assert!(code == 0 || !said.trim().is_empty(), "it fails without a word: {ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    code == 0
}

fn change(source: &Path, round: u64) {
    let mut random = Random(round);
    let folder = source.join(format!("round {round}"));
    tree::small_files(&folder, 150, round + 100);
    fs::write(source.join("changes"), random.bytes(5_000)).unwrap();
    // Small enough for a debug build, large enough for several packs and ranges.
    random.write_file(&source.join(format!("large {}", round % 2)), 18_000_000);
}

/// How many commands succeeded of how many.
fn rounds(seed: u64) -> (usize, usize) {
    let garage = Garage::start();
    let proxy = Proxy::of(&garage, Behaviour::Flaky { seed, one_in: 20 });
    let (healthy, flaky) = ((*garage).clone(), proxy.access(&garage));
    let sandbox = Sandbox::at_s3(&flaky);
    let mut worked = Vec::new();
    worked.push(succeeds_or_fails_cleanly(sandbox.obnam(args!["init"]), &[]));
    if !worked[0] {
        sandbox.move_to(&healthy);
        sandbox.obnam(args!["init"]).expect(0);
        sandbox.move_to(&flaky);
    }
    let mut kept = Vec::new();
    for round in 0..4 {
        change(&sandbox.source(), round);
        if round == 2 {
            sandbox.next_machine();
        }
        let ran = sandbox.obnam(args!["--json", "backup", sandbox.source()]);
        if ran.code == Some(0) {
            let id = ran.result()["snapshot"].as_str().unwrap().to_owned();
            kept.push((id, tree::describe(&sandbox.source())));
        }
        worked.push(succeeds_or_fails_cleanly(ran, &[]));
        // What a check sees may be wrong for the moment, and then it says so.
        worked.push(succeeds_or_fails_cleanly(sandbox.obnam(args!["--quiet", "check", "--read-data"]), &[4]));
        if let Some((id, state)) = kept.last() {
            let target = sandbox.fresh("restored");
            let ran = sandbox.obnam(args!["--quiet", "restore", id, target]);
            let whole = succeeds_or_fails_cleanly(ran, &[3, 17]);
            if whole {
                tree::assert_is(state, &below(&target, &sandbox.source()));
            }
            worked.push(whole);
            let _ = fs::remove_dir_all(&target);
        }
    }
    let troubles = proxy.requests().iter().filter(|request| request.trouble.is_some()).count();
    assert!(troubles > 5, "the proxy was not flaky: {troubles}");

    // Without the flaky proxy everything is there that was said to be there.
    sandbox.move_to(&healthy);
    sandbox.next_machine();
    for (id, state) in &kept {
        let restored = sandbox.restore(id);
        tree::assert_is(state, &restored);
        sandbox.discard(&restored);
    }
    for finding in sandbox.check(0) {
        assert_eq!(finding["code"], "pack-unindexed", "{finding}");
    }
    let good = worked.iter().filter(|worked| **worked).count();
    eprintln!("seed {seed}: {good} of {} commands worked; {troubles} requests went wrong", worked.len());
    (good, worked.len())
}

#[test]
fn a_flaky_store_spoils_nothing() {
    let results: Vec<(usize, usize)> = (1..=4).map(rounds).collect();
    let (good, all) = results.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    // One of twenty requests is repeated, and hardly ever is that in vain.
    assert!(good * 10 >= all * 9, "only {good} of {all} commands worked");
}
