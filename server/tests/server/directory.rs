//! A server that keeps chunks in a directory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use obnam_server::removal;
use serde_json::{Value, json};

use crate::removals::{block_on, due, opened};
use crate::support::{NoS3, Place, Running, id, text};

/// The files below a directory that are named like chunks, or like chunks that are being written.
pub fn chunks(storage: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![storage.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
            if entry.is_dir() {
                waiting.push(entry);
            } else if name.len() == 64 || name.starts_with(".tmp-") {
                found.push(entry.strip_prefix(storage).expect("below").display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn shard(id: &str) -> &str {
    &id[..2]
}

/// A prepared place of alice, and her token.
fn alice() -> (Place<NoS3>, Running, String) {
    let place = Place::in_directory();
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve_unprobed();
    server.ask(&token, "POST", "/alice/init").ok();
    (place, server, token)
}

#[test]
fn a_chunk_is_stored_found_read_and_removed() {
    let (place, server, token) = alice();
    let storage = place.storage();
    let marker = fs::read_to_string(storage.join("alice/OBNAM-CHUNK-STORE")).expect("reads");
    // What the plugin for directories writes.
    assert_eq!(marker, "This directory is an Obnam chunk store, version 1. Leave it to Obnam.\n");
    let own = server.ask(&token, "GET", "/alice/self").ok();
    for (name, value) in
        [("prepared", json!(true)), ("stores", json!(true)), ("create-only", json!(true)), ("data", json!([]))]
    {
        assert_eq!(own[name], value, "{name}");
    }
    let bytes = vec![7; 3_000_000];
    let access = server.put_access(&token, "alice", "data", &bytes).ok();
    assert_eq!(server.follow(&access, &bytes).status, 200);
    assert_eq!(server.follow(&access, &bytes).problem(), "already-present");
    let id = id(&bytes);
    assert_eq!(chunks(&storage), [format!("alice/data/{}/{id}", shard(&id))]);

    let path = format!("/alice/chunk/{id}");
    for query in ["?label=data", ""] {
        let access = server.ask(&token, "GET", &format!("{path}{query}")).ok();
        assert_eq!(server.follow(&access, &[]).body, bytes);
    }
    let stat = server.ask(&token, "GET", &format!("{path}/stat?label=data")).ok();
    assert_eq!(stat["size"], bytes.len());
    assert!(stat["stored"].as_u64().expect("a time") + 60 > obnam_server::now());
    assert_eq!(server.ask(&token, "GET", "/alice/chunk").ok()["chunks"], json!([stat]));
    assert_eq!(server.ask(&token, "POST", "/alice/init").problem(), "already-initialised");

    assert_eq!(server.ask(&token, "DELETE", &format!("{path}?label=data")).ok()["state"], "pending");
    block_on(async {
        let opened = opened(&place).await;
        due(&opened.state, "data/00").await;
        opened.state.call_off(&"alice".parse().expect("a name"), &format!("data/{id}")).await.expect("calls off");
        due(&opened.state, &format!("data/{id}")).await;
        removal::round(&opened).await.expect("works");
        opened.state.close().await;
    });
    assert!(chunks(&storage).is_empty());
    let access = server.ask(&token, "GET", &format!("{path}?label=data")).ok();
    assert_eq!(server.follow(&access, &[]).problem(), "not-found");
    // It can come back.
    server.store(&token, "alice", "data", &bytes);
    assert_eq!(chunks(&storage).len(), 1);
}

#[test]
fn parts_of_a_chunk() {
    let (place, server, token) = alice();
    server.store(&token, "alice", "data", b"0123456789");
    server.store(&token, "alice", "data", b"");
    let url = |bytes: &[u8]| {
        let access = server.ask(&token, "GET", &format!("/alice/chunk/{}?label=data", id(bytes))).ok();
        format!("{}{}", server.url, text(&access["url"]))
    };
    let (full, empty) = (url(b"0123456789"), url(b""));
    let get = |url: &str, range: &str| place.http.send("GET", url, &[("range", range)], &[]);
    for (range, status, body, content_range) in [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=2-5", 206, "2345", "bytes 2-5/10"),
        ("bytes=9-9", 206, "9", "bytes 9-9/10"),
        ("bytes=9-", 206, "9", "bytes 9-9/10"),
        ("bytes=0-", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=5-99", 206, "56789", "bytes 5-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=10-20", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=5-4", 200, "0123456789", ""),
        ("bytes=0-1,3-4", 200, "0123456789", ""),
        ("bytes=99999999999999999999-", 200, "0123456789", ""),
        ("bytes=a-b", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let answer = get(&full, range);
        let said = answer.headers.get("content-range").map_or("", |value| value.to_str().expect("text"));
        assert_eq!((answer.status, said), (status, content_range), "{range}");
        assert_eq!(answer.body, body.as_bytes(), "{range}");
        assert_eq!(answer.headers["content-length"], body.len().to_string(), "{range}");
    }
    let answer = get(&empty, "bytes=0-0");
    assert_eq!((answer.status, &answer.headers["content-range"]), (416, &"bytes */0".parse().expect("a value")));
    assert_eq!(place.http.send("GET", &empty, &[], &[]).status, 200);
    // An URL to read does nothing else.
    for method in ["PUT", "DELETE", "HEAD"] {
        assert!([403, 405].contains(&place.http.send(method, &full, &[], b"x").status), "{method}");
    }
    for (what, url) in [
        ("another label", full.replace("/data/data/", "/data/tree/")),
        ("another chunk", full.replace(&id(b"0123456789"), &id(b""))),
        ("another end", full.replace("expires=", "expires=1")),
    ] {
        assert_eq!(place.http.send("GET", &url, &[], &[]).problem(), "bad-url", "{what}");
    }
}

#[test]
fn lists_come_in_pages_in_order() {
    let (place, server, token) = alice();
    let mut stored = Vec::new();
    for label in ["data", "data.x", "snapshot.aa"] {
        for number in 0..20_u8 {
            server.store(&token, "alice", label, &[number]);
            stored.push(format!("{label}/{}", id(&[number])));
        }
    }
    stored.sort_by_key(|name| name.split_once('/').map(|(label, id)| (label.to_owned(), id.to_owned())));
    // What is not named like a chunk is not ours.
    let data = place.storage().join("alice/data");
    for name in ["x", ".tmp-1", "zz", "OBNAM-CHUNK-STORE"] {
        fs::write(data.join(name), "foreign").expect("writes");
    }
    fs::create_dir(data.join("00").join("0".repeat(64)))
        .or_else(|_| fs::create_dir_all(data.join("0g")))
        .expect("makes");
    for limit in [1, 7, 1000] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = server.ask(&token, "GET", &format!("/alice/chunk?limit={limit}{after}")).ok();
            let names = page["chunks"].as_array().expect("chunks").iter();
            found.extend(names.map(|chunk| format!("{}/{}", text(&chunk["label"]), text(&chunk["id"]))));
            match page.get("next") {
                Some(next) => after = format!("&after={}", text(next)),
                None => break,
            }
        }
        assert_eq!(found, stored, "{limit}");
    }
}

#[test]
fn a_disk_that_is_not_mounted_takes_nothing() {
    let (place, server, token) = alice();
    server.store(&token, "alice", "data", b"before");
    let (here, away) = (place.storage().join("alice"), place.folder().join("away"));
    let access = server.put_access(&token, "alice", "data", b"x").ok();
    fs::rename(&here, &away).expect("renames");
    for _ in 0..2 {
        let answer = server.follow(&access, b"x");
        assert_eq!((answer.status, answer.problem().as_str()), (503, "store-unavailable"));
        assert_eq!(server.ask(&token, "GET", "/alice/self").ok()["prepared"], false);
        // An empty directory in its place, as a mount point is.
        fs::create_dir_all(&here).expect("makes");
    }
    assert!(server.log().contains("is the disk mounted?"), "{}", server.log());
    assert!(chunks(&place.storage()).is_empty());
    fs::remove_dir(&here).expect("is empty");
    fs::rename(&away, &here).expect("renames");
    assert_eq!(server.follow(&access, b"x").status, 200);
    assert_eq!(chunks(&place.storage()).len(), 2);
    // A directory that was known and is gone is made again.
    fs::remove_dir_all(here.join("data")).expect("removes");
    let again = server.put_access(&token, "alice", "data", b"x").ok();
    let statuses = [server.follow(&again, b"x").status, server.follow(&again, b"x").status];
    assert!(statuses.contains(&200), "{statuses:?}");
}

#[test]
fn symbolic_links_lead_nowhere() {
    let (place, server, token) = alice();
    let outside = place.folder().join("outside");
    fs::create_dir_all(outside.join("data/2d")).expect("makes");
    fs::write(outside.join("secret"), "secret").expect("writes");
    let alice = place.storage().join("alice");
    let x = id(b"x");
    // A label, a directory between label and chunk, a chunk, and a tenant.
    symlink(&outside, alice.join("tree")).expect("links");
    fs::create_dir_all(alice.join("data")).expect("makes");
    symlink("../../../outside", alice.join("data").join(shard(&x))).expect("links");
    fs::create_dir_all(alice.join("note").join(shard(&x))).expect("makes");
    symlink(outside.join("secret"), alice.join("note").join(shard(&x)).join(&x)).expect("links");
    for label in ["tree", "data", "note"] {
        let access = server.put_access(&token, "alice", label, b"x").ok();
        assert_eq!(server.follow(&access, b"x").status, 503, "{label}");
        let access = server.ask(&token, "GET", &format!("/alice/chunk/{x}?label={label}")).ok();
        let answer = server.follow(&access, &[]);
        assert!([404, 503].contains(&answer.status) && answer.body != b"secret".as_slice(), "{label}");
    }
    place.tenant("bob");
    let bob = place.token("bob", "all", &[]);
    symlink(&outside, place.storage().join("bob")).expect("links");
    assert_eq!(server.ask(&bob, "POST", "/bob/init").status, 503);
    let mut left: Vec<_> =
        fs::read_dir(&outside).expect("lists").map(|entry| entry.expect("one").file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "secret"]);
    assert_eq!(fs::read_to_string(outside.join("secret")).expect("reads"), "secret");
}

#[test]
fn leftovers_of_a_killed_server_are_removed_later() {
    let (place, server, token) = alice();
    server.store(&token, "alice", "data", b"stored");
    drop(server);
    let data = place.storage().join("alice/data");
    for (name, age) in [(".tmp-old", 2), (".tmp-young", 0)] {
        let file = fs::File::create(data.join(name)).expect("makes");
        file.set_modified(SystemTime::now() - Duration::from_secs(age * 86_400)).expect("sets");
    }
    let server = place.serve_unprobed();
    server.store(&token, "alice", "data", b"more");
    assert!(!data.join(".tmp-old").exists() && data.join(".tmp-young").exists());
    let listed = server.ask(&token, "GET", "/alice/chunk").ok();
    assert_eq!(listed["chunks"].as_array().map(Vec::len), Some(2), "{listed}");
}

/// The program in a folder, with nothing but arguments.
fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_obnam-server"));
    command.args(arguments).current_dir(folder).env_clear();
    command
}

fn ran(folder: &Path, arguments: &[&str]) -> Output {
    bare(folder, arguments).output().expect("runs")
}

/// A server that was started in a folder, and its first lines up to one with this text.
fn started(folder: &Path, storage: &str, last: &str) -> (Child, Vec<String>) {
    let arguments = ["serve", "--storage", storage, "--listen", "127.0.0.1:0"];
    let mut process = bare(folder, &arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
    let errors = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut lines = Vec::new();
    for line in errors.lines().map_while(Result::ok) {
        let is_last = line.contains(last);
        lines.push(line);
        if is_last {
            return (process, lines);
        }
    }
    let _ = process.kill();
    let _ = process.wait();
    panic!("no {last:?} in {lines:?}");
}

#[test]
fn a_first_try_needs_nothing_but_a_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = "my backups 100%";
    let wrong = ran(folder.path(), &["tenant", "create", "alice", "--storage", storage]);
    assert_eq!(wrong.status.code(), Some(17), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("obnam-server serve"), "{wrong:?}");
    let (mut server, lines) = started(folder.path(), storage, "token create");
    let said = lines.join("\n");
    assert!(said.contains(&format!("tenant create NAME --storage {storage}")), "{said}");
    assert!(said.contains("without TLS"), "{said}");
    let own = folder.path().join(storage).join(".obnam-server");
    assert_eq!(fs::metadata(&own).expect("is there").permissions().mode() & 0o777, 0o700);
    assert!(own.join("state.db").exists() && own.join("audit.jsonl").exists());
    let json = |arguments: &[&str]| {
        let output = ran(folder.path(), &[arguments, &["--storage", storage, "--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    json(&["tenant", "create", "alice"]);
    let made = json(&["token", "create", "--tenant", "alice", "--name", "laptop", "--preset", "all"]);
    assert!(text(&made["token"]).starts_with("obn1_"));
    assert_eq!(json(&["check"])["store"]["create_only"], true);
    assert_eq!(json(&["tenant", "list"])["tenants"].as_array().map(Vec::len), Some(1));
    server.kill().expect("is killed");
    server.wait().expect("ends");
    // Now there is nothing to tell.
    let (mut server, lines) = started(folder.path(), storage, "chunks are kept in");
    assert!(!lines.join("\n").contains("no tenant"), "{lines:?}");
    server.kill().expect("is killed");
    server.wait().expect("ends");
    let both = ran(folder.path(), &["check", "--storage", storage, "--config", "x"]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");
    fs::write(folder.path().join("file"), "").expect("writes");
    let file = ran(folder.path(), &["serve", "--storage", "file"]);
    assert_eq!(file.status.code(), Some(1), "{file:?}");
    assert!(String::from_utf8_lossy(&file.stderr).contains("cannot make the directory"), "{file:?}");
}
