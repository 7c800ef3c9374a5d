//! Plugins that attack the host, and plugins (or the storage behind them) that attack the repository. Each attack is stopped
//! or noticed, other stores of the process work afterwards, and the memory that it took comes back. What other files of
//! tests show is not shown again here; docs/threat-model.md lists all of it.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use obnam::chunk::LabelFilter;
use obnam::plugin::{
    Candidate, Component, HttpSettings, Limits, PluginInfo, PluginSource, PluginStore, StoreSpec, Wish, inspect,
    open_store,
};
use obnam::store::{ChunkStore, StoreError, StoreErrorKind};
use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, run};
use plugin_support::{chunk, label, local_store, misbehaving_spec, test_limits, text};

/// What may stay of the memory that an attack took: the allocator keeps some, and so do compiled components.
const ROOM: u64 = 128 << 20;

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Another store in the same process works.
fn others_are_well() {
    let top = tempfile::tempdir().unwrap();
    let store = local_store(&top.path().join("store"));
    let (id, bytes) = chunk(1, 100_000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
}

/// Makes an attack, and looks how the host is afterwards. One at a time, so that the memory is that of this one.
fn attack<T>(attack: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    others_are_well();
    let before = resident();
    let answer = attack();
    others_are_well();
    // Threads of instances end after their last word.
    let start = Instant::now();
    while resident() > before + ROOM {
        assert!(start.elapsed() < Duration::from_secs(20), "{} bytes before, {} after", before, resident());
        thread::sleep(Duration::from_millis(20));
    }
    answer
}

/// Limits under which an attack ends soon: it is made three times.
fn limits() -> Limits {
    Limits { cpu: Duration::from_millis(500), memory: 256 << 20, ..test_limits() }
}

/// What comes of a call to the guest that misbehaves in this manner.
fn misbehave<T>(manner: &str, call: impl FnOnce(&PluginStore) -> Result<T, StoreError>) -> StoreError {
    misbehave_within(limits(), manner, call)
}

fn misbehave_within<T>(
    limits: Limits,
    manner: &str,
    call: impl FnOnce(&PluginStore) -> Result<T, StoreError>,
) -> StoreError {
    let top = tempfile::tempdir().unwrap();
    let error = attack(|| {
        let store = open_store(&StoreSpec { limits, ..misbehaving_spec(top.path(), manner) })?;
        call(&store)
    });
    let error = error.map(drop).unwrap_err();
    eprintln!("{manner}: {error}");
    error
}

#[track_caller]
fn assert_says(error: &StoreError, kind: StoreErrorKind, words: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in: {error}");
    }
}

fn put(store: &PluginStore) -> Result<(), StoreError> {
    let (id, bytes) = chunk(7, 1000);
    store.put(&label("data"), &id, bytes).map(drop)
}

type Called = fn(&PluginStore) -> Result<(), StoreError>;

