//! What a user reads when a store refuses: the thing, the reason, the next step.

use obnam_tests::s3::Access;
use obnam_tests::s3::fake::{Action, Answer, FakeS3, Faults, When};
use obnam_tests::{Ran, Sandbox, args, run};

/// A sandbox with a repository in a fake, and the fake.
fn scene() -> (FakeS3, Sandbox) {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&fake);
    (fake, sandbox)
}

/// A command with another access than that of the sandbox.
fn with(sandbox: &Sandbox, access: &Access) -> Ran {
    sandbox.move_to(access);
    sandbox.obnam(args!["snapshots"])
}

#[test]
fn keys_and_rights() {
    let (fake, sandbox) = scene();
    let key = fake.access_key().to_owned();
    let wrong = Access { access_key: "AKIAWRONG".into(), ..(*fake).clone() };
    with(&sandbox, &wrong).expect(13).says(&["does not know the access key AKIAWRONG", "AWS_ACCESS_KEY_ID"]);
    let wrong = Access { secret_key: "hunter2hunter2".into(), ..(*fake).clone() };
    let ran = with(&sandbox, &wrong).expect(13).says(&["the secret key is not that of", &key, "AWS_SECRET_ACCESS_KEY"]);
    assert!(!ran.all().contains("hunter2"));
    sandbox.move_to(&fake);
    fake.set_faults(Faults { denied: vec![(Action::List, String::new())], ..Faults::default() });
    sandbox.obnam(args!["snapshots"]).expect(13).says(&[&key, "s3:ListBucket", "bucket backups", "AccessDenied"]);
    fake.set_faults(Faults { denied: vec![(Action::Put, String::new())], ..Faults::default() });
    sandbox.obnam(args!["backup", sandbox.source()]).expect(13).says(&[&key, "s3:PutObject"]);
}

#[test]
fn buckets_and_regions() {
    let (fake, sandbox) = scene();
    let wrong = Access { bucket: "no-such-bucket".into(), ..(*fake).clone() };
    with(&sandbox, &wrong).expect(10).says(&["no bucket no-such-bucket", "create-bucket=yes"]);
    let wrong = Access { region: "elsewhere-1".into(), ..(*fake).clone() };
    with(&sandbox, &wrong).expect(17).says(&["is in the region fake-region-1, not in elsewhere-1", "-o region="]);
    sandbox.move_to(&fake);
    sandbox.obnam(args!["-o", "region=fake-region-1", "snapshots"]).expect(0);
}

#[test]
fn clocks() {
    let (fake, sandbox) = scene();
    fake.set_faults(Faults { clock_ahead: 3600, ..Faults::default() });
    sandbox.obnam(args!["snapshots"]).expect(13).says(&["clock is 60 minutes behind the store's", "set the clock"]);
    fake.set_faults(Faults { clock_ahead: -7200, ..Faults::default() });
    sandbox.obnam(args!["snapshots"]).expect(13).says(&["clock is 2 hours ahead of the store's"]);
}

#[test]
fn what_is_no_store() {
    let (fake, sandbox) = scene();
    let page = "<!DOCTYPE html><html><body>Log in, hunter2</body></html>";
    for (trouble, action) in [
        (Answer::Html, Action::Get),
        (Answer::Html, Action::List),
        (Answer::Other(404, "text/html", page), Action::Get),
        (Answer::Other(403, "text/html", page), Action::List),
    ] {
        fake.set_faults(Faults::default().trouble(trouble, When::Always, Some(action)));
        sandbox.obnam(args!["snapshots"]).expect(13).says(&["answers with a web page", "proxy"]);
    }
    fake.set_faults(Faults::default().trouble(
        Answer::Redirect("https://elsewhere.example/".into()),
        When::Always,
        None,
    ));
    sandbox.obnam(args!["snapshots"]).expect(17).says(&["elsewhere.example", "name that in the location"]);
}

#[test]
fn nobody_answers() {
    let (fake, sandbox) = scene();
    let elsewhere = |endpoint: &str| Access { endpoint: endpoint.into(), ..(*fake).clone() };
    // The port was free a moment ago.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    with(&sandbox, &elsewhere(&format!("http://{free}")))
        .expect(13)
        .says(&["refuses the connection", &free.to_string()]);
    with(&sandbox, &elsewhere("https://no-such-host.invalid"))
        .expect(13)
        .says(&["no address was found for no-such-host.invalid", "network"]);
    let tls = fake.endpoint().replace("http:", "https:");
    with(&sandbox, &elsewhere(&tls)).expect(13).says(&["no secure connection", "does not speak TLS"]);
}

#[test]
fn full_and_archived() {
    let (fake, sandbox) = scene();
    let quota = "<Error><Code>AccessDenied</Code><Message>Forbidden: Bucket size quota is reached, maximum total size of \
                 objects for this bucket: 1000</Message></Error>";
    fake.set_faults(Faults::default().trouble(
        Answer::Other(403, "application/xml", quota),
        When::Always,
        Some(Action::Put),
    ));
    sandbox.obnam(args!["backup", sandbox.source()]).expect(13).says(&["is full", "quota"]);
    fake.set_faults(Faults::default().trouble(
        Answer::Other(501, "application/xml", "<Error><Code>NotImplemented</Code><Message>No.</Message></Error>"),
        When::Always,
        Some(Action::Put),
    ));
    sandbox.obnam(args!["backup", sandbox.source()]).expect(13).says(&["cannot do that", "NotImplemented: No"]);
}

#[test]
fn locations_and_options_that_make_no_sense() {
    let fake = FakeS3::start(Faults::default());
    let sandbox = Sandbox::at_s3(&fake);
    let said = |repository: &str, options: &[&str], code: i32, words: &[&str]| {
        let mut command = sandbox.bare();
        command.args(["--repo", repository]).args(options).arg("snapshots");
        let ran = run(&mut command).expect(code).says(words);
        assert!(!ran.all().contains("hunter2"), "{}", ran.all());
    };
    let good = fake.location();
    said("s3:https://AKIA:hunter2@host/bucket", &[], 17, &["keys do not stand in a location", "AWS_SECRET_ACCESS_KEY"]);
    said("s3://AKIA:hunter2@bucket/prefix", &[], 17, &["keys do not stand in a location"]);
    said("s3:host/bucket", &[], 17, &["s3:https://HOST/BUCKET"]);
    said(&good, &["-o", "style=odd"], 17, &["path or virtual"]);
    said(&good, &["-o", "opened=yes"], 17, &["no option \"opened\""]);
    said(&good, &["-o", "access-key-id=A"], 17, &["AWS_SECRET_ACCESS_KEY"]);
    said("s3:http://192.0.2.1/bucket", &[], 13, &["not encrypted", "--plain-http"]);
}
