//! What all commands print: progress, colours, quiet and verbose, completions, manual pages.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use obnam_tests::{Sandbox, args, obnam, run, tree};
use serde_json::Value;

#[test]
fn progress_as_json_lines() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 200, 1);
    let progress = |arguments: &[std::ffi::OsString]| {
        let ran = sandbox.obnam([&args!["--progress", "json"], arguments].concat()).expect(0);
        let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.last().unwrap()["progress"].clone();
        assert!(lines.iter().all(|line| line["progress"]["command"] == last["command"]), "{lines:?}");
        assert!(lines[..lines.len() - 1].iter().all(|line| line["progress"]["finished"] == false), "{lines:?}");
        assert_eq!(last["finished"], true);
        (last, ran)
    };
    let (first, _) = progress(&args!["backup", sandbox.source()]);
    assert_eq!((&first["files"], &first["new_files"], &first["total_bytes"]), (&200.into(), &200.into(), &Value::Null));
    // The second knows from the first how much it will be.
    let (second, ran) = progress(&args!["--json", "backup", sandbox.source()]);
    assert_eq!((&second["new_files"], &second["total_bytes"]), (&0.into(), &first["bytes"]));
    assert_eq!(ran.result()["statistics"]["files"], 200);
    let (restored, _) = progress(&args!["restore", "latest", sandbox.path("t")]);
    assert_eq!((&restored["command"], &restored["bytes"]), (&"restore".into(), &first["bytes"]));
    progress(&args!["check", "--read-data"]);
    progress(&args!["-q", "check"]);
    // Piped, there is none.
    for how in ["auto", "never"] {
        let ran = sandbox.obnam(args!["--progress", how, "backup", sandbox.source()]).expect(0);
        assert!(ran.stderr.is_empty(), "{ran:?}");
    }
    sandbox.obnam(args!["--progress", "loud", "check"]).expect(2);
}

#[test]
fn colours_only_where_they_are_wanted() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    fs::write(sandbox.source().join("b"), "b").unwrap();
    sandbox.back_up();
    let first = &sandbox.snapshots()[0];
    for (colour, no_colour, expected) in [
        (&["--color", "always"][..], false, true),
        (&["--color", "always"], true, true),
        (&["--color", "never"], false, false),
        (&["--color", "auto"], false, false),
        (&[], true, false),
    ] {
        let mut command = sandbox.command(args!["diff", first, "latest"]);
        command.args(colour).env("TERM", "xterm");
        if no_colour {
            command.env("NO_COLOR", "1");
        }
        let ran = run(&mut command).expect(0);
        assert_eq!(ran.text().contains("\x1b[32m+ "), expected, "{colour:?} {ran:?}");
    }
    let ran = sandbox.obnam(["--color", "always", "diff", "latest", "ffff"]).expect(17);
    assert!(ran.stderr.starts_with("\x1b[31mobnam:\x1b[0m"), "{ran:?}");
}

#[test]
fn verbose_backups_list_what_they_read() {
    let sandbox = Sandbox::with_repository();
    for name in ["a", "b", "evil \x1b[2J"] {
        fs::write(sandbox.source().join(name), name).unwrap();
    }
    let listed = |options: &[&str]| {
        let options: Vec<_> = options.iter().map(Into::into).collect();
        let ran = sandbox.obnam([options, args!["backup", sandbox.source()].to_vec()].concat()).expect(0);
        let lines = ran.text().lines().filter(|line| line.starts_with("+ ") || line.starts_with("M ")).count();
        assert!(!ran.all().contains('\x1b'));
        (lines, ran)
    };
    let (lines, ran) = listed(&["-v"]);
    assert_eq!(lines, 3, "{ran:?}");
    assert!(ran.text().contains("3 new, 0 changed, 0 unchanged") && ran.text().contains("after compression"));
    fs::write(sandbox.source().join("a"), "longer").unwrap();
    let (lines, ran) = listed(&["-v"]);
    assert!(lines > 0 && ran.text().contains(&format!("M {}", sandbox.source().join("a").display())), "{ran:?}");
    assert_eq!(listed(&[]).0, 0);
    assert!(serde_json::from_str::<Value>(&listed(&["-v", "--json"]).1.text()).is_ok());
}

#[test]
fn completions_and_manual_pages_need_nothing() {
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(obnam());
        command.env_clear().env("HOME", "/proc/nothing").env("XDG_CONFIG_HOME", "/proc/nothing").args(arguments);
        run(&mut command)
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = bare(&["completions", shell]).expect(0).text();
        assert!(text.contains("snapshots") && text.contains("read-data"), "{shell}");
    }
    bare(&["completions", "cobol"]).expect(2);
    for arguments in [&["--json", "completions", "bash"][..], &["--json", "man"]] {
        let message = bare(arguments).expect(17).json()["error"]["message"].to_string();
        assert!(message.contains("--json"), "{message}");
    }
    assert!(bare(&["man"]).expect(0).text().contains(".TH obnam 1"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    bare(&["man", pages.to_str().unwrap()]).expect(0);
    for command in ["backup", "restore", "diff", "cat-file"] {
        let page = fs::read_to_string(pages.join(format!("obnam-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{page}");
    }
    assert!(pages.join("obnam.1").exists());
    bare(&["man", "/proc/nothing/here"]).expect(17).says(&["/proc/nothing/here"]);
}
