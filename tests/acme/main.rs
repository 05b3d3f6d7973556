//! Certificates obtained by the real binary from Pebble, Let's Encrypt's own test server, on loopback.
//!
//! Pebble's random failures are on: it refuses one good nonce in twenty, reuses one authorization in two, and validates after
//! a pause of its choice. It validates at relayd's port, by names that a resolver of this test answers.

#[path = "../start/process.rs"]
#[allow(dead_code, reason = "each test crate uses a part of it")]
mod process;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod authority;
mod gate;
mod names;
mod obtain;
mod renew;
mod server;
mod trouble;
