//! From an accepted socket to a protocol: PROXY header, TLS handshake, then ALPN or the first byte.
//!
//! The first byte is enough. STUN begins with two zero bits (RFC 8489 §5); a ChannelData message (0x40-0x7F) cannot be
//! the first of a connection, since its channel has to be bound before; an HTTP/1 request and the HTTP/2 preface begin
//! with a letter; a TLS record of a ClientHello begins with 0x16, which no assigned STUN method does.

use super::accept::reset;
use super::bind::Port;
use super::limits::{ConnectionGuard, Shared};
use super::metrics::{Carrier, Handshake, Protocol, Reason};
use super::{ConnectionInfo, Handler, HttpStream, Tls, handshake, proxy_protocol};
use crate::accepted::Accepted;
use crate::addr::{self, ClientAddr, FiveTuple, Transport};
use crate::tls;
use rustls::{AlertDescription, HandshakeKind};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncBufRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

/// First byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What the connections of one thread need.
pub(super) struct Context<H> {
    pub tls: Tls,
    pub shared: Arc<Shared>,
    pub handler: Rc<H>,
}

/// A connection on its way to a handler.
struct Connection {
    client: SocketAddr,
    server: SocketAddr,
    guard: ConnectionGuard,
}

/// Finds out what the connection speaks and hands it over, or closes it and says why.
pub(super) async fn serve<H: Handler>(
    context: Rc<Context<H>>,
    stream: TcpStream,
    peer: SocketAddr,
    port: Port,
    guard: ConnectionGuard,
) {
    if let Err(reason) = identify(&context, stream, peer, port, guard).await {
        context.shared.metrics.refused(reason, 1);
        tracing::debug!(%peer, reason = reason.label(), "connection closed");
    }
}

async fn identify<H: Handler>(
    context: &Context<H>,
    mut stream: TcpStream,
    peer: SocketAddr,
    port: Port,
    guard: ConnectionGuard,
) -> Result<(), Reason> {
    let shared = &context.shared;
    let deadline = Instant::now() + shared.handshake_timeout();
    let mut connection = Connection {
        client: peer,
        server: addr::plain(stream.local_addr().map_err(|_| Reason::Socket)?),
        guard,
    };
    // As it was decided at accept: the settings may have changed since.
    if !connection.guard.is_attributed() {
        let read = timeout_at(deadline, proxy_protocol::read(&mut stream));
        let header = read.await.map_err(|_| Reason::HandshakeTimeout)??;
        if let Some(addresses) = header {
            connection.client = addresses.client;
            connection.server = addresses.server;
        }
        let attributed = connection.guard.attribute(connection.client.ip());
        attributed.inspect_err(|_| reset(&stream))?;
    }
    match port {
        Port::Tls => serve_tls(context, stream, connection, deadline).await,
        Port::Tcp => serve_plain(context, stream, connection).await,
    }
}

async fn serve_plain<H: Handler>(
    context: &Context<H>,
    stream: TcpStream,
    connection: Connection,
) -> Result<(), Reason> {
    let shared = &context.shared;
    let mut first = [0];
    let seen = timeout(shared.first_byte_timeout(), stream.peek(&mut first))
        .await
        .map_err(|_| Reason::FirstByteTimeout)?
        .map_err(|_| Reason::Socket)?;
    if seen == 0 {
        return Err(Reason::ClientClosed);
    }
    match classify(first[0]) {
        FirstByte::Tls => {
            let deadline = Instant::now() + shared.handshake_timeout();
            serve_tls(context, stream, connection, deadline).await
        }
        FirstByte::Stun => hand_to_turn(context, stream, None, connection),
        FirstByte::Http => {
            hand_to_http(context, HttpStream::Plain(stream), connection, None);
            Ok(())
        }
        FirstByte::Garbage => Err(Reason::Garbage),
    }
}

