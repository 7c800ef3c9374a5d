# Sourced by try.sh and test.sh: brings in what a fresh machine lacks. Nothing here asks a question.
#
# Sets `cache`, a folder outside the checkout for tools and test environments. It may be deleted at any time.

cache=${OBNAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/obnam-dev}
mkdir -p "$cache"

step_started=
step() {
    step_done
    printf '\n==> %s\n' "$*"
    step_started=$SECONDS
}

step_done() {
    if [ -n "$step_started" ]; then
        printf '    (%d s)\n' $((SECONDS - step_started))
        step_started=
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

# The programs that are no Debian package of the same name are given as PROGRAM:PACKAGE.
need_programs() {
    local wanted program missing=()
    for wanted in "$@"; do
        program=${wanted%%:*}
        have "$program" || missing+=("${wanted##*:}")
    done
    need_packages "${missing[@]}"
}

need_packages() {
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && have apt-get; then
        echo "installing Debian packages: $*"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq || true
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null || echo "could not install: $*"
    else
        echo "missing and not installed, because this needs root and apt-get: $*"
    fi
}

need_rust() {
    if ! have cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    if ! have cargo; then
        echo "installing Rust through rustup"
        need_programs curl ca-certificates
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    # zstd and BLAKE3 have parts in C.
    need_programs cc:build-essential
    have rustup || return 0
    # rust-toolchain.toml says which toolchain, components and targets; rustup may have been told to install nothing
    # on its own. An installed toolchain is used as it is, never updated.
    rustc --version >/dev/null 2>&1 || rustup toolchain install </dev/null
    local installed component
    installed=$(rustup component list --installed)
    for component in rustfmt clippy; do
        case $installed in *"$component"*) ;; *) rustup component add "$component" ;; esac
    done
    case $(rustup target list --installed) in *wasm32-wasip2*) ;; *) rustup target add wasm32-wasip2 ;; esac
}

# Garage, the S3 server of the tests; building it takes some minutes, once.
need_garage() {
    local version=2.5.0
    case $("$cache/tools/bin/garage" --version 2>/dev/null || true) in *"$version"*) return ;; esac
    need_programs cc:build-essential pkg-config
    cargo install garage --version "$version" --locked --root "$cache/tools"
}

# PostgreSQL, for the tests of the server. They start one of their own: Debian's shall make and start none.
need_postgres() {
    need_programs setpriv:util-linux
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    fi
    need_packages postgresql
}

# Apache, a WebDAV server for the tests: only the program, so that Debian starts none.
need_apache() {
    [ -x /usr/sbin/apache2 ] || need_packages apache2-bin
}
