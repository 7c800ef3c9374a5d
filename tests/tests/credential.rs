//! What opens a repository: credentials are listed, added and removed, and hold tokens for a server.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::server::{Server, Setup};
use obnam_tests::{Ran, Remote, Sandbox, args, run};
use serde_json::{Value, json};

/// The program with the sandbox's repository and a passphrase.
fn with_passphrase(sandbox: &Sandbox, passphrase: &str, words: &[&str]) -> Command {
    let mut command = sandbox.bare();
    command.env("OBNAM_PASSPHRASE", passphrase).arg("--repo").arg(sandbox.location()).args(words);
    command
}

fn add(sandbox: &Sandbox, words: &[&str]) -> Value {
    sandbox.obnam([&["--json", "credential", "add"], words].concat()).expect(0).result()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(sandbox: &Sandbox) -> Vec<Value> {
    let result = sandbox.obnam(args!["--json", "credential", "list"]).expect(0).result();
    result["credentials"].as_array().unwrap().clone()
}

#[test]
fn added_listed_used_and_removed() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("file"), "file").unwrap();
    sandbox.back_up();
    let generated = add(&sandbox, &["--generate-passphrase"]);
    let (id, passphrase) = (text(&generated["credential"]), text(&generated["passphrase"]));
    assert_eq!((&generated["kind"], &generated["token"]), (&json!("passphrase"), &Value::Null));
    // On a machine that knows nothing, and on one that knows another one.
    let snapshots = |command: &mut Command| run(command).expect(0).result().as_array().unwrap().len();
    assert_eq!(snapshots(&mut with_passphrase(&sandbox, passphrase, &["--json", "snapshots"])), 1);
    sandbox.next_machine();
    assert_eq!(snapshots(&mut with_passphrase(&sandbox, passphrase, &["--json", "snapshots"])), 1);
    run(&mut with_passphrase(&sandbox, "wrong", &["snapshots"])).expect(12).says(&["wrong passphrase", "--credential"]);

    let mut second = sandbox.command(args!["--json", "credential", "add"]);
    let second = run(second.env("OBNAM_NEW_PASSPHRASE", "second")).expect(0).result();
    assert_eq!(second["passphrase"], Value::Null, "a passphrase that the user gave is shown");
    let second = text(&second["credential"]);
    // The machine knows the first one; the second one opens there too, and so does the first one after it.
    for passphrase in ["second", passphrase, "second"] {
        assert_eq!(snapshots(&mut with_passphrase(&sandbox, passphrase, &["--json", "snapshots"])), 1);
    }
    assert_eq!(
        snapshots(&mut with_passphrase(&sandbox, "second", &["--json", "--credential", second, "snapshots"])),
        1
    );
    // Only the named one is tried.
    let named = with_passphrase(&sandbox, passphrase, &["--credential", second, "snapshots"]);
    run(&mut { named }).expect(12).says(&["wrong passphrase", second]);

    let file = sandbox.path("other-identity");
    let other = add(&sandbox, &["--new-identity", file.to_str().unwrap()]);
    assert_eq!((&other["kind"], &other["identity"]), (&json!("identity"), &json!(file)));
    let by_file = |words: &[&str]| {
        let mut command = sandbox.bare();
        run(command.arg("--repo").arg(sandbox.location()).arg("--identity").arg(&file).args(words))
    };
    by_file(&["--credential", text(&other["credential"]), "snapshots"]).expect(0);
    let content = fs::read_to_string(&file).unwrap();
    let public = content.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let recipient = add(&sandbox, &["--recipient", public]);
    by_file(&["--credential", text(&recipient["credential"]), "snapshots"]).expect(0);

    let listed = list(&sandbox);
    assert_eq!(listed.len(), 5);
    let kinds = listed.iter().filter(|one| one["kind"] == "identity").count();
    assert_eq!(kinds, 3);
    let in_use: Vec<_> = listed.iter().filter(|one| one["in_use"] == true).collect();
    assert_eq!(in_use.len(), 1);
    assert_eq!((&in_use[0]["opens"], &in_use[0]["has_token"]), (&json!(true), &json!(false)));
    assert!(in_use[0]["client"].is_string() && in_use[0]["size"].as_u64() > Some(100));
    let shown = sandbox.obnam(args!["credential", "list"]).expect(0).text();
    assert!(shown.contains("in use") && shown.contains("does not open with this secret"), "{shown}");

    // Removed by the beginning of the id.
    let removed = sandbox.obnam(args!["--json", "credential", "remove", &id[..12]]).expect(0).result();
    assert_eq!(
        removed,
        json!({ "credential": id, "until": null, "token": { "state": "none", "id": null, "message": null } })
    );
    run(&mut with_passphrase(&sandbox, passphrase, &["--credential", id, "snapshots"]))
        .expect(12)
        .says(&["there is no credential", "credential list"]);
    sandbox.next_machine();
    run(&mut with_passphrase(&sandbox, passphrase, &["snapshots"])).expect(12);
    assert_eq!(list(&sandbox).len(), 4);
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn the_last_one_and_the_one_in_use_stay() {
    let sandbox = Sandbox::with_repository();
    let id = text(&list(&sandbox)[0]["id"]).to_owned();
    let remove = |words: &[&str]| sandbox.obnam([&["credential", "remove"], words].concat());
    remove(&[&id]).expect(17).says(&["is the last one", "--force"]);
    let made = add(&sandbox, &["--generate-passphrase"]);
    remove(&[&id]).expect(17).says(&["is the one that this run has opened", "--force"]);
    assert_eq!(list(&sandbox).len(), 2);
    let said = remove(&[&id, "--force"]).expect(0);
    assert!(said.text().contains("keeps what it opened"), "{}", said.all());
    let passphrase = text(&made["passphrase"]);
    run(&mut with_passphrase(&sandbox, passphrase, &["snapshots"])).expect(0);
    sandbox.obnam(args!["snapshots"]).expect(12);
}

