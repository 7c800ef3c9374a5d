//! Every command with every preset of a token, and with single rights left out: it works, or it is refused cleanly.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::server::{Server, Setup};
use obnam_tests::{Ran, Sandbox, args, below, tree};
use serde_json::Value;

/// A repository with two snapshots, in the tenant alice of a server.
struct Backups {
    s3: FakeS3,
    server: Server,
    sandbox: Sandbox,
    /// The id of the first snapshot.
    first: String,
}

impl Backups {
    fn new() -> Self {
        let s3 = FakeS3::start(Faults::default());
        let setup =
            Setup { more: "[limits]\ntoken-requests = 10000\naddress-requests = 10000\n".into(), ..Setup::default() };
        let server = Server::start(&s3, &setup);
        server.tenant("alice");
        let sandbox = Sandbox::at(server.remote("alice", &server.token("alice", &["--preset", "all"])));
        sandbox.obnam(args!["init"]).expect(0);
        fs::write(sandbox.source().join("letter"), "Dear all").unwrap();
        fs::create_dir(sandbox.source().join("folder")).unwrap();
        sandbox.back_up();
        fs::write(sandbox.source().join("folder/second"), vec![7; 300_000]).unwrap();
        sandbox.back_up();
        let first = sandbox.snapshots()[0].clone();
        Backups { s3, server, sandbox, first }
    }

    /// Runs a command on a machine that knows nothing, with a token of its own.
    fn run(&self, token: &str, arguments: &[OsString]) -> Ran {
        self.sandbox.go_to(self.server.remote("alice", token));
        self.sandbox.next_machine();
        self.sandbox.obnam(arguments)
    }

    /// Commands that change nothing.
    fn looking(&self) -> Vec<(&'static str, Vec<OsString>)> {
        let source = self.sandbox.source();
        let objects = self.s3.objects();
        let snapshot = objects.keys().find(|key| key.contains("/snapshot.")).unwrap().rsplit('/').next().unwrap();
        vec![
            ("backup --dry-run", args!["backup", "--dry-run", source].into()),
            ("snapshots", args!["snapshots"].into()),
            ("ls", args!["ls", "latest"].into()),
            ("find", args!["find", "second"].into()),
            ("diff", args!["diff", self.first, "latest"].into()),
            ("stats", args!["stats"].into()),
            ("stats SNAP", args!["stats", "latest"].into()),
            ("cat file", args!["cat", "file", "latest", source.join("letter")].into()),
            ("cat snapshot", args!["cat", "snapshot", "latest"].into()),
            ("cat roster", args!["cat", "roster"].into()),
            ("cat chunk", args!["cat", "chunk", snapshot].into()),
            ("forget --dry-run", args!["forget", "--keep-last", "1", "--dry-run"].into()),
            ("chunks", args!["chunks"].into()),
            ("chunks --label", args!["chunks", "--label", "snapshot."].into()),
            ("check", args!["check"].into()),
            ("check --read-data", args!["check", "--read-data"].into()),
            ("check --store", args!["check", "--store"].into()),
        ]
    }

