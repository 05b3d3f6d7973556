#!/usr/bin/env bash
# A thousand reloads, each of another configuration (users, secrets, listeners, proxy, certificates), under four calls that
# relay a packet there and back every 2 ms; prints what was lost and the memory before and after.
#
# usage: benches/reload.sh [COUNT]    RELAYD_BIN: a binary that is built already
set -euo pipefail
cd "$(dirname "$0")/.."

count=${1:-1000}
if [ -z "${RELAYD_BIN:-}" ]; then
    cargo build --release --locked
    RELAYD_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}/release/relayd")
fi
export RELAYD_BIN RELAYD_RELOADS=$count
cargo test --locked --test reload -- --exact load::reloads_of_every_kind_under_load_lose_no_packet_and_leave_nothing_behind --nocapture |
    grep -E ' reloads in |^test '