#[test]
fn what_makes_no_sense_is_told_and_changes_nothing() {
    let sandbox = Sandbox::with_repository();
    let before = sandbox.chunks();
    let file = sandbox.path("new-identity");
    let file = file.to_str().unwrap();
    for (words, code, said) in [
        (&["add"][..], 17, "--generate-passphrase"),
        (&["add", "--recipient", "age1x"], 17, "neither a public key of age"),
        (&["add", "--recipient", "age1x", "--generate-passphrase"], 2, "cannot be used with"),
        (&["add", "--generate-passphrase", "--preset", "backup"], 17, "knows no tokens"),
        (&["add", "--new-identity", file, "--preset", "backup"], 17, "knows no tokens"),
        (&["add", "--generate-passphrase", "--expires", "1d"], 2, "--preset"),
        (&["add", "--generate-passphrase", "--preset", "root"], 2, "root"),
        (&["add", "--generate-passphrase", "--preset", "all", "--expires", "soon"], 2, "365d"),
        (&["remove", "ffff"], 17, "there is no credential ffff"),
        (&["remove", ""], 17, "several"),
        (&["remove"], 2, "ID"),
        (&["list", "--credential", "x"], 17, "--credential"),
        (&["list", "--credential", &"0".repeat(64)], 12, "there is no credential 000"),
    ] {
        let ran = sandbox.obnam([&["credential"], words].concat());
        ran.expect(code).says(&[said]);
    }
    assert_eq!(sandbox.chunks(), before);
    assert!(!std::path::Path::new(file).exists(), "an identity that opens nothing was left behind");
}

/// A server with a tenant, and a sandbox whose repository is there, made with a token for everything.
fn at_server(store: &FakeS3) -> (Server, Sandbox, String) {
    let server = Server::start(store, &Setup::default());
    server.tenant("alice");
    let all = server.token("alice", &["--preset", "all"]);
    let sandbox = Sandbox::at(server.remote("alice", &all));
    sandbox.obnam(args!["init"]).expect(0);
    fs::write(sandbox.source().join("file"), "file").unwrap();
    sandbox.back_up();
    (server, sandbox, all)
}

/// The same place for somebody with a bootstrap token, or with nothing.
fn place(server: &Server, bootstrap: Option<&str>) -> Remote {
    let remote = server.remote("alice", "");
    let environment = bootstrap.map(|token| ("OBNAM_SERVER_BOOTSTRAP_TOKEN", token.to_owned()));
    Remote { environment: environment.into_iter().collect(), ..remote }
}

