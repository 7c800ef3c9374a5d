//! Profiles: what the configuration file says, what beats it, and what is answered to mistakes in it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::{Ran, Sandbox, args, chmod, run, tree};
use serde_json::{Value, json};

/// A sandbox with a repository, some files, and this configuration. `@` is the sandbox's directory.
fn sandbox(config: &str) -> Sandbox {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("file"), "file").unwrap();
    fs::create_dir(sandbox.path("elsewhere")).unwrap();
    fs::write(sandbox.path("elsewhere/other"), "other").unwrap();
    write(&sandbox, config);
    sandbox
}

fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.local().join("config/obnam/config.toml")
}

fn write(sandbox: &Sandbox, config: &str) {
    fs::create_dir_all(file(sandbox).parent().unwrap()).unwrap();
    fs::write(file(sandbox), config.replace('@', sandbox.path("").to_str().unwrap().trim_end_matches('/'))).unwrap();
    chmod(&file(sandbox), 0o600);
}

/// Runs the program with nothing but these words.
fn bare(sandbox: &Sandbox, words: &[&str]) -> Ran {
    run(sandbox.bare().args(words))
}

fn paths(sandbox: &Sandbox) -> Value {
    let last =
        sandbox.obnam(args!["--json", "snapshots"]).expect(0).result().as_array().unwrap().last().unwrap().clone();
    json!({ "paths": last["paths"], "tags": last["tags"], "host": last["host"] })
}

const HOME: &str = r#"
[profile.home]
repository = "@/repository"
identity = "@/identity"
sources = ["@/source"]
tags = ["daily", "home"]
host = "laptop"
"#;

#[test]
fn a_profile_is_all_that_a_backup_needs() {
    let sandbox = sandbox(HOME);
    bare(&sandbox, &["-p", "home", "backup"]).expect(0);
    let source = sandbox.source();
    assert_eq!(paths(&sandbox), json!({ "paths": [source], "tags": ["daily", "home"], "host": "laptop" }));
    let target = sandbox.path("restored");
    bare(&sandbox, &["restore", "latest", target.to_str().unwrap(), "--profile", "home"]).expect(0);
    tree::assert_same(&source, &obnam_tests::below(&target, &source));
    // The command line says otherwise: paths and host instead, tags besides.
    let elsewhere = sandbox.path("elsewhere");
    let words =
        ["-p", "home", "backup", "--tag", "once", "--tag", "home", "--host", "desk", elsewhere.to_str().unwrap()];
    bare(&sandbox, &words).expect(0);
    assert_eq!(paths(&sandbox), json!({ "paths": [elsewhere], "tags": ["daily", "home", "once"], "host": "desk" }));
}

