//! Builds the bundled storage plugins, so that the program carries them.

include!("../plugins/build_support.rs");

/// The folders below `plugins/`, and the names of the libraries in them.
const BUNDLED: [&str; 1] = ["local"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../plugins/build_support.rs");
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    for name in BUNDLED {
        let component = build_guest(&root.join("plugins").join(name), name, &root.join("wit"));
        println!("cargo::rustc-env=OBNAM_PLUGIN_{}={}", name.to_uppercase(), component.display());
    }
}
