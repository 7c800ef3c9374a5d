use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::profile::{KEYS, PassphraseSource};
use super::*;

fn parse(text: &str) -> (Config, Vec<Mistake>) {
    Config::parse(Path::new("/etc/c.toml"), text, Some(Path::new("/home/me")))
}

/// The only mistake: line, column, message.
fn mistake(text: &str) -> (usize, usize, String) {
    let (_, mistakes) = parse(text);
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    let place = mistakes[0].place.expect("a place");
    (place.line, place.column, mistakes[0].message.clone())
}

/// Every key, with a value.
const EVERY_KEY: &str = r#"
default-profile = "home"

[profile.home]
repository = "~/backup"
backend = "~/b.wasm"
options = { region = "eu", retries = 3, fast = true }
trust = ["4444444444444444444444444444444444444444444444444444444444ABCDEF"]
plugin-limits = { memory = "1G", handles = 100 }
identity = "/etc/identity"
repository-id = "1111111111111111111111111111111111111111111111111111111111111111"
credential = "2222222222222222222222222222222222222222222222222222222222222222"
passphrase-command = "pass show obnam"
sources = ["~/", "/etc"]
tags = ["daily"]
host = "laptop"
exclude = ["*.tmp", "~/.cache/", "!~/.cache/keep"]
exclude-from = ["~/.exclude"]
exclude-if-present = [".nobackup"]
exclude-caches = true
exclude-larger-than = "4G"
ignore-file = [".gitignore"]
one-file-system = true
ca-file = "~/ca.pem"
plain-http = true
proxy = "http://proxy.example:3128"
connections = 16
limit-upload = "2M"
limit-download = "10M"
sync-to = "other"
before = ["~/bin/before", "a", ""]
after = ["sh", "-c", "~/x/y"]
failed = ["false"]
hook-limit = "90s"
health-check = "https://hc.example/ping/abc"
metrics = "~/obnam.prom"

[profile.other]
extends = "bare"
repository = "s3://bucket/path"
passphrase-file = "~/passphrase"

[profile.bare]
"#;

