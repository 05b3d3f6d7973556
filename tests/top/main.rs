//! `relayd top` under a pseudo-terminal, beside a real server with real allocations: what it shows, what its keys do to the
//! server, and in which state it leaves the terminal.

#[path = "../start/network.rs"]
#[allow(dead_code, reason = "each test crate uses a part of it")]
mod network;
#[path = "../support/mod.rs"]
mod support;

mod calls;
mod gate;
mod pty;
mod screen;
mod snapshots;
mod terminal;
