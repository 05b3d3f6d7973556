//! A blocking TURN client over a real socket: UDP, TCP or TLS, plain as a debugger's.
//!
//! It vets every message it is given (`stun::Message::complaint`, the FINGERPRINT rule, the integrity), so that no
//! scenario needs to. A reader that waits longer than [`PATIENCE`] fails.

use super::stun::{self, Class, Integrity, Message, Writer, attr};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Far longer than any answer takes on loopback, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp,
    Tcp,
    Tls,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];
    pub const STREAMS: [Self; 2] = [Self::Tcp, Self::Tls];
}

pub type Outcome<T = ()> = Result<T, String>;

pub enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub fn open(kind: Kind, server: SocketAddr) -> io::Result<Self> {
        let any = if server.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        match kind {
            Kind::Udp => {
                let socket = UdpSocket::bind(any)?;
                socket.connect(server)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(Self::Udp(socket))
            }
            Kind::Tcp => Ok(Self::Tcp(connect(server)?)),
            Kind::Tls => Ok(Self::Tls(Box::new(secure(connect(server)?, &[])?))),
        }
    }

    pub fn local_addr(&self) -> SocketAddr {
        let addr = match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(socket) => socket.local_addr(),
            Self::Tls(stream) => stream.sock.local_addr(),
        };
        addr.expect("an open socket has an address")
    }

    pub fn is_stream(&self) -> bool {
        !matches!(self, Self::Udp(_))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Tcp(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buf),
            Self::Tcp(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }

    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Udp(_) => None,
            Self::Tcp(socket) => Some(socket),
            Self::Tls(stream) => Some(&stream.sock),
        }
    }
}