#[test]
fn every_key_is_read() {
    let (config, mistakes) = parse(EVERY_KEY);
    assert_eq!(mistakes, []);
    for key in KEYS {
        assert!(EVERY_KEY.contains(key), "{key} is not under test");
    }
    let home = config.default_profile().expect("is there").expect("is named");
    assert_eq!(home.name, "home");
    let repository = home.repository.as_ref().expect("a repository");
    assert_eq!((repository.value.as_str(), repository.place.line), ("/home/me/backup", 5));
    assert_eq!(home.backend.as_ref().expect("set").value, Path::new("/home/me/b.wasm"));
    let mut options: Vec<_> = home.options.iter().map(|option| option.value.clone()).collect();
    options.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options, [pair("fast", "true"), pair("region", "eu"), pair("retries", "3")]);
    let mut limits: Vec<_> = home.plugin_limits.iter().map(|limit| limit.value.clone()).collect();
    limits.sort();
    assert_eq!(limits, [pair("handles", "100"), pair("memory", "1G")]);
    assert_eq!(home.trust[0].value, format!("{}abcdef", "4".repeat(58)));
    let values = |list: &[Setting<String>]| list.iter().map(|item| item.value.clone()).collect::<Vec<_>>();
    let sources: Vec<_> = home.sources.iter().map(|source| source.value.clone()).collect();
    assert_eq!(sources, [PathBuf::from("/home/me"), PathBuf::from("/etc")]);
    assert_eq!(values(&home.exclude), ["*.tmp", "/home/me/.cache/", "!/home/me/.cache/keep"]);
    assert_eq!(values(&home.exclude_if_present), [".nobackup"]);
    assert_eq!(home.exclude_from[0].value, Path::new("/home/me/.exclude"));
    assert_eq!(values(&home.tags), ["daily"]);
    assert_eq!(home.exclude_larger_than.as_ref().expect("set").value, "4G");
    assert_eq!(home.ignore_file[0].value, ".gitignore");
    assert!(home.exclude_caches.as_ref().is_some_and(|flag| flag.value));
    assert!(home.one_file_system.as_ref().is_some_and(|flag| flag.value));
    assert_eq!(home.ca_file.as_ref().expect("set").value, Path::new("/home/me/ca.pem"));
    assert!(home.plain_http.as_ref().is_some_and(|flag| flag.value));
    assert_eq!(home.proxy.as_ref().expect("set").value, "http://proxy.example:3128");
    assert_eq!(home.connections.as_ref().expect("set").value, 16);
    let rates = [&home.limit_upload, &home.limit_download].map(|rate| rate.as_ref().expect("set").value.clone());
    assert_eq!(rates, ["2M", "10M"]);
    let hooks: Vec<_> = home.hooks().map(|(key, command)| (key, command.value.join(" "))).collect();
    let hook = |key: &'static str, command: &str| (key, command.to_owned());
    let expected = [hook("before", "/home/me/bin/before a "), hook("after", "sh -c ~/x/y"), hook("failed", "false")];
    assert_eq!(hooks, expected);
    assert_eq!(home.hook_limit.as_ref().expect("set").value.as_secs(), 90);
    assert_eq!(home.around().collect::<Vec<_>>(), ["before", "after", "failed", "health-check", "metrics"]);
    let command = &home.passphrase.as_ref().expect("set").value;
    assert_eq!(command, &PassphraseSource::Command("pass show obnam".into()));
    let other = config.profile("other").expect("is there");
    assert_eq!(other.repository.as_ref().expect("set").value, "s3://bucket/path");
    let file = &other.passphrase.as_ref().expect("set").value;
    assert_eq!(file, &PassphraseSource::File("/home/me/passphrase".into()));
}

#[test]
fn every_key_is_inherited() {
    let (config, mistakes) = parse(&format!("{EVERY_KEY}\n[profile.heir]\nextends = \"home\"\n"));
    assert_eq!(mistakes, []);
    let (home, heir) = (config.profile("home").expect("is there"), config.profile("heir").expect("is there"));
    let place = home.repository.as_ref().expect("set").place;
    assert_eq!((heir.owner(place), home.owner(place)), ("home", "home"));
    let same = profile::Profile {
        name: home.name.clone(),
        extends: None,
        given: home.given.clone(),
        inherited: home.inherited.clone(),
        ..heir.clone()
    };
    assert_eq!(format!("{same:?}"), format!("{home:?}"));
}

#[test]
fn what_a_profile_says_itself_counts() {
    let text = r#"
[profile.base]
repository = "/base"
repository-id = "1111111111111111111111111111111111111111111111111111111111111111"
options = { region = "eu", style = "path" }
passphrase-command = "pass"
exclude = ["a", "b"]
tags = ["base"]
exclude-caches = true
[profile.middle]
extends = "base"
tags = []
options = { region = "us" }
[profile.end]
extends = "middle"
exclude = ["c"]
exclude-caches = false
passphrase-file = "/file"
[profile.elsewhere]
extends = "end"
repository = "/elsewhere"
"#;
    let (config, mistakes) = parse(text);
    assert_eq!(mistakes, []);
    let end = config.profile("end").expect("is there");
    let values = |list: &[Setting<String>]| list.iter().map(|item| item.value.clone()).collect::<Vec<_>>();
    assert_eq!((values(&end.exclude), values(&end.tags)), (vec!["c".to_owned()], vec![]));
    assert!(!end.exclude_caches.as_ref().expect("set").value);
    assert_eq!(end.passphrase.as_ref().expect("set").value, PassphraseSource::File("/file".into()));
    let options: Vec<_> = end.options.iter().map(|option| (option.value.clone(), end.owner(option.place))).collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options, [(pair("region", "us"), "middle"), (pair("style", "path"), "base")]);
    let repository = end.repository.as_ref().expect("set");
    assert_eq!((repository.value.as_str(), end.owner(repository.place)), ("/base", "base"));
    assert!(end.repository_id.is_some());
    // What belongs to another repository is not taken over.
    let elsewhere = config.profile("elsewhere").expect("is there");
    assert_eq!((&elsewhere.repository_id, elsewhere.options.as_slice()), (&None, [].as_slice()));
    assert_eq!(values(&elsewhere.exclude), ["c"]);
    assert!(elsewhere.passphrase.is_some());
}

