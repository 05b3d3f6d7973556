//! What the tests of the proxy share: the real binary with a generated configuration, a certificate authority, a
//! recording TLS origin, and a raw TLS client that sends exactly the bytes it is given.
//!
//! Everything is on loopback, on ports that the system chose, and ends with the value that owns it.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod certs;
pub mod client;
pub mod message;
pub mod origin;
pub mod relayd;

use std::time::Duration;

/// How long a test waits for what must come before it fails; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(30);
