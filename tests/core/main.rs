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

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::rng;

/// Wall time that the random runs may take together; at least [`RUNS_MIN`] are always played.
const RUNS_TIME: Duration = Duration::from_secs(4);
const RUNS_MIN: usize = 8;
const STEPS: usize = 1500;

/// What must have happened at least once in the runs together: a model of a world where nothing happens proves nothing.
const EVENTS: [&str; 41] = [
    "method 1: success",
    "method 3: success",
    "method 3: 400",
    "method 3: 401",
    "method 3: 420",
    "method 3: 437",
    "method 3: 438",
    "method 3: 440",
    "method 3: 442",
    "method 3: 486",
    "method 3: 508",
    "method 4: success",
    "method 4: 437",
    "method 4: 441",
    "method 4: 443",
    "method 8: success",
    "method 8: 400",
    "method 8: 403",
    "method 8: 437",
    "method 8: 441",
    "method 8: 443",
    "method 9: success",
    "method 9: 400",
    "method 9: 403",
    "method 9: 441",
    "method 9: 443",
    "channel to peer",
    "channel to client",
    "indication to peer",
    "indication to client",
    "between clients",
    "expired",
    "SHA-256",
    "two families",
    "one family of two",
    "port reserved",
    "reservation honoured",
    "path up",
    "path down",
    "dropped: no_permission",
    "dropped: peer_denied",
];

#[test]
fn random_runs_agree_with_the_model() {
    if let Some(seed) = rng::seed_from_env() {
        play(seed);
        return;
    }
    let first = rng::fresh_seed();
    let begin = Instant::now();
    let mut runs = 0;
    let mut events = BTreeMap::new();
    while runs < RUNS_MIN || begin.elapsed() < RUNS_TIME {
        for (event, count) in play(first.wrapping_add(runs as u64)) {
            *events.entry(event).or_insert(0) += count;
        }
        runs += 1;
    }
    println!("{runs} runs from seed {first}: {events:#?}");
}

/// Seeds that once found a fault stay here, with enough others to see everything happen.
#[test]
fn known_seeds_agree_with_the_model_and_see_everything_happen() {
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 1..=24 {
        for (event, count) in play(seed) {
            *events.entry(event).or_insert(0) += count;
        }
    }
    let missing: Vec<_> = EVENTS
        .iter()
        .filter(|event| !events.contains_key(**event))
        .collect();
    assert!(
        missing.is_empty(),
        "never happened: {missing:?}; happened: {events:#?}"
    );
}

fn play(seed: u64) -> BTreeMap<String, u64> {
    let mut world = world::World::new(seed);
    if let Err(fault) = world.run(STEPS) {
        panic!("seed {seed}: {fault}\n{}", world.history());
    }
    world.events
}