/// Each function of the contract but `describe`, with a call that comes to it.
fn functions() -> [(&'static str, Called); 9] {
    [
        ("plan", |_| Ok(())),
        ("init", |store| store.init()),
        ("open", |store| store.open()),
        ("put", put),
        ("get", |store| store.get(&label("data"), &chunk(7, 10).0, None).map(drop)),
        ("stat", |store| store.stat(&label("data"), &chunk(7, 10).0).map(drop)),
        ("list", |store| store.list(&LabelFilter::All).map(drop)),
        ("remove", |store| store.remove(&label("data"), &chunk(7, 10).0).map(drop)),
        ("check", |store| store.check().map(drop)),
    ]
}

/// The guest with another `describe`.
fn describing(manner: &str) -> Result<PluginInfo, StoreError> {
    let (from, to) = (b"describe:nothing", format!("{:_<16}", format!("describe:{manner}")));
    let mut bytes = fs::read(env!("GUEST_MISBEHAVING")).unwrap();
    let place = bytes.windows(from.len()).position(|window| window == from).expect("the guest's own describe");
    bytes[place..place + from.len()].copy_from_slice(to.as_bytes());
    component(&bytes, limits())
}

/// What a component says that it is, if it comes to that.
fn component(bytes: &[u8], limits: Limits) -> Result<PluginInfo, StoreError> {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("plugin.wasm");
    fs::write(&file, bytes).unwrap();
    attack(|| inspect(&PluginSource::File(file.clone()), None, &limits))
}

#[test]
fn a_panic_in_every_function() {
    assert_eq!(describing("nothing").unwrap().name, "misbehaving");
    let error = describing("panic").unwrap_err();
    assert_says(&error, StoreErrorKind::Plugin, &["could not ask what it is", "deliberate, in describe"]);
    for (name, call) in functions() {
        let error = misbehave(&format!("{name}:panic"), call);
        assert_says(&error, StoreErrorKind::Plugin, &["it was stopped", &format!("deliberate, in {name}")]);
    }
}

#[test]
fn an_endless_loop_in_every_function() {
    let within = "500ms of processor time";
    assert_says(&describing("loop").unwrap_err(), StoreErrorKind::Plugin, &[within]);
    for (name, call) in functions() {
        assert_says(&misbehave(&format!("{name}:loop"), call), StoreErrorKind::Plugin, &[within]);
    }
}

#[test]
fn memory_bombs_and_stack_bombs() {
    for place in ["plan", "open", "list"] {
        let call = functions().into_iter().find(|(name, _)| *name == place).unwrap().1;
        let limits = Limits { cpu: Duration::from_secs(20), ..limits() };
        let error = misbehave_within(limits, &format!("{place}:memory"), call);
        assert_says(&error, StoreErrorKind::Plugin, &["it wanted more than its 256 MiB of memory"]);
        let error = misbehave_within(limits, &format!("{place}:stack"), call);
        assert_says(&error, StoreErrorKind::Plugin, &["it was stopped"]);
    }
    assert_says(&describing("stack").unwrap_err(), StoreErrorKind::Plugin, &["it was stopped"]);
    assert_says(&describing("memory").unwrap_err(), StoreErrorKind::Plugin, &["it was stopped"]);
}

/// A component that attacks before it has said anything: by the start function of a core module, of which it has several.
/// Its functions have the right names, and nothing else.
fn bomb(modules: usize, start: &str) -> StoreError {
    let instances: String =
        (0..modules).map(|number| format!("(core instance $i{number} (instantiate $m))\n")).collect();
    let methods = ["put", "get", "stat", "list", "remove", "check"];
    let methods = methods.map(|name| {
        format!("(export \"[method]store.{name}\" (func $method) (func (param \"self\" (borrow $store))))\n")
    });
    let text = format!(
        r#"(component
            (core module $m
                (memory 1)
                (table $t 1 funcref)
                (func $start {start})
                (start $start)
                (func (export "f") unreachable)
                (func (export "g") (param i32) unreachable))
            {instances}
            (type $resource (resource (rep i32)))
            (func $function (canon lift (core func $i0 "f")))
            (func $method (param "self" (borrow $resource)) (canon lift (core func $i0 "g")))
            (component $shape
                (import "resource" (type $resource (sub resource)))
                (import "function" (func $function))
                (import "method" (func $method (param "self" (borrow $resource))))
                (export $store "store" (type $resource))
                (export "describe" (func $function))
                (export "plan" (func $function))
                (export "[static]store.init" (func $function))
                (export "[static]store.open" (func $function))
                {})
            (instance $contract (instantiate $shape
                (with "resource" (type $resource))
                (with "function" (func $function))
                (with "method" (func $method))))
            (export "obnam:chunk-store/chunk-store@0.1.0" (instance $contract)))"#,
        methods.concat()
    );
    let error = component(&wat::parse_str(text).unwrap(), limits()).unwrap_err();
    eprintln!("{start}: {error}");
    error
}