pub fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A TLS client connection that takes any certificate: what is in it is not at stake here.
pub fn secure(
    socket: TcpStream,
    alpn: &[&[u8]],
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the default versions are supported")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("relay.test").expect("a valid name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What the server sent.
#[derive(Debug)]
pub enum Incoming {
    Message(Message),
    ChannelData { number: u16, payload: Vec<u8> },
}

pub struct Client {
    pub wire: Wire,
    pub username: String,
    pub password: String,
    pub realm: String,
    pub nonce: String,
    pub fingerprint: bool,
    /// RFC 8489: SHA-256 keys and MESSAGE-INTEGRITY-SHA256, once the server offers them.
    pub sha256: bool,
    pub userhash: bool,
    offered: Option<Vec<u8>>,
    received: Vec<u8>,
}

impl Client {
    pub fn new(wire: Wire, username: &str, password: &str) -> Self {
        Self {
            wire,
            username: username.to_owned(),
            password: password.to_owned(),
            realm: String::new(),
            nonce: String::new(),
            fingerprint: false,
            sha256: false,
            userhash: false,
            offered: None,
            received: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.wire
            .send(bytes)
            .map_err(|error| format!("cannot send: {error}"))
    }

    pub fn integrity(&self) -> Integrity {
        if self.sha256 && self.offered.is_some() {
            Integrity::Sha256(stun::key_sha256(
                &self.username,
                &self.realm,
                &self.password,
            ))
        } else {
            Integrity::Sha1(stun::key_md5(&self.username, &self.realm, &self.password))
        }
    }

    /// Adds credentials, as far as a challenge has come.
    pub fn sign(&self, writer: Writer) -> Writer {
        if self.nonce.is_empty() {
            return writer;
        }
        let writer = if self.userhash {
            writer.attr(attr::USERHASH, &stun::userhash(&self.username, &self.realm))
        } else {
            writer.attr(attr::USERNAME, self.username.as_bytes())
        };
        let mut writer = writer
            .attr(attr::REALM, self.realm.as_bytes())
            .attr(attr::NONCE, self.nonce.as_bytes());
        if let (true, Some(offered)) = (self.sha256, &self.offered) {
            writer = writer
                .attr(attr::PASSWORD_ALGORITHMS, offered)
                .attr(attr::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
        }
        writer.integrity(&self.integrity())
    }

    pub fn seal(&self, writer: Writer) -> Vec<u8> {
        let writer = self.sign(writer);
        if self.fingerprint {
            writer.fingerprint().bytes()
        } else {
            writer.bytes()
        }
    }

    /// Sends a request as it stands and waits for its answer.
    pub fn exchange(&mut self, bytes: &[u8]) -> Outcome<Message> {
        self.send(bytes)?;
        let request = Message::read(bytes)?;
        let reply = self.answer_to(&request)?;
        if reply.has(attr::FINGERPRINT) != request.has(attr::FINGERPRINT) {
            return Err(format!("{reply:?} breaks the FINGERPRINT rule"));
        }
        let stranger = matches!(reply.error_code(), Some(400 | 401 | 420 | 438));
        let signed = request.has_integrity() && request.method != stun::BINDING;
        if signed && !(stranger || reply.verify(&self.integrity())) {
            return Err(format!("{reply:?} has no valid integrity"));
        }
        Ok(reply)
    }

    fn answer_to(&mut self, request: &Message) -> Outcome<Message> {
        loop {
            match self.receive()? {
                Incoming::Message(message)
                    if message.transaction_id == request.transaction_id
                        && matches!(message.class, Class::Success | Class::Error) =>
                {
                    return Ok(message);
                }
                _ => {}
            }
        }
    }

    /// One request with attributes, answering at most one challenge.
    pub fn request(&mut self, method: u16, add: impl Fn(Writer) -> Writer) -> Outcome<Message> {
        let writer = || add(Writer::new(Class::Request, method, transaction_id()));
        let reply = self.exchange(&self.seal(writer()))?;
        let fresh = self.nonce.is_empty() && reply.error_code() == Some(401);
        if !fresh {
            return Ok(reply);
        }
        self.take_challenge(&reply)?;
        self.exchange(&self.seal(writer()))
    }

    pub fn take_challenge(&mut self, reply: &Message) -> Outcome {
        self.realm = reply.text(attr::REALM).ok_or("a challenge without REALM")?;
        self.nonce = reply.text(attr::NONCE).ok_or("a challenge without NONCE")?;
        self.offered = reply.get(attr::PASSWORD_ALGORITHMS).map(<[u8]>::to_vec);
        Ok(())
    }

    /// Gets a challenge and takes it, without allocating.
    pub fn challenge(&mut self) -> Outcome {
        let bytes = Writer::new(Class::Request, stun::ALLOCATE, transaction_id())
            .attr(attr::REQUESTED_TRANSPORT, &UDP)
            .bytes();
        let reply = self.exchange(&bytes)?;
        is_code(&reply, 401)?;
        self.take_challenge(&reply)
    }

    pub fn allocate(&mut self) -> Outcome<SocketAddr> {
        self.allocate_with(|writer| writer)
    }

    pub fn allocate_with(&mut self, add: impl Fn(Writer) -> Writer) -> Outcome<SocketAddr> {
        let with = |writer: Writer| add(writer.attr(attr::REQUESTED_TRANSPORT, &UDP));
        let reply = is_success(self.request(stun::ALLOCATE, with)?)?;
        reply
            .xor_addr(attr::XOR_RELAYED_ADDRESS)
            .ok_or("no relayed address".into())
    }

    pub fn permit(&mut self, peer: SocketAddr) -> Outcome<Message> {
        self.request(stun::CREATE_PERMISSION, |w| {
            w.xor_addr(attr::XOR_PEER_ADDRESS, peer)
        })
    }

    pub fn bind_channel(&mut self, number: u16, peer: SocketAddr) -> Outcome<Message> {
        let [high, low] = number.to_be_bytes();
        self.request(stun::CHANNEL_BIND, |writer| {
            writer
                .attr(attr::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_addr(attr::XOR_PEER_ADDRESS, peer)
        })
    }

    pub fn refresh(&mut self, lifetime_s: u32) -> Outcome<Message> {
        self.request(stun::REFRESH, |w| {
            w.attr(attr::LIFETIME, &lifetime_s.to_be_bytes())
        })
    }

    pub fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) -> Outcome {
        let bytes = Writer::new(Class::Indication, stun::SEND, transaction_id())
            .xor_addr(attr::XOR_PEER_ADDRESS, peer)
            .attr(attr::DATA, payload)
            .bytes();
        self.send(&bytes)
    }

    pub fn send_channel(&mut self, number: u16, payload: &[u8]) -> Outcome {
        self.send(&stun::channel_data(number, payload, self.wire.is_stream()))
    }

    /// A Binding request and its answer: everything sent before it has been dealt with.
    pub fn fence(&mut self) -> Outcome<SocketAddr> {
        let bytes = Writer::new(Class::Request, stun::BINDING, transaction_id()).bytes();
        let reply = is_success(self.exchange(&bytes)?)?;
        reply
            .xor_addr(attr::XOR_MAPPED_ADDRESS)
            .ok_or("no mapped address".into())
    }

    /// Payload of a peer, by a Data indication or a channel, with who sent it.
    pub fn receive_data(&mut self) -> Outcome<(Option<SocketAddr>, Option<u16>, Vec<u8>)> {
        loop {
            match self.receive()? {
                Incoming::ChannelData { number, payload } => {
                    return Ok((None, Some(number), payload));
                }
                Incoming::Message(message) if message.method == stun::DATA => {
                    let peer = message.xor_addr(attr::XOR_PEER_ADDRESS);
                    let payload = message.get(attr::DATA).ok_or("Data without DATA")?.to_vec();
                    return Ok((peer, None, payload));
                }
                Incoming::Message(_) => {}
            }
        }
    }

    /// The next whole message; over a stream, cut at its length and its padding.
    pub fn receive(&mut self) -> Outcome<Incoming> {
        let mut buf = vec![0; 65_536];
        loop {
            if let Some(frame) = self.cut() {
                return vet(&frame, self.wire.is_stream());
            }
            let got = self
                .wire
                .read(&mut buf)
                .map_err(|error| format!("no answer: {error}"))?;
            match &self.wire {
                Wire::Udp(_) => return vet(&buf[..got], false),
                _ if got == 0 => return Err("the connection was closed".into()),
                _ => self.received.extend_from_slice(&buf[..got]),
            }
        }
    }

    fn cut(&mut self) -> Option<Vec<u8>> {
        let header = self.received.get(..4)?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let whole = if header[0] < 0x40 {
            20 + len
        } else {
            (4 + len).next_multiple_of(4)
        };
        (self.received.len() >= whole).then(|| self.received.drain(..whole).collect())
    }

    /// Waits until the server closes the connection; anything but an answer to nothing is an error.
    pub fn wait_closed(&mut self) -> Outcome {
        let mut buf = [0; 4096];
        loop {
            match self.wire.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Err("the connection stays open".into()),
                Err(_) => return Ok(()),
            }
        }
    }
}

/// REQUESTED-TRANSPORT: UDP.
pub const UDP: [u8; 4] = [17, 0, 0, 0];

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn vet(frame: &[u8], stream: bool) -> Outcome<Incoming> {
    if frame.first().is_some_and(|first| *first >= 0x40) {
        let header = frame.get(..4).ok_or("ChannelData without a header")?;
        let number = u16::from_be_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let payload = frame
            .get(4..4 + len)
            .ok_or("ChannelData cut short")?
            .to_vec();
        let padding = &frame[4 + len..];
        let fits = if stream {
            padding.len() < 4
        } else {
            padding.is_empty() || padding.len() < 4
        };
        if !fits || padding.iter().any(|byte| *byte != 0) {
            return Err(format!("ChannelData with padding {padding:?}"));
        }
        return Ok(Incoming::ChannelData { number, payload });
    }
    let message = Message::read(frame)?;
    match message.complaint() {
        Some(complaint) => Err(format!("a client would refuse {message:?}: {complaint}")),
        None => Ok(Incoming::Message(message)),
    }
}

pub fn transaction_id() -> [u8; 12] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = *b"conf........";
    id[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

pub fn is_success(reply: Message) -> Outcome<Message> {
    if reply.class == Class::Success {
        Ok(reply)
    } else {
        Err(format!("no success: {reply:?}"))
    }
}

pub fn is_code(reply: &Message, code: u16) -> Outcome {
    match reply.error_code() {
        Some(found) if found == code => Ok(()),
        _ => Err(format!("expected {code}, got {reply:?}")),
    }
}

pub fn ensure(holds: bool, fault: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(fault.into()) }
}

/// A peer: a socket of its own on loopback, on a port that the system gives to nobody by itself: one of the
/// server's own ports would be no peer.
pub fn peer(ip: &str) -> UdpSocket {
    let ip: IpAddr = ip.parse().expect("a literal address");
    let mut ports = own_ports();
    let socket = ports.find_map(|port| UdpSocket::bind((ip, port)).ok());
    let socket = socket.expect("loopback can be bound");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    socket
}

/// Ports below the system's ephemeral ones, each process and each call with others.
pub fn own_ports() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = || NEXT.fetch_add(1, Ordering::Relaxed) + u64::from(std::process::id()) * 97;
    std::iter::repeat_with(move || 10_000 + (next() % 20_000) as u16).take(20_000)
}

pub fn peer_receive(peer: &UdpSocket) -> Outcome<(Vec<u8>, SocketAddr)> {
    let mut buf = vec![0; 65_536];
    let (len, from) = peer
        .recv_from(&mut buf)
        .map_err(|error| format!("peer got nothing: {error}"))?;
    buf.truncate(len);
    Ok((buf, from))
}

/// True when nothing waits on this peer's socket.
pub fn peer_is_empty(peer: &UdpSocket) -> bool {
    peer.set_nonblocking(true)
        .expect("a socket can be non-blocking");
    let empty = peer.recv_from(&mut [0; 64]).is_err();
    peer.set_nonblocking(false)
        .expect("a socket can be blocking");
    empty
}
