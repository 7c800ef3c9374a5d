//! Plugin files are used when their user trusts them, with what he named or approved, and not otherwise.

#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use obnam_tests::terminal::on_a_terminal;
use obnam_tests::{Ran, Sandbox, args, run, sha256};
use serde_json::Value;

/// A plugin for directories that keeps the contract, as a file that nobody has seen before.
fn plugin(sandbox: &Sandbox) -> PathBuf {
    let file = sandbox.path("plugin.wasm");
    fs::copy(env!("GUEST_BROKEN"), &file).unwrap();
    file
}

/// Makes another plugin of it that does the same: by a custom section at its end.
fn change(file: &Path) {
    OpenOptions::new().append(true).open(file).unwrap().write_all(b"\x00\x02\x01x").unwrap();
}

fn with<S: AsRef<std::ffi::OsStr>>(sandbox: &Sandbox, file: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = sandbox.command(arguments);
    command.arg("--backend").arg(file);
    command
}

fn manage<S: AsRef<std::ffi::OsStr>>(sandbox: &Sandbox, arguments: impl IntoIterator<Item = S>) -> Ran {
    run(sandbox.bare().arg("plugin").args(arguments))
}

/// What the list of plugins says of the trusted ones.
fn trusted(sandbox: &Sandbox) -> Vec<Value> {
    let all = manage(sandbox, ["list", "--json"]).expect(0).result();
    all.as_array().unwrap().iter().filter(|one| one["bundled"] == false).cloned().collect()
}

#[test]
fn a_file_is_used_only_when_it_is_trusted() {
    let sandbox = Sandbox::new();
    let file = plugin(&sandbox);
    let digest = sha256(&file);
    let refused = run(&mut with(&sandbox, &file, ["init"])).expect(14);
    let trust = format!("obnam plugin trust {}", file.display());
    let refused = refused.says(&["is not trusted", &digest, &trust, &format!("--trust {digest}")]);
    // It was not even compiled, and nothing was made.
    assert!(!sandbox.repository().exists());
    let compiled = sandbox.local().join("cache/obnam/plugins");
    let compiled = || {
        fs::read_dir(&compiled).unwrap().any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with(&digest))
    };
    assert!(!compiled(), "{refused:?}");
    let json = run(&mut with(&sandbox, &file, ["init", "--json"])).expect(14).json();
    assert_eq!(json["error"]["code"], "plugin");

    let other = "0".repeat(64);
    run(with(&sandbox, &file, ["init"]).args(["--trust", &other])).expect(14).says(&["is not trusted"]);
    run(with(&sandbox, &file, ["init"]).args(["--trust", "abc"])).expect(17).says(&["no SHA-256", "\"abc\""]);
    // For one run.
    run(with(&sandbox, &file, ["init"]).args(["--trust", &digest.to_uppercase()])).expect(0);
    assert!(compiled());
    run(&mut with(&sandbox, &file, ["snapshots"])).expect(14);

    // From now on.
    manage(&sandbox, args!["trust", file, "--trust", other]).expect(17).says(&["not what --trust says"]);
    let said = manage(&sandbox, args!["trust", file]).expect(0).text();
    assert!(said.contains("broken 0.1.0 is trusted") && said.contains(&digest), "{said}");
    let kept = sandbox.local().join("config/obnam/trusted-plugins.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&kept).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    fs::write(sandbox.source().join("file"), "contents").unwrap();
    run(&mut with(&sandbox, &file, args!["backup", sandbox.source()])).expect(0);
    let target = sandbox.fresh("restored");
    run(&mut with(&sandbox, &file, args!["restore", "latest", target])).expect(0);
    obnam_tests::tree::assert_same(&sandbox.source(), &obnam_tests::below(&target, &sandbox.source()));
    let listed = trusted(&sandbox);
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0]["sha256"].as_str(), listed[0]["name"].as_str()), (Some(digest.as_str()), Some("broken")));
    assert_eq!(listed[0]["file"], file.to_str().unwrap());
    assert!(manage(&sandbox, ["list"]).expect(0).text().contains(&digest));

    // What others could have written says nothing.
    obnam_tests::chmod(&kept, 0o666);
    run(&mut with(&sandbox, &file, ["snapshots"])).expect(17).says(&["not believed", "chmod go-w"]);
    obnam_tests::chmod(&kept, 0o600);

    // No more.
    manage(&sandbox, ["untrust", &digest]).expect(0);
    run(&mut with(&sandbox, &file, ["snapshots"])).expect(14).says(&["is not trusted"]);
    manage(&sandbox, ["untrust", &digest]).expect(17).says(&["is not trusted", "plugin list"]);
    manage(&sandbox, args!["trust", file]).expect(0);
    manage(&sandbox, args!["untrust", file, "--json"]).expect(0).json();
    assert!(trusted(&sandbox).is_empty());
}

