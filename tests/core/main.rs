//! The TURN core on a simulated clock and network, held against a naive model of the specification.
//!
//! `random_runs_agree_with_the_model` plays seeded random worlds; the seed is printed when one diverges, and
//! `RELAYD_SEED=<seed>` replays exactly that run. `rules` holds one scenario for each row of the contract.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod model;
mod ports;
mod rules;
mod world;

use std::time::{Duration, Instant};
use support::rng;

/// Wall time that the random runs may take together; at least [`RUNS_MIN`] are always played.
const RUNS_TIME: Duration = Duration::from_secs(5);
const RUNS_MIN: usize = 8;
const STEPS: usize = 1500;

#[test]
fn random_runs_agree_with_the_model() {
    if let Some(seed) = rng::seed_from_env() {
        return play(seed);
    }
    let first = rng::fresh_seed();
    let begin = Instant::now();
    let mut runs = 0;
    while runs < RUNS_MIN || begin.elapsed() < RUNS_TIME {
        play(first.wrapping_add(runs as u64));
        runs += 1;
    }
    println!("{runs} runs from seed {first}");
}

/// Seeds that once found a fault stay here.
#[test]
fn seeds_that_found_faults_agree_with_the_model() {
    for seed in [1, 2, 3] {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut world = world::World::new(seed);
    if let Err(fault) = world.run(STEPS) {
        panic!("seed {seed}: {fault}\n{}", world.history());
    }
}
