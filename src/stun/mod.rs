//! STUN on the packet path (RFC 8489): framing, ChannelData, Send and Data indications.
//!
//! Control messages are parsed and written with `stun-types` and `turn-types`; here is only what a relayed
//! packet touches. Nothing here panics on any input.
