//! What the calls answer.

use serde_json::json;

use crate::s3::fake::Faults;
use crate::support::{Place, Running, id, text};

#[test]
fn a_chunk_is_stored_found_and_read() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    stored_found_and_read(&place, &place.serve(), &token);
}

pub fn stored_found_and_read(place: &Place, server: &Running, token: &str) {
    let bytes = b"not readable by anyone";
    let access = server.put_access(token, "alice", "data", bytes).ok();
    assert_eq!(access["method"], "PUT");
    assert!(access["expires"].as_u64().expect("a time") > obnam_server::now() + 800);
    assert_eq!(place.http.follow(&access, bytes).status, 200);
    let key = format!("server/alice/data/{}", id(bytes));
    assert!(place.s3.objects().contains_key(&key), "{:?}", place.s3.objects().keys());
    // The store keeps `if-none-match`.
    assert_eq!(place.http.follow(&access, bytes).status, 412);

    let path = format!("/alice/chunk/{}", id(bytes));
    for query in ["?label=data", ""] {
        let access = server.ask(token, "GET", &format!("{path}{query}")).ok();
        assert_eq!(place.http.follow(&access, &[]).body, bytes.as_slice());
        let headers = [("range", "bytes=4-11")];
        assert_eq!(place.http.send("GET", text(&access["url"]), &headers, &[]).body, b"readable".as_slice());
    }
    let stat = server.ask(token, "GET", &format!("{path}/stat?label=data")).ok();
    assert_eq!((&stat["size"], &stat["label"], &stat["id"]), (&json!(22), &json!("data"), &json!(id(bytes))));
    assert!(stat["stored"].as_u64().expect("a time") + 60 > obnam_server::now());
    let missing = format!("/alice/chunk/{}", id(b"other"));
    for path in [missing.clone(), format!("{missing}/stat?label=data"), format!("{path}/stat?label=tree")] {
        let answer = server.ask(token, "GET", &path);
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not-found"), "{path}");
    }
}

#[test]
fn lists_come_in_pages_in_order() {
    let place = Place::new(Faults { page_size: 2, ..Faults::default() }, "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    let mut stored = Vec::new();
    // `data.x/` sorts before `data/` in the store.
    for label in ["data", "data.x", "snapshot.aa", "snapshot.bb", "tree"] {
        for number in 0..5_u8 {
            server.store(&token, "alice", label, &[number]);
            stored.push((label.to_owned(), id(&[number])));
        }
    }
    stored.sort();
    let list_with = |token: &str, filter: &str, limit: usize| {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = server.ask(token, "GET", &format!("/alice/chunk?label={filter}&limit={limit}{after}")).ok();
            let chunks = page["chunks"].as_array().expect("chunks");
            assert!(chunks.len() <= limit && (!chunks.is_empty() || page.get("next").is_none()), "{page}");
            found.extend(chunks.iter().map(|chunk| (text(&chunk["label"]).to_owned(), text(&chunk["id"]).to_owned())));
            match page.get("next") {
                Some(next) => after = format!("&after={}", text(next)),
                None => return found,
            }
        }
    };
    let list = |filter: &str, limit: usize| list_with(&token, filter, limit);
    let of = |test: &dyn Fn(&str) -> bool| stored.iter().filter(|(label, _)| test(label)).cloned().collect::<Vec<_>>();
    for limit in [1, 3, 1000] {
        assert_eq!(list("", limit), stored);
        assert_eq!(list("data", limit), of(&|label| label == "data"));
        assert_eq!(list("snapshot.", limit), of(&|label| label.starts_with("snapshot.")));
        assert_eq!(list("absent", limit), []);
    }
    let small = place.token("alice", "backup", &[]);
    assert_eq!(list_with(&small, "", 1000), of(&|label| label.starts_with("snapshot.")));
    assert_eq!(list_with(&small, "data", 1000), []);
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=x", "label=A", "label=a/b", "label=.."] {
        assert_eq!(server.ask(&token, "GET", &format!("/alice/chunk?{wrong}")).problem(), "bad-request", "{wrong}");
    }
}

