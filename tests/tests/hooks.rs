//! What a profile wants around a backup: commands, a health check, metrics.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use obnam_tests::{Ran, Sandbox, chmod, run};

/// A sandbox with a repository and a profile "home" that says this too. `@` is the sandbox's directory.
fn sandbox(more: &str) -> Sandbox {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("file"), "file").unwrap();
    write(&sandbox, more);
    sandbox
}

fn write(sandbox: &Sandbox, more: &str) {
    let file = sandbox.local().join("config/obnam/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let profile =
        "[profile.home]\nrepository = \"@/repository\"\nidentity = \"@/identity\"\nsources = [\"@/source\"]\n";
    let text = format!("{profile}{more}").replace('@', sandbox.path("").to_str().unwrap().trim_end_matches('/'));
    fs::write(&file, text).unwrap();
    chmod(&file, 0o600);
}

fn backup(sandbox: &Sandbox) -> Ran {
    run(sandbox.bare().args(["-p", "home", "backup"]).env("OBNAM_NEW_PASSPHRASE", "not for hooks"))
}

/// What the commands have written, once.
fn log(sandbox: &Sandbox) -> String {
    let text = fs::read_to_string(sandbox.path("log")).unwrap_or_default();
    let _ = fs::remove_file(sandbox.path("log"));
    text
}

fn metric(sandbox: &Sandbox, name: &str) -> String {
    let text = fs::read_to_string(sandbox.path("obnam.prom")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{profile=\"home\"}}"))).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

/// Answers everything with 200, and tells the paths that were asked for.
fn health_check() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ping/abc", listener.local_addr().unwrap());
    let (sender, asked) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
            let _ = sender.send(first.strip_suffix(" HTTP/1.1").unwrap_or_default().to_owned());
        }
    });
    (url, asked)
}

const HOOKS: &str = r#"
before = ["sh", "-c", "echo before $OBNAM_HOOK_PROFILE $OBNAM_NEW_PASSPHRASE >> @/log"]
after = ["sh", "-c", "echo $OBNAM_HOOK $OBNAM_HOOK_EXIT_CODE >> @/log; echo printed"]
failed = ["sh", "-c", "echo $OBNAM_HOOK $OBNAM_HOOK_EXIT_CODE $OBNAM_HOOK_ERROR >> @/log"]
metrics = "@/obnam.prom"
"#;

#[test]
fn commands_run_around_a_backup() {
    let sandbox = sandbox(HOOKS);
    let ran = backup(&sandbox).expect(0).says(&["printed"]);
    assert!(!ran.text().contains("printed"), "it goes to standard error");
    assert_eq!(log(&sandbox), "before home\nafter 0\n", "and gets no secret");
    assert_eq!(metric(&sandbox, "obnam_backup_exit_code"), "0");
    let success = metric(&sandbox, "obnam_backup_last_success_timestamp_seconds");
    assert!(success.parse::<u64>().unwrap() > 1_700_000_000);
    // A dry run is none, and another command no backup.
    run(sandbox.bare().args(["-p", "home", "backup", "--dry-run"])).expect(0);
    run(sandbox.bare().args(["-p", "home", "snapshots"])).expect(0);
    assert_eq!(log(&sandbox), "");
    // With --json, nothing else is on standard output.
    let ran = run(sandbox.bare().args(["-p", "home", "--json", "backup"])).expect(0).says(&["printed"]);
    assert_eq!(ran.json()["status"], "ok");
    log(&sandbox);
    let success = metric(&sandbox, "obnam_backup_last_success_timestamp_seconds");
    // No repository.
    fs::rename(sandbox.repository(), sandbox.path("unplugged")).unwrap();
    backup(&sandbox).expect(10);
    let said = log(&sandbox);
    assert!(said.starts_with("before home\nfailed 10 ") && said.contains("is not there"), "with the reason: {said}");
    assert_eq!(metric(&sandbox, "obnam_backup_exit_code"), "10");
    assert_eq!(metric(&sandbox, "obnam_backup_last_success_timestamp_seconds"), success);
    // A mount that the first command makes.
    write(&sandbox, "before = [\"mv\", \"@/unplugged\", \"@/repository\"]\n");
    backup(&sandbox).expect(0);
}

