#!/usr/bin/env bash
# Installs what the tests need on Debian 12 with Rust, builds relayd and runs every suite. Can be run again and again.
# The last line is "N passed, N failed"; a suite that could not run counts as failed.
#
# usage: tests/run.sh [--install | --no-install]    (install and stop; run with what is there)
set -euo pipefail
cd "$(dirname "$0")/.."

NODE_MAJOR_MIN=18
CARGO_DEB_VERSION=3.8.0
# What the package and image tests want of a root directory, beside Debian's essential packages.
ROOT_PACKAGES=passwd,systemd-standalone-sysusers
CACHE=$PWD/tests/.cache
OUT=tests/out
passed=0
failed=0

main() {
    case "${1:-}" in
    "") install ;;
    --install)
        install
        return
        ;;
    --no-install) ;;
    *)
        sed -n '2,5s/^# \{0,1\}//p' "$0"
        exit 64
        ;;
    esac
    mkdir -p "$OUT"
    install_node_modules
    print_versions

    suite build "" cargo build --locked
    if [ "$failed" -gt 0 ]; then
        echo "== without a build no other suite can run" >&2
        finish
        return
    fi
    suite rust cargo_counts cargo test --locked --no-fail-fast
    suite benches cargo_counts cargo test --locked --no-fail-fast --package turnbench --package proxybench
    suite compare python_counts python3 -B -m unittest discover --start-directory benches/compare
    export RELAYD_BIN=${RELAYD_BIN:-${CARGO_TARGET_DIR:-target}/debug/relayd}
    RELAYD_BIN=$(realpath -m "$RELAYD_BIN")
    # One file at a time: two browsers and two servers at once starve each other on two cores.
    suite browsers node_counts node --test --test-concurrency=1 --test-reporter=spec tests/browser/*.test.js
    suite vendors node_counts node --test --test-concurrency=1 --test-reporter=spec tests/vendors/*.test.js
    finish
}

finish() {
    echo
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

install() {
    install_packages
    install_cargo_deb
    make_root_directory
}

# For the package test. Under a minute on two cores: it is run twice, so it is not worth optimising, and dpkg's own xz compresses.
install_cargo_deb() {
    local tools=$CACHE/tools
    [ "$("$tools/bin/cargo-deb" --version 2>/dev/null)" != "cargo-deb $CARGO_DEB_VERSION" ] || return 0
    echo "== installing cargo-deb $CARGO_DEB_VERSION"
    cargo install cargo-deb --locked --version "$CARGO_DEB_VERSION" --debug --no-default-features --root "$tools" --target-dir "$tools/build-deb"
    rm -rf "$tools/build-deb"
}

# An archive of a root directory of this machine's release: the binary that goes into it needs the C library of here. From apt's
# packages, under a minute; every test unpacks its own.
make_root_directory() {
    local release made=$CACHE/root.release
    release=$(. /etc/os-release && echo "$VERSION_CODENAME $ROOT_PACKAGES")
    [ "$(cat "$made" 2>/dev/null)" != "$release" ] || return 0
    echo "== making a root directory: $release"
    mkdir -p "$CACHE"
    rm -f "$made"
    mmdebstrap --quiet --variant=essential --include="$ROOT_PACKAGES" --dpkgopt=force-unsafe-io "${release%% *}" "$CACHE/root.tar"
    echo "$release" >"$made"
}

# apt gives what its release holds; the versions in use are printed below.
install_packages() {
    local wanted=() commands=(
        turnutils_uclient:coturn nginx:nginx-light chromium:chromium firefox-esr:firefox-esr h2load:nghttp2-client certutil:libnss3-tools pebble:pebble
        ip:iproute2 mount:mount unshare:util-linux setpriv:util-linux systemd-analyze:systemd openssl:openssl git:git cc:gcc python3:python3-minimal
        mmdebstrap:mmdebstrap setcap:libcap2-bin strip:binutils dpkg-shlibdeps:dpkg-dev xz:xz-utils promtool:prometheus
    )
    local entry
    for entry in "${commands[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || wanted+=("${entry#*:}")
    done
    # Without root, a root directory's users come from /etc/subuid.
    [ "$(id -u)" -eq 0 ] || command -v newuidmap >/dev/null || wanted+=(uidmap)
    command -v node >/dev/null || wanted+=(nodejs)
    command -v npm >/dev/null || wanted+=(npm)
    [ ${#wanted[@]} -gt 0 ] || return 0
    echo "== installing ${wanted[*]}"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    # coturn, nginx and prometheus must not start as services: the tests start their own, and of the last use promtool alone.
    local policy=/usr/sbin/policy-rc.d made=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
        "${root[@]}" chmod 755 "$policy"
        made=yes
    fi
    local status=0
    "${root[@]}" apt-get update -q && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${wanted[@]}" || status=$?
    [ "$made" = no ] || "${root[@]}" rm -f "$policy"
    return "$status"
}

install_node_modules() {
    local major
    major=$(node -p 'process.versions.node.split(".")[0]')
    if [ "$major" -lt "$NODE_MAJOR_MIN" ]; then
        echo "node $major is too old: the browser tests need $NODE_MAJOR_MIN or newer" >&2
        exit 1
    fi
    local folder
    for folder in tests/browser tests/vendors; do
        local lock=$folder/package-lock.json stamp=$folder/node_modules/.package-lock.json
        if [ ! -e "$stamp" ] || [ "$lock" -nt "$stamp" ]; then
            npm ci --ignore-scripts --no-audit --no-fund --prefix "$folder"
            touch "$stamp"
        fi
    done
}

print_versions() {
    echo "== versions"
    rustc --version
    echo "node $(node --version)"
    for package in playwright-core puppeteer-core ws axe-core; do
        echo "$package $(node -p "require('./tests/browser/node_modules/$package/package.json').version")"
    done
    local debian=(coturn nginx-light chromium firefox-esr nghttp2-client libnss3-tools pebble prometheus iproute2 openssl)
    dpkg-query -W -f '${Package} ${Version}\n' "${debian[@]}" 2>/dev/null || true
}

# suite NAME COUNTER COMMAND...: runs, shows and counts. COUNTER reads the output and prints "passed failed".
suite() {
    local name=$1 counter=$2 log=$OUT/suite-$1.log status=0 counts="0 0"
    shift 2
    echo
    echo "== $name: $*"
    "$@" 2>&1 | tee "$log" || status=$?
    [ -z "$counter" ] || counts=$("$counter" <"$log")
    local good=${counts% *} bad=${counts#* }
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "== $name DID NOT RUN TO ITS END (exit $status): counted as one failure" >&2
        bad=1
    elif [ -n "$counter" ] && [ "$((good + bad))" -eq 0 ]; then
        echo "== $name RAN NO TEST: counted as one failure" >&2
        bad=1
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    echo "== $name: $good passed, $bad failed"
}

cargo_counts() {
    awk '/^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) == "passed;") good += $i; if ($(i + 1) == "failed;") bad += $i } } END { print good + 0, bad + 0 }'
}

python_counts() {
    awk '/^Ran [0-9]+ test/ { ran = $2 } /^FAILED/ { gsub(/[^0-9]+/, " "); for (i = 1; i <= NF; i++) bad += $i } END { print ran - bad, bad + 0 }'
}

# The last summary: a failing test may quote another run's.
node_counts() {
    awk '/^[^ ]+ (pass|fail|cancelled) [0-9]+$/ { count[$2] = $3 } END { print count["pass"] + 0, count["fail"] + count["cancelled"] }'
}

main "$@"
