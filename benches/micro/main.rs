//! Micro-benches of what needs no socket: the codec, the TURN core alone, and reading a configuration.
//!
//! `cargo bench --bench micro [FILTER]` prints CPU nanoseconds for one operation: the least and the median of many short
//! batches, by this thread's CPU clock. Without `--bench`, as `cargo test` starts it, each runs once, so that none can rot.

mod bench;
mod codec;
mod configuration;
mod core;
mod quality;
mod wire;

use bench::Runner;

fn main() {
    let mut runner = Runner::from_arguments(std::env::args().skip(1));
    codec::run(&mut runner);
    core::run(&mut runner);
    quality::run(&mut runner);
    configuration::run(&mut runner);
    runner.finish();
}
