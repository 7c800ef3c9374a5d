//! Forgetting snapshots, by policies and by name.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::server::{Server, Setup};
use obnam_tests::tree::Random;
use obnam_tests::{Ran, Sandbox, args};
use serde_json::{Value, json};

/// A repository with so many snapshots, of which only the first one's chunks hold `first`.
fn with_snapshots(sandbox: &Sandbox, count: usize) -> Vec<String> {
    Random(1).write_file(&sandbox.source().join("first"), 200_000);
    for number in 0..count {
        fs::write(sandbox.source().join("counter"), format!("{number}")).unwrap();
        sandbox.back_up();
    }
    sandbox.snapshots()
}

fn labels(sandbox: &Sandbox, family: &str) -> usize {
    sandbox.chunks().iter().filter(|(label, ..)| label == family || label.starts_with(&format!("{family}."))).count()
}

/// How many warnings there are but for the one of a first use.
fn alarms(ran: &Ran) -> usize {
    ran.json()["warnings"].as_array().unwrap().iter().filter(|warning| warning["code"] != "first-use").count()
}

#[test]
fn names_that_nothing_has_are_mistakes() {
    let sandbox = Sandbox::with_repository();
    let all = with_snapshots(&sandbox, 3);
    sandbox.obnam(args!["tag", all[0], "--add", "keep"]).expect(0);
    for (words, says) in [
        (&["--keep-tag", "kepe"], "no snapshot has the tag kepe"),
        (&["--keep-id", "ffff"], "--keep-id ffff: there is no such snapshot"),
    ] {
        sandbox.obnam([&["forget"], &words[..]].concat()).expect(17).says(&[says]);
    }
    assert_eq!(sandbox.snapshots(), all);
    let said = sandbox.obnam(args!["forget", "--keep-tag", "keep"]).expect(0).text();
    assert!(said.contains("1 snapshot forgotten") && said.contains("obnam prune"), "{said}");
    assert_eq!(sandbox.snapshots(), [all[0].clone(), all[2].clone()]);
    // A filter that nothing passes is no silent success; a path is meant as a backup takes it.
    for words in
        [&["rewrite", "--exclude", "x", "--host", "nosuch"], &["rewrite", "--exclude", "x", "--path", "/nosuch"]]
    {
        sandbox.obnam(words).expect(17).says(&["no snapshot passes", "nosuch"]);
    }
    let slash = format!("{}/", sandbox.source().display());
    let rehearsed = sandbox.obnam(args!["rewrite", "--exclude", "counter", "--path", slash, "-n"]).expect(0).text();
    assert!(rehearsed.contains("with a match"), "{rehearsed}");
}

/// A tag that keeps a snapshot may be in a note that cannot be read: no policy goes by tags then.
#[test]
fn a_damaged_note_lets_no_policy_go_by_tags() {
    let sandbox = Sandbox::with_repository();
    let all = with_snapshots(&sandbox, 3);
    sandbox.obnam(args!["tag", &all[0], "--add", "keep"]).expect(0);
    let (label, id, _) = sandbox.chunks().into_iter().find(|(label, ..)| label.starts_with("note.")).unwrap();
    let file = sandbox.repository().join(label).join(&id[..2]).join(&id);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    sandbox.next_machine();
    let by_tags = args!["forget", "--keep-last", "1", "--keep-tag", "keep"];
    sandbox.obnam(by_tags.clone()).expect(17).says(&["note.", &id, "nothing was forgotten", "obnam repair index"]);
    assert_eq!(sandbox.snapshots(), all);
    // Without it the tag is lost, and nobody is left in doubt.
    assert!(sandbox.obnam(args!["repair", "index"]).expect(0).text().contains(&id));
    sandbox.obnam(by_tags).expect(0);
    assert_eq!(sandbox.snapshots(), all[2..]);
}

#[test]
fn a_policy_forgets_and_the_others_stay_whole() {
    let sandbox = Sandbox::with_repository();
    let all = with_snapshots(&sandbox, 6);
    let before = sandbox.chunks();
    let preview = sandbox.obnam(args!["forget", "--keep-last", "2", "--dry-run"]).expect(0).text();
    assert!(preview.contains("4 snapshots would be forgotten, 2 snapshots kept; nothing was done"), "{preview}");
    assert!(preview.contains("newest, last"), "{preview}");
    assert_eq!(sandbox.chunks(), before);

    let result = sandbox.obnam(args!["--json", "forget", "--keep-last", "2"]).expect(0).result();
    assert_eq!(result["removed"].as_array().unwrap().len(), 4);
    assert_eq!(sandbox.snapshots(), all[4..]);
    let kept: Vec<_> = result["groups"][0]["snapshots"].as_array().unwrap().iter().map(|one| &one["keep"]).collect();
    assert_eq!(kept, [false, false, false, false, true, true]);
    assert_eq!(result["groups"][0]["snapshots"][5]["reasons"], json!(["newest", "last"]));
    // What stood in the first snapshot's index is still found, also by a machine that never saw that one, and nobody is alarmed.
    for _ in 0..2 {
        assert_eq!(alarms(&sandbox.obnam(args!["--json", "snapshots"]).expect(0)), 0);
        assert!(sandbox.check(0).is_empty());
        sandbox.assert_restores();
        sandbox.next_machine();
    }
    // The next backup goes on, and does not store again what the first one stored.
    let again = sandbox.back_up();
    assert!(again["statistics"]["new_bytes"].as_u64().unwrap() < 20_000, "{again}");
    let nothing = sandbox.obnam(args!["forget", "--keep-last", "3"]).expect(0).text();
    assert!(nothing.contains("0 snapshots forgotten, 3 snapshots kept"), "{nothing}");
    assert_eq!(labels(&sandbox, "tombstone"), 1);
}