#[test]
fn nobody_extends_what_is_not_there_or_itself() {
    let (line, column, message) =
        mistake("[profile.home]\n[profile.a]\nextends = \"hone\"\n[profile.b]\nextends = \"a\"\n");
    assert_eq!((line, column), (3, 11));
    assert!(message.contains("[profile.a]") && message.contains("did you mean \"home\"?"), "{message}");
    let (line, _, message) = mistake("[profile.a]\nextends = \"a\"\n");
    assert_eq!((line, message.as_str()), (2, "extends goes in a circle: a -> a"));
    let circle = "[profile.x]\nextends = \"c\"\n[profile.c]\nextends = \"b\"\n[profile.b]\nextends = \"c\"\n";
    let (line, _, message) = mistake(circle);
    assert_eq!((line, message.as_str()), (6, "extends goes in a circle: b -> c -> b"));
}

#[test]
fn mistakes_have_a_place_and_a_way_out() {
    let said = |text: &str, line: usize, column: usize, words: &[&str]| {
        let (found_line, found_column, message) = mistake(text);
        assert_eq!((found_line, found_column), (line, column), "{text}: {message}");
        for word in words {
            assert!(message.contains(word), "{text}: {message}");
        }
    };
    let profile = |line: &str| format!("[profile.a]\n{line}\n");
    said(&profile("exlude = []"), 2, 1, &["\"exlude\"", "[profile.a]", "did you mean \"exclude\"?"]);
    said(&profile("repository_id = \"\""), 2, 1, &["\"repository-id\"?"]);
    said(&profile("password-command = \"x\""), 2, 1, &["\"passphrase-command\"?"]);
    said(&profile("frobnicate = 1"), 2, 1, &["known are repository, "]);
    said(&profile("passphrase = \"x\""), 2, 1, &["no passphrase is kept", "passphrase-command"]);
    said(&profile("sources = \"/home\""), 2, 11, &["a list", "sources = [\"/home\"]"]);
    said(&profile("sources = [\"/a\", 5]"), 2, 18, &["quotation marks"]);
    said(&profile("sources = [\"/a\",\n  \"b\"]"), 3, 3, &["begin it with / or ~/"]);
    said(&profile("identity = \"$HOME/x\""), 2, 12, &["variables are not filled in", "~/"]);
    said(&profile("before = \"mount /x\""), 2, 10, &["[\"mount\", \"/x\"]"]);
    said(&profile("after = [\"bin/x\"]"), 2, 9, &["after in", "another place in every directory"]);
    said(&profile("identity = \"~you/x\""), 2, 12, &["only ~/"]);
    said(&profile("repository = \"\""), 2, 14, &["is empty"]);
    said(&profile("repository = \"file:x\""), 2, 14, &["begin it with"]);
    said(&profile("repository-id = \"12\""), 2, 17, &["repository-id"]);
    said(&profile("exclude-caches = \"yes\""), 2, 18, &["true or false"]);
    said(&profile("passphrase-file = \"/a\"\npassphrase-command = \"b\""), 3, 22, &["exclude each other"]);
    said(&profile("passphrase-command = \"b\"\npassphrase-file = \"/a\""), 3, 1, &["exclude each other"]);
    said("[home]\nrepository = \"/x\"", 1, 2, &["[profile.home]"]);
    said("[profiles.home]\n", 1, 2, &["did you mean \"profile\"?"]);
    said("repository = \"/x\"\n", 1, 1, &["[profile.default]"]);
    said("[profile]\nrepository = \"/x\"\n", 2, 1, &["[profile.default]"]);
    said("default-profile = \"hone\"\n[profile.home]\n", 1, 19, &["did you mean \"home\"?"]);
    said("[profile.a]\nhost = \"unclosed\nsources = []\n", 2, 17, &["string"]);
    let (_, many) = parse("[profile.a]\nexlude = []\nhost = 3\n\n[profile.b]\ntag = []\npassphrase = \"\"\n");
    let lines: Vec<_> = many.iter().map(|mistake| mistake.place.expect("a place").line).collect();
    assert_eq!(lines, [2, 3, 6, 7]);
}