#[test]
fn the_token_in_a_credential_decides_what_one_may_do() {
    let store = FakeS3::start(Faults::default());
    let (server, sandbox, all) = at_server(&store);
    let bootstrap = server.token("alice", &["--preset", "bootstrap"]);
    let laptop = add(&sandbox, &["--generate-passphrase", "--preset", "backup", "--expires", "30d"]);
    let (id, passphrase) = (text(&laptop["credential"]), text(&laptop["passphrase"]));
    let token = text(&laptop["token"]["id"]);
    assert!(text(&laptop["token"]["expires"]).starts_with("20"));
    let shown = server.json(&["token", "show", token]);
    assert_eq!((&shown["made-by"], &shown["rights"]["create"][0]), (&json!(&all[5..15]), &json!("data")));
    let safe = sandbox.path("safe");
    let safe = add(&sandbox, &["--new-identity", safe.to_str().unwrap(), "--preset", "all"]);

    // The laptop: a bootstrap token, the credential's id, a passphrase.
    sandbox.next_machine();
    sandbox.go_to(place(&server, Some(&bootstrap)));
    let on_laptop = |words: &[&str]| -> Ran {
        let mut command = with_passphrase(&sandbox, passphrase, &["--credential", id]);
        for option in sandbox_options(&server) {
            command.args(["-o", &option]);
        }
        run(command.args(words))
    };
    fs::write(sandbox.source().join("more"), "more").unwrap();
    on_laptop(&["backup", sandbox.source().to_str().unwrap()]).expect(0);
    assert_eq!(on_laptop(&["--json", "snapshots"]).expect(0).result().as_array().unwrap().len(), 2);
    let target = sandbox.fresh("target");
    let refused = on_laptop(&["restore", "latest", target.to_str().unwrap()]);
    assert_ne!(refused.code, Some(0), "a token for backups has read contents");
    let denied = on_laptop(&["credential", "add", "--generate-passphrase"]).expect(13);
    let denied = denied.says(&["token in the credential"]);
    let denied_token = on_laptop(&["credential", "add", "--generate-passphrase", "--preset", "backup"]).expect(13);
    let denied_token = denied_token.says(&["admin"]);
    for ran in [&denied, &denied_token] {
        assert!(!ran.all().contains("obn1_"), "a token is shown: {}", ran.all());
    }
    // -vv shows the words of the plugin, and still no token.
    let verbose = on_laptop(&["-vv", "credential", "list"]).expect(0);
    assert!(!verbose.all().contains("obn1_"), "{}", verbose.all());
    assert!(verbose.text().contains(&format!("token {token}")), "{}", verbose.text());

    // The safe: its identity does everything.
    let by_safe = |words: &[&str]| {
        let mut command = sandbox.bare();
        command.arg("--repo").arg(sandbox.location()).arg("--identity").arg(sandbox.path("safe"));
        command.args(["--credential", text(&safe["credential"])]);
        for option in sandbox_options(&server) {
            command.args(["-o", &option]);
        }
        run(command.args(words))
    };
    by_safe(&["restore", "latest", target.to_str().unwrap()]).expect(0);
    // A token that the user gives himself comes first.
    let file = sandbox.path("token");
    fs::write(&file, &bootstrap).unwrap();
    let option = format!("token-file={}", file.display());
    let poor = by_safe(&["-o", &option, "check"]);
    assert_ne!(poor.code, Some(0), "{}", poor.all());

    // Without a token, and with the bootstrap token alone, nothing is found beyond the credentials.
    let bare = |token: &str, path: &str| server_get(&server, token, path);
    assert_eq!(bare(&bootstrap, "/alice/chunk?label=snapshot."), 0);
    assert!(bare(&bootstrap, "/alice/chunk?label=credential") > 0);
}

/// The options that every call needs.
fn sandbox_options(server: &Server) -> Vec<String> {
    server.remote("alice", "").options
}

/// How many chunks a list has.
fn server_get(server: &Server, token: &str, path: &str) -> usize {
    let output = Command::new("curl")
        .args(["-sS", "-H", &format!("Authorization: Bearer {token}"), &format!("{}/v1{path}", server.url)])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["chunks"].as_array().unwrap_or_else(|| panic!("{answer}")).len()
}

#[test]
fn removing_a_credential_revokes_its_token() {
    let store = FakeS3::start(Faults::default());
    let (server, sandbox, all) = at_server(&store);
    // For the secret in use: its token is known.
    let identity = fs::read_to_string(sandbox.identity()).unwrap();
    let public = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let mine = add(&sandbox, &["--recipient", public, "--preset", "backup"]);
    let token = text(&mine["token"]["id"]);
    let listed = list(&sandbox);
    let listed = listed.iter().find(|one| one["id"] == mine["credential"]).unwrap();
    assert_eq!((&listed["opens"], &listed["token"]), (&json!(true), &json!(token)));
    let removed = sandbox.obnam(args!["--json", "credential", "remove", text(&mine["credential"])]).expect(0).result();
    assert_eq!(removed["token"], json!({ "state": "revoked", "id": token, "message": null }));
    assert!(text(&removed["until"]).starts_with("20"), "the server removes nothing at once: {removed}");
    assert!(server.json(&["token", "show", token])["revoked"].is_u64());

    // For another secret: nobody here knows which token is in it.
    let other = add(&sandbox, &["--generate-passphrase", "--preset", "backup"]);
    let said = sandbox.obnam(args!["credential", "remove", text(&other["credential"])]).expect(0);
    assert!(said.text().contains("obnam-server token list"), "{}", said.all());
    assert!(server.json(&["token", "show", text(&other["token"]["id"])])["revoked"].is_null());

    // A token of the user's own, which the operator has revoked already.
    let file = sandbox.path("token");
    let given = server.token("alice", &["--preset", "backup"]);
    fs::write(&file, format!("{given}\n")).unwrap();
    let held = add(&sandbox, &["--recipient", public, "--token", file.to_str().unwrap()]);
    assert_eq!(held["token"]["id"], json!(&given[5..15]));
    server.json(&["token", "revoke", &given[5..15]]);
    let removed = sandbox.obnam(args!["--json", "credential", "remove", text(&held["credential"])]).expect(0).result();
    assert_eq!(removed["token"]["state"], "refused", "{removed}");
    fs::write(&file, "obn1_mistyped\n").unwrap();
    sandbox
        .obnam(args!["credential", "add", "--recipient", public, "--token", file])
        .expect(17)
        .says(&["no token of an obnam-server"]);

    // A token that may remove nothing: revoked all the same, and said plainly.
    let third = add(&sandbox, &["--recipient", public, "--preset", "backup"]);
    let restore = server.token("alice", &["--preset", "restore"]);
    sandbox.go_to(server.remote("alice", &restore));
    sandbox
        .obnam(args!["credential", "remove", text(&third["credential"])])
        .expect(13)
        .says(&["is revoked, but", "may remove nothing"]);
    assert!(server.json(&["token", "show", text(&third["token"]["id"])])["revoked"].is_u64());
    let log = server.log();
    assert!(!log.contains(&all[16..]) && !log.contains(&given[16..]));
}

