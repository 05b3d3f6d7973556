//! How client messages reach the server: many clients over one UDP socket
//! (each with its own loopback source address), or one TCP/TLS connection each.

use crate::mmsg::{drops, local_addr, setsockopt, sockaddr, udp_bind, Batch, MAX_MSG};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;

/// A connection that takes no more than this is sent nothing.
const UNSENT_MAX: usize = 1 << 20;

/// Called with (client index, message).
pub type Sink<'a> = &'a mut dyn FnMut(usize, &[u8]);

pub trait Transport {
    /// Hands over one message whose length is known beforehand.
    fn send(&mut self, client: usize, len: usize, fill: &mut dyn FnMut(&mut [u8]));
    fn flush(&mut self);
    /// Consecutive messages of a client may leave together.
    fn join_runs(&mut self) {}
    fn poll(&mut self, sink: Sink);
    /// Prepares client `client` (connects it, over streams).
    fn open(&mut self, client: usize) -> io::Result<()>;
    fn close(&mut self, client: usize);
    /// Moves all clients to source addresses not used before, over UDP.
    fn renew(&mut self, _clients: usize) {}
    /// False while a connection is still being set up.
    fn ready(&mut self, client: usize) -> bool;
    /// True over streams, where ChannelData is padded to four bytes.
    fn padded(&self) -> bool;
    fn send_errors(&self) -> u64;
    /// Datagrams that the kernel dropped at the clients' sockets.
    fn drops(&self) -> u64 {
        0
    }

    fn send_slice(&mut self, client: usize, msg: &[u8]) {
        self.send(client, msg.len(), &mut |b| b.copy_from_slice(msg));
    }
}

/// All clients behind one socket: client `i` sends from `base + i`.
pub struct UdpFan {
    fd: RawFd,
    server: SocketAddrV4,
    base: u32,
    tx: Batch,
    rx: Batch,
}

impl UdpFan {
    pub fn new(server: SocketAddrV4, base: Ipv4Addr, batch: usize) -> io::Result<Self> {
        let fd = udp_bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), 32 << 20)?;
        setsockopt(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        Ok(UdpFan {
            fd,
            server,
            base: u32::from(base),
            tx: Batch::new(batch),
            rx: Batch::new(batch),
        })
    }

    pub fn port(&self) -> io::Result<u16> {
        Ok(local_addr(self.fd)?.port())
    }
}

impl Transport for UdpFan {
    #[inline]
    fn send(&mut self, client: usize, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let src = Ipv4Addr::from(self.base + client as u32);
        self.tx.push(self.server, Some(src), len, fill);
        if self.tx.is_full() {
            self.tx.flush(self.fd);
        }
    }

    fn flush(&mut self) {
        self.tx.flush(self.fd);
    }

    fn join_runs(&mut self) {
        self.tx.join_runs();
    }

    fn poll(&mut self, sink: Sink) {
        for i in 0..self.rx.recv(self.fd, true) {
            let (msg, from) = self.rx.get(i);
            if let (true, (Some(ip), _)) = (from == self.server, self.rx.dst(i)) {
                sink(u32::from(ip).wrapping_sub(self.base) as usize, msg);
            }
        }
    }

    fn open(&mut self, _client: usize) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _client: usize) {}

    fn renew(&mut self, clients: usize) {
        self.base += clients as u32;
    }

    fn ready(&mut self, _client: usize) -> bool {
        true
    }

    fn padded(&self) -> bool {
        false
    }

    fn send_errors(&self) -> u64 {
        self.tx.send_errors
    }

    fn drops(&self) -> u64 {
        drops(self.fd)
    }
}

struct Conn {
    sock: TcpStream,
    tls: Option<Box<ClientConnection>>,
    out: VecDeque<u8>,
    inbuf: Vec<u8>,
    /// Handed over since everything had left last.
    unsent: usize,
    /// Waits for the next flush.
    dirty: bool,
    dead: bool,
}

impl Conn {
    /// Takes one frame, whole or not at all.
    fn push(&mut self, frame: &[u8]) -> bool {
        if self.dead || self.unsent > UNSENT_MAX {
            return false;
        }
        self.unsent += frame.len();
        match &mut self.tls {
            // One record for each frame, as browsers write them.
            Some(tls) => tls.writer().write(frame).is_ok_and(|n| n == frame.len()),
            None => {
                self.out.extend(frame);
                true
            }
        }
    }

    /// Writes what waits; true when nothing is left.
    fn flush(&mut self) -> bool {
        self.pump_out();
        let empty = self.out.is_empty() && !self.tls.as_ref().is_some_and(|t| t.wants_write());
        if empty {
            self.unsent = 0;
        }
        empty || self.dead
    }

    fn pump_out(&mut self) {
        let mut sock = &self.sock;
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut sock) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                    Err(_) => {
                        self.dead = true;
                        return;
                    }
                }
            }
            return;
        }
        while !self.out.is_empty() {
            match sock.write(self.out.as_slices().0) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
    }

    fn pump_in(&mut self, scratch: &mut [u8]) {
        let mut sock = &self.sock;
        let Some(tls) = &mut self.tls else {
            match sock.read(scratch) {
                Ok(0) => self.dead = true,
                Ok(n) => self.inbuf.extend_from_slice(&scratch[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.dead = true,
            }
            return;
        };
        match tls.read_tls(&mut sock) {
            Ok(0) => self.dead = true,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.dead = true,
            Ok(_) => match tls.process_new_packets() {
                Err(_) => self.dead = true,
                Ok(state) => {
                    let mut left = state.plaintext_bytes_to_read();
                    while left > 0 {
                        let n = tls.reader().read(scratch).unwrap_or(0);
                        if n == 0 {
                            break;
                        }
                        self.inbuf.extend_from_slice(&scratch[..n]);
                        left = left.saturating_sub(n);
                    }
                }
            },
        }
        if tls.wants_write() {
            self.pump_out();
        }
    }

    /// Cuts whole messages off the front of the stream.
    fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        let mut at = 0;
        while let Some(head) = self.inbuf.get(at..at + 4) {
            let len = u16::from_be_bytes([head[2], head[3]]) as usize;
            let (real, padded) = if head[0] & 0xC0 == 0 {
                (len + 20, len + 20)
            } else {
                (len + 4, (len + 4).next_multiple_of(4))
            };
            if self.inbuf.len() < at + padded {
                break;
            }
            each(&self.inbuf[at..at + real]);
            at += padded;
        }
        self.inbuf.drain(..at);
    }
}

