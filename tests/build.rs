//! Builds the guests below `guests/` that are written in Rust.

include!("../plugins/build_support.rs");

/// The folders, and the names of the libraries in them.
const GUESTS: [&str; 3] = ["broken", "http", "misbehaving"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../plugins/build_support.rs");
    let tests = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    for name in GUESTS {
        let component = build_guest(&tests.join("guests").join(name), name, &tests.join("../wit"));
        println!("cargo::rustc-env=GUEST_{}={}", name.to_uppercase(), component.display());
    }
}