#[test]
fn places_count_characters() {
    let text = "äöü = 1\nβ = ['x', 'ü']\n";
    let at = text.find("'ü'").expect("is there");
    assert_eq!(Place::of(text, at..at + "'ü'".len()), Place { line: 2, column: 11, width: 3 });
    assert_eq!(Place::of(text, text.len()..text.len()).line, 3);
    assert_eq!(Place::of(text, 0..text.len()).width, 7);
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    use proptest::prelude::*;
    let word = prop_oneof![
        "[\\[\\]=\"'{}#.\n ~/$äß\\\\]{0,6}",
        Just("[profile.a]\n".to_owned()),
        proptest::sample::select(KEYS.as_slice()).prop_map(|key| format!("{key} = ")),
        ".{0,8}",
    ];
    proptest!(|(words in proptest::collection::vec(word, 0..20))| {
        let text = words.concat();
        let (_, mistakes) = parse(&text);
        for place in mistakes.iter().filter_map(|mistake| mistake.place) {
            prop_assert!(place.line >= 1 && place.line <= text.split('\n').count());
            prop_assert!(place.column >= 1 && place.width >= 1);
        }
    });
}

#[test]
fn unknown_profiles_are_said_with_those_that_there_are() {
    let (config, _) = parse("[profile.home]\n[profile.photos]\n");
    let message = |name: &str| config.profile(name).expect_err("is not there").to_string();
    assert!(message("hoem").contains("did you mean \"home\"?"));
    assert!(message("x").contains("there are home, photos"));
    assert!(config.default_profile().expect("no mistake").is_none());
    assert!(parse("").0.profile("home").expect_err("is not there").to_string().contains("[profile.home]"));
}

#[test]
fn the_example_is_good_in_all_its_parts() {
    let known = example::Known {
        profile: "my \"own\"",
        repository: Some("/mnt/a \"disk\"\\"),
        backend: Some(Path::new("/b.wasm")),
        identity: Some(Path::new("/i")),
        repository_id: Some("2222222222222222222222222222222222222222222222222222222222222222"),
        source: Some(Path::new("/home/me")),
    };
    let (config, mistakes) = parse(&example::text(&known));
    assert_eq!(mistakes, []);
    let profile = config.profile("my \"own\"").expect("is there");
    assert_eq!(profile.repository.as_ref().expect("set").value, "/mnt/a \"disk\"\\");
    assert!(profile.repository_id.is_some() && profile.identity.is_some() && profile.backend.is_some());
    // Also with every comment that is a setting made one.
    let bare = example::text(&example::Known { profile: DEFAULT, ..example::Known::default() });
    let uncommented: Vec<String> = bare
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") && !setting.contains("passphrase-file") => setting.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    let text = uncommented
        .join("\n")
        .replace("\"home\"", "\"default\"")
        .replace("\"...\"", &format!("\"{}\"", "3".repeat(64)));
    let (config, mistakes) = parse(&text);
    assert_eq!(mistakes, [], "{text}");
    let profile = config.default_profile().expect("no mistake").expect("is there");
    assert!(profile.exclude.len() > 1 && profile.host.is_some() && profile.passphrase.is_some());
    for key in KEYS.iter().filter(|key| !["extends", "backend", "options", "trust", "plugin-limits"].contains(key)) {
        assert!(bare.contains(&format!("{key} = ")), "{key} is not in the example");
    }
}

