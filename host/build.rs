//! Builds the bundled storage plugins, so that the program carries them.

include!("../plugins/build_support.rs");

/// The folders below `plugins/`.
const BUNDLED: [&str; 3] = ["local", "s3-direct", "presign-client"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../plugins/build_support.rs");
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    for name in BUNDLED {
        // As cargo calls the library of a package.
        let library = name.replace('-', "_");
        let component = build_guest(&root.join("plugins").join(name), &library, &root.join("wit"));
        println!("cargo::rustc-env=OBNAM_PLUGIN_{}={}", library.to_uppercase(), component.display());
    }
}
