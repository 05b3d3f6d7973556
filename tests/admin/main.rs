//! The admin listener of the real binary: who is let in, that its answers are what its description says, and that what it is
//! told happens to real clients and tunnels.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod allocations;
mod api;
mod contract;
mod crowd;
mod quality;
mod refused;
mod stats;
mod steering;
mod tunnels;
