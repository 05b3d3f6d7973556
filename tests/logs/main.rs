//! Where the binary's lines go, what happens when they cannot go there, and what they say about people.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod destinations;
mod journald;
mod losses;
mod privacy;
mod server;
