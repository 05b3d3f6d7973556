//! The only unsafe code: batched UDP, socket options, readiness, clock, randomness.

pub mod clock;
pub mod rng;