    fn token(&self, rights: &[String]) -> String {
        self.server.token("alice", &rights.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// How many objects there are whose keys contain this.
    fn count(&self, part: &str) -> usize {
        self.s3.objects().keys().filter(|key| key.contains(part)).count()
    }

    /// Restores with a token; whether all came back. What is refused leaves nothing that looks whole.
    fn restores(&self, token: &str) -> Ran {
        let target = self.sandbox.fresh("target");
        let ran = self.run(token, &args!["--quiet", "restore", "latest", target]);
        if ran.code == Some(0) {
            tree::assert_same(&self.sandbox.source(), &below(&target, &self.sandbox.source()));
        } else {
            assert!(!below(&target, &self.sandbox.source()).join("letter").exists(), "{ran:?}");
        }
        let _ = fs::remove_dir_all(target);
        ran
    }

    /// Backs up with a token: there is one snapshot more if that worked, and none if it was refused.
    fn backs_up(&self, token: &str) -> Ran {
        let before = self.count("/snapshot.");
        let ran = self.run(token, &args!["backup", self.sandbox.source()]);
        assert_eq!(self.count("/snapshot.") - before, usize::from(ran.code == Some(0)), "{ran:?}");
        ran
    }

    /// Tags with a token: there is one note more if that worked, and none if it was refused.
    fn tags(&self, token: &str, tag: &str) -> Ran {
        let before = self.count("/note.");
        let ran = self.run(token, &args!["tag", "latest", "--add", tag]);
        assert_eq!(self.count("/note.") - before, usize::from(ran.code == Some(0)), "{ran:?}");
        ran
    }
}

const LABELS: [&str; 10] =
    ["repository", "roster", "credential", "client", "index.", "snapshot.", "note.", "tombstone", "data", "tree"];

/// The rights of a token that may do everything but one thing with one of the labels that Obnam uses.
fn without(verb: &str, label: &str) -> Vec<String> {
    let mut rights = Vec::new();
    for one in ["find", "read", "create", "delete", "admin"] {
        let others = || LABELS.into_iter().filter(|of| *of != label).collect();
        let granted: Vec<&str> = if one == verb { others() } else { vec!["*"] };
        rights.extend(granted.iter().flat_map(|of| ["--right".to_owned(), format!("{one}={of}")]));
    }
    rights
}

/// What the program printed, but for how long it took.
fn printed(ran: &Ran) -> String {
    let timeless =
        |line: &str| line.strip_suffix(" s").and_then(|line| line.rsplit_once("; ")).map(|(rest, _)| rest.to_owned());
    ran.text().lines().map(|line| timeless(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// Whether the program says which right is missing.
fn names(ran: &Ran, verb: &str, label: &str) -> bool {
    let said = ran.all();
    let all_of_it = ["everything", label].iter().any(|what| said.contains(&format!("has no right to {verb} {what}")));
    all_of_it || verb == "create" && said.contains(&format!("may store nothing under the label {label}"))
}

/// The documented exit codes of what is refused: 13, or, where something could be done in spite of it, 3 (incomplete) and
/// 4 (a check that could not read everything).
fn is_refusal(ran: &Ran) -> bool {
    matches!(ran.code, Some(13 | 3 | 4))
}

#[test]
fn every_command_with_every_preset() {
    let backups = Backups::new();
    let with = |preset: &str| backups.server.token("alice", &["--preset", preset]);
    let all = with("all");
    let commands = backups.looking();
    let wanted: Vec<Ran> = commands.iter().map(|(_, arguments)| backups.run(&all, arguments).expect(0)).collect();
    // What a preset cannot do, with the right that is missing.
    let backup: &[(&str, &str, &str)] = &[
        ("ls", "read", "data"),
        ("find", "read", "data"),
        ("diff", "read", "data"),
        ("stats", "find", ""),
        ("stats SNAP", "find", ""),
        ("cat file", "read", "data"),
        ("cat chunk", "find", ""),
        ("chunks", "find", ""),
        ("check", "find", ""),
        ("check --read-data", "find", ""),
        ("check --store", "find", ""),
    ];
    let nothing: &[(&str, &str, &str)] = &[];
    for (preset, refused) in [("restore", nothing), ("prune", nothing), ("backup", backup)] {
        let token = with(preset);
        for ((name, arguments), wanted) in commands.iter().zip(&wanted) {
            let ran = backups.run(&token, arguments);
            match refused.iter().find(|(refused, ..)| refused == name) {
                Some((_, verb, label)) => {
                    assert!(is_refusal(&ran) && names(&ran, verb, label), "{preset}: {name}: {ran:#?}");
                }
                // It says which rights the token has, and a writer's dry run cannot look into the trees of the last backup.
                None if *name == "check --store" || preset == "backup" && *name == "backup --dry-run" => {
                    ran.expect(0);
                }
                None => assert_eq!(printed(&ran.expect(0)), printed(wanted), "{preset}: {name}"),
            }
        }
    }
    // It finds the credential, and nothing of the backups.
    let token = with("bootstrap");
    for (name, arguments) in &commands {
        let ran = backups.run(&token, arguments);
        let allowed = *name == "cat roster";
        assert!(allowed && ran.code == Some(0) || ran.stderr.contains("has no right to find"), "{name}: {ran:#?}");
        assert_eq!(ran.code, Some(if allowed { 0 } else { 13 }), "{name}: {ran:#?}");
    }
    for (preset, restores, label_of_backup, tags) in [
        ("all", true, None, true),
        ("restore", true, Some("data"), false),
        ("prune", true, Some("snapshot."), false),
        ("backup", false, None, false),
    ] {
        let token = with(preset);
        let ran = backups.restores(&token);
        assert_eq!(ran.code == Some(0), restores, "{preset}: {ran:?}");
        assert!(restores || is_refusal(&ran) && names(&ran, "read", "data"), "{preset}: {ran:#?}");
        let ran = backups.backs_up(&token);
        match label_of_backup {
            None => drop(ran.expect(0)),
            Some(label) => assert!(names(&ran.expect(13), "create", label), "{preset}"),
        }
        let ran = backups.tags(&token, preset);
        assert_eq!(ran.code == Some(0), tags, "{preset}: {ran:?}");
        assert!(tags || names(&ran, "create", "note."), "{preset}: {ran:#?}");
    }
}

/// `init` is for those who may store a repository; what is refused leaves nothing.
#[test]
fn init_with_every_preset() {
    let backups = Backups::new();
    for (preset, allowed) in
        [("backup", false), ("restore", false), ("prune", false), ("bootstrap", false), ("all", true)]
    {
        let tenant = format!("new-{preset}");
        backups.server.tenant(&tenant);
        let token = backups.server.token(&tenant, &["--preset", preset]);
        let sandbox = Sandbox::at(backups.server.remote(&tenant, &token));
        let ran = sandbox.obnam(args!["init"]);
        if allowed {
            ran.expect(0);
        } else {
            let ran = ran.expect(13);
            assert!(ran.stderr.contains("under the label repository"), "{preset}: {ran:#?}");
            assert_eq!(backups.count(&tenant), 0, "{preset}: something half done was left");
        }
    }
}

/// Who may add, or read, makes no snapshot vanish; who may prune does, and even then the server waits.
#[test]
fn forgetting_with_every_preset() {
    let backups = Backups::new();
    // What the second snapshot has, the last one does not need.
    fs::remove_file(backups.sandbox.source().join("folder/second")).unwrap();
    backups.sandbox.back_up();
    let forget = args!["--json", "forget", "--keep-last", "1"];
    let snapshots = backups.count("/snapshot.");
    for (preset, verb, label) in
        [("bootstrap", "find", ""), ("restore", "create", "index."), ("backup", "create", "tombstone")]
    {
        let token = backups.server.token("alice", &["--preset", preset]);
        let ran = backups.run(&token, &forget).expect(13);
        assert!(names(&ran, verb, label) || ran.all().contains("has no right to find"), "{preset}: {ran:#?}");
        let listed = backups.run(&backups.server.token("alice", &["--preset", "all"]), &args!["--json", "snapshots"]);
        assert_eq!(listed.expect(0).result().as_array().unwrap().len(), snapshots, "{preset}");
    }
    let token = backups.server.token("alice", &["--preset", "prune"]);
    let result = backups.run(&token, &forget).expect(0).result();
    assert_eq!(result["pending"].as_array().unwrap().len(), snapshots - 1, "{result}");
    assert_eq!(backups.count("/snapshot."), snapshots, "none is removed before its time");
    let packs = backups.count("/data/") + backups.count("/tree/");
    let result = backups.run(&token, &args!["--json", "prune", "--max-unused", "unlimited"]).expect(0).result();
    assert!(result["pending"].is_string() && result["removed"]["packs"].as_u64().unwrap() > 0, "{result}");
    assert_eq!(backups.count("/data/") + backups.count("/tree/"), packs, "nor is what they needed");
    for preset in ["bootstrap", "restore", "backup"] {
        backups.run(&backups.server.token("alice", &["--preset", preset]), &args!["prune"]).expect(13);
    }
    backups.restores(&token).expect(0);
    // What is repacked stays where it was too until its time, and is not repacked again.
    let repack = args!["--json", "prune", "--max-unused", "0"];
    let result = backups.run(&token, &repack).expect(0).result();
    assert!(result["pending"].is_string() && result["repacked"]["packs"].as_u64().unwrap() > 0, "{result}");
    assert!(backups.count("/data/") + backups.count("/tree/") > packs, "{result}");
    let again = backups.run(&token, &repack).expect(0).result();
    assert_eq!((&again["repacked"]["packs"], &again["missing"]), (&0.into(), &0.into()), "{again}");
    backups.run(&token, &args!["check", "--read-data"]).expect(0);
    backups.restores(&token).expect(0);
}

fn single_rights(verb: &str) {
    let backups = Backups::new();
    let all = backups.server.token("alice", &["--preset", "all"]);
    let commands = backups.looking();
    let wanted: Vec<Ran> = commands.iter().map(|(_, arguments)| backups.run(&all, arguments).expect(0)).collect();
    let mut refused = 0;
    for label in LABELS {
        let token = backups.token(&without(verb, label));
        let mut cleanly = |name: &str, ran: &Ran| {
            refused += 1;
            // Statistics count what cannot be read, and refer to the command that says why.
            let referred = name.starts_with("stats") && ran.stderr.contains("see: obnam check");
            assert!(
                is_refusal(ran) && (names(ran, verb, label) || referred),
                "without {verb} {label}: {name}: {ran:#?}"
            );
        };
        for ((name, arguments), wanted) in commands.iter().zip(&wanted) {
            let ran = backups.run(&token, arguments);
            // A right that a command does not need changes nothing of what it says. (It may say the rights.)
            let may_differ = *name == "check --store" || (*name, label) == ("backup --dry-run", "data");
            if ran.code != Some(0) || printed(&ran) != printed(wanted) && !may_differ {
                cleanly(name, &ran);
            }
        }
        let ran = backups.restores(&token);
        if ran.code != Some(0) {
            cleanly("restore", &ran);
        }
    }
    assert!(refused > 20 || ["create", "delete"].contains(&verb), "{refused}");
}

#[test]
fn without_single_rights_to_find() {
    single_rights("find");
}

#[test]
fn without_single_rights_to_read() {
    single_rights("read");
}

#[test]
fn without_single_rights_to_store_or_remove() {
    single_rights("delete");
    let backups = Backups::new();
    for label in LABELS {
        let token = backups.token(&without("create", label));
        let ran = backups.backs_up(&token);
        assert!(ran.code == Some(0) || is_refusal(&ran) && names(&ran, "create", label), "{label}: {ran:#?}");
        // A small backup has its trees beside the data, and its index in the snapshot.
        assert_eq!(ran.code == Some(0), !["data", "snapshot."].contains(&label), "{label}: {ran:#?}");
        let ran = backups.tags(&token, label);
        assert_eq!(ran.code == Some(0), label != "note.", "{label}: {ran:#?}");
        assert!(ran.code == Some(0) || names(&ran, "create", label), "{label}: {ran:#?}");
    }
    // What was refused may have left data that nothing refers to, and no more than that.
    backups.sandbox.check(0);
}

/// Asked directly over the API, and through the plugin: whoever backs up cannot write what governs.
#[test]
fn a_token_for_backups_writes_nothing_that_governs() {
    let backups = Backups::new();
    let token = backups.server.token("alice", &["--preset", "backup"]);
    let before = backups.s3.objects().len();
    let client = Api::new(&backups.server, &token);
    for label in ["roster", "credential", "client", "repository", "tombstone", "note.aa", "index", "data.x"] {
        let id = "0".repeat(64);
        let put = client.send("PUT", &format!("chunk?id={id}&label={label}&size=1"), "");
        assert_eq!((put.0, put.1["code"].as_str()), (403, Some("not-allowed")), "{label}");
        let batch = format!(r#"{{"items":[{{"do":"put","label":"{label}","id":"{id}","size":1}}]}}"#);
        let put = client.send("POST", "batch", &batch);
        assert_eq!((put.0, put.1["answers"][0]["code"].as_str()), (200, Some("not-allowed")), "{label}");
        let delete = client.send("DELETE", &format!("chunk/{id}?label={label}"), "");
        assert_eq!((delete.0, delete.1["code"].as_str()), (403, Some("not-allowed")), "{label}");
    }
    let init = client.send("POST", "init", "");
    assert_eq!((init.0, init.1["code"].as_str()), (403, Some("not-allowed")));
    assert_eq!(backups.s3.objects().len(), before);
    // Through the plugin: a second repository would need each of these labels, a tag a note.
    assert!(backups.tags(&token, "x").code != Some(0));
    let ran = backups.run(&token, &args!["init"]);
    assert!(matches!(ran.code, Some(11 | 13)), "{ran:?}");
    assert_eq!(backups.s3.objects().len(), before);
}

/// The API of a server, without the program.
struct Api {
    runtime: tokio::runtime::Runtime,
    address: std::net::SocketAddr,
    token: String,
}

impl Api {
    fn new(server: &Server, token: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Api { runtime, address: server.address(), token: token.to_owned() }
    }

    /// The status and the document of an answer about the tenant alice.
    fn send(&self, method: &str, rest: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/alice/{rest}"))
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        self.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&body).unwrap())
        })
    }
}
