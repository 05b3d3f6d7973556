//! A TCP or TLS connection that turned out to speak TURN: what `listen` gives away and `io` takes over.
//!
//! It belongs to neither, so that the two need not know each other.

use crate::addr::FiveTuple;
use std::net::TcpStream;

/// One accepted connection, told apart by its first bytes, nothing answered yet.
pub struct Accepted {
    /// Non-blocking, `TCP_NODELAY` set, registered with no event loop.
    pub socket: TcpStream,
    /// The TLS state after the handshake; it may hold plaintext that is not read yet. `None` over plain TCP.
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// Plaintext that was read to tell the protocol apart; it comes before anything else from the client.
    pub early: Vec<u8>,
    /// Client and server address as the client sees them: from the PROXY header where there is one.
    pub five_tuple: FiveTuple,
    /// Counts the connection against its limits until it is dropped: keep it as long as the socket.
    pub guard: Box<dyn Send>,
}
