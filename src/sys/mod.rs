//! The only unsafe code: batched UDP, socket options, readiness, limits, memory files; and the system's clocks and randomness.

pub mod access;
pub mod clock;
pub mod control;
pub mod cpu;
pub mod epoll;
pub mod errors;
pub mod holder;
pub mod inherit;
pub mod interfaces;
pub mod lane;
pub mod limits;
pub mod memfd;
pub mod memory;
pub mod name;
pub mod notify;
pub mod passing;
pub mod recv;
pub mod rng;
pub mod send;
pub mod signal;
pub mod slack;
pub mod socket;
pub mod timer;
