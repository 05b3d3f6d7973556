#!/usr/bin/env bash
# Measures relayd beside coturn, the turn crate's server, turn-rs, nginx and haproxy, on this machine and in the same run.
# Installs the rivals, builds in release mode, prints one table with the budgets. Loopback only. Exit status 1: a budget is missed.
#
# usage: benches/compare.sh [--rounds N] [--seconds S] [--only ROW,...] [--list] [--report-only] [--no-install]
#                           [--json FILE] [--load-json FILE] [--plots] [--write-readme]
set -euo pipefail
cd "$(dirname "$0")/.."

TURN_RS_VERSION=4.1.5
# What is built of others is kept out of the tree, and out of the reach of `cargo clean`.
export BENCH_CACHE=${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/relayd-bench}

install=yes
build=yes
arguments=()
for argument in "$@"; do
    case $argument in
    --no-install) install=no ;;
    -h | --help)
        sed -n '2,6s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --list | --load-json) install=no build=no arguments+=("$argument") ;;
    *) arguments+=("$argument") ;;
    esac
done

# apt gives what its release holds; the versions in use head the table.
install_packages() {
    local wanted=() entry
    for entry in turnserver:coturn nginx:nginx-light haproxy:haproxy openssl:openssl python3:python3-minimal taskset:util-linux; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || wanted+=("${entry#*:}")
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    echo "== installing ${wanted[*]}"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    # coturn, nginx and haproxy must not start as services: the benches start their own.
    local policy=/usr/sbin/policy-rc.d made=no status=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
        "${root[@]}" chmod 755 $policy
        made=yes
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${wanted[@]}" >/dev/null || status=$?
    [ $made = no ] || "${root[@]}" rm -f $policy
    [ $status -eq 0 ] || { echo "apt-get could not install ${wanted[*]}; try apt-get update" >&2; exit 1; }
}

# The rest is measured without it, and the table says that it is missing.
install_turn_rs() {
    local have
    have=$("$BENCH_CACHE/bin/turn-server" --version 2>/dev/null | cut -d' ' -f2) || true
    [ "$have" != "$TURN_RS_VERSION" ] || return 0
    echo "== building turn-server $TURN_RS_VERSION (turn-rs)"
    cargo install turn-server --version "$TURN_RS_VERSION" --locked --quiet --no-default-features --features udp,tcp \
        --root "$BENCH_CACHE" --target-dir "$BENCH_CACHE/target" ||
        echo "!! turn-server $TURN_RS_VERSION (turn-rs) COULD NOT BE BUILT: the row \"pair\" is measured without it" >&2
}

if [ $install = yes ]; then
    install_packages
    install_turn_rs
fi
[ $build = no ] || cargo build --release --locked --quiet --package relayd --package turnbench --package proxybench --package rivals
export RELEASE_DIR="${CARGO_TARGET_DIR:-target}/release"
exec python3 -B benches/compare "${arguments[@]}"
