// Builds a guest (a plugin, or a test fixture) from a build script. Shared by `host/build.rs` and `tests/build.rs`,
// which `include!` it: plugins have no crate in common with the host.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What plugins are compiled for.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// Compiles the package in `folder` to a component and returns its path. `artifact` is the name of its library;
/// `wit` the folder of WIT files that it is built from.
///
/// Panics with a message for people when that fails: it is what a build script can do.
fn build_guest(folder: &Path, artifact: &str, wit: &Path) -> PathBuf {
    // What plugins share lies beside the folder of interfaces.
    let sdk = wit.join("../plugins/sdk");
    let own = ["Cargo.toml", "Cargo.lock", "src"].map(|part| folder.join(part));
    for input in own.into_iter().chain([sdk.join("Cargo.toml"), sdk.join("src"), wit.to_owned()]) {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    require_guest_target();
    let target_dir = guest_target_dir();
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(folder).args(["build", "--release", "--locked", "--target", GUEST_TARGET, "--target-dir"]);
    cargo.arg(&target_dir);
    forget_outer_build(&mut cargo);
    let output = cargo.output().unwrap_or_else(|error| panic!("cannot run cargo to build {}: {error}", folder.display()));
    if !output.status.success() {
        panic!("building {} for {GUEST_TARGET} failed:\n{}", folder.display(), String::from_utf8_lossy(&output.stderr));
    }
    target_dir.join(GUEST_TARGET).join("release").join(format!("{artifact}.wasm"))
}

/// An environment variable that cargo sets for build scripts.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("cargo did not set {name}: {error}"))
}

/// One target folder for all guests, beside the one of the outer build's profile (so that clippy, tests and
/// benchmarks do not compile them again); within `OUT_DIR` when cargo's layout is not the known one.
fn guest_target_dir() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    let mut above = out.ancestors().skip(2);
    match (above.next(), above.nth(1)) {
        (Some(build), Some(target)) if build.ends_with("build") => target.join("wasm-guests"),
        _ => out.join("wasm-guests"),
    }
}

/// Takes away what the outer cargo, clippy, llvm-cov and the like set for their own compilation.
fn forget_outer_build(command: &mut Command) {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_TERM_"];
    const CLEARED: [&str; 14] = [
        "RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR", "LLVM_PROFILE_FILE", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "MAKEFLAGS",
    ];
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let of_cargo = text.starts_with("CARGO") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if of_cargo || CLEARED.contains(&text) || text.starts_with("__CARGO") {
            command.env_remove(&name);
        }
    }
}

/// Makes sure that the standard library for guests is installed; asks rustup for it if it is not.
fn require_guest_target() {
    let rustc = variable("RUSTC");
    let installed = || {
        let mut query = Command::new(&rustc);
        query.args(["--print", "target-libdir", "--target", GUEST_TARGET]);
        forget_outer_build(&mut query);
        let output = query.output().ok().filter(|output| output.status.success());
        output.is_some_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
    };
    if installed() {
        return;
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", GUEST_TARGET]);
    forget_outer_build(&mut rustup);
    let asked = rustup.status();
    if !installed() {
        panic!(
            "storage plugins are compiled for {GUEST_TARGET}, for which {rustc} has no standard library. \
             'rustup target add {GUEST_TARGET}' was tried ({asked:?}). Install it, then build again."
        );
    }
}
