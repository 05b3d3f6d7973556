//! Calls and requests over every transport that outlive an upgrade, and what begins after it.

use super::server::{PATIENCE, Server, Setup};
use super::support::client::{
    Client, Kind, UDP, is_code, is_success, peer, peer_receive, transaction_id,
};
use super::support::stun::{self, Class, Writer, attr};
use super::web::certs::Authority;
use super::web::client::Client as Web;
use super::web::origin::{Origin, Then, accept_websocket, echo_bytes, raw};
use super::web::relayd::{Directory, resolve};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HOST: &str = "api.example.com";
/// Packets of one call that are on their way at once.
const IN_FLIGHT: u64 = 8;

/// A call whose peer sends everything back, with packets on their way all the time.
struct Call {
    counted: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    media: JoinHandle<Client>,
}

impl Call {
    fn begin(mut client: Client) -> Self {
        let echo = peer("127.0.0.1");
        client.allocate().expect("there is room");
        let bound = client.bind_channel(0x4000, echo.local_addr().expect("bound"));
        bound.and_then(is_success).expect("it is allowed");
        std::thread::spawn(move || echo_all(&echo));
        let counted = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (count, end) = (Arc::clone(&counted), Arc::clone(&over));
        let media = std::thread::spawn(move || {
            talk(&mut client, &count, &end);
            client
        });
        Self {
            counted,
            over,
            media,
        }
    }