#[test]
fn a_changed_file_is_another_plugin() {
    let sandbox = Sandbox::new();
    let file = plugin(&sandbox);
    manage(&sandbox, args!["trust", file]).expect(0);
    run(&mut with(&sandbox, &file, ["init"])).expect(0);
    change(&file);
    // What was compiled of the file before is still there, and is not used.
    let refused = run(&mut with(&sandbox, &file, ["snapshots"])).expect(14);
    refused.says(&["is not trusted", "not the file that you trusted there on", &sha256(&file)]);
    fs::write(&file, "no plugin").unwrap();
    run(&mut with(&sandbox, &file, ["snapshots"])).expect(17).says(&["not a WebAssembly component"]);
    // The first one may have any name.
    let moved = sandbox.path("moved.wasm");
    fs::copy(env!("GUEST_BROKEN"), &moved).unwrap();
    run(&mut with(&sandbox, &moved, ["snapshots"])).expect(0);
    fs::remove_file(&file).unwrap();
    manage(&sandbox, args!["untrust", file]).expect(0);
    run(&mut with(&sandbox, &moved, ["snapshots"])).expect(14);
}

#[test]
fn the_user_is_asked_once() {
    let sandbox = Sandbox::new();
    let file = plugin(&sandbox);
    let digest = sha256(&file);
    let said = on_a_terminal(&mut with(&sandbox, &file, ["init"]), "no\n");
    for words in
        ["you have not trusted it before", "broken 0.1.0", &digest, "named by the location", "[y/N]", "was not used"]
    {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(!sandbox.repository().exists() && trusted(&sandbox).is_empty());
    let said = on_a_terminal(&mut with(&sandbox, &file, ["init"]), "y\n");
    assert!(said.contains("Recovery sheet") && said.contains("trusted-plugins.json says so from now on"), "{said}");
    assert!(said.contains(&format!("--backend PLUGIN --trust {digest} --repository-id")), "{said}");
    let said = on_a_terminal(&mut with(&sandbox, &file, ["snapshots"]), "");
    assert!(!said.contains("[y/N]"), "{said}");
    run(&mut with(&sandbox, &file, ["snapshots"])).expect(0);
    // Another file in its place.
    change(&file);
    let said = on_a_terminal(&mut with(&sandbox, &file, ["snapshots"]), "no\n");
    assert!(
        said.contains("is another one than the broken 0.1.0 that you trusted there") && said.contains(&digest),
        "{said}"
    );
    assert!(said.contains("[y/N]") && said.contains("was not used"), "{said}");
    // JSON is for programs, which nobody sits at.
    let said = on_a_terminal(&mut with(&sandbox, &file, ["snapshots", "--json"]), "");
    assert!(said.contains("is not trusted") && !said.contains("[y/N]"), "{said}");
}

/// A plugin that wishes for a directory of its own choice.
fn wishes(sandbox: &Sandbox, directory: &Path, more: &[&str]) -> Command {
    let mut command = sandbox.bare();
    command.args(["-r", "odd:place", "--backend", env!("GUEST_MISBEHAVING")]).args(more);
    command.arg("-o").arg(format!("do=wish:{}", directory.display())).arg("chunks");
    command
}

#[test]
fn wishes_beyond_the_location_are_approved_once() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.path("one"), sandbox.path("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let file = Path::new(env!("GUEST_MISBEHAVING"));
    let digest = sha256(file);
    // Trust in the file is none in its wishes.
    let refused = run(&mut wishes(&sandbox, &one, &["--trust", &digest])).expect(14);
    refused.says(&["wishes to use the directory", "/one\", to read and write", "--location odd:place -o do=..."]);
    manage(&sandbox, args!["trust", file]).expect(0);
    run(&mut wishes(&sandbox, &one, &[])).expect(14).says(&["which the location does not name"]);
    let option = format!("do=wish:{}", one.display());
    let trust = ["trust", file.to_str().unwrap(), "--location", "odd:place", "-o", &option];
    manage(&sandbox, trust).expect(17).says(&["/one", &format!("--trust {digest}")]);
    run(&mut wishes(&sandbox, &one, &[])).expect(14);

    let said = on_a_terminal(&mut wishes(&sandbox, &one, &[]), "no\n");
    for words in [
        "which you trust since",
        "wishes for more",
        "/one",
        "NOT named by the location",
        "secret options password",
        "[y/N]",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    let said = on_a_terminal(&mut wishes(&sandbox, &one, &[]), "y\n");
    assert!(said.contains("says so from now on"), "{said}");
    run(&mut wishes(&sandbox, &one, &[])).expect(0);
    assert_eq!(trusted(&sandbox)[0]["wishes"][0]["path"], one.to_str().unwrap());
    // Another wish is asked for again, and the first one stays.
    run(&mut wishes(&sandbox, &two, &[])).expect(14).says(&["/two"]);
    let said = on_a_terminal(sandbox.bare().arg("plugin").args(trust.map(|word| word.replace("/one", "/two"))), "y\n");
    assert!(said.contains("May it?") && said.contains("is trusted from now on"), "{said}");
    for place in [&one, &two] {
        run(&mut wishes(&sandbox, place, &[])).expect(0);
    }
    // A link in the place of what was approved leads nowhere.
    fs::remove_dir(&two).unwrap();
    std::os::unix::fs::symlink("/etc", &two).unwrap();
    run(&mut wishes(&sandbox, &two, &[])).expect(13).says(&["a symbolic link leads it to /etc"]);
    // Without a terminal the digest is the answer.
    manage(&sandbox, ["untrust", &digest]).expect(0);
    manage(&sandbox, trust.into_iter().chain(["--trust", &digest])).expect(0);
    run(&mut wishes(&sandbox, &one, &[])).expect(0);
}

#[test]
fn addresses_that_nobody_may_approve() {
    let sandbox = Sandbox::new();
    let file = env!("GUEST_HTTP");
    let digest = sha256(Path::new(file));
    for wish in ["http://169.254.169.254", "https://[fe80::1]", "https://[fd00:ec2::254]"] {
        let option = format!("wish={wish}");
        let trust = ["trust", file, "--location", "web:x", "-o", &option, "--trust", &digest];
        manage(&sandbox, trust).expect(13).says(&["such addresses keep no chunks"]);
    }
    assert!(trusted(&sandbox).is_empty());
    let trust = ["trust", file, "--location", "web:x", "-o", "wish=https://cdn.example", "--trust", &digest];
    let result = manage(&sandbox, trust.into_iter().chain(["--json"])).expect(0).result();
    assert_eq!(result["wishes"][0], serde_json::json!({ "kind": "origin", "origin": "https://cdn.example" }));
}

#[test]
fn a_profile_trusts_what_it_names() {
    let sandbox = Sandbox::new();
    let file = plugin(&sandbox);
    let config = sandbox.local().join("config/obnam/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let text = |trust: &str| {
        let (place, identity) = (sandbox.repository(), sandbox.identity());
        format!(
            "[profile.default]\nrepository = {place:?}\nidentity = {identity:?}\nbackend = {file:?}\ntrust = [{trust:?}]\n"
        )
    };
    fs::write(&config, text(&sha256(&file))).unwrap();
    obnam_tests::chmod(&config, 0o600);
    run(sandbox.bare().arg("init")).expect(0);
    run(sandbox.bare().args(["config", "check"])).expect(0);
    let shown = run(sandbox.bare().args(["config", "show"])).expect(0).text();
    assert!(shown.contains(&sha256(&file)), "{shown}");
    // For its own repository.
    let mut elsewhere = sandbox.bare();
    elsewhere.args(["-p", "default", "-r"]).arg(sandbox.path("other")).arg("--backend").arg(&file).arg("snapshots");
    run(&mut elsewhere).expect(14).says(&["is not trusted"]);
    // Nobody else says it.
    obnam_tests::chmod(&config, 0o666);
    run(sandbox.bare().arg("snapshots"))
        .expect(17)
        .says(&["the key trust of the profile is not believed", "chmod go-w"]);
    obnam_tests::chmod(&config, 0o600);
    change(&file);
    run(sandbox.bare().arg("snapshots")).expect(14).says(&["is not trusted"]);
    fs::write(&config, text("abc")).unwrap();
    run(sandbox.bare().arg("snapshots")).expect(17).says(&["\"abc\" is no SHA-256"]);
}

#[test]
fn limits_are_changed_by_profile_and_command_line() {
    let sandbox = Sandbox::with_repository();
    let config = sandbox.local().join("config/obnam/config.toml");
    let with = |limits: &str| {
        let (place, identity) = (sandbox.repository(), sandbox.identity());
        let text = format!(
            "[profile.default]\nrepository = {place:?}\nidentity = {identity:?}\n[profile.default.plugin-limits]\n{limits}\n"
        );
        fs::write(&config, text).unwrap();
        sandbox.bare()
    };
    run(with("memory = \"64M\"\nhandles = 100").arg("snapshots")).expect(0);
    let shown = run(with("memory = \"64M\"").args(["--plugin-limit", "cpu=1m", "config", "show"])).expect(0).text();
    let has = |name: &str, value: &str| {
        shown.lines().any(|line| line.starts_with(&format!("plugin-limits.{name} ")) && line.contains(value))
    };
    assert!(has("memory", "64M") && has("cpu", "1m"), "{shown}");
    // One is in force: the plugin for directories does not fit into so little.
    let one = "instances = 1";
    run(with(one).arg("snapshots")).expect(14).says(&["it was stopped", "resource limit exceeded"]);
    run(with(one).args(["--plugin-limit", "instances=100", "snapshots"])).expect(0);
    for (wrong, words) in [
        ("memroy = \"1G\"", ["no limit \"memroy\"", "memory"]),
        ("memory = \"1K\"", ["1K is outside of what is allowed", "1M to 4G"]),
        ("cpu = 30", ["\"30\" is no time", "90s"]),
        ("cpu = [1]", ["plugin-limits.cpu", "has to be text"]),
    ] {
        run(with(wrong).arg("snapshots")).expect(17).says(&words);
        run(with(wrong).args(["config", "check"])).expect(17);
    }
    run(with("").args(["--plugin-limit", "memory", "snapshots"]))
        .expect(17)
        .says(&["--plugin-limit memory", "no size"]);
    run(sandbox.bare().args(["plugin", "inspect", "local", "--plugin-limit", "instances=1"])).expect(14);
}

#[test]
fn looking_and_trying_need_no_trust() {
    let sandbox = Sandbox::new();
    let file = plugin(&sandbox);
    manage(&sandbox, args!["inspect", file]).expect(0);
    let place = sandbox.path("place");
    let inspect = args!["inspect", file, "--location", place, "--json"];
    let result = manage(&sandbox, inspect).expect(0).result();
    let wish =
        serde_json::json!({ "kind": "directory", "path": place.to_str().unwrap(), "read_only": false, "named": true });
    assert_eq!(result["wishes"], serde_json::json!([wish]));
    let looked = ["inspect", env!("GUEST_HTTP"), "--location", "web:x", "-o", "wish=https://cdn.example"];
    let said = manage(&sandbox, looked).expect(0).text();
    assert!(said.contains("wishes    https://cdn.example (not named by the location: has to be approved)"), "{said}");
    // Trying grants what the location names.
    let test = ["test", env!("GUEST_HTTP"), "--location", "web:x", "-o", "wish=https://cdn.example"];
    manage(&sandbox, test).expect(13).says(&["the location names no host"]);
    assert!(trusted(&sandbox).is_empty());
}
