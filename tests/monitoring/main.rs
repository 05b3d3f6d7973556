//! The Grafana dashboard and the Prometheus alert rules: that they are well formed, that the rules fire when they should, and
//! that every metric, label and value which they name is one that the running binary exposes.

#[path = "../support/web/mod.rs"]
mod web;

mod dashboard;
mod promql;
mod rules;
mod scrape;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DASHBOARD: &str = include_str!("../../config/grafana/relayd.json");
const RULES: &str = include_str!("../../config/prometheus/relayd-alerts.yml");
const RULES_TEST: &str = include_str!("alerts.test.yml");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Debian's `prometheus` has it; `tests/run.sh` installs it.
fn promtool(args: &[&str]) -> Output {
    let ended = Command::new("promtool")
        .args(args)
        .current_dir(root())
        .output();
    ended.expect("promtool is installed")
}

fn assert_good(ended: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        ended.status.success(),
        "{}\n{}",
        text(&ended.stdout),
        text(&ended.stderr)
    );
}