#[test]
fn a_command_before_that_fails_stops_the_backup() {
    let sandbox = sandbox("before = [\"false\"]\nfailed = [\"sh\", \"-c\", \"echo $OBNAM_HOOK_EXIT_CODE >> @/log\"]\n");
    let none = sandbox.snapshots();
    backup(&sandbox).expect(18).says(&["\"false\"", "\"before\"", "no backup was made"]);
    assert_eq!(log(&sandbox), "18\n");
    let ran = run(sandbox.bare().args(["-p", "home", "--json", "backup"])).expect(18);
    assert_eq!(ran.json()["error"]["code"], "hook");
    write(&sandbox, "before = [\"/nowhere/command\"]\nfailed = [\"false\"]\n");
    backup(&sandbox).expect(18).says(&["cannot be run", "warning", "\"failed\""]);
    assert_eq!(sandbox.snapshots(), none);
    let checked = run(sandbox.bare().args(["config", "check"])).expect(0).text();
    assert!(checked.contains("there is no program /nowhere/command"), "{checked}");
    // One after it that fails is a warning: the snapshot is there.
    write(&sandbox, "after = [\"false\"]\n");
    backup(&sandbox).expect(0).says(&["warning: the command \"false\" of \"after\""]);
    assert_ne!(sandbox.snapshots(), none);
}

#[test]
fn commands_that_others_could_have_written_are_not_run() {
    for line in [HOOKS, "metrics = \"@/log\"\n", "health-check = \"https://hc.example/x\"\n"] {
        let sandbox = sandbox(line);
        chmod(&sandbox.local().join("config/obnam/config.toml"), 0o666);
        backup(&sandbox).expect(17).says(&["nothing was run", "chmod go-w"]);
        assert!(!sandbox.path("log").exists(), "{line}");
        let checked = run(sandbox.bare().args(["config", "check"])).expect(17).text();
        assert!(checked.contains("chmod go-w"), "{checked}");
    }
}

