//! `relayd check --live` against the real binary: everything well, and one broken thing at a time. Each test lives in a network
//! of its own, from which no packet leaves; names are those of `proxy.resolve`, or of a resolver of the test.

#[path = "../start/network.rs"]
#[allow(dead_code, reason = "each test crate uses a part of it")]
mod network;
#[path = "../start/process.rs"]
#[allow(dead_code, reason = "each test crate uses a part of it")]
mod process;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod interrupted;
mod names;
mod outside;
mod server;
mod site;
mod upstreams;
mod well;