async fn serve_tls<H: Handler>(
    context: &Context<H>,
    stream: TcpStream,
    connection: Connection,
    deadline: Instant,
) -> Result<(), Reason> {
    let shared = &context.shared;
    let store = context.tls.load_full().ok_or(Reason::NoCertificate)?;
    let stream = timeout_at(deadline, handshake::accept(&store, stream))
        .await
        .map_err(|_| Reason::HandshakeTimeout)?
        .map_err(|error| handshake_reason(&error))?
        .ok_or(Reason::AcmeChallenge)?;
    let mut stream = Box::new(stream);
    let session = stream.get_ref().1;
    shared.metrics.handshake(match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => Handshake::Resumed,
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
            Handshake::Full
        }
    });
    let (http, h2) = match session.alpn_protocol() {
        Some(tls::ALPN_TURN | tls::ALPN_NAT_DISCOVERY) => (false, false),
        Some(tls::ALPN_H2) => (true, true),
        Some(_) => (true, false),
        None => {
            let first = timeout(shared.first_byte_timeout(), first_byte(&mut stream))
                .await
                .map_err(|_| Reason::FirstByteTimeout)??;
            match classify(first) {
                FirstByte::Stun => (false, false),
                FirstByte::Http => (true, false),
                FirstByte::Tls | FirstByte::Garbage => return Err(Reason::Garbage),
            }
        }
    };
    let facts = TlsFacts {
        h2,
        sni: stream.get_ref().1.server_name().map(str::to_owned),
    };
    if http {
        hand_to_http(context, HttpStream::Tls(stream), connection, Some(facts));
        return Ok(());
    }
    // Whatever the handshake left to be sent (session tickets) goes out before the TLS state changes hands.
    timeout(shared.first_byte_timeout(), stream.flush())
        .await
        .map_err(|_| Reason::HandshakeTimeout)?
        .map_err(|_| Reason::Socket)?;
    let (socket, session) = stream.into_inner();
    hand_to_turn(context, socket, Some(Box::new(session)), connection)
}

/// What TLS tells about an HTTP connection.
struct TlsFacts {
    h2: bool,
    sni: Option<String>,
}

fn hand_to_http<H: Handler>(
    context: &Context<H>,
    stream: HttpStream,
    mut connection: Connection,
    facts: Option<TlsFacts>,
) {
    let carrier = facts.as_ref().map_or(Carrier::Tcp, |_| Carrier::Tls);
    context.shared.metrics.identified(carrier, Protocol::Http);
    connection.guard.identify(Protocol::Http);
    let info = ConnectionInfo {
        client: connection.client,
        server: connection.server,
        tls: facts.is_some(),
        h2: facts.as_ref().is_some_and(|facts| facts.h2),
        sni: facts.and_then(|facts| facts.sni),
        guard: connection.guard,
    };
    context.handler.http(stream, info);
}

fn hand_to_turn<H: Handler>(
    context: &Context<H>,
    stream: TcpStream,
    tls: Option<Box<rustls::ServerConnection>>,
    mut connection: Connection,
) -> Result<(), Reason> {
    let (carrier, transport) = match tls {
        Some(_) => (Carrier::Tls, Transport::Tls),
        None => (Carrier::Tcp, Transport::Tcp),
    };
    let socket = stream.into_std().map_err(|_| Reason::Socket)?;
    context.shared.metrics.identified(carrier, Protocol::Turn);
    connection.guard.identify(Protocol::Turn);
    context.handler.turn(Accepted {
        socket,
        tls,
        // The first byte was looked at, not read: it is in the socket or in the TLS state.
        early: Vec::new(),
        five_tuple: FiveTuple {
            client: ClientAddr::new(connection.client),
            server: connection.server,
            transport,
        },
        guard: Box::new(connection.guard),
    });
    Ok(())
}

/// The first byte of plaintext, left where it is.
async fn first_byte(stream: &mut TlsStream<TcpStream>) -> Result<u8, Reason> {
    let first = poll_fn(|cx| {
        Pin::new(&mut *stream)
            .poll_fill_buf(cx)
            .map_ok(|bytes| bytes.first().copied())
    });
    match first.await {
        Ok(Some(byte)) => Ok(byte),
        Ok(None) => Err(Reason::ClientClosed),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Reason::ClientClosed),
        Err(_) => Err(Reason::Socket),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstByte {
    Tls,
    Stun,
    Http,
    Garbage,
}

fn classify(byte: u8) -> FirstByte {
    match byte {
        TLS_HANDSHAKE => FirstByte::Tls,
        0x00..=0x3f => FirstByte::Stun,
        // Methods are upper case; lower case goes to the proxy as well, which answers 400 in HTTP's own words.
        b'A'..=b'Z' | b'a'..=b'z' => FirstByte::Http,
        _ => FirstByte::Garbage,
    }
}

fn handshake_reason(error: &io::Error) -> Reason {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Reason::ClientClosed;
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
        ) => Reason::Alpn,
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            Reason::NotTls
        }
        Some(_) => Reason::Handshake,
        None => Reason::Socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_meaning() {
        for byte in 0..=u8::MAX {
            let expected = if byte == 0x16 {
                FirstByte::Tls
            } else if byte < 0x40 {
                FirstByte::Stun
            } else if byte.is_ascii_alphabetic() {
                FirstByte::Http
            } else {
                FirstByte::Garbage
            };
            assert_eq!(classify(byte), expected, "{byte:#04x}");
        }
    }
}
