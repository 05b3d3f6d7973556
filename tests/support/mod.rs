//! What several test binaries share: a STUN codec that owes nothing to the server's, and a seeded generator.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod client;
pub mod md5;
pub mod rng;
pub mod stun;
pub mod subject;
