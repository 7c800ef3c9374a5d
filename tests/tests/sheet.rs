//! Recovery from the printed sheet alone, on a machine that knows nothing: by its text, and by its QR code.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use obnam_tests::{Sandbox, args, below, obnam, run, tree};

/// What stands in the QR code on a sheet: half blocks, dark on paper.
fn scan(sheet: &str) -> String {
    let is_code = |line: &&str| !line.is_empty() && line.chars().all(|c| " \u{2580}\u{2584}\u{2588}".contains(c));
    let rows: Vec<Vec<char>> = sheet.lines().filter(is_code).map(|line| line.chars().collect()).collect();
    let (width, height) = (rows.iter().map(Vec::len).max().unwrap(), rows.len() * 2);
    assert!(width <= 80, "{width} columns are too many for a page");
    // Each module is a square of 4 by 4 points, with some paper around.
    let dark = |x: usize, y: usize| {
        let shown = rows.get(y / 2).and_then(|row| row.get(x)).copied().unwrap_or(' ');
        matches!((shown, y % 2), ('\u{2588}', _) | ('\u{2580}', 0) | ('\u{2584}', 1))
    };
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(
            width * 4,
            height * 4,
            |x, y| if dark(x / 4, y / 4) { 0 } else { 255 },
        );
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code");
    grids[0].decode().unwrap().1
}

/// Restores with nothing but the text of a code.
fn restore_scanned(sandbox: &Sandbox, scanned: &str) {
    sandbox.next_machine();
    fs::write(sandbox.path("SHEET"), scanned).unwrap();
    let target = sandbox.fresh("target");
    let mut shell = sandbox.bare();
    let environment: Vec<_> =
        shell.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let script = format!("set -a; . ./SHEET; set +a; {} restore latest '{}'", obnam().display(), target.display());
    shell = std::process::Command::new("sh");
    shell.env_clear().envs(environment).current_dir(sandbox.path("")).arg("-c").arg(script);
    run(&mut shell).expect(0);
    tree::assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
}

/// Restores by typing the command on the sheet.
fn restore_typed(sandbox: &Sandbox, sheet: &str) {
    sandbox.next_machine();
    let field = |name: &str| {
        let line = sheet.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    let target = sandbox.fresh("target");
    let command =
        sheet.lines().find(|line| line.starts_with("  obnam") && line.ends_with("restore latest TARGET")).unwrap();
    let words =
        command.split_whitespace().skip(1).map(|word| if word == "TARGET" { target.to_str().unwrap() } else { word });
    run(sandbox.bare().args(words).env("OBNAM_PASSPHRASE", field("passphrase  "))).expect(0);
    tree::assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
}

fn without_identity(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut command = sandbox.bare();
    command.arg("--repo").arg(sandbox.location()).args(words);
    run(&mut command).expect(0).text()
}

#[test]
fn the_printed_sheet_is_enough() {
    let sandbox = Sandbox::new();
    let sheet = without_identity(&sandbox, &["init", "--generate-passphrase"]);
    let scanned = scan(&sheet);
    assert_eq!(scanned.lines().count(), 3, "{scanned}");
    let passphrase = scanned.lines().find_map(|line| line.strip_prefix("OBNAM_PASSPHRASE=")).unwrap().to_owned();
    fs::write(sandbox.source().join("file"), "what matters").unwrap();
    fs::create_dir(sandbox.source().join("folder")).unwrap();
    let mut backup = sandbox.bare();
    backup
        .arg("--repo")
        .arg(sandbox.location())
        .arg("backup")
        .arg(sandbox.source())
        .env("OBNAM_PASSPHRASE", &passphrase);
    run(&mut backup).expect(0);
    restore_scanned(&sandbox, &scanned);
    restore_typed(&sandbox, &sheet);
    // It is printed again as long as the passphrase is known, which is written on it by hand.
    let mut again = sandbox.bare();
    again.arg("--repo").arg(sandbox.location()).args(["credential", "sheet"]).env("OBNAM_PASSPHRASE", &passphrase);
    let scanned_again = scan(&run(&mut again).expect(0).text());
    assert!(!scanned_again.contains(&passphrase), "{scanned_again}");
    restore_scanned(&sandbox, &format!("{scanned_again}OBNAM_PASSPHRASE={passphrase}\n"));
    // The sheet of another client does the same, and shows no passphrase that the user chose.
    let mut add = sandbox.bare();
    add.arg("--repo").arg(sandbox.location()).args(["client", "add", "desktop"]);
    add.env("OBNAM_PASSPHRASE", &passphrase).env("OBNAM_NEW_PASSPHRASE", "it's mine");
    let sheet = run(&mut add).expect(0).text();
    let scanned = scan(&sheet);
    assert!(!scanned.contains("mine") && scanned.contains("OBNAM_CREDENTIAL="), "{scanned}");
    restore_scanned(&sandbox, &(scanned + "OBNAM_PASSPHRASE=\"it's mine\"\n"));
}

#[test]
fn a_location_that_a_shell_would_take_apart() {
    let sandbox = Sandbox::new();
    let place = sandbox.path("a $(touch attacked) 'b'; c");
    let mut init = sandbox.bare();
    let sheet = run(init.arg("--repo").arg(&place).args(["init", "--generate-passphrase"])).expect(0).text();
    let scanned = scan(&sheet);
    fs::write(sandbox.source().join("file"), "what matters").unwrap();
    let passphrase = scanned.lines().find_map(|line| line.strip_prefix("OBNAM_PASSPHRASE=")).unwrap();
    let mut backup = sandbox.bare();
    run(backup.arg("--repo").arg(&place).args(args!["backup", sandbox.source()]).env("OBNAM_PASSPHRASE", passphrase))
        .expect(0);
    restore_scanned(&sandbox, &scanned);
    assert!(!Path::new(&sandbox.path("attacked")).exists());
}
