#!/usr/bin/env bash
# Builds target/debian/relayd_VERSION_ARCH.deb. Needs cargo-deb (cargo install cargo-deb) and dpkg-dev.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked
# With the same profile, so that what is built already is not built again.
cargo run --release --locked --example manual -- target/manual
cargo deb --no-build --locked "$@"
