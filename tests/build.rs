//! Builds the guests below `guests/` and the examples of plugins that are written in Rust.

include!("../plugins/build_support.rs");

/// The names of the libraries, and the folders.
const GUESTS: [(&str, &str); 4] = [
    ("broken", "guests/broken"),
    ("http", "guests/http"),
    ("misbehaving", "guests/misbehaving"),
    ("webdav", "../plugins/examples/webdav"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../plugins/build_support.rs");
    let tests = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    for (name, folder) in GUESTS {
        let component = build_guest(&tests.join(folder), name, &tests.join("../wit"));
        println!("cargo::rustc-env=GUEST_{}={}", name.to_uppercase(), component.display());
    }
}
