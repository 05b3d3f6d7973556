//! A client that writes raw bytes, an origin that says what a test tells it to, and the proxy in between.

use crate::proxy::respond::ProxyError;
use crate::proxy::{
    Addresses, ConnectionInfo, HostRule, Local, Proxy, Resolve, Settings, SystemResolver,
    UpstreamNumbers,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub const ORIGIN: &str = "origin.test";
pub const OTHER: &str = "other.test";
pub const PROXY: &str = "proxy.test";

/// No test waits longer than this; reaching it is a failure.
const TEST_TIME_MAX: Duration = Duration::from_secs(30);

pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let test = async {
        tokio::time::timeout(TEST_TIME_MAX, test)
            .await
            .expect("the test ends in time")
    };
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// A certificate authority whose file goes away with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("relayd-proxy-ca-{}-{number}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, certificate.pem()).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    pub fn certificate(&self, names: &[&str]) -> Certificate {
        self.certificate_for_years(names, 2000, 4000)
    }

    pub fn certificate_for_years(&self, names: &[&str], from: i32, to: i32) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (
            certificate.der().clone(),
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).expect("removed");
    }
}

pub type Certificate = (CertificateDer<'static>, PrivateKeyDer<'static>);
pub type OriginStream = TlsStream<TcpStream>;

/// A TLS server whose connections wait to be taken by the test.
pub struct Origin {
    pub address: SocketAddr,
    waiting: Rc<RefCell<VecDeque<OriginStream>>>,
    arrived: Rc<tokio::sync::Notify>,
    accepted: Rc<Cell<usize>>,
}

impl Origin {
    pub async fn start(certificate: Certificate) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.0], certificate.1)
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let origin = Self {
            address: listener.local_addr().expect("an address"),
            waiting: Rc::default(),
            arrived: Rc::default(),
            accepted: Rc::default(),
        };
        let waiting = Rc::clone(&origin.waiting);
        let arrived = Rc::clone(&origin.arrived);
        let accepted = Rc::clone(&origin.accepted);
        tokio::task::spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("accepted");
                accepted.set(accepted.get() + 1);
                if let Ok(stream) = acceptor.accept(socket).await {
                    waiting.borrow_mut().push_back(stream);
                    arrived.notify_one();
                }
            }
        });
        origin
    }

    /// TCP connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.get()
    }

    /// The next connection after its handshake.
    pub async fn take(&self) -> Peer<OriginStream> {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            if let Some(stream) = next {
                return Peer::new(stream);
            }
            self.arrived.notified().await;
        }
    }
}

/// Names for the tests' origins and nothing else: no test ever asks a real resolver.
pub struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, host: &str) -> Addresses {
        panic!("{host} was to be resolved")
    }
}