#[test]
fn a_component_that_attacks_before_it_says_what_it_is() {
    let table = "(loop $l (drop (table.grow $t (ref.null func) (i32.const 100000))) (br $l))";
    assert_says(&bomb(1, table), StoreErrorKind::Plugin, &["larger tables than it may have"]);
    // Many small ones count together.
    let table = "(drop (table.grow $t (ref.null func) (i32.const 100000)))";
    assert_says(&bomb(20, table), StoreErrorKind::Plugin, &["larger tables than it may have"]);
    let memory = "(loop $l (drop (memory.grow (i32.const 16))) (br $l))";
    assert_says(&bomb(1, memory), StoreErrorKind::Plugin, &["more than its 256 MiB of memory"]);
    let memory = "(drop (memory.grow (i32.const 1000)))";
    assert_says(&bomb(20, memory), StoreErrorKind::Plugin, &["more than its 256 MiB of memory"]);
    assert_says(&bomb(1, "(call $start)"), StoreErrorKind::Plugin, &["call stack exhausted"]);
    assert_says(&bomb(1, "(loop $l (br $l))"), StoreErrorKind::Plugin, &["500ms of processor time"]);
    assert_says(&bomb(300, "(nop)"), StoreErrorKind::Plugin, &["resource limit exceeded"]);
}

#[test]
fn huge_answers() {
    let limits = Limits { cpu: Duration::from_secs(20), ..limits() };
    for place in ["plan", "list", "check"] {
        let call = functions().into_iter().find(|(name, _)| *name == place).unwrap().1;
        let error = misbehave_within(limits, &format!("{place}:huge"), call);
        assert!(matches!(error.kind, StoreErrorKind::Plugin | StoreErrorKind::Denied), "{error}");
    }
    let error = misbehave_within(limits, "put:long-error", put);
    assert!(error.kind == StoreErrorKind::Other && error.message.len() < 3000, "{}", error.message.len());
    let error = misbehave("stat:large", |store| store.stat(&label("data"), &chunk(7, 10).0).map(drop));
    assert_says(&error, StoreErrorKind::Corrupt, &["more than a chunk can have"]);
}

#[test]
fn floods_of_output_from_every_function() {
    let top = tempfile::tempdir().unwrap();
    let limits = Limits { cpu: Duration::from_secs(20), ..limits() };
    for place in ["plan", "open", "stat"] {
        attack(|| {
            let manner = format!("{place}:flood");
            let store = open_store(&StoreSpec { limits, ..misbehaving_spec(top.path(), &manner) }).unwrap();
            store.open().unwrap();
            assert!(store.stat(&label("data"), &chunk(7, 10).0).unwrap_err().is_not_found());
        });
    }
    assert!(describing("flood").is_ok());
}

#[test]
fn nothing_of_the_surroundings_is_seen() {
    let error = misbehave("put:surroundings", put);
    assert_says(&error, StoreErrorKind::Other, &["0 arguments, 0 variables, input: 0 bytes"]);
    // Clocks and random bytes reach whoever declares them, as `plugin inspect` shows.
    let imports = |file: &str| inspect(&PluginSource::File(PathBuf::from(file)), None, &limits()).unwrap().imports;
    let has = |imports: &[String], name: &str| imports.iter().any(|import| import.starts_with(name));
    let (web, broken) = (imports(env!("GUEST_MISBEHAVING")), imports(env!("GUEST_BROKEN")));
    assert!(has(&web, "wasi:clocks/monotonic-clock@") && has(&web, "wasi:random/insecure@"), "{web:?}");
    assert!(has(&broken, "wasi:random/random@") && !has(&broken, "wasi:random/insecure@"), "{broken:?}");
    assert!(!has(&broken, "wasi:http/") && !has(&broken, "wasi:sockets/"), "{broken:?}");
}

#[test]
fn random_bytes_are_counted() {
    let error = misbehave_within(Limits { cpu: Duration::from_secs(20), ..limits() }, "put:random", put);
    assert_says(&error, StoreErrorKind::Plugin, &["it asked for more than 16777216 random bytes in one call"]);
    let error = misbehave("put:much-random", put);
    assert_says(&error, StoreErrorKind::Plugin, &["it was stopped"]);
}

