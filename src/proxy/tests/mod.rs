//! The proxy between raw bytes on one side and a recording TLS origin on loopback on the other.

mod failures;
mod framing;
mod http;
mod http2;
mod redirects;
mod support;
mod vetting;
mod websocket;
