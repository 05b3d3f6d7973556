//! Real clients on loopback against the listeners of one thread.

mod binding;
mod challenge;
mod deadlines;
mod first_bytes;
mod life;
mod proxy_headers;

use super::*;
use crate::addr::{ClientAddr, Transport};
use crate::tls::{CertificateSource, Store};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use socket2::SockRef;
use std::io::{self, Read};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A Binding request (RFC 8489 §5): type, length 0, magic cookie, transaction ID.
const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction1";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Longer than any test may run.
const NEVER_S: u64 = 3600;

/// What the listeners handed over.
enum Handed {
    Turn(Accepted),
    Http(HttpStream, ConnectionInfo),
}

struct Recorder(mpsc::UnboundedSender<Handed>);

impl Handler for Recorder {
    fn turn(&self, accepted: Accepted) {
        let _ = self.0.send(Handed::Turn(accepted));
    }

    fn http(&self, stream: HttpStream, info: ConnectionInfo) {
        let _ = self.0.send(Handed::Http(stream, info));
    }
}

/// Running listeners: one plain port, one TLS port.
struct Server {
    tcp: SocketAddr,
    tls: SocketAddr,
    store: Option<Arc<Store>>,
    shared: Arc<Shared>,
    change: mpsc::Sender<Change>,
    handed: mpsc::UnboundedReceiver<Handed>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    /// Closed connections so far, by reason.
    seen: Vec<(Reason, u64)>,
}

async fn test(change: impl FnOnce(&mut Settings), body: impl AsyncFnOnce(Server)) {
    let store = Store::load(&certificate(&["localhost"])).expect("the name is valid");
    with_store(settings(change), Some(store), body).await;
}

async fn with_store(settings: Settings, store: Option<Arc<Store>>, body: impl AsyncFnOnce(Server)) {
    let local = LocalSet::new();
    local
        .run_until(async move {
            let listeners = Listeners::bind(&settings, 1).expect("loopback");
            let (tcp, tls) = (listeners.tcp_addresses()[0], listeners.tls_addresses()[0]);
            let shared = Shared::new(&settings);
            let (sender, handed) = mpsc::unbounded_channel();
            let (stop, stopped) = watch::channel(false);
            let thread = listeners.into_threads().remove(0);
            let (change, changes) = mpsc::channel(1);
            let running = spawn_local(run(
                thread,
                changes,
                Arc::new(ArcSwapOption::new(store.clone())),
                Arc::clone(&shared),
                Rc::new(Recorder(sender)),
                stopped,
            ));
            body(Server {
                tcp,
                tls,
                store,
                shared,
                change,
                handed,
                stop,
                running,
                seen: Vec::new(),
            })
            .await;
        })
        .await;
}

impl Server {
    async fn client(&self, address: SocketAddr) -> TcpStream {
        // Blocking, so that a refused connection is seen by its first use and not by this.
        let stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.set_nonblocking(true).expect("open");
        stream.set_nodelay(true).expect("open");
        TcpStream::from_std(stream).expect("non-blocking")
    }

    async fn tls_client(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.tls_client_at(self.tls, alpn).await
    }

    async fn tls_client_at(&self, address: SocketAddr, alpn: &[&str]) -> TlsStream<TcpStream> {
        let stream = self.client(address).await;
        TlsConnector::from(self.client_config(alpn))
            .connect(localhost(), stream)
            .await
            .expect("the certificate is trusted")
    }

    /// Trusts the server's present certificate and nothing else.
    fn client_config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for der in self.store.iter().flat_map(|store| store.chain()) {
            roots.add(der).expect("a certificate");
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("built-in versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    async fn turn(&mut self) -> Accepted {
        match self.handed.recv().await {
            Some(Handed::Turn(accepted)) => accepted,
            Some(Handed::Http(..)) => panic!("taken for HTTP"),
            None => panic!("the listeners are gone"),
        }
    }

    async fn http(&mut self) -> (HttpStream, ConnectionInfo) {
        match self.handed.recv().await {
            Some(Handed::Http(stream, info)) => (stream, info),
            Some(Handed::Turn(_)) => panic!("taken for TURN"),
            None => panic!("the listeners are gone"),
        }
    }

    /// The client sees its connection end, and exactly one more is counted for `reason`.
    async fn closed_for(&mut self, client: &mut (impl AsyncRead + Unpin), reason: Reason) {
        assert!(ended(client).await);
        self.counted(reason).await;
    }

    /// Waits until one more connection is counted for `reason`, and checks that none is for any other.
    async fn counted(&mut self, reason: Reason) {
        self.seen.push((reason, 1));
        let expected = |reason: Reason| {
            let seen = self.seen.iter().filter(|(seen, _)| *seen == reason);
            seen.map(|(_, count)| count).sum::<u64>()
        };
        let metrics = &self.shared.metrics;
        while metrics.closed_for(reason) < expected(reason) {
            tokio::task::yield_now().await;
        }
        for reason in Reason::ALL {
            assert_eq!(metrics.closed_for(*reason), expected(*reason), "{reason:?}");
        }
        assert!(self.handed.is_empty(), "it was handed over as well");
    }
}

/// A stream that writes one byte at a time and lets everything else run in between.
struct Slow {
    stream: TcpStream,
    resting: bool,
}

impl Slow {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            resting: false,
        }
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.resting = !self.resting;
        if self.resting {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings {
        tcp: vec![any],
        tls: vec![any],
        handshake_timeout_s: NEVER_S,
        first_byte_timeout_s: NEVER_S,
        ..Settings::default()
    };
    change(&mut settings);
    settings
}

fn trust_loopback(settings: &mut Settings) {
    settings.proxy_protocol_from = vec!["127.0.0.0/8".parse().expect("a network")];
}

fn certificate(names: &[&str]) -> tls::Settings {
    tls::Settings {
        source: CertificateSource::SelfSigned {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        },
    }
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

fn alpn(client: &TlsStream<TcpStream>) -> Option<&str> {
    let name = client.get_ref().1.alpn_protocol()?;
    std::str::from_utf8(name).ok()
}

fn peer_certificate(client: &TlsStream<TcpStream>) -> Vec<u8> {
    let certificates = client.get_ref().1.peer_certificates();
    certificates.expect("the server has one")[0].to_vec()
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).await.expect("open");
    buffer
}

/// Reads plaintext the way `io` does: early bytes, then TLS state and socket.
async fn read_turn(mut accepted: Accepted, bytes: usize) -> Vec<u8> {
    let mut read = std::mem::take(&mut accepted.early);
    let mut socket = TcpStream::from_std(accepted.socket).expect("non-blocking");
    let mut chunk = [0; 2048];
    while read.len() < bytes {
        let Some(session) = &mut accepted.tls else {
            let count = socket.read(&mut chunk).await.expect("open");
            assert_ne!(count, 0, "closed too early");
            read.extend_from_slice(&chunk[..count]);
            continue;
        };
        match session.reader().read(&mut chunk) {
            Ok(count) => read.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let count = socket.read(&mut chunk).await.expect("open");
                assert_ne!(count, 0, "closed too early");
                let mut rest = &chunk[..count];
                while !rest.is_empty() {
                    session.read_tls(&mut rest).expect("room");
                    session.process_new_packets().expect("valid records");
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    read
}

/// Waits for the end of the connection: closed or reset.
async fn ended(client: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest).await {
        Ok(_) => true,
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
        ),
    }
}
