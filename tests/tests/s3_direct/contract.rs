//! What the contract promises: put, get, stat, remove, init, open.

use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obnam::chunk::{ChunkId, MAX_CHUNK_SIZE};
use obnam::plugin::{bundled_for, inspect, open_store};
use obnam::store::{ChunkStore, PutOutcome, RemoveOutcome, StoreErrorKind};
use obnam_tests::s3::fake::{Action, Answer, Faults, Object, When};

use super::plugin_support::{chunk, label};
use super::{PREFIX, key, prepared, spec, unprepared};

#[test]
fn describes_itself() {
    let (fake, _) = unprepared(Faults::default());
    let spec = spec(&fake, &[]);
    let info = inspect(&spec.source, spec.cache_dir.as_deref(), &spec.limits).unwrap();
    assert_eq!((info.name.as_str(), info.schemes.as_slice()), ("s3-direct", &["s3".to_owned()][..]));
    assert!(info.put_streams);
    assert!(info.options.iter().all(|option| option.name != "opened"), "that one is not the user's");
    let secret: Vec<_> = info.options.iter().filter(|option| option.secret).map(|option| &option.name).collect();
    assert_eq!(secret, ["secret-access-key", "session-token"]);
    assert_eq!(bundled_for("s3://bucket/prefix"), Some("s3-direct"));
    assert_eq!(fake.requests(), []);
}

#[test]
fn chunks_of_all_sizes_survive() {
    let (fake, store) = prepared(Faults::default());
    for (seed, size) in [0, 1, 2, 4095, 65_537, 1 << 20, MAX_CHUNK_SIZE as usize].into_iter().enumerate() {
        let (id, bytes) = chunk(seed as u64, size);
        assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored, "{size}");
        assert_eq!(fake.objects()[&key("data", &id)].bytes, bytes, "{size}");
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes, "{size}");
        let info = store.stat(&label("data"), &id).unwrap();
        assert_eq!((info.size, info.id), (size as u64, id));
        let age = SystemTime::now().duration_since(info.stored.unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(120), "{age:?}");
    }
}

#[test]
fn each_upload_says_what_it_is() {
    let (fake, store) = prepared(Faults::default());
    fake.forget_requests();
    let (id, bytes) = chunk(1, 100_000);
    store.put(&label("data"), &id, bytes).unwrap();
    let [put] = &fake.requests()[..] else { panic!("one request: {:#?}", fake.requests()) };
    assert_eq!((put.method.as_str(), put.path.as_str()), ("PUT", format!("/backups/{PREFIX}/data/{id}").as_str()));
    let hash = hex::decode(id.to_string()).unwrap();
    assert_eq!(put.header("content-length"), Some("100000"));
    assert_eq!(put.header("if-none-match"), Some("*"));
    assert_eq!(put.header("x-amz-checksum-sha256"), Some(STANDARD.encode(hash).as_str()));
    assert_eq!(put.header("x-amz-content-sha256"), Some(id.to_string().as_str()), "the payload is signed too");
    let signed = put.header("authorization").unwrap();
    assert!(
        signed.contains(
            "SignedHeaders=content-length;host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date"
        ),
        "{signed}"
    );
}

#[test]
fn put_is_idempotent_and_never_replaces() {
    let (fake, store) = prepared(Faults::default());
    let (id, bytes) = chunk(1, 1000);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::AlreadyPresent);
    assert_eq!(store.put(&label("tree"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);

    fake.set_object(&key("data", &id), Object::new("something else"));
    let error = store.put(&label("data"), &id, bytes.clone()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("14 bytes instead of 1000"), "{error}");
    // Of the right length, but the store remembers another checksum.
    fake.set_object(&key("data", &id), Object::new(vec![7; 1000]));
    let error = store.put(&label("data"), &id, bytes.clone()).unwrap_err();
    assert!(error.kind == StoreErrorKind::Corrupt && error.message.contains("another checksum"), "{error}");
    assert_eq!(fake.objects()[&key("data", &id)].bytes, vec![7; 1000]);
    fake.set_faults(Faults { hides_checksums: true, ..Faults::default() });
    assert_eq!(store.put(&label("data"), &id, bytes).unwrap(), PutOutcome::AlreadyPresent);
}

#[test]
fn who_may_create_only_can_repeat_an_upload() {
    let denied = vec![(Action::Head, format!("{PREFIX}/data/")), (Action::Get, format!("{PREFIX}/data/"))];
    let (fake, store) = prepared(Faults { denied, ..Faults::default() });
    let (id, bytes) = chunk(1, 1000);
    fake.forget_requests();
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&label("data"), &id, bytes).unwrap(), PutOutcome::AlreadyPresent);
    assert_eq!(store.get(&label("data"), &id, None).unwrap_err().kind, StoreErrorKind::Denied);
}

#[test]
fn lost_answers_and_conflicts_are_repeated() {
    let (fake, store) = prepared(Faults::default());
    let (id, bytes) = chunk(1, 1000);
    fake.set_faults(Faults::default().trouble(Answer::Unanswered, When::Next(1), Some(Action::Put)));
    assert_eq!(store.put(&label("data"), &id, bytes).unwrap(), PutOutcome::AlreadyPresent);
    fake.set_faults(Faults { conflicts: 2, ..Faults::default() });
    let (id, bytes) = chunk(2, 1000);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    for trouble in [
        Answer::SlowDown(Some(0)),
        Answer::InternalError,
        Answer::TooMany(None),
        Answer::Truncated,
        Answer::Flipped,
        Answer::Dropped,
    ] {
        fake.set_faults(Faults::default().trouble(trouble.clone(), When::Next(1), Some(Action::Get)));
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes, "{trouble:?}");
    }
}