#[test]
fn named_snapshots_are_forgotten_but_never_the_newest() {
    let sandbox = Sandbox::with_repository();
    let all = with_snapshots(&sandbox, 3);
    sandbox.obnam(args!["tag", &all[1], "--add", "x"]).expect(0);
    let before = sandbox.chunks();
    sandbox.obnam(args!["forget", "latest"]).expect(17).says(&["newest", "another backup"]);
    sandbox.obnam(args!["forget", &all[0], &all[2]]).expect(17).says(&[&all[2][..10]]);
    sandbox.obnam(args!["forget", &all[0], "ffffffff"]).expect(17).says(&["ffffffff"]);
    assert_eq!(sandbox.chunks(), before, "nothing was forgotten");
    let said = sandbox.obnam(args!["forget", &all[1][..12], &all[1]]).expect(0).text();
    assert!(said.contains("1 snapshot forgotten"), "{said}");
    assert_eq!(sandbox.snapshots(), [all[0].clone(), all[2].clone()]);
    assert_eq!(labels(&sandbox, "note"), 0, "its note went with it");
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn wrong_uses_are_explained() {
    let sandbox = Sandbox::with_repository();
    with_snapshots(&sandbox, 2);
    let before = sandbox.chunks();
    sandbox.obnam(args!["forget"]).expect(17).says(&["--keep-daily"]);
    sandbox.obnam(args!["forget", "--keep-last", "0"]).expect(17).says(&["--keep-daily"]);
    sandbox.obnam(args!["forget", "--keep-daily", "x"]).expect(17).says(&["--keep-daily", "\"x\""]);
    sandbox.obnam(args!["forget", "--keep-within", "7"]).expect(17).says(&["--keep-within", "14d"]);
    sandbox.obnam(args!["forget", "--keep-id", "abc"]).expect(17).says(&["--keep-id"]);
    sandbox.obnam(args!["forget", "abcd", "--keep-last", "1"]).expect(17).says(&["leave out"]);
    sandbox.obnam(args!["forget", "abcd", "--host", "x"]).expect(17).says(&["leave out"]);
    sandbox.obnam(args!["forget", "--group-by", "weather", "--keep-last", "1"]).expect(2).says(&["weather"]);
    sandbox.obnam(args!["forget", "--simulate=x", "--keep-last", "1"]).expect(17).says(&["--simulate"]);
    sandbox.obnam(args!["forget", "--simulate=1h", "--keep-last", "1"]).expect(0);
    assert_eq!(sandbox.chunks(), before);
}

#[test]
fn groups_are_weighed_each_for_itself() {
    let sandbox = Sandbox::with_repository();
    let (a, b) = (sandbox.source().join("a"), sandbox.source().join("b"));
    for place in [&a, &b] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("file"), "x").unwrap();
    }
    for (path, host, tag) in [(&a, "one", "t"), (&a, "one", "u"), (&b, "one", "t"), (&b, "two", "t"), (&a, "one", "t")]
    {
        sandbox.obnam(args!["backup", "--host", host, "--tag", tag, path]).expect(0);
    }
    let all = sandbox.snapshots();
    let forgets = |more: &[&str]| {
        let words = args!["--json", "forget", "--keep-last", "1", "--dry-run"].into_iter();
        let words: Vec<_> = words.chain(more.iter().map(Into::into)).collect();
        let result = sandbox.obnam(words).expect(0).result();
        let groups = result["groups"].as_array().unwrap().clone();
        let listed = groups.iter().flat_map(|group| group["snapshots"].as_array().unwrap().clone());
        let doomed: Vec<Value> = listed.filter(|one| one["keep"] == false).collect();
        all.iter()
            .enumerate()
            .filter(|(_, id)| doomed.iter().any(|one| one["id"] == id.as_str()))
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
    };
    assert_eq!(forgets(&[]), [0, 1]);
    assert_eq!(forgets(&["--group-by", "client"]), [0, 1, 2, 3]);
    assert_eq!(forgets(&["--group-by", "host"]), [0, 1, 2]);
    assert_eq!(forgets(&["--group-by", "host,paths,tags"]), [0]);
    assert_eq!(forgets(&["--keep-tag", "u"]), [0]);
    assert_eq!(forgets(&["--keep-id", &all[0][..8]]), [1]);
    assert_eq!(forgets(&["--host", "two"]), Vec::<usize>::new());
}

