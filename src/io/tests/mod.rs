//! The media plane over real loopback sockets: driver, core and a client of its own.

mod census;
mod client;
mod connections;
mod datagrams;
mod listeners;
mod neighbours;
mod slow_clients;

use crate::accepted::Accepted;
use crate::addr::{ClientAddr, FiveTuple, Transport};
use crate::io::{Media, MediaHandle, Settings};
use crate::ip_rules::IpRules;
use crate::secret::Secret;
use crate::sys::rng::SystemRng;
use crate::turn::{self, UserKey};
use client::{Client, PASSWORD, REALM, StreamLink, USER};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

/// A running media plane; it stops when it is dropped.
struct Running {
    handle: MediaHandle,
    udp: Vec<SocketAddr>,
    tcp: TcpListener,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        self.handle.join();
    }
}

fn serve(settings: Settings) -> Running {
    let mut entropy = SystemRng;
    let shared = turn::Shared::new(&mut entropy);
    let media = Media::bind(&settings, Arc::new(turn_settings()), shared).expect("bound");
    let udp = media.udp_addresses();
    Running {
        handle: media.start(),
        udp,
        tcp: TcpListener::bind("127.0.0.1:0").expect("bound"),
    }
}

/// One worker on a loopback port.
fn settings() -> Settings {
    Settings {
        udp: vec!["127.0.0.1:0".parse().expect("valid")],
        ..Settings::default()
    }
}

fn turn_settings() -> turn::Settings {
    let allow = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("valid"));
    let password = UserKey::Password(Secret::new(PASSWORD));
    turn::Settings {
        realm: REALM.to_owned(),
        users: [(USER.to_owned(), password)].into(),
        peers: IpRules::new(allow.to_vec(), Vec::new()),
        ..turn::Settings::default()
    }
}

impl Running {
    fn udp_client(&self) -> Client<UdpSocket> {
        Client::udp("127.0.0.1:0", self.udp[0])
    }

    /// A connection whose server end is still with us.
    fn connection(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.tcp.local_addr().expect("bound")).expect("connected");
        let (server, _) = self.tcp.accept().expect("accepted");
        client.set_nodelay(true).expect("set");
        server.set_nodelay(true).expect("set");
        (client, server)
    }

    fn tcp_client(&self) -> Client<StreamLink<TcpStream>> {
        let (client, server) = self.connection();
        self.take_over(accepted(server, None, Vec::new()));
        client::tcp(client)
    }

    fn tls_client(&self) -> Client<StreamLink<TlsStream>> {
        let (client, server) = self.connection();
        let (client, server_tls) = handshake(client, &server);
        self.take_over(accepted(server, Some(server_tls), Vec::new()));
        Client::new(StreamLink::new(client))
    }

    fn take_over(&self, stream: Accepted) {
        assert!(self.handle.take_over(stream).is_ok(), "taken over");
    }

    /// Sum over the workers of one counter of the metrics text.
    fn metric(&self, name: &str) -> u64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.handle.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or("0").parse().expect("a number")
    }
}

fn accepted(socket: TcpStream, tls: Option<ServerConnection>, early: Vec<u8>) -> Accepted {
    socket.set_nonblocking(true).expect("set");
    let transport = match tls {
        Some(_) => Transport::Tls,
        None => Transport::Tcp,
    };
    Accepted {
        five_tuple: FiveTuple {
            client: ClientAddr::new(socket.peer_addr().expect("connected")),
            server: socket.local_addr().expect("bound"),
            transport,
        },
        socket,
        tls: tls.map(Box::new),
        early,
        guard: Box::new(()),
    }
}

/// Waits for something that another thread is about to do.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < client::PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

type TlsStream = rustls::StreamOwned<ClientConnection, TcpStream>;

/// Both ends of a TLS connection after a handshake on blocking sockets.
fn handshake(client: TcpStream, mut server: &TcpStream) -> (TlsStream, ServerConnection) {
    client
        .set_read_timeout(Some(client::PATIENCE))
        .expect("set");
    let mut server_tls = ServerConnection::new(Arc::clone(&TLS.server)).expect("made");
    let name = ServerName::try_from("localhost").expect("valid");
    let client_tls = ClientConnection::new(Arc::clone(&TLS.client), name).expect("made");
    let mut client = rustls::StreamOwned::new(client_tls, client);
    let client = std::thread::spawn(move || {
        client.conn.complete_io(&mut client.sock).expect("shaken");
        client
    });
    while server_tls.is_handshaking() {
        server_tls.complete_io(&mut server).expect("shaken");
    }
    (client.join().expect("no panic"), server_tls)
}

struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

static TLS: LazyLock<Tls> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let cert: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).expect("added");
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("they belong together");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Tls {
        server: Arc::new(server),
        client: Arc::new(client),
    }
});
