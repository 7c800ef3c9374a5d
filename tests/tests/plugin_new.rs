//! `obnam plugin new`: what it writes builds, keeps the contract, and takes a backup; and it harms nothing that is there.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use obnam_tests::{Sandbox, args, run};

/// Builds the plugin of a project as its README says, without what this test was built with.
fn build(project: &Path) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "LLVM_PROFILE_FILE",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    // With the lock file that came along: it has to fit.
    command.current_dir(project).args(["build", "--locked", "--target", "wasm32-wasip2", "--release"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    project.join("target/wasm32-wasip2/release/a_new_one.wasm")
}

#[test]
fn a_new_plugin_builds_keeps_the_contract_and_takes_a_backup() {
    let sandbox = Sandbox::new();
    let project = sandbox.path("a-new-one");
    let mut new = sandbox.bare();
    run(new.current_dir(project.parent().unwrap()).args(args!["plugin", "new", "a-new-one"])).expect(0);
    let component = build(&project);
    let inspected = run(sandbox.bare().args(args!["--json", "plugin", "inspect", component])).expect(0).result();
    assert_eq!((&inspected["name"], &inspected["version"]), (&"a-new-one".into(), &"0.1.0".into()));
    let imports = inspected["imports"].as_array().unwrap();
    assert!(!imports.iter().any(|import| import.as_str().unwrap().contains("http")), "{imports:?}");

    let place = sandbox.path("place");
    let tested = run(sandbox.bare().args(args!["plugin", "test", component, "--location", place])).expect(0);
    assert!(!tested.text().contains("BROKEN") && !tested.text().contains("untried"), "{}", tested.text());

    fs::create_dir_all(sandbox.source().join("folder")).unwrap();
    fs::write(sandbox.source().join("folder/file"), vec![7; 3 << 20]).unwrap();
    let obnam = |arguments: &[std::ffi::OsString]| run(&mut sandbox.with_plugin(&component, arguments)).expect(0);
    obnam(&args!["init"]);
    obnam(&args!["backup", sandbox.source()]);
    obnam(&args!["check", "--read-data", "--store"]);
    let target = sandbox.path("restored");
    obnam(&args!["restore", "latest", target]);
    let restored = obnam_tests::below(&target, &sandbox.source());
    assert_eq!(fs::read(restored.join("folder/file")).unwrap(), vec![7; 3 << 20]);

    a_panic_says_where_it_was(&sandbox, &project);
}

/// Its file has the names of its functions.
fn a_panic_says_where_it_was(sandbox: &Sandbox, project: &Path) {
    let source = project.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let found = "let removed = files::remove(";
    assert!(text.contains(found));
    fs::write(
        &source,
        text.replace(found, &format!("obnam_plugin::log!(\"now {{label}}\");\npanic!(\"oh\");\n{found}")),
    )
    .unwrap();
    let component = build(project);
    let place = sandbox.path("other");
    let tested = run(sandbox.bare().args(args!["-vv", "plugin", "test", component, "--location", place])).expect(4);
    let table = tested.text();
    assert!(table.contains("BROKEN  remove ") && table.contains("panicked at src/lib.rs"), "{table}");
    assert!(table.contains(" / oh") && !table.contains("RUST_BACKTRACE"), "{table}");
    tested.says(&["now conformance", "  at ", "Store as obnam_plugin::plugin::Plugin>::remove"]);
}

#[test]
fn what_is_there_is_left_alone() {
    let sandbox = Sandbox::new();
    let top = sandbox.path("top");
    fs::create_dir(&top).unwrap();
    let new = |arguments: &[&str]| run(sandbox.bare().current_dir(&top).args(["plugin", "new"]).args(arguments));
    fs::create_dir(top.join("full")).unwrap();
    fs::write(top.join("full/file"), "mine").unwrap();
    new(&["full"]).expect(17).says(&["full is not empty", "--directory"]);
    assert_eq!(fs::read_dir(top.join("full")).unwrap().count(), 1);
    new(&["some-name", "--directory", "full/file"]).expect(17).says(&["full/file"]);
    // Nobody can make a directory there.
    new(&["some-name", "--directory", "/proc/obnam"]).expect(17).says(&["/proc/obnam", "another directory"]);
    for (name, why) in
        [("Name", "lower-case"), ("", "lower-case"), ("../x", "lower-case"), ("bitflags", "choose another")]
    {
        new(&[name]).expect(17).says(&[&format!("{name:?}"), why]);
    }
    assert_eq!(fs::read_dir(&top).unwrap().count(), 1);

    // An empty directory, with another name than the plugin.
    fs::create_dir(top.join("empty")).unwrap();
    let made = new(&["a-plugin", "--directory", "empty", "--json"]).expect(0).result();
    assert_eq!(made["component"], "target/wasm32-wasip2/release/a_plugin.wasm");
    let files = made["files"].as_array().unwrap();
    assert!(files.contains(&"Cargo.lock".into()) && files.contains(&"obnam/wit/chunk-store.wit".into()), "{files:?}");
    for file in files {
        assert!(top.join("empty").join(file.as_str().unwrap()).is_file(), "{file}");
    }
    assert!(fs::read_to_string(top.join("empty/Cargo.toml")).unwrap().contains("name = \"a-plugin\""));
}