/// Whoever was interrupted between the record and the removal, or put the chunk back, sees no snapshot that is forgotten.
#[test]
fn a_forgotten_snapshot_that_is_still_there_is_removed_by_the_next_forget() {
    let sandbox = Sandbox::with_repository();
    let all = with_snapshots(&sandbox, 3);
    let file = |id: &str| {
        let (label, ..) = sandbox.chunks().into_iter().find(|(_, chunk, _)| chunk == id).unwrap();
        sandbox.repository().join(label).join(&id[..2]).join(id)
    };
    let place = file(&all[0]);
    let bytes = fs::read(&place).unwrap();
    sandbox.obnam(args!["forget", &all[0]]).expect(0);
    fs::write(&place, bytes).unwrap();
    assert_eq!(sandbox.snapshots(), all[1..]);
    let shown = sandbox.obnam(args!["snapshots", "--all"]).expect(0).text();
    assert!(shown.contains("(forgotten)"), "{shown}");
    let result = sandbox.obnam(args!["--json", "forget", "--keep-last", "9"]).expect(0).result();
    assert_eq!(result["removed"], json!([all[0]]));
    assert!(!place.exists());
}

#[test]
fn a_simulation_needs_no_repository() {
    let sandbox = Sandbox::new();
    let words = args!["forget", "--simulate", "--keep-daily", "7", "--keep-monthly", "12", "--keep-yearly", "all"];
    let text = sandbox.bare().args(&words).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("Jan Feb Mar") && text.contains("kept after 10 years"), "{text}");
    let json = sandbox.bare().arg("--json").args(&words).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let kept = json["result"]["kept"].as_array().unwrap();
    assert!((25..=32).contains(&kept.len()), "{}", kept.len());
    assert!((3650..=3655).contains(&json["result"]["made"].as_u64().unwrap()));
}

#[test]
fn a_profile_says_what_is_kept() {
    let sandbox = Sandbox::with_repository();
    let all = with_snapshots(&sandbox, 4);
    let config = sandbox.path("config.toml");
    let repository = format!("repository = {:?}\nidentity = {:?}", sandbox.repository(), sandbox.identity());
    let with = |keep: &str, arguments: &[std::ffi::OsString]| {
        fs::write(&config, format!("[profile.default]\n{repository}\nkeep = {keep}\n")).unwrap();
        obnam_tests::run(sandbox.bare().arg("--config").arg(&config).args(arguments))
    };
    let forget = args!["forget", "--dry-run"];
    let wanted = |ran: Ran, kept: usize| {
        let said = ran.expect(0).text();
        assert!(said.contains(&format!("{kept} snapshot")) && said.contains("kept; nothing"), "{said}");
    };
    wanted(with("{ last = 3 }", &forget), 3);
    wanted(with("{ last = 3, id = \"ffff\" }", &args!["forget", "-n", "--keep-last", "2"]), 2);
    with("{ hourly = -1 }", &forget).expect(17).says(&["keep", "hourly", "-1"]);
    with("{ fortnightly = 1 }", &forget).expect(17).says(&["fortnightly"]);
    with("{}", &forget).expect(17).says(&["--keep-daily"]);
    let shown = with("{ last = 3, within-daily = \"1y\" }", &args!["config", "show"]).expect(0).text();
    assert!(shown.contains("keep.within-daily") && shown.contains("1y"), "{shown}");
    with("{ last = 1 }", &args!["forget"]).expect(0);
    assert_eq!(sandbox.snapshots(), all[3..]);
}

/// On a server nothing vanishes at once, and a client that may only add removes nothing.
#[test]
fn a_server_keeps_what_is_forgotten_for_its_grace_period() {
    let store = FakeS3::start(Faults::default());
    let server = Server::start(&store, &Setup::default());
    server.tenant("alice");
    let [backup, all] =
        ["backup", "all"].map(|preset| server.remote("alice", &server.token("alice", &["--preset", preset])));
    let sandbox = Sandbox::at(all.clone());
    sandbox.obnam(args!["init"]).expect(0);
    let made = with_snapshots(&sandbox, 3);
    sandbox.go_to(backup);
    let objects = store.objects().len();
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(13).says(&["this token may store nothing", "tombstone"]);
    assert_eq!(sandbox.snapshots(), made);
    assert!(store.objects().len() >= objects, "nothing was removed");
    sandbox.go_to(all);
    let result = sandbox.obnam(args!["--json", "forget", "--keep-last", "1"]).expect(0).result();
    assert_eq!((result["removed"].as_array().unwrap().len(), result["pending"].as_array().unwrap().len()), (0, 2));
    assert_eq!(sandbox.snapshots(), made[2..]);
    assert!(store.objects().len() > objects, "a record was added, and nothing removed");
    sandbox.next_machine();
    sandbox.assert_restores();
}