#[test]
fn another_chunk_is_none() {
    let top = tempfile::tempdir().unwrap();
    let error = attack(|| {
        let store = open_store(&StoreSpec { limits: limits(), ..misbehaving_spec(top.path(), "get:another") }).unwrap();
        for seed in [7, 8] {
            let (id, bytes) = chunk(seed, 1000);
            store.put(&label("data"), &id, bytes).unwrap();
        }
        store.get(&label("data"), &chunk(7, 1000).0, None).map(drop).unwrap_err()
    });
    assert_says(&error, StoreErrorKind::Corrupt, &["are not those of the chunk"]);
}

/// The spec of the guest that keeps chunks on a web server.
fn web(location: &str, options: &[(&str, &str)]) -> StoreSpec {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    StoreSpec {
        source: PluginSource::File(PathBuf::from(env!("GUEST_HTTP"))),
        location: location.to_owned(),
        options: options.collect(),
        http: HttpSettings { plain_http: true, ..HttpSettings::default() },
        ..misbehaving_spec(Path::new("/nowhere"), "")
    }
}

/// A server that gives a chunk away byte by byte, and tells nobody when it ends.
fn dripping() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 206 Partial\r\ncontent-length: 1000000\r\n\r\n");
                while stream.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    port
}

#[test]
fn a_slow_drip_of_bytes_ends() {
    let location = format!("http://127.0.0.1:{}", dripping());
    // No pause is as long as `idle`: what ends it is that the whole takes too long for so many bytes.
    let limits = Limits { call: Duration::from_secs(1), min_rate: 1 << 20, instance_tries: 1, ..test_limits() };
    let error = attack(|| {
        let store = open_store(&StoreSpec { limits, ..web(&location, &[]) }).unwrap();
        store.get(&label("data"), &chunk(7, 10).0, Some(0..1_000_000)).map(drop).unwrap_err()
    });
    assert_says(&error, StoreErrorKind::Plugin, &["the call took longer than 1s"]);
}

/// What comes of a request to an origin that the plugin wished for by itself, and that the user said yes to.
fn approved(origin: &str, target: &str) -> String {
    // The mark, which the guest takes away, makes of it what no user would have written to name an origin.
    let spec = web("web:x", &[("wish", &format!("!{origin}")), ("target", &format!("!{target}"))]);
    let candidate = Candidate::new(&Component::read(&spec.source).unwrap(), &spec).unwrap();
    let wishes = candidate.beyond(&[]);
    assert_eq!(wishes, [Wish::Origin { origin: origin.to_owned() }]);
    candidate.open(&wishes).unwrap().check().unwrap().remove(0).message
}

#[test]
fn a_name_that_resolves_to_loopback() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    // Names to whoever reads them, and loopback to the resolver. Nobody has written them himself.
    for name in ["127.1", "2130706433", "0x7f000001"] {
        let origin = format!("http://{name}:{port}");
        let said = attack(|| approved(&origin, &format!("{origin}/x")));
        assert_eq!(said, "ErrorCode::DestinationIpProhibited", "{name}");
    }
    assert!(listener.accept().is_err(), "somebody has connected");
}

#[test]
fn a_name_that_resolves_to_a_metadata_address() {
    // 169.254.169.254, also for somebody who names it with the location.
    for name in ["169.254.43518", "2852039166"] {
        let url = format!("http://{name}:80/x");
        let said = attack(|| open_store(&web(&url, &[("target", &url)])).unwrap().check().unwrap().remove(0).message);
        assert_eq!(said, "ErrorCode::DestinationIpProhibited", "{name}");
        let said = attack(|| approved(&format!("http://{name}"), &format!("http://{name}/x")));
        assert_eq!(said, "ErrorCode::DestinationIpProhibited", "{name}");
    }
}

#[test]
fn an_approved_origin_is_the_only_one() {
    let said = attack(|| approved("https://cdn.example", "http://169.254.169.254/x"));
    assert_eq!(said, "ErrorCode::HttpRequestDenied");
    let said = attack(|| approved("https://cdn.example", "https://cdn.example:444/x"));
    assert_eq!(said, "ErrorCode::HttpRequestDenied");
}

/// Whole backups by way of a plugin file that lies.
struct Lying(Sandbox);