    fn count(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Waits until so many more packets have gone there and back.
    fn wait_for_more(&self, more: u64) {
        let (begin, wanted) = (Instant::now(), self.count() + more);
        while self.count() < wanted {
            assert!(!self.media.is_finished(), "the call broke off");
            assert!(begin.elapsed() < PATIENCE, "the call stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the media; the call is still there.
    fn finish(self) -> Client {
        self.over.store(true, Ordering::Relaxed);
        self.media.join().expect("no packet was lost")
    }
}

/// Sends numbers, a few at once, and takes each echo exactly once; a lost packet fails the test.
fn talk(client: &mut Client, counted: &AtomicU64, over: &AtomicBool) {
    let mut next = 0u64;
    while !over.load(Ordering::Relaxed) {
        let mut missing: Vec<u64> = (next..next + IN_FLIGHT).collect();
        for number in &missing {
            let sent = client.send_channel(0x4000, &number.to_be_bytes());
            sent.expect("the socket is open");
        }
        next += IN_FLIGHT;
        while !missing.is_empty() {
            let (_, _, payload) = client.receive_data().unwrap_or_else(|error| {
                panic!("{missing:?} lost: {error}");
            });
            let number = u64::from_be_bytes(payload.try_into().expect("8 bytes"));
            let at = missing.iter().position(|one| *one == number);
            missing.swap_remove(at.expect("sent, and not come back yet"));
        }
        counted.store(next, Ordering::Relaxed);
    }
}

fn echo_all(socket: &UdpSocket) {
    while let Ok((bytes, from)) = peer_receive(socket) {
        if socket.send_to(&bytes, from).is_err() {
            return;
        }
    }
}

/// A server before an origin that echoes WebSockets, and finishes the answer to `/slow` when it is told.
struct World {
    server: Server,
    finish: Sender<()>,
    _ca_file: Directory,
}

impl World {
    fn new(mut setup: Setup) -> Self {
        let authority = Authority::new("upstream root");
        let (finish, told) = channel::<()>();
        let told = Mutex::new(told);
        let origin = Origin::start(&authority.leaf(&[HOST]), move |seen, wire, reader| {
            if seen.message.one("upgrade").is_some() {
                accept_websocket(seen, wire, &[], b"");
                echo_bytes(wire, reader);
                return Then::Close;
            }
            raw(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            let _ = told.lock().expect("one request").recv_timeout(PATIENCE * 2);
            raw(wire, b" last");
            Then::KeepOpen
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
            server: Server::start(&setup),
            finish,
            _ca_file: ca_file,
        }
    }

    fn request(&self, target: &str) -> Web {
        let mut client = Web::plain(self.server.tcp.expect("a listener"));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: relay.test\r\n\r\n"));
        client
    }

    fn tunnel(&self) -> Web {
        let mut client = Web::plain(self.server.tcp.expect("a listener"));
        client.send(
            "GET /api.example.com/chat HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        assert_eq!(client.answer_head().status(), 101);
        client
    }
}

fn echoes(tunnel: &mut Web, text: &str) {
    tunnel.send(text);
    assert_eq!(tunnel.exactly(text.len()), text.as_bytes());
}

fn ends(mut client: Client) {
    client.refresh(0).and_then(is_success).expect("it ends");
}

#[test]
fn calls_tunnels_and_requests_of_every_kind_go_on_without_a_lost_packet() {
    let mut world = World::new(Setup::default());
    let first = world.server.pid;
    let kinds = [
        Kind::Udp,
        Kind::Udp,
        Kind::Udp,
        Kind::Udp,
        Kind::Tcp,
        Kind::Tls,
    ];
    let calls: Vec<Call> = kinds
        .map(|kind| Call::begin(world.server.alice(kind)))
        .into_iter()
        .collect();
    let mut tunnel = world.tunnel();
    echoes(&mut tunnel, "before");
    let mut slow = world.request("/api.example.com/slow");
    assert_eq!(slow.answer_head().status(), 200);
    assert_eq!(slow.exactly(5), b"first");
    // Connections that have not said anything yet, and a TURN connection without a call.
    let mut silent = Web::plain(world.server.tcp.expect("a listener"));
    let mut late = world.server.bob(Kind::Tls);
    late.fence().expect("it is served");
    calls.iter().for_each(|call| call.wait_for_more(200));

    world.server.upgrade();
    assert_ne!(world.server.pid, first);
    calls.iter().for_each(|call| call.wait_for_more(500));
    assert!(
        world
            .server
            .metric("relayd_upgrade_forwarded_datagrams_total", "sent")
            > 500.0
    );
    assert_eq!(
        world
            .server
            .metric("relayd_upgrade_forwarded_datagrams_total", "dropped"),
        0.0
    );
    assert_eq!(
        world.server.metric("relayd_upgrade_former_processes", ""),
        1.0
    );
    assert_eq!(world.server.metric("relayd_upgrades_total", "done"), 1.0);
    assert_eq!(world.server.admin("/readyz").0, 200);

    // What was connected before is served where it is.
    silent.send("GET /healthcheck HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n");
    assert_eq!(silent.answer().status(), 200);
    late.allocate()
        .expect("its connection is the former process's");
    // What begins now is the successor's.
    for kind in Kind::ALL {
        let call = Call::begin(world.server.bob(kind));
        call.wait_for_more(200);
        ends(call.finish());
    }
    let mut fresh = world.tunnel();
    echoes(&mut fresh, "fresh");
    echoes(&mut tunnel, "after");
    assert_eq!(world.server.metric("relayd_turn_allocations", ""), 0.0);

    // The former process ends with its last call, whichever that is.
    assert!(world.server.is_running());
    for call in calls {
        ends(call.finish());
    }
    ends(late);
    world.finish.send(()).expect("the origin waits");
    assert_eq!(slow.exactly(5), b" last");
    drop(slow);
    assert!(world.server.is_running());
    drop(tunnel);
    assert_eq!(world.server.wait().code(), Some(0));
    world.server.wait_for("the former process has ended");
    assert_eq!(
        world.server.metric("relayd_upgrade_former_processes", ""),
        0.0
    );
    echoes(&mut fresh, "still there");
    ends(Call::begin(world.server.alice(Kind::Udp)).finish());
}

/// Chrome takes a 438 to an Allocate for final.
#[test]
fn a_nonce_from_before_is_good_for_an_allocate_after_and_the_other_way_round() {
    let mut server = Server::start(&Setup::default());
    let mut before = server.alice(Kind::Udp);
    before.challenge().expect("a nonce");
    server.upgrade();
    let reply = before.exchange(&allocate(&before)).expect("an answer");
    assert_eq!(reply.class, Class::Success, "{reply:?}");
    server.wait();
    ends(before);
}

fn allocate(client: &Client) -> Vec<u8> {
    let writer = Writer::new(Class::Request, stun::ALLOCATE, transaction_id());
    client.seal(writer.attr(attr::REQUESTED_TRANSPORT, &UDP))
}

/// By signalling they have each other's relayed addresses; which process has whose, they cannot know.
#[test]
fn clients_of_the_former_and_of_the_new_process_reach_each_other() {
    // Loopback is denied to peers but where the server itself relays.
    let mut server = Server::start(&Setup {
        peers: "",
        ..Setup::default()
    });
    let mut old = server.alice(Kind::Udp);
    let old_relay = old.allocate().expect("there is room");
    server.upgrade();
    for kind in Kind::ALL {
        let mut new = server.bob(kind);
        let new_relay = new.allocate().expect("there is room");
        assert_ne!(new_relay, old_relay);
        old.permit(new_relay)
            .and_then(is_success)
            .expect("a live relay");
        new.permit(old_relay)
            .and_then(is_success)
            .expect("a live relay");
        let (from, payload) = reach((&mut old, new_relay), &mut new, b"to the new");
        assert_eq!((from, &payload[..]), (Some(old_relay), &b"to the new"[..]));
        let (from, payload) = reach((&mut new, old_relay), &mut old, b"to the old");
        assert_eq!((from, &payload[..]), (Some(new_relay), &b"to the old"[..]));
        ends(new);
    }
    ends(old);
    assert_eq!(server.wait().code(), Some(0));
}

/// Sends until it arrives, as connectivity checks are: each worker of a process learns over a lane of its own which relayed
/// addresses the other process has, so for a moment one may not know yet what another one was told.
fn reach(
    (sender, to): (&mut Client, SocketAddr),
    receiver: &mut Client,
    payload: &[u8],
) -> (Option<SocketAddr>, Vec<u8>) {
    for _ in 0..2 {
        sender.send_to(to, payload).expect("sent");
        if let Ok((from, _, payload)) = receiver.receive_data() {
            return (from, payload);
        }
    }
    panic!("what was sent to {to} again and again does not arrive");
}

#[test]
fn ports_that_the_former_process_holds_are_not_given_and_come_back_with_its_end() {
    let mut server = Server::start(&Setup {
        relay_ports: "61200-61203",
        // No other test relays from this address.
        extra: vec![("turn", "relay_ip = \"127.0.0.31\"".to_owned())],
        ..Setup::default()
    });
    let mut old: Vec<Client> = (0..3).map(|_| server.alice(Kind::Udp)).collect();
    let mut ports: Vec<u16> = old
        .iter_mut()
        .map(|client| client.allocate().expect("four ports").port())
        .collect();
    server.upgrade();
    let mut new = server.bob(Kind::Udp);
    ports.push(new.allocate().expect("one is left").port());
    ports.sort_unstable();
    assert_eq!(ports, [61200, 61201, 61202, 61203]);
    let mut more = server.bob(Kind::Udp);
    let reply = more.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP));
    is_code(&reply.expect("an answer"), 508).expect("no port is left");
    old.drain(..).for_each(ends);
    assert_eq!(server.wait().code(), Some(0));
    server.wait_for("the former process has ended");
    let begin = Instant::now();
    let mut clients = Vec::new();
    while clients.len() < 3 {
        assert!(begin.elapsed() < PATIENCE, "the ports do not come back");
        let mut client = server.bob(Kind::Udp);
        if client.allocate().is_ok() {
            clients.push(client);
        }
    }
    let all: Vec<Client> = clients.into_iter().chain([new]).collect();
    all.into_iter().for_each(ends);
}

#[test]
fn quotas_count_the_calls_of_both_processes() {
    let limits = ("turn.limits", "allocations_per_user = 2".to_owned());
    let mut server = Server::start(&Setup {
        extra: vec![limits],
        ..Setup::default()
    });
    let mut old = server.alice(Kind::Tcp);
    old.allocate().expect("the first");
    server.upgrade();
    let mut new = server.alice(Kind::Udp);
    new.allocate().expect("the second");
    let refused = |server: &Server| {
        let mut third = server.alice(Kind::Udp);
        let reply = third.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP));
        let reply = reply.expect("an answer");
        let refused = reply.class == Class::Error;
        if refused {
            is_code(&reply, 486).expect("for the quota");
        } else {
            ends(third);
        }
        refused
    };
    assert!(refused(&server));
    ends(old);
    assert_eq!(server.wait().code(), Some(0));
    server.wait_for("the former process has ended");
    assert!(!refused(&server));
}

/// EVEN-PORT with the R bit: the next port waits for whoever has the token, in whichever process.
#[test]
fn a_port_that_was_reserved_before_is_claimed_after() {
    let mut server = Server::start(&Setup::default());
    let mut first = server.alice(Kind::Udp);
    let reply = first.request(stun::ALLOCATE, |w| {
        w.attr(attr::REQUESTED_TRANSPORT, &UDP)
            .attr(attr::EVEN_PORT, &[0x80])
    });
    let reply = reply.and_then(is_success).expect("a pair is free");
    let even = reply.xor_addr(attr::XOR_RELAYED_ADDRESS).expect("relayed");
    let token = reply
        .get(attr::RESERVATION_TOKEN)
        .expect("a token")
        .to_vec();
    server.upgrade();
    let mut second = server.alice(Kind::Udp);
    let next = second
        .allocate_with(|w| w.attr(attr::RESERVATION_TOKEN, &token))
        .expect("it was kept");
    assert_eq!(next.port(), even.port() + 1);
    ends(second);
    ends(first);
}

/// The group of sockets that the kernel spreads 5-tuples over must not change with the number of workers.
#[test]
fn another_number_of_workers_loses_no_call() {
    for (before, after) in [(3, 1), (1, 3)] {
        let setup = Setup {
            workers: before,
            ..Setup::default()
        };
        let mut server = Server::start(&setup);
        let calls: Vec<Call> = [Kind::Udp; 6]
            .map(|kind| Call::begin(server.alice(kind)))
            .into();
        server.rewrite(&Setup {
            workers: after,
            ..Setup::default()
        });
        server.upgrade();
        calls.iter().for_each(|call| call.wait_for_more(200));
        for kind in Kind::ALL {
            for _ in 0..4 {
                let call = Call::begin(server.bob(kind));
                call.wait_for_more(20);
                ends(call.finish());
            }
        }
        calls.into_iter().for_each(|call| ends(call.finish()));
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn an_upgrade_after_an_upgrade_works_and_keeps_the_calls_of_the_one_before() {
    let mut server = Server::start(&Setup::default());
    let mut last: Option<Call> = None;
    for round in 0..4 {
        let call = Call::begin(server.alice(Kind::Udp));
        if let Some(before) = last.replace(call) {
            before.wait_for_more(50);
            ends(before.finish());
            server.wait_for("the former process has ended");
        }
        server.upgrade();
        let calls = last.iter();
        calls.for_each(|call| call.wait_for_more(100));
        assert_eq!(
            server.metric("relayd_upgrades_total", "done"),
            f64::from(round + 1)
        );
    }
    ends(last.expect("four rounds").finish());
    server.wait_for("the former process has ended");
    ends(Call::begin(server.bob(Kind::Udp)).finish());
}

/// What a reload takes away is kept for the calls of the former process, too.
#[test]
fn a_listener_removed_by_a_reload_after_an_upgrade_stays_for_the_calls_of_both() {
    for workers in [(2, 2), (3, 1)] {
        let setup = |workers, udp: &str| Setup {
            workers,
            udp: udp.to_owned(),
            ..Setup::default()
        };
        let mut server = Server::start(&setup(workers.0, "127.0.0.1:0"));
        let calls: Vec<Call> = [Kind::Udp; 4]
            .map(|kind| Call::begin(server.alice(kind)))
            .into();
        server.rewrite(&setup(workers.1, "127.0.0.1:0"));
        server.upgrade();
        let own = Call::begin(server.bob(Kind::Udp));
        let mut idle = server.bob(Kind::Udp);
        idle.challenge().expect("a nonce");
        server.rewrite(&setup(workers.1, "127.0.0.2:0"));
        server.signal(server.pid, "-HUP");
        server.wait_for("reloaded");
        let reply = idle.exchange(&allocate(&idle)).expect("an answer");
        is_code(&reply, 508).expect("the listener takes no new calls");
        calls.iter().for_each(|call| call.wait_for_more(100));
        own.wait_for_more(100);
        calls.into_iter().for_each(|call| ends(call.finish()));
        assert_eq!(server.wait().code(), Some(0));
        ends(own.finish());
        server.wait_for("listener closed");
    }
}

/// Listeners that came by a reload are numbered otherwise than those of a start.
#[test]
fn listeners_that_a_reload_added_are_handed_over_with_their_calls() {
    let mut server = Server::start(&Setup::default());
    let first = Call::begin(server.alice(Kind::Udp));
    let other = Setup {
        udp: "127.0.0.3:0".to_owned(),
        ..Setup::default()
    };
    server.rewrite(&other);
    server.signal(server.pid, "-HUP");
    server.wait_for("reloaded");
    let (_, ready) = server.admin("/readyz");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let added = ready["udp"][0].as_str().expect("a listener").to_owned();
    server.udp = Some(added.parse().expect("an address"));
    let second = Call::begin(server.alice(Kind::Udp));
    server.upgrade();
    assert_eq!(server.udp.map(|addr| addr.to_string()), Some(added));
    for call in [first, second] {
        call.wait_for_more(100);
        ends(call.finish());
    }
    assert_eq!(server.wait().code(), Some(0));
    ends(Call::begin(server.bob(Kind::Udp)).finish());
}

/// Who serves in between is nobody's business: not one connection may be refused or left waiting.
#[test]
fn no_connection_is_lost_while_processes_change() {
    let mut server = Server::start(&Setup::default());
    let tcp = server.tcp.expect("a listener");
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut client = Web::plain(tcp);
                    client.send("GET /healthcheck HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n");
                    assert_eq!(client.answer().status(), 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    for _ in 0..3 {
        server.upgrade();
        server.wait_for("the former process has ended");
    }
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        assert!(thread.join().expect("all were served") > 0);
    }
}

#[test]
fn clients_that_were_told_to_trust_the_self_signed_certificate_still_do() {
    let mut server = Server::start(&Setup::default());
    let certificate = |server: &Server| {
        let client = server.alice(Kind::Tls);
        match &client.wire {
            super::support::client::Wire::Tls(stream) => {
                stream.conn.peer_certificates().expect("one")[0].to_vec()
            }
            _ => unreachable!("asked for TLS"),
        }
    };
    let before = certificate(&server);
    server.upgrade();
    assert_eq!(certificate(&server), before);
}
