//! Whether a component fits this host, said in words before anything is linked.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::bindings::{INTERFACE, PACKAGE, PluginPre, TOKENS, TokenPluginPre, VERSION, WASI_VERSION};
use super::engine::Runtime;
use super::sandbox::Sandbox;

/// How components begin, and how the core modules do that older tools make.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// Why bytes are no component, by their first few.
pub(super) fn check_header(wasm: &[u8]) -> Result<(), String> {
    if wasm.starts_with(&COMPONENT) {
        Ok(())
    } else if wasm.starts_with(&MODULE) {
        Err("it is a WebAssembly core module, not a component; compile it for wasm32-wasip2".into())
    } else {
        Err("it is not a WebAssembly component".into())
    }
}

/// A component that fits.
#[derive(Clone)]
pub(super) struct Linked {
    /// The contract.
    pub(super) plugin: PluginPre<Sandbox>,
    /// The interface for tokens, where the component exports it.
    pub(super) tokens: Option<TokenPluginPre<Sandbox>>,
}

/// Compares what the component imports and exports with what is served here, and links it.
pub(super) fn link(runtime: &Runtime, component: &Component) -> Result<Linked, String> {
    check_imports(&imports(&runtime.engine, component))?;
    let exports: Vec<String> =
        component.component_type().exports(&runtime.engine).map(|(name, _)| name.to_owned()).collect();
    check_exports(&exports)?;
    let linked = runtime.linker.instantiate_pre(component).map_err(|error| {
        format!("its imports do not fit what this obnam serves (WASI 0.2 up to {WASI_VERSION}): {error:#}")
    })?;
    let other = |interface: &str, error: wasmtime::Error| {
        format!("its {PACKAGE}/{interface} is not the one of version {VERSION}, which this obnam serves: {error:#}")
    };
    let tokens = format!("{PACKAGE}/{TOKENS}@{VERSION}");
    let tokens = exports.contains(&tokens).then(|| TokenPluginPre::new(linked.clone()));
    Ok(Linked {
        plugin: PluginPre::new(linked).map_err(|error| other(INTERFACE, error))?,
        tokens: tokens.transpose().map_err(|error| other(TOKENS, error))?,
    })
}

/// The names that a component imports.
pub(super) fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
}

fn check_imports(imports: &[String]) -> Result<(), String> {
    const SERVED: [&str; 7] =
        ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
    for import in imports {
        let version = import.split_once('@').map(|(_, version)| version);
        let known = SERVED.iter().any(|package| import.starts_with(package));
        match version {
            Some(version) if known && version.starts_with("0.2.") => {}
            Some(version) if known => {
                return Err(format!("it imports {import}: WASI {version}; this obnam serves WASI 0.2"));
            }
            // The types of the contract, when a tool imports them as an interface of their own.
            Some(version) if import.starts_with(PACKAGE) && version != VERSION => return Err(other_version(version)),
            _ => {
                return Err(format!(
                    "it imports {import}, which this obnam does not serve: plugins may import WASI 0.2 and nothing else"
                ));
            }
        }
    }
    Ok(())
}

fn check_exports(exports: &[String]) -> Result<(), String> {
    let wanted = format!("{PACKAGE}/{INTERFACE}");
    let versions: Vec<&str> = exports
        .iter()
        .filter_map(|export| export.split_once('@'))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, version)| version)
        .collect();
    if versions.contains(&VERSION) {
        return Ok(());
    }
    match versions.first() {
        Some(version) => Err(other_version(version)),
        None if exports.is_empty() => Err(format!("it exports nothing; a plugin exports {wanted}@{VERSION}")),
        None => Err(format!("it is no storage plugin: it exports {}, but not {wanted}@{VERSION}", exports.join(", "))),
    }
}

fn other_version(version: &str) -> String {
    let advice = if version > VERSION { "use a newer obnam, or an older plugin" } else { "get a newer plugin" };
    format!("the plugin wants {PACKAGE}@{version}, this obnam serves {VERSION}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn misfits_are_explained() {
        let imports = |list: &[&str]| check_imports(&names(list)).err().unwrap_or_default();
        assert_eq!(imports(&["wasi:io/streams@0.2.0", "wasi:http/types@0.2.12"]), "");
        assert!(imports(&["wasi:http/types@0.3.0"]).contains("WASI 0.3.0; this obnam serves WASI 0.2"));
        assert!(imports(&["acme:db/query@1.0.0"]).contains("acme:db/query@1.0.0, which this obnam does not serve"));
        assert!(imports(&["host"]).contains("imports host"));

        let exports = |list: &[&str]| check_exports(&names(list)).err().unwrap_or_default();
        assert_eq!(exports(&["obnam:chunk-store/chunk-store@0.1.0", "wasi:cli/run@0.2.0"]), "");
        assert_eq!(
            exports(&["obnam:chunk-store/chunk-store@0.2.0"]),
            "the plugin wants obnam:chunk-store@0.2.0, this obnam serves 0.1.0; use a newer obnam, or an older plugin"
        );
        assert!(exports(&["wasi:cli/run@0.2.0"]).contains("no storage plugin: it exports wasi:cli/run@0.2.0"));
        assert!(exports(&[]).contains("exports nothing"));
    }

    #[test]
    fn headers() {
        assert!(check_header(b"\0asm\x0d\0\x01\0...").is_ok());
        assert!(check_header(b"\0asm\x01\0\0\0...").is_err_and(|why| why.contains("core module")));
        assert!(check_header(b"#!/bin/sh").is_err_and(|why| why.contains("not a WebAssembly component")));
    }
}
