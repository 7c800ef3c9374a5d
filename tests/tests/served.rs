//! The program with a server that holds the keys: whole rounds, and what the user is told.

#![allow(clippy::unwrap_used)]

use obnam_tests::proxy::{Behaviour, Passed, Proxy};
use obnam_tests::s3::Access;
use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::s3::garage::Garage;
use obnam_tests::server::{Server, Setup};
use obnam_tests::terminal::on_a_terminal;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Remote, Sandbox, args, run};

/// A tenant with a token for everything.
fn alice(server: &Server) -> Remote {
    server.tenant("alice");
    server.remote("alice", &server.token("alice", &["--preset", "all"]))
}

fn round(store: &Access, setup: &Setup) {
    let server = Server::start(store, setup);
    let proxy = Proxy::start(server.address(), Behaviour::Record);
    let alice = alice(&server);
    let sandbox = Sandbox::at(Remote { location: format!("{}/alice", proxy.endpoint()), ..alice });
    sandbox.obnam(args!["init"]).expect(0);
    tree::small_files(&sandbox.source().join("small"), 500, 1);
    Random(2).write_file(&sandbox.source().join("large"), 40_000_000);
    proxy.forget();
    sandbox.back_up();
    let crossed: u64 = proxy.requests().iter().map(|request: &Passed| request.sent + request.received).sum();
    assert!(crossed < 400_000, "{crossed} bytes of 40 MB went through the server");
    let result = sandbox.back_up();
    assert_eq!(result["statistics"]["new_files"], 0, "{result}");
    sandbox.next_machine();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    // Everything is encrypted, and below the tenant.
    sandbox.obnam(args!["check", "--store"]).expect(0);
}

#[test]
fn a_round_on_a_strict_store() {
    round(&FakeS3::start(Faults::default()), &Setup::default());
}

#[test]
fn a_round_on_garage() {
    round(&Garage::start(), &Setup::default());
}

#[test]
fn a_store_that_was_not_approved_gets_nothing() {
    let store = FakeS3::start(Faults::default());
    let server = Server::start(&store, &Setup::default());
    let alice = alice(&server);
    let sandbox = Sandbox::at(Remote { options: Vec::new(), ..alice.clone() });
    let before = store.requests().len();
    let option = format!("-o data-host={}", store.endpoint());
    sandbox.obnam(args!["init"]).expect(13).says(&["not approved", &option]);
    // Nobody but the server has asked it anything, and the server has only looked.
    let asked: Vec<_> = store.requests().split_off(before);
    let of_server = |headers: &[(String, String)]| headers.iter().any(|(_, value)| value.starts_with("aws-sdk-rust"));
    assert!(asked.iter().all(|one| one.method == "GET" && of_server(&one.headers)), "{asked:?}");
    // Another host, or another port of the same, is not it.
    for other in ["data-host=https://s3.example.org", "data-host=http://127.0.0.1:1"] {
        sandbox.go_to(Remote { options: vec![other.into()], ..alice.clone() });
        sandbox.obnam(args!["init"]).expect(13).says(&["not approved"]);
    }
    sandbox.go_to(alice);
    sandbox.obnam(args!["init"]).expect(0);
}

#[test]
fn the_user_is_asked_once_and_the_profile_keeps_the_answer() {
    let store = FakeS3::start(Faults::default());
    let server = Server::start(&store, &Setup::default());
    let alice = alice(&server);
    let sandbox = Sandbox::at(alice.clone());
    let config = sandbox.local().join("config/obnam/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    let text = format!(
        "# mine\n[profile.default]\nrepository = \"{}\"\nidentity = \"{}\"\n",
        alice.location,
        sandbox.identity().display()
    );
    std::fs::write(&config, &text).unwrap();
    let kept = || std::fs::read_to_string(&config).unwrap();
    // Without a terminal nobody is asked.
    run(sandbox.bare().args(["init"])).expect(13).says(&["not approved"]);
    let said = on_a_terminal(sandbox.bare().args(["init"]), "no\n");
    assert!(said.contains(store.endpoint()) && said.contains("[y/N]") && said.contains("not approved"), "{said}");
    assert_eq!(kept(), text);
    let said = on_a_terminal(sandbox.bare().args(["init"]), "y\n");
    assert!(said.contains("Recovery sheet") && said.contains("config.toml says so from now on"), "{said}");
    assert_eq!(kept(), format!("{text}options = {{ data-host = \"{}\" }}\n", store.endpoint()));
    let said = on_a_terminal(sandbox.bare().args(["snapshots"]), "");
    assert!(!said.contains("[y/N]"), "{said}");
}

