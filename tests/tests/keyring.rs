//! The passphrase in the keyring of the kernel.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use obnam_tests::{Sandbox, args, run};
use serde_json::json;

const PASSPHRASE: &str = "correct horse battery";

/// A repository that this passphrase opens, in a sandbox of its own.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    run(plain(&sandbox, &["init"]).env("OBNAM_PASSPHRASE", PASSPHRASE)).expect(0);
    sandbox
}

/// The program without anything that opens the repository.
fn plain(sandbox: &Sandbox, words: &[&str]) -> Command {
    let mut command = sandbox.bare();
    command.arg("--repo").arg(sandbox.repository()).args(words);
    command
}

/// Whether the kernel keeps anything: a container may forbid that, and then the program has to say so.
fn remember(sandbox: &Sandbox, words: &[&str]) -> bool {
    let ran = run(plain(sandbox, &[&["credential", "remember"], words].concat()).env("OBNAM_PASSPHRASE", PASSPHRASE));
    assert!(!ran.all().contains(PASSPHRASE), "{}", ran.all());
    if ran.code == Some(1) {
        ran.says(&["the kernel keeps no passphrase here", "passphrase-command"]);
        run(&mut plain(sandbox, &["snapshots"])).expect(12).says(&["no passphrase"]);
        return false;
    }
    ran.expect(0);
    true
}

#[test]
fn a_passphrase_is_typed_once() {
    let sandbox = sandbox();
    run(&mut plain(&sandbox, &["snapshots"])).expect(12).says(&["no passphrase", "obnam credential remember"]);
    if !remember(&sandbox, &[]) {
        return;
    }
    run(&mut plain(&sandbox, &["snapshots"])).expect(0);
    let shown = run(&mut plain(&sandbox, &["config", "show"])).expect(0).text();
    assert!(shown.contains("kept by the kernel") && !shown.contains(PASSPHRASE), "{shown}");
    // What is named comes first, and another repository has nothing of it.
    run(plain(&sandbox, &["snapshots"]).env("OBNAM_PASSPHRASE", "wrong")).expect(12);
    let other = self::sandbox();
    run(&mut plain(&other, &["snapshots"])).expect(12).says(&["no passphrase"]);
    // Once more, for a time.
    assert!(remember(&sandbox, &["--for", "1h"]));
    run(&mut plain(&sandbox, &["snapshots"])).expect(0);
    let forget = || run(&mut plain(&sandbox, &["--json", "credential", "forget"])).expect(0).result();
    assert_eq!(forget(), json!({ "location": sandbox.repository(), "forgotten": true }));
    assert_eq!(forget(), json!({ "location": sandbox.repository(), "forgotten": false }));
    run(&mut plain(&sandbox, &["snapshots"])).expect(12).says(&["no passphrase"]);
}

#[test]
fn only_a_good_passphrase_is_kept() {
    let sandbox = sandbox();
    let wrong = |words: &[&str]| run(plain(&sandbox, words).env("OBNAM_PASSPHRASE", "wrong"));
    wrong(&["credential", "remember"]).expect(12).says(&["wrong passphrase"]);
    run(&mut plain(&sandbox, &["snapshots"])).expect(12).says(&["no passphrase"]);
    run(&mut plain(&sandbox, &["credential", "remember"])).expect(12).says(&["no passphrase"]);
    let by_identity = Sandbox::with_repository();
    by_identity.obnam(args!["credential", "remember"]).expect(17).says(&["identity"]);
}

#[test]
fn a_changed_passphrase_is_not_kept_on() {
    let sandbox = sandbox();
    if !remember(&sandbox, &[]) {
        return;
    }
    let mut passwd = plain(&sandbox, &["credential", "passwd"]);
    let ran = run(passwd.env("OBNAM_NEW_PASSPHRASE", "another one")).expect(0);
    assert!(ran.text().contains("obnam credential remember"), "{}", ran.text());
    run(&mut plain(&sandbox, &["snapshots"])).expect(12).says(&["no passphrase"]);
    run(plain(&sandbox, &["snapshots"]).env("OBNAM_PASSPHRASE", "another one")).expect(0);
}
