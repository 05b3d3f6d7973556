//! SIGTERM with calls of every kind under way, and what ends a server whose calls do not.

use super::support::client::{
    Client, Kind, PATIENCE, UDP, ensure, is_code, is_success, peer, peer_receive,
};
use super::support::stun::{self, Class, attr};
use super::support::subject::{SIGTERM, Setup, Subject};
use super::web::certs::Authority;
use super::web::client::Client as Web;
use super::web::origin::{Origin, Then, accept_websocket, echo_bytes};
use super::web::relayd::{Directory, resolve};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

const HOST: &str = "api.example.com";

/// An origin that echoes what comes over a WebSocket, and a server that may reach it as [`HOST`].
pub struct World {
    pub subject: Subject,
    _ca_file: Directory,
}

impl World {
    pub fn new(mut setup: Setup) -> Self {
        let authority = Authority::new("upstream root");
        let origin = Origin::start(&authority.leaf(&[HOST]), |seen, wire, reader| {
            if seen.message.one("upgrade").is_some() {
                accept_websocket(seen, wire, &[], b"");
                echo_bytes(wire, reader);
                return Then::Close;
            }
            super::web::origin::ok(wire, "fine")
        });
        let ca_file = Directory::new();
        ca_file.write("ca.pem", &authority.pem);
        let proxy = format!(
            "allow = [{HOST:?}]\n{}ca_file = {:?}",
            resolve(&[HOST], origin.addr),
            ca_file.path("ca.pem")
        );
        setup.extra.push(("proxy", proxy));
        Self {
            subject: Subject::start(&setup),
            _ca_file: ca_file,
        }
    }

    fn tcp(&self) -> SocketAddr {
        self.subject.addr(Kind::Tcp, "127.0.0.1")
    }

    pub fn request(&self, target: &str) -> u16 {
        let mut client = Web::plain(self.tcp());
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n"
        ));
        client.answer().status()
    }

    pub fn tunnel(&self, target: &str) -> Web {
        let mut client = Web::plain(self.tcp());
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        assert_eq!(client.answer_head().status(), 101);
        client
    }
}

pub fn log_line(subject: &Subject, mark: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let line = subject.log.recv_timeout(PATIENCE * 2);
        let line = line.unwrap_or_else(|_| panic!("no {mark:?} in {seen:#?}"));
        if line.contains(mark) {
            return line;
        }
        seen.push(line);
    }
}

/// Lines up to the end of the process.
pub fn rest_of_log(subject: &Subject) -> Vec<String> {
    subject.log.iter().collect()
}

fn wait_until_refused(addr: SocketAddr) {
    let begin = Instant::now();
    while TcpStream::connect(addr).is_ok() {
        assert!(begin.elapsed() < PATIENCE, "{addr} still takes connections");
        std::thread::yield_now();
    }
}

#[test]
fn calls_and_tunnels_go_on_while_everything_new_is_refused_and_the_last_one_ends_the_server() {
    let mut world = World::new(Setup::default());
    let peer = peer("127.0.0.1");
    let peer_addr = peer.local_addr().expect("bound");
    let mut calls = Vec::new();
    for kind in Kind::ALL {
        let mut client = world.subject.alice(kind);
        client.allocate().expect("there is room");
        let bound = client.bind_channel(0x4000, peer_addr);
        bound.and_then(is_success).expect("it is allowed");
        calls.push(client);
    }
    let mut tunnel = world.tunnel("/api.example.com/chat");
    // A client whose connection is there already, and that has not allocated yet.
    let mut late = world.subject.bob(Kind::Tcp);
    late.fence().expect("it is served");

    world.subject.signal(SIGTERM);
    log_line(&world.subject, "stopping");
    for kind in Kind::STREAMS {
        wait_until_refused(world.subject.addr(kind, "127.0.0.1"));
        wait_until_refused(world.subject.addr(kind, "::1"));
    }
    let (status, body) = world.subject.admin_get("/readyz").expect("it answers");
    assert_eq!(status, 503, "{body}");
    let (status, _) = world.subject.admin_get("/healthz").expect("it answers");
    assert_eq!(status, 200, "it lives");
    assert_refuses_calls(&mut late);
    let mut fresh = world.subject.bob(Kind::Udp);
    assert_refuses_calls(&mut fresh);
    for client in &mut calls {
        assert_relays(client, &peer);
    }
    tunnel.send("still here");
    assert_eq!(tunnel.exactly(10), b"still here");

    // One by one; the tunnel alone keeps it up.
    for client in &mut calls {
        client.refresh(0).and_then(is_success).expect("it ends");
    }
    drop((calls, late, fresh));
    tunnel.send("alone");
    assert_eq!(tunnel.exactly(5), b"alone");
    assert!(world.subject.is_running());
    drop(tunnel);
    let status = world.subject.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    let rest = rest_of_log(&world.subject);
    let last = rest.last().expect("it says so");
    assert!(last.contains("stopped"), "{rest:#?}");
    assert!(
        !rest.iter().any(|line| line.contains("\"WARN\"")),
        "{rest:#?}"
    );
}

