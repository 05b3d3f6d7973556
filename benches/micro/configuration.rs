//! Reading a configuration: the commented reference, which has every key.

use crate::bench::Runner;
use relayd::config::{self, Machine, Surroundings};
use std::hint::black_box;
use std::path::Path;

pub fn run(runner: &mut Runner) {
    let machine = Machine::read();
    let around = Surroundings {
        base_dir: Path::new("."),
        env: &|_| None,
        machine: &machine,
    };
    // Whether it can be used here depends on the files it names: a report is as much work.
    runner.bench("configuration/reference_read", || {
        config::parse(black_box(config::REFERENCE), "relay.toml", &around).is_ok()
    });
    let broken = config::REFERENCE.replace(" = ", " == ");
    runner.bench("configuration/everything_wrong", || {
        assert!(config::parse(black_box(&broken), "relay.toml", &around).is_err());
    });
}
