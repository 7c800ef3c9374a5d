//! Keys: where they are read, that nobody sees them, and that they are read again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use obnam_tests::s3::Access;
use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::{Sandbox, args, run};

/// A file of AWS's in the machine's home directory.
fn file(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let folder = sandbox.local().join("home/.aws");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The program without keys in its environment.
fn without_keys(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.command(args!["-vv", "snapshots"]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"] {
        command.env_remove(name);
    }
    command
}

fn profile(access: &Access) -> String {
    let token = access.session_token.iter().map(|token| format!("aws_session_token = {token}\n"));
    format!(
        "[backup]\naws_access_key_id = {}\naws_secret_access_key = {}\n{}",
        access.access_key(),
        access.secret_key(),
        token.collect::<String>()
    )
}

#[test]
fn profiles() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    run(&mut without_keys(&sandbox)).expect(13).says(&["there are no keys", "AWS_PROFILE"]);
    file(&sandbox, "credentials", &profile(&fake));
    file(&sandbox, "config", &format!("[profile backup]\nregion = {}\n", fake.region()));
    run(without_keys(&sandbox).env("AWS_PROFILE", "backup")).expect(0);
    run(without_keys(&sandbox).env("AWS_PROFILE", "absent")).expect(17).says(&["no profile \"absent\""]);
}

#[test]
fn nothing_shows_a_secret() {
    let fake = FakeS3::with_session_token(Faults::default(), "session/token+of/many+characters");
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    fs::write(sandbox.source().join("file"), "contents").unwrap();
    let (secret, token) = (fake.secret_key().to_owned(), "session/token+of/many+characters");
    let mut outputs = Vec::new();
    for arguments in [
        args!["-vv", "backup", sandbox.source()].as_slice(),
        &args!["-vv", "--json", "check", "--store"],
        &args!["-vv", "restore", "latest", sandbox.fresh("restored")],
    ] {
        let ran = run(sandbox.command(arguments).env("OBNAM_LOG", "trace")).expect(0);
        assert!(ran.stderr.len() > 1000, "the log is on");
        outputs.push(ran.all());
    }
    // A store that repeats what it was sent, and one that refuses.
    fake.set_faults(Faults { token_expired: true, ..Faults::default() });
    outputs.push(run(sandbox.command(args!["-vv", "snapshots"]).env("OBNAM_LOG", "trace")).expect(13).all());
    let wrong = Access { access_key: "AKIAWRONG".into(), ..(*fake).clone() };
    fake.set_faults(Faults::default());
    sandbox.move_to(&wrong);
    outputs.push(run(sandbox.command(args!["-vv", "snapshots"]).env("OBNAM_LOG", "trace")).expect(13).all());
    for output in outputs {
        assert!(!output.contains(&secret) && !output.contains(token), "{output}");
        assert!(!output.contains("Signature="), "{output}");
    }
    for file in ["config", "state"] {
        let folder = sandbox.local().join(file);
        let found = Command::new("grep").args(["-rlF", &secret]).arg(folder).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}

#[test]
fn expired_keys_are_read_again() {
    let fake = FakeS3::with_session_token(Faults::default(), "token-1");
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    let old = (*fake).clone();
    let new = Access {
        access_key: "ASIANEW".into(),
        secret_key: "new-secret".into(),
        session_token: Some("token-2".into()),
        ..old.clone()
    };
    fake.set_access(new.clone());
    // A program that gives the old keys at first, and new ones when it is asked again.
    let answer = |access: &Access| {
        format!(
            "{{\"Version\": 1, \"AccessKeyId\": \"{}\", \"SecretAccessKey\": \"{}\", \"SessionToken\": \"{}\"}}",
            access.access_key(),
            access.secret_key(),
            access.session_token.as_deref().unwrap()
        )
    };
    let script = file(
        &sandbox,
        "keys.sh",
        &format!("if mkdir \"$0.asked\" 2>/dev/null; then echo '{}'; else echo '{}'; fi\n", answer(&old), answer(&new)),
    );
    let config =
        format!("[profile temporary]\nregion = {}\ncredential_process = sh \"{}\"\n", fake.region(), script.display());
    file(&sandbox, "config", &config);
    let ran = run(without_keys(&sandbox).env("AWS_PROFILE", "temporary")).expect(0);
    assert!(ran.stderr.contains("the keys have changed"), "{}", ran.stderr);
    for secret in [old.secret_key(), "new-secret", "token-1", "token-2"] {
        assert!(!ran.all().contains(secret), "{}", ran.all());
    }
    // Those that stay refused are not asked for for ever.
    fake.set_faults(Faults { token_expired: true, ..Faults::default() });
    run(without_keys(&sandbox).env("AWS_PROFILE", "temporary")).expect(13).says(&["have expired", "ASIANEW"]);
}