#[test]
fn what_is_not_named_like_a_chunk_is_left_out() {
    let place = Place::new(Faults { page_size: 2, ..Faults::default() }, "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"ours");
    let object = place.s3.objects().into_values().next().expect("an object");
    for key in ["data/0", "data/00", "data/000", "data/x/y", "Data/0", "OBNAM-CHUNK-STORE"] {
        place.s3.set_object(&format!("server/alice/{key}"), object.clone());
    }
    let page = server.ask(&token, "GET", "/alice/chunk").ok();
    assert_eq!(page["chunks"].as_array().map(Vec::len), Some(1), "{page}");
}

#[test]
fn a_batch_answers_each_item_in_order() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "backup", &[]);
    let server = place.serve();
    server.store(&token, "alice", "snapshot.aa", b"s");
    let items = json!([
        { "do": "put", "label": "data", "id": id(b"x"), "size": 1 },
        { "do": "put", "label": "roster", "id": id(b"x"), "size": 1 },
        { "do": "get", "label": "snapshot.aa", "id": id(b"s") },
        { "do": "get", "label": "data", "id": id(b"s") },
        { "do": "stat", "label": "snapshot.aa", "id": id(b"s") },
        { "do": "delete", "label": "snapshot.aa", "id": id(b"s") },
        { "do": "undelete", "label": "snapshot.aa", "id": id(b"s") },
        { "do": "put", "label": "data", "id": id(b"x") },
        { "do": "get", "label": "data", "id": "00", "size": 1 },
    ]);
    let answers = server.batch(&token, "alice", &items).ok();
    let answers = answers["answers"].as_array().expect("answers");
    assert_eq!(place.http.follow(&answers[0], b"x").status, 200);
    assert_eq!(place.http.follow(&answers[2], &[]).body, b"s".as_slice());
    assert_eq!(answers[4]["size"], 1);
    assert_eq!(answers[6]["state"], "not-pending");
    let codes: Vec<_> = [1, 3, 5, 7, 8].map(|index: usize| text(&answers[index]["code"])).into();
    assert_eq!(codes, ["not-allowed", "not-found", "not-allowed", "bad-request", "bad-request"]);
}

#[test]
fn a_batch_has_a_thousand_items_at_most() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "backup", &[]);
    let server = place.serve();
    let items = |count: u32| {
        (0..count).map(|n| json!({ "do": "put", "label": "data", "id": id(&n.to_le_bytes()), "size": 4 })).collect()
    };
    let answers = server.batch(&token, "alice", &items(1000)).ok();
    let answers = answers["answers"].as_array().expect("answers");
    assert_eq!(answers.len(), 1000);
    assert_eq!(place.http.follow(&answers[999], &999_u32.to_le_bytes()).status, 200);
    assert_eq!(server.batch(&token, "alice", &items(1001)).problem(), "bad-request");
    assert_eq!(server.batch(&token, "alice", &items(0)).problem(), "bad-request");
    assert_eq!(server.batch(&token, "alice", &items(9_000)).problem(), "bad-request");
}

#[test]
fn the_description_has_every_call() {
    let place = Place::new(Faults::default(), "");
    let server = place.serve_unprobed();
    let description = place.http.send("GET", &format!("{}/v1/openapi.json", server.url), &[], &[]).ok();
    let page = include_str!("../../../docs/server-api.md");
    let calls = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut found = 0;
    for (call, _) in calls {
        let Some((method, path)) = call.split_once(' ') else { continue };
        let path = path.split('?').next().expect("a path").replace("ID", "{id}");
        let operation = &description["paths"][format!("/v1/{{tenant}}{path}")][method.to_lowercase()];
        assert!(operation.is_object(), "{call} is not described");
        found += 1;
    }
    assert_eq!(found, 14);
}
