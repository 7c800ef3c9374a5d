//! What `init` and `check --store` find out about a store, and say.

use std::time::{Duration, SystemTime};

use obnam_tests::s3::fake::{Action, FakeS3, Faults, Object};
use obnam_tests::{Sandbox, args};

/// The codes of what `check --store` finds on a store with these faults, with their severities.
fn found(faults: Faults, code: i32) -> Vec<String> {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    // Whatever the store does late, it has done by now for the repository itself.
    for (key, object) in fake.objects() {
        fake.set_object(&key, Object { stored: SystemTime::now() - Duration::from_secs(3600), ..object });
    }
    fake.set_faults(faults);
    let result = sandbox.obnam(args!["--json", "check", "--store"]).expect(code).result();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let store = result["store"].as_array().unwrap();
    store.iter().map(|finding| format!("{} {}", text(finding, "severity"), text(finding, "code"))).collect()
}

fn has(found: &[String], finding: &str) -> bool {
    found.iter().any(|one| one == finding)
}

#[test]
fn a_strict_store_passes() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::at_s3(&fake);
    let ran = sandbox.obnam(args!["init"]).expect(0).says(&[
        "never replaces an object",
        "refuses bytes that do not match",
        "can be read at once",
        "is listed at once",
    ]);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    let scratch = fake.objects().into_keys().filter(|key| key.contains("OBNAM-PROBE")).count();
    assert_eq!(scratch, 0, "what was tried is removed again");
    let ran = sandbox.obnam(args!["check", "--store"]).expect(0);
    assert!(ran.text().contains("store: the store never replaces an object"), "{}", ran.text());
    assert!(!sandbox.obnam(args!["check"]).expect(0).text().contains("store:"));
    assert_eq!(sandbox.obnam(args!["--json", "check"]).expect(0).result()["store"], serde_json::Value::Null);
    let all = found(Faults::default(), 0);
    assert!(all.iter().all(|finding| finding.starts_with("info ")), "{all:?}");
}

#[test]
fn what_a_store_denies_is_said() {
    let ignores = Faults { ignores_if_none_match: true, ..Faults::default() };
    assert!(has(&found(ignores.clone(), 0), "warning no-create-only"));
    assert!(has(&found(Faults { ignores_checksum: true, ..Faults::default() }, 0), "warning no-checksum"));
    let late = Faults { stores_before_checking: true, ..Faults::default() };
    assert!(has(&found(late, 0), "warning checksum-too-late"));
    let lags = Faults { list_lags: Duration::from_secs(600), ..Faults::default() };
    assert!(has(&found(lags, 0), "warning no-list-after-write"));
    assert!(has(&found(Faults { clock_ahead: 300, ..Faults::default() }, 0), "warning clock-skew"));

    let fake = FakeS3::start(ignores);
    let sandbox = Sandbox::at_s3(&fake);
    let ran = sandbox.obnam(args!["--json", "init"]).expect(0);
    let store = ran.result()["store"].clone();
    assert!(store.as_array().unwrap().iter().any(|finding| finding["code"] == "no-create-only"), "{store}");
    sandbox.back_up();
    sandbox.back_up();
    sandbox.assert_restores();
}

#[test]
fn a_store_that_does_not_know_the_header_needs_an_option() {
    let fake = FakeS3::start(Faults { refuses_if_none_match: true, ..Faults::default() });
    let sandbox = Sandbox::at_s3(&fake);
    sandbox.obnam(args!["init"]).expect(13).says(&["not implemented", "-o create-only=no"]);
    let option = ["-o", "create-only=no"];
    let ran = sandbox.obnam(args![option[0], option[1], "init"]).expect(0);
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("create-only=no"), "{}", ran.stderr);
    sandbox.obnam(args![option[0], option[1], "backup", sandbox.source()]).expect(0);
    sandbox.obnam(args![option[0], option[1], "check", "--read-data"]).expect(0);
    sandbox.assert_restores();
}

#[test]
fn a_key_with_few_rights() {
    let denied = |action| Faults { denied: vec![(action, String::new())], ..Faults::default() };
    assert!(has(&found(denied(Action::Delete), 0), "info scratch-left"));
    assert!(has(&found(denied(Action::Put), 0), "warning read-only"));
}

#[test]
fn foreign_objects_are_named() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    fake.set_object(&format!("{}/holiday.jpg", sandbox.prefix()), Object::new("x"));
    let ran = sandbox.obnam(args!["check", "--store"]).expect(0);
    assert!(ran.text().contains("holiday.jpg is not Obnam's"), "{}", ran.text());
}
