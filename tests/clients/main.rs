//! Foreign TURN clients against the real binary: coturn's tools, the `turn` crate, and ten thousand clients at once.
//!
//! `TURN_SUBJECT=coturn` runs the scenarios that do not care against coturn, which proves the scenarios themselves.

mod many;
mod support;
mod turn_crate;
mod uclient;