#[test]
fn the_token_goes_to_the_server_only() {
    let store = FakeS3::start(Faults::default());
    let server = Server::start(&store, &Setup::default());
    let sandbox = Sandbox::at(alice(&server));
    let before = store.requests().len();
    sandbox.obnam(args!["init"]).expect(0);
    sandbox.back_up();
    sandbox.assert_restores();
    for request in store.requests().split_off(before) {
        let shown = format!("{request:?}");
        assert!(!shown.contains("obn1_") && !shown.contains("Bearer"), "{shown}");
    }
}

#[test]
fn mistakes_are_explained() {
    let store = FakeS3::start(Faults::default());
    let server = Server::start(&store, &Setup::default());
    let alice = alice(&server);
    let sandbox = Sandbox::at(alice.clone());
    let says = |remote: Remote, code: i32, words: &[&str]| {
        sandbox.go_to(remote);
        sandbox.obnam(args!["snapshots"]).expect(code).says(words);
    };
    says(alice.clone(), 10, &["obnam init"]);
    let token = |token: &str| vec![("OBNAM_SERVER_TOKEN", token.to_owned())];
    says(Remote { environment: Vec::new(), ..alice.clone() }, 13, &["no token", "OBNAM_SERVER_TOKEN"]);
    says(Remote { environment: token("obn1_wrong"), ..alice.clone() }, 13, &["does not accept the token"]);
    says(Remote { environment: token("two words"), ..alice.clone() }, 17, &["copied whole"]);
    server.tenant("bob");
    let bob = format!("{}/bob", server.url);
    says(Remote { location: bob, ..alice.clone() }, 10, &["no such tenant", "tenant create"]);
    let none = format!("{}/", server.url);
    says(Remote { location: none, ..alice.clone() }, 17, &["names no tenant"]);
    // Something else than a server is there: an S3 store.
    let other = format!("{}/alice", store.endpoint());
    says(Remote { location: other, ..alice }, 13, &["not as obnam-server does"]);
}

/// The packs of data whose URLs were asked for, each as often as it was.
fn urls_of_data(proxy: &Proxy) -> Vec<String> {
    let is_url = |request: &Passed| request.method == "GET" && request.query == "label=data" && request.status == 200;
    let mut urls: Vec<String> = proxy.requests().into_iter().filter(is_url).map(|request| request.path).collect();
    urls.sort();
    urls
}

#[test]
fn a_url_is_used_for_all_parts_of_a_chunk_until_it_ends() {
    let store = FakeS3::start(Faults::default());
    // An URL is not used in its last 20 seconds.
    for (lifetime, limit, once) in [("15m", "1G", true), ("21s", "8M", false)] {
        let more =
            format!("[urls]\nlifetime = \"{lifetime}\"\n[limits]\ntoken-requests = 1000\naddress-requests = 1000\n");
        let server = Server::start(&store, &Setup { more, ..Setup::default() });
        let proxy = Proxy::start(server.address(), Behaviour::Record);
        server.tenant(&format!("tenant-{lifetime}"));
        let tenant = format!("tenant-{lifetime}");
        let remote = server.remote(&tenant, &server.token(&tenant, &["--preset", "all"]));
        let sandbox = Sandbox::at(Remote { location: format!("{}/{tenant}", proxy.endpoint()), ..remote });
        sandbox.obnam(args!["init"]).expect(0);
        Random(2).write_file(&sandbox.source().join("large"), 40_000_000);
        sandbox.back_up();
        proxy.forget();
        let target = sandbox.fresh("restored");
        let options = args!["--connections", "1", "--limit-download", limit, "restore", "latest", target];
        sandbox.obnam(options).expect(0);
        tree::assert_same(&sandbox.source(), &obnam_tests::below(&target, &sandbox.source()));
        let mut packs = urls_of_data(&proxy);
        let asked = packs.len();
        packs.dedup();
        assert!(packs.len() >= 3, "{packs:?}");
        assert_eq!(asked == packs.len(), once, "{lifetime}: {asked} URLs for {} packs", packs.len());
    }
}
