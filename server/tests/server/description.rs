//! Schemathesis reads the description of the API and tries what it allows, what it forbids, and calls that follow from
//! the answers of others: every answer is one that the description announces, and none says that the server failed.

use std::process::Command;

use crate::s3::fake::Faults;
use crate::support::{Place, Running, id};
use crate::tools::try_python_with;

const VERSION: &str = "4.32.5";

/// All checks but these: chunks are there for days after they were removed, so `use_after_free` says nothing; and an item
/// of a batch that makes no sense is answered by a problem in its place, so the batch was neither accepted nor refused.
/// A token is made either of a preset or of rights, and for a time to come: no description says that.
/// The tenant is known: another one is always answered 404, and tells nothing.
const CONFIGURATION: &str = r#"
[parameters]
"path.tenant" = "alice"

[checks]
use_after_free.enabled = false

[[operations]]
include-name = "POST /v1/{tenant}/batch"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /v1/{tenant}/token"
checks.positive_data_acceptance.enabled = false
"#;

const LIMITS: &str = "[limits]\ntoken-requests = 100000\naddress-requests = 100000\n";

#[test]
fn answers_are_as_described() {
    let installed = try_python_with(&format!("schemathesis-{VERSION}"), &format!("schemathesis=={VERSION}"));
    let python = match installed {
        Ok(python) => python,
        Err(why) => {
            eprintln!("NOT TESTED against its description: schemathesis {VERSION} cannot be installed: {why}");
            return;
        }
    };
    let program = python.with_file_name("schemathesis");
    let place = Place::new(Faults::default(), LIMITS);
    place.tenant("alice");
    let server = place.serve();
    let all = place.token("alice", "all", &[]);
    for (label, bytes) in [("data", b"one"), ("snapshot.aa", b"two")] {
        server.store(&all, "alice", label, bytes);
    }
    server.ask(&all, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"one"))).ok();
    for preset in ["all", "backup"] {
        try_everything(&program, &place, &server, &place.token("alice", preset, &[]));
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

fn try_everything(program: &std::path::Path, place: &Place, server: &Running, token: &str) {
    // Each run begins without what another one remembers.
    let folder = tempfile::tempdir_in(place.folder()).expect("a folder");
    std::fs::write(folder.path().join("schemathesis.toml"), CONFIGURATION).expect("writes");
    let output = Command::new(program)
        .args(["--config-file", "schemathesis.toml", "run", &format!("{}/v1/openapi.json", server.url)])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--seed", "1", "--max-examples", "20", "--workers", "1", "--no-shrink"])
        .args(["--request-timeout", "60", "--warnings", "off"])
        .env("NO_COLOR", "1")
        .current_dir(folder.path())
        .output()
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: ")?.parse::<u32>().ok());
    assert!(tested.is_some_and(|calls| calls >= 9), "{said}");
}