/// Workers hear of a stop one after the other; none takes a call once it has refused one.
fn assert_refuses_calls(client: &mut Client) {
    let begin = Instant::now();
    loop {
        let reply = client.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP));
        let reply = reply.expect("an answer");
        if reply.class == Class::Error {
            return is_code(&reply, 508).expect("for want of capacity");
        }
        assert!(begin.elapsed() < PATIENCE, "new calls are still taken");
        client.refresh(0).and_then(is_success).expect("it ends");
    }
}

fn assert_relays(client: &mut Client, peer: &std::net::UdpSocket) {
    let relays = || {
        client.send_channel(0x4000, b"to the peer")?;
        let (got, relayed) = peer_receive(peer)?;
        ensure(got == b"to the peer", "other data")?;
        peer.send_to(b"to the client", relayed)
            .map_err(|error| error.to_string())?;
        ensure(client.receive_data()?.2 == b"to the client", "other data")?;
        is_success(client.refresh(600)?)
    };
    let mut relays = relays;
    relays().expect("the call goes on");
}

#[test]
fn calls_that_do_not_end_are_ended_when_the_drain_timeout_is_over() {
    let mut world = World::new(Setup {
        drain_timeout: "1s",
        ..Setup::default()
    });
    let mut call = world.subject.alice(Kind::Udp);
    call.allocate().expect("there is room");
    let mut stream = world.subject.alice(Kind::Tls);
    stream.allocate().expect("there is room");
    let mut tunnel = world.tunnel("/api.example.com/chat");
    world.subject.signal(SIGTERM);
    let status = world.subject.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    let lines = rest_of_log(&world.subject);
    let over = lines
        .iter()
        .find(|line| line.contains("the drain timeout is over"));
    let over = over.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(
        over.contains("2 allocations, 0 requests, 1 tunnels"),
        "{over}"
    );
    assert!(tunnel.ended());
    assert!(stream.wait_closed().is_ok());
    // What was cut off is in the log, too.
    let ended = |mark: &str| lines.iter().filter(|line| line.contains(mark)).count();
    assert_eq!(ended("\"allocation ended\""), 2, "{lines:#?}");
    assert_eq!(ended("\"tunnel\""), 1, "{lines:#?}");
}

#[test]
fn a_drain_timeout_of_zero_ends_at_once() {
    let mut world = World::new(Setup {
        drain_timeout: "0s",
        ..Setup::default()
    });
    let mut call = world.subject.alice(Kind::Udp);
    call.allocate().expect("there is room");
    world.subject.signal(SIGTERM);
    let status = world.subject.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
}

/// Ctrl-C in a terminal means the same as SIGTERM, each of them first or second.
#[test]
fn an_interrupt_drains_and_a_second_signal_of_either_kind_ends_tunnels_and_calls_at_once() {
    const SIGINT: i32 = 2;
    for (first, second) in [(SIGINT, SIGTERM), (SIGTERM, SIGINT)] {
        let mut world = World::new(Setup::default());
        let mut call = world.subject.alice(Kind::Tcp);
        call.allocate().expect("there is room");
        let mut tunnel = world.tunnel("/api.example.com/chat");
        world.subject.signal(first);
        log_line(&world.subject, "stopping");
        tunnel.send("ping");
        assert_eq!(tunnel.exactly(4), b"ping");
        assert!(world.subject.is_running());
        world.subject.signal(second);
        let status = world.subject.wait().expect("it ends");
        assert_eq!(status.code(), Some(0));
        assert!(tunnel.ended());
        assert!(call.wait_closed().is_ok());
    }
}

#[test]
fn idle_connections_do_not_keep_a_draining_server_up() {
    let mut world = World::new(Setup::default());
    let mut kept_alive = Web::plain(world.tcp());
    kept_alive.send("GET /api.example.com/x HTTP/1.1\r\nHost: relay.test\r\n\r\n");
    assert_eq!(kept_alive.answer().status(), 200);
    let silent = TcpStream::connect(world.tcp()).expect("it listens");
    let mut idle_turn = world.subject.alice(Kind::Tls);
    idle_turn.fence().expect("it is served");
    world.subject.signal(SIGTERM);
    let status = world.subject.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    drop((kept_alive, silent, idle_turn));
}
