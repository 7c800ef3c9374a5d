//! Builds the bundled storage plugins, so that the program carries them; and lists the files that `obnam plugin new` writes.

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
    list_project(&root);
}

/// Writes `project.rs`: the files of a new plugin's project, by their paths in there. What comes along with the template lies
/// in `obnam/` as it does in this repository, so that the paths between its parts are the same.
fn list_project(root: &Path) {
    let template = root.join("plugins/template");
    let mut files = Vec::new();
    for own in ["Cargo.toml", "Cargo.lock", "README.md", "rust-toolchain.toml", ".gitignore", "src"] {
        collect(&template, Path::new(own), "", &mut files);
    }
    collect(root, Path::new("rustfmt.toml"), "", &mut files);
    for part in ["plugins/sdk/Cargo.toml", "plugins/sdk/src", "wit", "LICENSE-APACHE", "LICENSE-MIT"] {
        collect(root, Path::new(part), "obnam/", &mut files);
    }
    let list: String = files.iter().map(|(name, path)| format!("    ({name:?}, include_str!({path:?})),\n")).collect();
    let out = PathBuf::from(variable("OUT_DIR")).join("project.rs");
    std::fs::write(&out, format!("&[\n{list}]\n"))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", out.display()));
}

/// Adds the file at `path` below `top`, or all files in the directory there, in the order of their names.
fn collect(top: &Path, path: &Path, front: &str, files: &mut Vec<(String, PathBuf)>) {
    let full = top.join(path);
    println!("cargo::rerun-if-changed={}", full.display());
    if !full.is_dir() {
        files.push((format!("{front}{}", path.display()), full));
        return;
    }
    let entries = full.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.unwrap_or_else(|error| panic!("cannot list {}: {error}", full.display()));
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        collect(top, &path.join(name), front, files);
    }
}