#[test]
fn the_example_overwrites_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("new/config.toml");
    example::create(&path, "# one\n").expect("creates");
    assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    assert!(example::create(&path, "# two\n").is_err());
    assert_eq!(fs::read_to_string(&path).expect("is there"), "# one\n");
}

#[test]
fn files_that_others_can_write_are_known() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("config.toml");
    fs::write(&path, "").expect("writes");
    for (mode, trusted) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false), (0o664, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let why = written_by_others(&path);
        assert_eq!(why.is_none(), trusted, "{mode:o}: {why:?}");
        assert!(why.is_none_or(|why| why.contains("chmod go-w")));
    }
}

#[test]
fn only_directories_are_looked_for() {
    let (config, _) = parse("[profile.a]\nrepository = \"s3:https://h/b\"\n[profile.b]\nrepository = \"/nowhere/b\"\n");
    let odd = check::profiles(&config, config.profiles.values(), false);
    assert_eq!(odd.iter().filter_map(|mistake| Some(mistake.place?.line)).collect::<Vec<_>>(), [4], "{odd:#?}");
}

#[test]
fn checks_say_what_is_not_there() {
    let root = tempfile::tempdir().expect("a directory");
    let at = |name: &str| root.path().join(name).display().to_string();
    fs::write(at("empty"), "\n").expect("writes");
    fs::write(at("open"), "secret\n").expect("writes");
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o644)).expect("chmod");
    let text = format!(
        "[profile.a]\nrepository = \"s9://x\"\nsources = [\"/\", {:?}]\nidentity = {:?}\npassphrase-file = {:?}\n\
         [profile.b]\nrepository = {:?}\npassphrase-file = {:?}\nidentity = {:?}\nbackend = {:?}\n[profile.c]\npassphrase-file = {:?}\n",
        at("gone"),
        at("empty"),
        at("empty"),
        at("gone"),
        at("open"),
        at("gone"),
        at("gone"),
        at("gone"),
    );
    let path = root.path().join("config.toml");
    fs::write(&path, &text).expect("writes");
    let config = Config::load(&path).expect("no mistake").expect("is there");
    let found = check::profiles(&config, config.profiles.values(), false);
    let shown: Vec<_> = found.iter().map(|m| (m.place.map_or(0, |place| place.line), m.warning)).collect();
    let expected =
        [(0, true), (2, false), (3, false), (4, false), (5, false), (8, true), (9, true), (10, false), (12, false)];
    // What the umask made of "empty" decides whether others may read it.
    let shown: Vec<_> = shown.into_iter().filter(|entry| *entry != (5, true)).collect();
    assert_eq!(shown, expected, "{found:#?}");
}

#[test]
fn commands_are_run_only_when_wished_for() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("config.toml");
    let mark = root.path().join("mark");
    let text = format!(
        "[profile.a]\nrepository = {:?}\npassphrase-command = \"touch {}; exit 1\"\n",
        root.path(),
        mark.display()
    );
    fs::write(&path, text).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    let config = Config::load(&path).expect("no mistake").expect("is there");
    assert_eq!(check::profiles(&config, config.profiles.values(), false), []);
    assert!(!mark.exists());
    let found = check::profiles(&config, config.profiles.values(), true);
    assert!(found.len() == 1 && found[0].message.contains("passphrase command"), "{found:?}");
    assert!(mark.exists());
    fs::remove_file(&mark).expect("removes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
    let found = check::profiles(&config, config.profiles.values(), true);
    assert!(found.len() == 1 && found[0].message.contains("chmod go-w") && !mark.exists(), "{found:?}");
}