impl Lying {
    /// A repository with two snapshots and several packs, made while the plugin still behaved.
    fn new() -> Self {
        let lying = Lying(Sandbox::new());
        lying.honest(args!["init"]).expect(0);
        Random(1).write_file(&lying.0.source().join("large"), 40_000_000);
        lying.honest(args!["backup", lying.0.source()]).expect(0);
        fs::write(lying.0.source().join("second"), "second").unwrap();
        lying.honest(args!["backup", lying.0.source()]).expect(0);
        lying
    }

    fn honest<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.0.with_plugin(Path::new(env!("GUEST_BROKEN")), arguments))
    }

    fn with<S: AsRef<std::ffi::OsStr>>(&self, fault: &str, arguments: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.0.with_plugin(Path::new(env!("GUEST_BROKEN")), arguments);
        run(command.arg("-o").arg(format!("fault={fault}")))
    }
}

#[test]
fn lies_and_withholding_and_replay_by_a_plugin() {
    let lying = Lying::new();
    let sandbox = &lying.0;
    // Sizes in a listing.
    lying.honest(["check"]).expect(0);
    lying.with("lists-wrong-sizes", ["check"]).expect(4);
    // Sizes that `stat` tells cost an upload at most.
    lying.with("stat-lies", args!["backup", sandbox.source()]).expect(0);
    // What is there, and not listed.
    lying.with("hides-snapshots", ["snapshots"]).expect(0).says(&["the store has lost or hides it"]);
    lying.with("hides-snapshots", ["check"]).expect(4);
    // The bytes of another pack, whole or in part.
    let target = sandbox.fresh("restored");
    let ran = lying.with("gives-another-pack", args!["--json", "restore", "latest", target]);
    assert_eq!(ran.code, Some(3), "{}", ran.all());
    let problems = ran.result()["problems"].as_array().unwrap().clone();
    assert!(!problems.is_empty(), "{}", ran.all());
    let large = obnam_tests::below(&target, &sandbox.source()).join("large");
    let zeros_or_right = |(got, right): (&u8, &u8)| *got == 0 || got == right;
    if let Ok(restored) = fs::read(&large) {
        let right = fs::read(sandbox.source().join("large")).unwrap();
        assert!(restored.iter().zip(&right).all(zeros_or_right), "other bytes than those that were backed up");
    }
    // An old state of the whole store, served again.
    let (now, before) = (sandbox.repository(), sandbox.path("before"));
    copy(&now, &before);
    fs::write(sandbox.source().join("third"), "third").unwrap();
    lying.honest(args!["backup", sandbox.source()]).expect(0);
    fs::rename(&now, sandbox.path("newest")).unwrap();
    fs::rename(&before, &now).unwrap();
    lying.honest(["snapshots"]).expect(0).says(&["the store has lost or hides it"]);
    let findings = lying.honest(["--json", "check"]).expect(4).result()["findings"].to_string();
    assert!(findings.contains("history-rolled-back"), "{findings}");
    // Nothing of that has harmed what is there.
    fs::remove_dir_all(&now).unwrap();
    fs::rename(sandbox.path("newest"), &now).unwrap();
    let target = sandbox.fresh("restored");
    lying.honest(args!["restore", "latest", target]).expect(0);
    tree::assert_same(&sandbox.source(), &obnam_tests::below(&target, &sandbox.source()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn what_an_attack_leaves_behind_is_bounded() {
    let top = tempfile::tempdir().unwrap();
    let before = attack(resident);
    for round in 0..5 {
        let limits = Limits { cpu: Duration::from_secs(20), ..limits() };
        attack(|| {
            let spec = StoreSpec { limits, workers: 4, ..misbehaving_spec(top.path(), "put:memory") };
            let store = open_store(&spec).unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert_eq!(put(&store).unwrap_err().kind, StoreErrorKind::Plugin));
                }
            });
        });
        eprintln!("round {round}: {} MiB", resident() >> 20);
    }
    // It does not add up.
    let after = attack(resident);
    assert!(after < before + ROOM, "{before} bytes before, {after} after");
    assert!(text(top.path()).starts_with('/'));
}