/// Whether a process is there, and no zombie.
fn lives(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    !matches!(status.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
}

#[test]
fn a_command_has_a_time_limit() {
    let sandbox = sandbox("");
    // A slow machine may need more of it until the command has begun.
    for limit in ["1s", "8s", "1m"] {
        let hook = "before = [\"sh\", \"-c\", \"sleep 100000 & echo $! > @/pid; wait\"]";
        write(&sandbox, &format!("{hook}\nhook-limit = \"{limit}\"\n"));
        backup(&sandbox).expect(18).says(&["took longer than", "hook-limit", "no backup was made"]);
        if sandbox.path("pid").exists() {
            break;
        }
    }
    let pid = fs::read_to_string(sandbox.path("pid")).unwrap();
    assert!(!pid.trim().is_empty() && !lives(&pid), "what it has started still runs");
    for wrong in ["10", "25h", "0s", "-1m", ""] {
        write(&sandbox, &format!("hook-limit = \"{wrong}\"\n"));
        backup(&sandbox).expect(17).says(&["hook-limit"]);
    }
}

/// An interrupt while the first command runs, and one while the repository is opened.
#[test]
fn an_interrupted_backup_has_failed() {
    let (url, asked) = health_check();
    let next = || asked.recv_timeout(Duration::from_secs(60)).unwrap();
    let sandbox = sandbox("");
    let none = sandbox.snapshots();
    let failed =
        "failed = [\"sh\", \"-c\", \"echo $OBNAM_HOOK $OBNAM_HOOK_EXIT_CODE >> @/log\"]\nmetrics = \"@/obnam.prom\"\n";
    let more = format!("{failed}health-check = \"{url}\"\n");
    write(&sandbox, &format!("{more}before = [\"sh\", \"-c\", \"kill -INT $PPID; sleep 100000\"]\n"));
    let ran = run(sandbox.bare().args(["-p", "home", "--json", "backup"])).expect(130);
    assert_eq!(ran.json()["error"]["code"], "interrupted");
    assert_eq!(log(&sandbox), "failed 130\n");
    assert_eq!([next(), next()], ["GET /ping/abc/start", "GET /ping/abc/fail"]);
    // A second repository, with a passphrase.
    let second = |line: &str| {
        let text = format!("[profile.second]\nrepository = \"@/second\"\nsources = [\"@/source\"]\n{line}\n{more}");
        write(&sandbox, &text);
    };
    second("passphrase-command = \"echo correct horse\"");
    run(sandbox.bare().args(["-p", "second", "init"])).expect(0);
    second("passphrase-command = \"kill -INT $PPID; sleep 2; echo correct horse\"");
    run(sandbox.bare().args(["-p", "second", "backup"])).expect(130);
    assert_eq!(log(&sandbox), "failed 130\n");
    let text = fs::read_to_string(sandbox.path("obnam.prom")).unwrap();
    assert!(text.contains("obnam_backup_exit_code{profile=\"second\"} 130\n"), "{text}");
    assert_eq!([next(), next()], ["GET /ping/abc/start", "GET /ping/abc/fail"]);
    second("passphrase-command = \"echo correct horse\"");
    let snapshots = run(sandbox.bare().args(["-p", "second", "--json", "snapshots"])).expect(0).result();
    assert_eq!(snapshots.as_array().unwrap().len(), 0);
    assert_eq!(sandbox.snapshots(), none);
}

#[test]
fn commands_are_inherited() {
    let heir = "[profile.heir]\nextends = \"home\"\n";
    let sandbox = sandbox(&format!("{HOOKS}{heir}"));
    let backup = || run(sandbox.bare().args(["-p", "heir", "backup"]));
    backup().expect(0);
    assert_eq!(log(&sandbox), "before heir\nafter 0\n");
    let text = fs::read_to_string(sandbox.path("obnam.prom")).unwrap();
    assert!(text.contains("obnam_backup_exit_code{profile=\"heir\"} 0\n"), "{text}");
    write(&sandbox, &format!("{HOOKS}{heir}before = []\n"));
    backup().expect(0);
    assert_eq!(log(&sandbox), "after 0\n");
    let shown = run(sandbox.bare().args(["-p", "heir", "config", "show"])).expect(0).text();
    assert!(shown.contains("after ") && shown.contains("profile home") && !shown.contains("before "), "{shown}");
    // Metrics tell of the profile's own repository only; commands are run wherever a backup goes.
    fs::remove_file(sandbox.path("obnam.prom")).unwrap();
    run(sandbox.bare().args(["-p", "heir", "backup", "-r"]).arg(sandbox.repository())).expect(0);
    assert_eq!(log(&sandbox), "after 0\n");
    assert!(!sandbox.path("obnam.prom").exists());
}

#[test]
fn nobody_has_to_listen() {
    let sandbox = sandbox(HOOKS);
    let mut child =
        sandbox.bare().args(["-p", "home", "backup"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(log(&sandbox), "before home\nafter 0\n");
}

#[test]
fn a_health_check_is_told() {
    let (url, asked) = health_check();
    let sandbox = sandbox(&format!("health-check = \"{url}/\"\n"));
    let next = || asked.recv_timeout(Duration::from_secs(60)).unwrap();
    backup(&sandbox).expect(0);
    assert_eq!([next(), next()], ["GET /ping/abc/start", "GET /ping/abc"]);
    fs::rename(sandbox.repository(), sandbox.path("unplugged")).unwrap();
    backup(&sandbox).expect(10);
    assert_eq!([next(), next()], ["GET /ping/abc/start", "GET /ping/abc/fail"]);
    fs::rename(sandbox.path("unplugged"), sandbox.repository()).unwrap();
    // One that does not answer, or may not be asked, is a warning, which does not tell the URL.
    for unheard in ["http://127.0.0.1:1/secret-part", "http://hc.example/secret-part"] {
        write(&sandbox, &format!("health-check = \"{unheard}\"\n"));
        let ran = backup(&sandbox).expect(0).says(&["warning: the health check was not told: http://"]);
        assert!(!ran.all().contains("secret-part"), "{}", ran.all());
        let shown = run(sandbox.bare().args(["-p", "home", "config", "show"])).expect(0);
        assert!(shown.text().contains("health-check") && !shown.all().contains("secret-part"));
    }
    for wrong in ["ftp://x", "https://u:p@x/y", "https://x/y?status=up", "hc"] {
        write(&sandbox, &format!("health-check = \"{wrong}\"\n"));
        backup(&sandbox).expect(17).says(&["health-check", "https://HOST/PATH"]);
    }
}