#[test]
fn a_profile_says_what_is_left_out() {
    let leave_out = "exclude = [\"*.tmp\", \"@/source/a/\"]\nexclude-from = [\"@/patterns\"]\nexclude-caches = true\n\
        exclude-if-present = [\".no\"]\nexclude-larger-than = \"1K\"\nignore-file = [\".ignore\"]\n";
    let sandbox = sandbox(&format!("{HOME}{leave_out}"));
    let source = sandbox.source();
    fs::write(sandbox.path("patterns"), "*.bak\n").unwrap();
    for folder in ["a", "b/c", "cache"] {
        fs::create_dir_all(source.join(folder)).unwrap();
    }
    for name in ["x.tmp", "keep.tmp", "a/file", "x.bak", "b/.no", "b/c/file", "cache/file", "ignored"] {
        fs::write(source.join(name), "x").unwrap();
    }
    fs::write(source.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    fs::write(source.join("large"), [0; 1025]).unwrap();
    fs::write(source.join(".ignore"), "ignored\n").unwrap();
    let files = |words: &[&str]| {
        bare(&sandbox, &[["-p", "home", "backup"].as_slice(), words].concat()).expect(0);
        let lines = sandbox.obnam(args!["--json", "ls", "latest", source]).expect(0).lines();
        let files = lines.iter().filter(|line| line["type"] == "file").map(|line| {
            let path = Path::new(line["path"].as_str().unwrap()).strip_prefix(&source).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    };
    assert_eq!(files(&[]), [".ignore", "b/.no", "cache/CACHEDIR.TAG", "file"]);
    // The command line adds to it, and can take back.
    assert_eq!(
        files(&["--exclude", "!keep.tmp", "-e", ".ignore"]),
        ["b/.no", "cache/CACHEDIR.TAG", "file", "keep.tmp"]
    );
    assert!(files(&["--exclude-larger-than", "2K"]).contains(&"large".to_owned()));
    // Mistakes in it are found before a backup stumbles over them.
    let wrong = "exclude = [\"[a\", \"good\"]\nexclude-from = [\"@/none\"]\nexclude-larger-than = \"many\"\n";
    write(&sandbox, &format!("{HOME}{wrong}"));
    let mistakes = bare(&sandbox, &["--json", "config", "check"]).expect(17).result()["mistakes"].clone();
    let lines: Vec<_> = mistakes.as_array().unwrap().iter().map(|mistake| mistake["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [8, 9, 10], "{mistakes:#}");
    bare(&sandbox, &["-p", "home", "backup"]).expect(17).says(&["none", "nothing was backed up"]);
}

#[test]
fn which_profile_is_used() {
    let sandbox = sandbox(HOME);
    // None is called "default": without -p, nothing is known.
    bare(&sandbox, &["snapshots"]).expect(17).says(&["no repository", "obnam config init"]);
    write(&sandbox, &HOME.replace("profile.home", "profile.default"));
    bare(&sandbox, &["snapshots"]).expect(0);
    write(&sandbox, &format!("default-profile = \"home\"\n{HOME}"));
    bare(&sandbox, &["snapshots"]).expect(0);
    bare(&sandbox, &["-p", "hoem", "snapshots"]).expect(17).says(&["no profile \"hoem\"", "did you mean \"home\"?"]);
    bare(&sandbox, &["-p", "x", "snapshots"]).expect(17).says(&["there are home"]);
    // A repository that is named otherwise has nothing to do with the default profile, nor with mistakes in it.
    let stdin = bare(&sandbox, &["-r", sandbox.repository().to_str().unwrap(), "snapshots"]).expect(12);
    stdin.says(&["no passphrase"]);
    write(&sandbox, "mistake\n");
    sandbox.obnam(["snapshots"]).expect(0);
    bare(&sandbox, &["snapshots"]).expect(17).says(&["config.toml:1:", "obnam config check"]);
    // Other files.
    let other = sandbox.path("other.toml");
    fs::rename(file(&sandbox), &other).unwrap();
    bare(&sandbox, &["-p", "home", "snapshots"]).expect(17).says(&["no configuration file", "obnam config init"]);
    bare(&sandbox, &["--config", "missing.toml", "snapshots"]).expect(17).says(&["missing.toml"]);
    write(&sandbox, HOME);
    fs::rename(file(&sandbox), &other).unwrap();
    bare(&sandbox, &["--config", "other.toml", "-p", "home", "snapshots"]).expect(0);
    run(sandbox.bare().env("OBNAM_CONFIG", &other).args(["-p", "home", "snapshots"])).expect(0);
    fs::remove_file(&other).unwrap();
    fs::create_dir(&other).unwrap();
    bare(&sandbox, &["--config", "other.toml", "snapshots"]).expect(17).says(&["cannot read", "other.toml"]);
}

/// What `config show` says: key, value, origin.
fn shown(command: &mut Command) -> Vec<(String, Value, Value)> {
    let result = run(command.args(["--json", "config", "show"])).expect(0).result();
    let entry =
        |entry: &Value| (entry["key"].as_str().unwrap().to_owned(), entry["value"].clone(), entry["origin"].clone());
    result["settings"].as_array().unwrap().iter().map(entry).collect()
}

fn value<'s>(shown: &'s [(String, Value, Value)], key: &str) -> (&'s Value, &'s Value) {
    let (_, value, origin) = shown.iter().find(|entry| entry.0 == key).unwrap_or_else(|| panic!("{key}: {shown:?}"));
    (value, origin)
}

#[test]
fn the_nearest_word_counts() {
    let sandbox = sandbox(HOME);
    let profile = || {
        let mut command = sandbox.bare();
        command.args(["-p", "home"]);
        command
    };
    let repository = json!(sandbox.repository());
    let all = shown(&mut profile());
    assert_eq!(value(&all, "repository"), (&repository, &json!({ "kind": "profile", "line": 3, "profile": "home" })));
    assert_eq!(value(&all, "tags").0, "daily");
    assert_eq!(value(&all, "exclude-caches"), (&json!(false), &json!({ "kind": "default" })));
    assert_eq!(value(&all, "passphrase").0, "none: the identity is used");
    let all = shown(profile().env("OBNAM_REPOSITORY", "/env").env("OBNAM_PASSPHRASE", "secret words"));
    assert_eq!(
        value(&all, "repository"),
        (&json!("/env"), &json!({ "kind": "environment", "variable": "OBNAM_REPOSITORY" }))
    );
    assert!(!format!("{all:?}").contains("secret words"));
    assert_eq!(value(&all, "passphrase").1["variable"], "OBNAM_PASSPHRASE");
    let all = shown(profile().env("OBNAM_REPOSITORY", "/env").args(["-r", "/line", "-o", "key=hidden"]));
    assert_eq!(value(&all, "repository"), (&json!("/line"), &json!({ "kind": "command-line" })));
    assert!(!format!("{all:?}").contains("hidden"));
    // A variable that is empty says nothing; an empty option is a mistake.
    let all = shown(profile().env("OBNAM_REPOSITORY", ""));
    assert_eq!(value(&all, "repository").0, &repository);
    run(profile().args(["-r", "", "snapshots"])).expect(17).says(&["no repository"]);
    // It is told when a variable that was forgotten beats the profile that was asked for.
    run(profile().env("OBNAM_REPOSITORY", "/env").args(["config", "show"]))
        .expect(0)
        .says(&["OBNAM_REPOSITORY is set"]);
    let text = run(profile().args(["config", "show"])).expect(0).text();
    assert!(text.contains("profile: home") && text.contains("line 3"), "{text}");
    // With another repository, what belongs to the profile's own is left out.
    write(&sandbox, &format!("{HOME}repository-id = \"{}\"\noptions = {{ no = \"such\" }}\n", "1".repeat(64)));
    run(profile().arg("snapshots")).expect(17).says(&["no option \"no\""]);
    run(profile().arg("-r").arg(sandbox.repository()).arg("snapshots")).expect(0);
}

#[test]
fn a_profile_builds_on_another() {
    let sandbox = sandbox(&format!("{HOME}[profile.more]\nextends = \"home\"\nsources = [\"@/elsewhere\"]\n"));
    bare(&sandbox, &["-p", "more", "backup"]).expect(0);
    let elsewhere = sandbox.path("elsewhere");
    assert_eq!(paths(&sandbox), json!({ "paths": [elsewhere], "tags": ["daily", "home"], "host": "laptop" }));
    let all = shown(sandbox.bare().args(["-p", "more"]));
    assert_eq!(value(&all, "host").1, &json!({ "kind": "profile", "line": 7, "profile": "home" }));
    assert_eq!(value(&all, "sources").1, &json!({ "kind": "profile", "line": 10, "profile": "more" }));
    let text = bare(&sandbox, &["-p", "more", "config", "show"]).expect(0).text();
    assert!(text.contains("line 7, profile home\n") && text.contains("line 10\n"), "{text}");
    bare(&sandbox, &["config", "check"]).expect(0);
    write(&sandbox, &format!("{HOME}[profile.more]\nextends = \"hone\"\n"));
    bare(&sandbox, &["-p", "more", "backup"]).expect(17).says(&["config.toml:9:11", "did you mean \"home\"?"]);
    let text = bare(&sandbox, &["config", "check"]).expect(17).text();
    assert!(text.contains("config.toml:9:11: error: extends in [profile.more]: there is no profile"), "{text}");
}

#[test]
fn secrets_come_from_a_file_or_a_command() {
    let sandbox = sandbox("");
    let with = |line: &str| {
        write(
            &sandbox,
            &format!("[profile.default]\nrepository = \"@/by passphrase\"\nsources = [\"@/source\"]\n{line}\n"),
        );
    };
    fs::write(sandbox.path("passphrase"), "correct horse\nmore\n").unwrap();
    with("passphrase-file = \"@/passphrase\"");
    bare(&sandbox, &["init"]).expect(0);
    bare(&sandbox, &["backup"]).expect(0);
    with("passphrase-command = \"echo correct horse\"");
    bare(&sandbox, &["snapshots"]).expect(0);
    run(sandbox.bare().env("OBNAM_PASSPHRASE", "wrong").arg("snapshots")).expect(12);
    with("passphrase-command = \"echo wrong\"");
    bare(&sandbox, &["snapshots"]).expect(12);
    run(sandbox.bare().env("OBNAM_PASSPHRASE", "correct horse").arg("snapshots")).expect(0);
    with("passphrase-command = \"exit 3\"");
    bare(&sandbox, &["snapshots"]).expect(12).says(&["exit 3", "failed"]);
    with("passphrase-file = \"@/gone\"");
    bare(&sandbox, &["snapshots"]).expect(12).says(&["gone"]);
    with("passphrase = \"correct horse\"");
    let ran = bare(&sandbox, &["snapshots"]).expect(17).says(&["no passphrase is kept", "passphrase-command"]);
    assert!(!ran.all().contains("correct horse"));
    // The environment beats the identity of the profile.
    with("identity = \"@/identity\"");
    run(sandbox.bare().env("OBNAM_PASSPHRASE", "correct horse").arg("snapshots")).expect(0);
    bare(&sandbox, &["snapshots"]).expect(12);
}

#[test]
fn a_command_that_others_could_have_written_is_not_run() {
    let sandbox =
        sandbox("[profile.default]\nrepository = \"@/repository\"\npassphrase-command = \"touch @/mark; echo x\"\n");
    for mode in [0o660, 0o606] {
        chmod(&file(&sandbox), mode);
        bare(&sandbox, &["snapshots"]).expect(17).says(&["others can write", "chmod go-w", "nothing was run"]);
        bare(&sandbox, &["config", "check", "--run"]).expect(17);
        assert!(!sandbox.path("mark").exists());
    }
    // Nor is it where none is needed.
    chmod(&file(&sandbox), 0o600);
    for words in [["config", "check"], ["config", "show"]] {
        bare(&sandbox, &words).expect(0);
    }
    bare(&sandbox, &["chunks"]).expect(0);
    assert!(!sandbox.path("mark").exists());
    bare(&sandbox, &["snapshots"]).expect(12);
    assert!(sandbox.path("mark").exists());
}

#[test]
fn init_writes_a_file_that_works() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.local().join("home/letter"), "Dear").unwrap();
    let ran = sandbox.obnam(["config", "init"]).expect(0);
    assert!(ran.text().contains("config check"), "{}", ran.text());
    assert_eq!(fs::metadata(file(&sandbox)).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(file(&sandbox)).unwrap();
    assert!(text.contains("\nrepository-id = \"") && text.contains("# passphrase-command = "), "{text}");
    bare(&sandbox, &["config", "check"]).expect(0);
    bare(&sandbox, &["backup"]).expect(0);
    let home = sandbox.local().join("home/letter");
    assert_eq!(bare(&sandbox, &["cat", "file", "latest", home.to_str().unwrap()]).expect(0).text(), "Dear");
    // Never twice.
    sandbox.obnam(["config", "init"]).expect(17).says(&["there already", "left alone"]);
    assert_eq!(fs::read_to_string(file(&sandbox)).unwrap(), text);
    // Without knowing anything, and elsewhere.
    bare(&sandbox, &["--config", "new/c.toml", "-p", "my photos", "--json", "config", "init"]).expect(0).json();
    bare(&sandbox, &["--config", "new/c.toml", "config", "check"]).expect(0);
    let words = ["--config", "new/c.toml", "-p", "my photos", "backup"];
    bare(&sandbox, &words).expect(17).says(&["no repository", "my photos"]);
}

#[test]
fn check_finds_all_mistakes_at_once() {
    let sandbox = sandbox(
        "[profile.a]\nrepositroy = \"/x\"\n\tsources = [\"@/source\", \"@/gone\"]\n\
         [profile.b]\nrepository = \"s9://x\"\npassphrase = \"x\"\npassphrase-file = \"@/gone\"\nexclude-caches = 1\n",
    );
    let ran = bare(&sandbox, &["--json", "config", "check"]).expect(17);
    assert_eq!(ran.json()["status"], "mistakes");
    let mistakes = ran.result()["mistakes"].as_array().unwrap().clone();
    let errors = mistakes.iter().filter(|mistake| mistake["severity"] == "error");
    let lines: Vec<_> = errors.map(|mistake| mistake["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 3, 5, 6, 7, 8], "{mistakes:#?}");
    let text = bare(&sandbox, &["config", "check"]).expect(17).text();
    assert!(text.contains("did you mean \"repository\"?"), "{text}");
    assert!(text.contains("\n  2 | repositroy = \"/x\"\n    | ^^^^^^^^^^\n"), "{text}");
    // Only one of them.
    write(&sandbox, &format!("{HOME}\n[profile.b]\nsources = [\"@/gone\"]\n"));
    bare(&sandbox, &["config", "check"]).expect(17);
    bare(&sandbox, &["-p", "home", "config", "check"]).expect(0);
    bare(&sandbox, &["-p", "hmoe", "config", "check"]).expect(17).says(&["did you mean"]);
    // Syntax.
    write(&sandbox, "[profile.a]\nhost = \"unclosed\ntags = []\n");
    let text = bare(&sandbox, &["config", "check"]).expect(17).text();
    assert!(text.contains("config.toml:2:") && text.contains("  2 | host = \"unclosed\n"), "{text}");
    write(&sandbox, "\u{1b}[31m = 1\n");
    assert!(!bare(&sandbox, &["config", "check"]).expect(17).text().contains('\u{1b}'));
    fs::write(file(&sandbox), b"[profile.a]\nhost = \"\xff\"\n").unwrap();
    bare(&sandbox, &["config", "check"]).expect(17).says(&["cannot read"]);
    fs::remove_file(file(&sandbox)).unwrap();
    bare(&sandbox, &["config", "check"]).expect(17).says(&["obnam config init"]);
    bare(&sandbox, &["config", "show"]).expect(0);
}

#[test]
fn some_commands_need_no_configuration() {
    let sandbox = Sandbox::new();
    write(&sandbox, "mistake\n");
    for words in [["--version"].as_slice(), &["version"], &["--help"], &["-h"], &["help-me-not", "--help"]] {
        let ran = bare(&sandbox, words);
        assert!(!ran.all().contains("config.toml:1"), "{ran:?}");
    }
    assert!(!sandbox.local().join("state/obnam").exists());
}

#[test]
fn secret_options_come_from_files_and_commands() {
    let store = FakeS3::start(Faults::default());
    let sandbox = Sandbox::at_s3(&store);
    let profile = |secret: &str| {
        let location = sandbox.location().into_string().unwrap();
        format!(
            "[profile.default]\nrepository = {location:?}\nidentity = \"@/identity\"\n\
             [profile.default.options]\nregion = {:?}\naccess-key-id = {:?}\n{secret}\n",
            store.region(),
            store.access_key()
        )
    };
    let keyless = |words: &[&str]| {
        let mut command = sandbox.bare();
        for (name, _) in store.environment() {
            command.env_remove(name);
        }
        run(command.args(words))
    };
    fs::write(sandbox.path("secret"), format!("{}\n# of the store\n", store.secret_key())).unwrap();
    write(&sandbox, &profile("secret-access-key-file = \"@/secret\""));
    keyless(&["init"]).expect(0);
    write(&sandbox, &profile("secret-access-key-command = \"head -1 @/secret\""));
    keyless(&["check"]).expect(0);
    chmod(&file(&sandbox), 0o620);
    keyless(&["check"]).expect(17).says(&["secret-access-key-command", "others can write", "chmod go-w"]);
    // The command line has no such owner.
    let option = format!("secret-access-key-command=cat {}", sandbox.path("secret").display());
    write(&sandbox, &profile(""));
    keyless(&["check", "-o", &option]).expect(0);
    let relative = keyless(&["check", "-o", "secret-access-key-file=secret"]).expect(0);
    assert!(!relative.all().contains(store.secret_key()));
    // Mistakes.
    for (secret, words) in [
        ("secret-access-key = \"x\"", &["is a secret", "secret-access-key-file or secret-access-key-command"][..]),
        ("secret-access-key-file = \"secret\"", &["secret-access-key-file", "begin it with / or ~/"]),
        ("secret-access-key-file = \"@/none\"", &["cannot read the secret-access-key file", "No such file"]),
        ("secret-access-key-command = \"exit 5\"", &["secret-access-key command \"exit 5\" failed"]),
        ("region-file = \"@/secret\"", &["no option \"region-file\""]),
    ] {
        write(&sandbox, &profile(secret));
        keyless(&["check"]).expect(17).says(words);
    }
}
