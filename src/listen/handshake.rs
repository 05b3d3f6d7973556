//! The TLS handshake, where a certificate authority's validation (TLS-ALPN-01, RFC 8737) parts from clients.
//!
//! What holds: while no challenge is open, no handshake is looked into; a validation never becomes a connection that
//! somebody could take over: it ends here, with its handshake.

use crate::tls::Store;
use rustls::server::Acceptor;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

/// `None`: it was a validation, and is over. The caller bounds the time.
pub(super) async fn accept(
    store: &Store,
    stream: TcpStream,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    if store.challenges().is_empty() {
        let acceptor = TlsAcceptor::from(store.server_config());
        return acceptor.accept(stream).await.map(Some);
    }
    // Boxed, so that the handshakes of every other time are no larger for it.
    Box::pin(accept_or_answer(store, stream)).await
}

async fn accept_or_answer(
    store: &Store,
    stream: TcpStream,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let Some(config) = store.challenges().answer(&start.client_hello()) else {
        return start.into_stream(store.server_config()).await.map(Some);
    };
    let mut stream = start.into_stream(config).await?;
    // RFC 8737 §3: the validator has what it came for; no application data follows.
    stream.shutdown().await?;
    Ok(None)
}