#[test]
fn a_passphrase_is_changed_wherever_this_machine_names_it() {
    let sandbox = Sandbox::new();
    run(&mut with_passphrase(&sandbox, "old", &["init"])).expect(0);
    let listed = |passphrase: &str| {
        let result =
            run(&mut with_passphrase(&sandbox, passphrase, &["--json", "credential", "list"])).expect(0).result();
        result["credentials"].as_array().unwrap().clone()
    };
    let old = text(&listed("old")[0]["id"]).to_owned();
    let file = sandbox.local().join("config/obnam/config.toml");
    let profile = |credential: &str| {
        let location = sandbox.repository();
        format!(
            "# mine\n[profile.default]\nrepository = {location:?}\ncredential = \"{credential}\" # this one\n[profile.b]\n"
        )
    };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, profile(&old)).unwrap();
    let passwd = |new: &str| {
        let mut command = with_passphrase(&sandbox, "old", &["--json", "credential", "passwd"]);
        run(command.env("OBNAM_NEW_PASSPHRASE", new))
    };
    passwd("").expect(12);
    let changed = passwd("new").expect(0).result();
    let new = text(&changed["credential"]);
    assert_eq!((&changed["replaces"], &changed["removed"]), (&json!(old), &json!(true)));
    assert_eq!((&changed["configuration"], &changed["passphrase"]), (&json!(file), &Value::Null));
    assert_eq!(fs::read_to_string(&file).unwrap(), profile(new));
    // By the profile, by what the machine remembers, and on a machine that knows nothing.
    run(sandbox.bare().arg("snapshots").env("OBNAM_PASSPHRASE", "new")).expect(0);
    run(sandbox.bare().arg("snapshots").env("OBNAM_PASSPHRASE", "old")).expect(12).says(&["wrong passphrase"]);
    assert_eq!(listed("new").len(), 1);
    run(&mut with_passphrase(&sandbox, "old", &["snapshots"])).expect(12).says(&["wrong passphrase"]);
    sandbox.next_machine();
    run(&mut with_passphrase(&sandbox, "old", &["snapshots"])).expect(12);
    run(&mut with_passphrase(&sandbox, "new", &["snapshots"])).expect(0);
    run(&mut with_passphrase(&sandbox, "new", &["check"])).expect(0);
    // A generated one is shown; the id that a script gives is told.
    let words = ["--credential", new, "credential", "passwd", "--generate-passphrase"];
    let said = run(&mut with_passphrase(&sandbox, "new", &words)).expect(0);
    let shown = said.text();
    // Before anything else, so that it is there whatever happens.
    let made = shown.lines().next().unwrap().strip_prefix("new passphrase, which counts once this is done: ").unwrap();
    said.says(&["from now on give --credential"]);
    run(&mut with_passphrase(&sandbox, made, &["snapshots"])).expect(0);
}

#[test]
fn an_identity_has_no_passphrase_to_change() {
    let sandbox = Sandbox::with_repository();
    let before = sandbox.chunks();
    sandbox
        .obnam(args!["credential", "passwd", "--generate-passphrase"])
        .expect(17)
        .says(&["has no passphrase to change"]);
    sandbox.obnam(args!["credential", "passwd"]).expect(17);
    assert_eq!(sandbox.chunks(), before);
}