/// One connection per client, watched by one epoll.
pub struct StreamFan {
    server: SocketAddrV4,
    tls: Option<Arc<ClientConfig>>,
    conns: Vec<Option<Conn>>,
    epfd: RawFd,
    scratch: Vec<u8>,
    /// Connections with something to write.
    dirty: Vec<usize>,
    errors: u64,
}

impl StreamFan {
    pub fn new(server: SocketAddrV4, clients: usize, tls: bool) -> Self {
        // SAFETY: epoll_create1 takes no pointers.
        let epfd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        StreamFan {
            server,
            tls: tls.then(tls_config),
            conns: (0..clients).map(|_| None).collect(),
            epfd,
            scratch: vec![0; 64 << 10],
            dirty: Vec::new(),
            errors: 0,
        }
    }
}

impl Transport for StreamFan {
    fn send(&mut self, client: usize, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut buf = [0u8; MAX_MSG];
        let buf = &mut buf[..len];
        fill(buf);
        let Some(conn) = self.conns[client].as_mut() else {
            self.errors += 1;
            return;
        };
        if !conn.push(buf) {
            self.errors += 1;
        } else if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(client);
        }
    }

    /// What was sent to one connection since the last flush leaves in one write.
    fn flush(&mut self) {
        let conns = &mut self.conns;
        self.dirty.retain(|client| {
            let Some(conn) = conns[*client].as_mut() else {
                return false;
            };
            conn.dirty = !conn.flush();
            conn.dirty
        });
    }

    fn poll(&mut self, sink: Sink) {
        // SAFETY: all-zero epoll_event is valid; the kernel fills `n` of them.
        let (events, n) = unsafe {
            let mut events: [libc::epoll_event; 128] = std::mem::zeroed();
            let n = libc::epoll_wait(self.epfd, events.as_mut_ptr(), 128, 0).max(0) as usize;
            (events, n)
        };
        for ev in &events[..n] {
            let client = ev.u64 as usize;
            let Some(conn) = self.conns[client].as_mut() else {
                continue;
            };
            conn.pump_in(&mut self.scratch);
            conn.drain(|msg| sink(client, msg));
            if conn.dead {
                self.errors += 1;
                self.close(client);
            }
        }
    }

    fn open(&mut self, client: usize) -> io::Result<()> {
        // SAFETY: plain socket calls; the fd passes to TcpStream at once.
        let sock = unsafe {
            let fd = libc::socket(
                libc::AF_INET,
                libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            );
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let sock = TcpStream::from_raw_fd(fd);
            let sa = sockaddr(self.server);
            let rc = libc::connect(
                fd,
                &sa as *const _ as *const libc::sockaddr,
                std::mem::size_of_val(&sa) as u32,
            );
            if rc != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(io::Error::last_os_error());
            }
            sock
        };
        sock.set_nodelay(true)?;
        let tls = match &self.tls {
            None => None,
            Some(cfg) => {
                let name = ServerName::try_from("turnbench.invalid").expect("valid name");
                let mut tls = ClientConnection::new(cfg.clone(), name).map_err(io::Error::other)?;
                // UNSENT_MAX is the limit; a frame is never cut.
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
        };
        let mut ev = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: client as u64,
        };
        // SAFETY: registers a live fd with a valid event.
        unsafe { libc::epoll_ctl(self.epfd, libc::EPOLL_CTL_ADD, sock.as_raw_fd(), &mut ev) };
        self.conns[client] = Some(Conn {
            sock,
            tls,
            out: VecDeque::new(),
            inbuf: Vec::new(),
            unsent: 0,
            dirty: false,
            dead: false,
        });
        Ok(())
    }

    fn close(&mut self, client: usize) {
        self.conns[client] = None;
    }

    fn ready(&mut self, client: usize) -> bool {
        let Some(conn) = self.conns[client].as_mut() else {
            return false;
        };
        // SAFETY: poll on one live fd, returning at once.
        let connected = unsafe {
            let mut p = libc::pollfd {
                fd: conn.sock.as_raw_fd(),
                events: libc::POLLOUT,
                revents: 0,
            };
            libc::poll(&mut p, 1, 0) == 1 && p.revents & libc::POLLOUT != 0
        };
        if connected && conn.tls.as_ref().is_some_and(|t| t.is_handshaking()) {
            conn.pump_out();
        }
        connected && !conn.tls.as_ref().is_some_and(|t| t.is_handshaking())
    }

    fn padded(&self) -> bool {
        true
    }

    fn send_errors(&self) -> u64 {
        self.errors
    }
}

/// Accepts whatever certificate the server under test shows.
#[derive(Debug)]
struct AnyCert(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCert {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn tls_config() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let cfg = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCert(provider)))
        .with_no_client_auth();
    Arc::new(cfg)
}
