#!/usr/bin/env bash
# Measures relayd beside coturn, the turn crate's server and nginx, on this machine and in the same run.
# Installs the rivals (Debian packages), builds in release mode, prints one table. Loopback only.
#
# usage: benches/compare.sh [--rounds N] [--seconds S] [--only ROW,...] [--list] [--no-install] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/.."

install=yes
arguments=()
for argument in "$@"; do
    case $argument in
    --no-install) install=no ;;
    -h | --help)
        sed -n '2,5s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) arguments+=("$argument") ;;
    esac
done

# apt gives what its release holds; the versions in use head the table.
install_rivals() {
    local wanted=() entry
    for entry in turnserver:coturn nginx:nginx-light openssl:openssl python3:python3-minimal taskset:util-linux; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || wanted+=("${entry#*:}")
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    echo "== installing ${wanted[*]}"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    # coturn and nginx must not start as services: the benches start their own.
    local policy=/usr/sbin/policy-rc.d made=no
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
        "${root[@]}" chmod +x $policy
        made=yes
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${wanted[@]}" >/dev/null ||
        { echo "apt-get could not install ${wanted[*]}; try apt-get update" >&2; exit 1; }
    [ $made = no ] || "${root[@]}" rm -f $policy
}

[ $install = no ] || install_rivals
cargo build --release --locked --quiet --package relayd --package turnbench --package proxybench --package rivals
export RELEASE_DIR="${CARGO_TARGET_DIR:-target}/release"
exec python3 benches/compare.py "${arguments[@]}"
