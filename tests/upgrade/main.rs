//! Sockets that outlive the process that bound them: socket activation, and upgrades that no call notices. The real
//! binary, real sockets on loopback.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod activation;
mod calls;
mod failures;
mod server;