#[test]
fn ranges() {
    let (fake, store) = prepared(Faults::default());
    let (id, bytes) = chunk(1, 1000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    for range in [0..1000, 0..1, 999..1000, 100..900, 0..0, 500..500, 1000..1000] {
        let read = store.get(&label("data"), &id, Some(range.start as u64..range.end as u64)).unwrap();
        assert_eq!(read, bytes[range.clone()], "{range:?}");
    }
    for range in [0..1001, 1000..1001, 1001..1001, 2000..3000, 5..2000] {
        let error = store.get(&label("data"), &id, Some(range.clone())).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{range:?}: {error}");
    }
    let (absent, _) = chunk(2, 10);
    for range in [None, Some(0..1), Some(0..0)] {
        assert!(store.get(&label("data"), &absent, range).unwrap_err().is_not_found());
    }
    assert!(store.stat(&label("data"), &absent).unwrap_err().is_not_found());
    fake.remove_object(&key("data", &id));
    assert!(store.get(&label("data"), &id, None).unwrap_err().is_not_found());
}

#[test]
fn what_is_removed_is_gone() {
    let (fake, store) = prepared(Faults::default());
    let (id, bytes) = chunk(1, 10);
    store.put(&label("data"), &id, bytes).unwrap();
    assert_eq!(store.remove(&label("data"), &id).unwrap(), RemoveOutcome::Removed);
    assert_eq!(store.remove(&label("data"), &id).unwrap(), RemoveOutcome::Removed);
    assert!(!fake.objects().contains_key(&key("data", &id)));
}

#[test]
fn only_prepared_places_open() {
    let (fake, store) = unprepared(Faults::default());
    let error = store.open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotInitialised);
    assert!(error.message.contains("OBNAM-CHUNK-STORE") && error.message.contains("obnam init"), "{error}");
    let (id, bytes) = chunk(1, 10);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap_err().kind, StoreErrorKind::NotInitialised);
    assert!(fake.objects().is_empty());

    store.init().unwrap();
    store.open().unwrap();
    // As another computer, and again while there is no chunk.
    let other = open_store(&spec(&fake, &[])).unwrap();
    other.open().unwrap();
    other.init().unwrap();
    other.put(&label("data"), &id, bytes).unwrap();
    let error = store.init().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyInitialised);
    assert!(error.message.contains(&format!("data/{id}")), "{error}");

    fake.set_object(&format!("{PREFIX}/OBNAM-CHUNK-STORE"), Object::new("version 2"));
    assert_eq!(store.open().unwrap_err().kind, StoreErrorKind::Unsupported);
}

#[test]
fn foreign_objects_are_in_the_way_of_init() {
    let (fake, store) = unprepared(Faults::default());
    fake.set_object(&format!("{PREFIX}/photos/1.jpg"), Object::new("x"));
    let error = store.init().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyInitialised);
    assert!(error.message.contains("photos/"), "{error}");
    fake.remove_object(&format!("{PREFIX}/photos/1.jpg"));
    // What lies beside the prefix is nobody's business.
    fake.set_object(&format!("{PREFIX}-old/photos/1.jpg"), Object::new("x"));
    store.init().unwrap();
}

#[test]
fn buckets_are_made_on_request() {
    let (fake, _) = unprepared(Faults::default());
    let mut access = (*fake).clone();
    access.bucket = "another-bucket".into();
    let store = open_store(&spec(&access, &[])).unwrap();
    for error in [store.init().unwrap_err(), store.open().unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::NotInitialised);
        assert!(error.message.contains("no bucket another-bucket"), "{error}");
    }
    let store = open_store(&spec(&access, &[("create-bucket", "yes")])).unwrap();
    assert_eq!(store.open().unwrap_err().kind, StoreErrorKind::NotInitialised);
    assert_eq!(fake.buckets(), [fake.bucket()]);
    store.init().unwrap();
    assert!(fake.buckets().contains(&access.bucket));
    store.open().unwrap();
}

#[test]
fn storage_classes_go_by_label() {
    let (fake, _) = prepared(Faults::default());
    let store = open_store(&spec(&fake, &[("storage-class", "data=GLACIER,tree=STANDARD_IA")])).unwrap();
    let (id, bytes) = chunk(1, 10);
    for (name, class) in [("data", "GLACIER"), ("tree", "STANDARD_IA"), ("roster", "STANDARD")] {
        store.put(&label(name), &id, bytes.clone()).unwrap();
        assert_eq!(fake.objects()[&key(name, &id)].class, class);
    }
    let error = store.get(&label("data"), &id, None).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Archived);
    assert!(error.message.contains("restore it there first"), "{error}");
}

#[test]
fn many_workers_ask_for_the_marker_once() {
    let (fake, _) = prepared(Faults::default());
    let store = open_store(&spec(&fake, &[])).unwrap();
    let (id, bytes) = chunk(1, 10);
    fake.forget_requests();
    store.open().unwrap();
    store.put(&label("data"), &id, bytes).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| drop(store.stat(&label("data"), &id).unwrap())));
        }
    });
    let markers = fake.requests().iter().filter(|request| request.path.ends_with("OBNAM-CHUNK-STORE")).count();
    assert_eq!((markers, fake.requests().len()), (1, 1 + 1 + 40));
}

#[test]
fn ids_are_hashes() {
    assert_eq!(ChunkId::of(b"").to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    // The store compares, so wrong bytes never lie under an id.
    let (fake, store) = prepared(Faults::default());
    let (id, _) = chunk(1, 10);
    let error = store.put(&label("data"), &id, "other".into()).unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Unavailable(_)), "{error}");
    assert!(error.message.contains("did not arrive as they were sent"), "{error}");
    assert!(!fake.objects().contains_key(&key("data", &id)));
}