pub struct World {
    pub proxy: Arc<Proxy>,
    pub local: Rc<Local>,
    pub origin: Origin,
    pub settings: Settings,
    pub drain: watch::Sender<bool>,
    /// Keeps the CA file.
    _authority: Authority,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let authority = Authority::new();
        let certificate = authority.certificate(&[ORIGIN, OTHER]);
        Self::with_certificate(authority, certificate, change).await
    }

    pub async fn with_certificate(
        authority: Authority,
        certificate: Certificate,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let origin = Origin::start(certificate).await;
        let mut settings = Settings {
            allow: vec![allow(ORIGIN), allow(OTHER)],
            ca_file: Some(authority.file.clone()),
            ..Settings::default()
        };
        for host in [ORIGIN, OTHER] {
            settings
                .resolve
                .insert((host.to_owned(), 443), origin.address);
        }
        change(&mut settings);
        let proxy = Proxy::with_resolver(settings.clone(), Arc::new(NoNames)).expect("a proxy");
        Self {
            local: Local::new(Arc::clone(&proxy)),
            proxy,
            origin,
            settings,
            drain: watch::Sender::new(false),
            _authority: authority,
        }
    }

    /// A client's HTTP/1 connection.
    pub fn client(&self) -> Peer<DuplexStream> {
        Peer::new(self.connect(false))
    }

    /// The same without TLS.
    pub fn plain_client(&self) -> Peer<DuplexStream> {
        Peer::new(self.serve(ConnectionInfo {
            tls: false,
            ..Self::info(false)
        }))
    }

    pub fn connect(&self, h2: bool) -> DuplexStream {
        self.serve(Self::info(h2))
    }

    fn info(h2: bool) -> ConnectionInfo {
        ConnectionInfo {
            client: SocketAddr::from(([192, 0, 2, 7], 50_000)),
            server: SocketAddr::from(([192, 0, 2, 1], 443)),
            tls: true,
            h2,
        }
    }

    fn serve(&self, info: ConnectionInfo) -> DuplexStream {
        let (client, served) = duplex(64 << 10);
        let serving = self.local.serve(served, info, self.drain.subscribe());
        tokio::task::spawn_local(serving);
        client
    }

    /// The size of the future of a connection whose stream is larger by `padding`.
    pub fn serving_size<P: Unpin + 'static>(&self, padding: P) -> usize {
        let (_, served) = duplex(1);
        let stream = Padded(served, padding);
        let serving = self
            .local
            .serve(stream, Self::info(false), self.drain.subscribe());
        std::mem::size_of_val(&serving)
    }

    /// The first upstream's numbers, once a client has given up on it.
    pub async fn abandoned(&self) -> UpstreamNumbers {
        loop {
            let found = self.proxy.upstreams().0.into_iter().next();
            if let Some(one) = found.filter(|one| one.abandoned > 0) {
                return one;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How often relayd has answered with this error.
    pub fn errors(&self, reason: ProxyError) -> u64 {
        let label = crate::proxy::metrics::ErrorLabel { reason };
        let errors = &self.proxy.metrics().errors;
        errors.get_or_create(&label).get()
    }
}

/// A stream that is larger than it needs to be.
struct Padded<P>(DuplexStream, #[allow(dead_code)] P);

impl<P: Unpin> AsyncRead for Padded<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<P: Unpin> AsyncWrite for Padded<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

pub fn allow(name: &str) -> HostRule {
    HostRule {
        name: name.to_owned(),
        subdomains: false,
        ports: 443..=443,
    }
}

/// One end of an HTTP/1 connection, client or origin, in raw bytes.
pub struct Peer<S> {
    pub stream: S,
    read: Vec<u8>,
}

/// A message head and what is known of its body.
#[derive(Debug)]
pub struct Head {
    pub first: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn status(&self) -> u16 {
        let status = self.first.split(' ').nth(1).expect("a status");
        status.parse().expect("a number")
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|field| field.0 == name);
        named.map(|field| field.1.as_str()).collect()
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there twice: {all:?}");
        all.first().copied()
    }
}

/// A whole message.
#[derive(Debug)]
pub struct Message {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The label in the JSON body of relayd's own answers.
    pub fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        body["error"].as_str().expect("a label").to_owned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sent");
        self.stream.flush().await.expect("flushed");
    }

    /// Asks for a path of the origin.
    pub async fn get(&mut self, path: &str) {
        self.send(format!(
            "GET /{ORIGIN}{path} HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"
        ))
        .await;
    }

    /// Sends a 200 with a length.
    pub async fn ok(&mut self, body: &str) {
        let length = body.len();
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// False at the end of the stream.
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        let read = self.stream.read(&mut chunk).await.unwrap_or(0);
        self.read
            .extend_from_slice(chunk.get(..read).expect("what was read"));
        read > 0
    }

    pub async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8(line).expect("text");
                return line.strip_suffix("\r\n").expect("CRLF").to_owned();
            }
            assert!(
                self.more().await,
                "the stream ended in a line: {:?}",
                self.read
            );
        }
    }

    pub async fn head(&mut self) -> Head {
        let first = self.line().await;
        let mut fields = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return Head { first, fields };
            }
            let (name, value) = line.split_once(':').expect("a field");
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    pub async fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        while self.read.len() < bytes {
            assert!(self.more().await, "the stream ended too early");
        }
        self.read.drain(..bytes).collect()
    }

    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    pub async fn ends(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }

    /// A head with a body of the declared framing; a response to anything but HEAD, or a request.
    pub async fn message(&mut self) -> Message {
        let head = self.head().await;
        let none = ["1", "204", "304"];
        let status = head.first.strip_prefix("HTTP/1.1 ");
        let body = if let Some(length) = head.one("content-length") {
            let length = length.parse().expect("a length");
            self.exactly(length).await
        } else if head.one("transfer-encoding").is_some() {
            self.chunked().await
        } else if status.is_none_or(|status| none.iter().any(|start| status.starts_with(start))) {
            Vec::new()
        } else {
            self.rest().await
        };
        Message { head, body }
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = self.line().await;
            let size = usize::from_str_radix(&size, 16).expect("a size");
            if size == 0 {
                while !self.line().await.is_empty() {}
                return body;
            }
            body.extend(self.exactly(size).await);
            assert_eq!(self.line().await, "");
        }
    }
}

/// Proves that the system's resolver is the default without asking it anything.
#[test]
fn a_proxy_can_be_made_with_the_systems_resolver() {
    let _: Arc<dyn Resolve> = Arc::new(SystemResolver);
    assert!(Proxy::new(Settings::default()).is_ok());
}
