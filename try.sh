#!/usr/bin/env bash
# Backs up a real directory with the bundled local plugin, restores it, and compares: ./try.sh [DIRECTORY]
# Everything happens in a folder below ${TMPDIR:-/tmp} that is removed at the end; it needs about 1.5 times the space
# of the directory.
set -euo pipefail
called_from=$PWD
cd "$(dirname "$0")"
. scripts/prepare.sh

step "Build"
need_rust
have rsync || need_packages rsync
cargo build --release -p obnam --locked
obnam=${CARGO_TARGET_DIR:-$PWD/target}/release/obnam

# Without an argument: the first of these with 10,000 entries or more.
if [ $# -gt 0 ]; then
    source=$(cd "$called_from" && cd "$1" && pwd -P)
else
    for source in "$(rustc --print sysroot)" /usr/share /usr; do
        source=$(cd "$source" && pwd -P)
        [ "$( (find "$source" 2>/dev/null || true) | wc -l)" -lt 10000 ] || break
    done
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/obnam-try.XXXXXX")
trap 'chmod -R u+rwX "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
# Nothing of the user's own configuration is read or written.
export XDG_CONFIG_HOME=$work/config XDG_CACHE_HOME=$work/cache XDG_DATA_HOME=$work/data XDG_STATE_HOME=$work/state
unset "${!OBNAM_@}"
export OBNAM_REPOSITORY=$work/repository
OBNAM_PASSPHRASE=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
export OBNAM_PASSPHRASE

times=()
timed() {
    local started=$EPOCHREALTIME
    printf '\n==> obnam %s\n' "$*"
    "$obnam" "$@"
    times+=("$(awk -v a="$started" -v b="$EPOCHREALTIME" -v what="$1" 'BEGIN { printf "%8.2f s  %s", b - a, what }')")
}

step_done
printf '\nSource: %s, %s entries, %s\n' "$source" "$(find "$source" | wc -l)" "$(du -sh "$source" | cut -f1)"
timed init
timed backup "$source"
timed backup "$source"
timed snapshots
timed restore latest "$work/restored"
timed check --read-data

printf '\n==> Comparing %s with what was restored\n' "$source"
restored=$work/restored$source
if have rsync; then
    # Contents by checksum, names, types, modes, owners, times.
    differences=$(rsync -anc --delete --itemize-changes "$source/" "$restored/")
else
    echo "(rsync is not installed: contents and names only)"
    differences=$(diff -r --no-dereference "$source" "$restored" || true)
fi
if [ -n "$differences" ]; then
    printf 'DIFFERENT:\n%s\n' "$differences"
    exit 1
fi
printf 'no difference\n\nRepository: %s\n' "$(du -sh "$OBNAM_REPOSITORY" | cut -f1)"
printf '%s\n' "${times[@]}"
printf 'OK\n'
