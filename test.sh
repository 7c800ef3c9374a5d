#!/usr/bin/env bash
# Runs every test of the project: formatting, lints, unit and end-to-end tests, documentation, licences of dependencies.
# Installs what it needs. Tools and test environments are kept in ${OBNAM_CACHE:-~/.cache/obnam-dev}; an empty
# folder works too. Any failure ends it with a non-zero exit status.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/prepare.sh

step "Tools"
need_rust
need_programs git rsync python3 setfattr:attr setfacl:acl fusermount3:fuse3
# Tests make virtual environments, for which Debian has a package of its own.
python3 -c 'import venv, ensurepip' 2>/dev/null || need_packages python3-venv
PATH=$PATH:$cache/tools/bin
have cargo-deny || cargo install cargo-deny --version "^0.20" --locked --root "$cache/tools"
need_garage
need_postgres
need_apache
export OBNAM_TEST_CACHE=$cache
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo --version

# Plugins and test guests are no members of the workspace.
mapfile -t guests < <(find plugins tests/guests -name Cargo.toml -not -path '*/target/*' 2>/dev/null | sort)

step "Formatting"
cargo fmt --all --check
for guest in "${guests[@]}"; do
    cargo fmt --manifest-path "$guest" --check
done

step "Lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
for guest in "${guests[@]}"; do
    echo "  $guest"
    cargo clippy --quiet --manifest-path "$guest" --locked --release --target wasm32-wasip2 \
        --target-dir "$target/wasm-guests" -- -D warnings -A clippy::empty-loop # some loop for ever on purpose
done

step "Tests"
# The end-to-end tests run the programs themselves. They are built with the tests of their own packages, so first.
cargo test --workspace --locked --no-run
cargo test --workspace --locked
# What in the plugins knows nothing of WASI is tested without it.
for plugin in plugins/*/Cargo.toml plugins/examples/*/Cargo.toml; do
    echo "  $plugin"
    cargo test --quiet --manifest-path "$plugin" --locked --target-dir "$target/plugins"
done

step "Documentation"
RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked
RUSTDOCFLAGS=-Dwarnings cargo doc --manifest-path plugins/sdk/Cargo.toml --no-deps --locked --target-dir "$target/plugins"

step "Licences, sources and duplicates of dependencies"
for manifest in Cargo.toml "${guests[@]}"; do
    echo "  $manifest"
    cargo deny --manifest-path "$manifest" --config "$PWD/deny.toml" check licenses bans sources
done

step "Security advisories for dependencies"
if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --exit-code https://github.com/rustsec/advisory-db HEAD \
    >/dev/null 2>&1; then
    for manifest in Cargo.toml "${guests[@]}"; do
        cargo deny --manifest-path "$manifest" --config "$PWD/deny.toml" check advisories
    done
else
    echo "NOT CHECKED: the RustSec advisory database on github.com cannot be reached from here."
fi

step_done
printf '\nAll tests passed in %d min %d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
