//! That the bench notices: a TURN server of few words, whose relay alters, misroutes, repeats or loses packets on purpose.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use turnbench::frames::Mode;
use turnbench::payload::Payload;
use turnbench::relay::{self, Flow, Load, Peer};
use turnbench::session::{Credentials, Engine, Step};
use turnbench::stun::{attr, class, method, Builder, Message, TxId};
use turnbench::transport::{StreamFan, Transport, UdpFan};

const CLIENTS: usize = 4;
/// Every such packet of a direction is treated wrongly.
const EVERY: u64 = 10;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    Alter,
    Cut,
    /// To another client, or from another client's relayed address.
    Misroute,
    WrongChannel,
    Repeat,
    Lose,
}

#[test]
fn a_right_server_has_no_failures() {
    let out = run(Fault::None, Flow::Both);
    assert_eq!(out["failures"], serde_json::json!([]), "{out:#}");
    assert_eq!(out["lost"], 0, "{out:#}");
    assert!(relayed(&out) > 100, "{out:#}");
}

#[test]
fn altered_packets_are_noticed_both_ways() {
    let out = run(Fault::Alter, Flow::Both);
    noticed(&out, "corrupt", &["client_to_peer", "peer_to_client"]);
}

#[test]
fn shortened_packets_are_noticed() {
    let out = run(Fault::Cut, Flow::Both);
    noticed(&out, "corrupt", &["client_to_peer", "peer_to_client"]);
}

#[test]
fn misrouted_packets_are_noticed_both_ways() {
    let out = run(Fault::Misroute, Flow::Both);
    noticed(&out, "misrouted", &["client_to_peer", "peer_to_client"]);
}

#[test]
fn packets_on_another_channel_are_misrouted() {
    let out = run(Fault::WrongChannel, Flow::Both);
    noticed(&out, "misrouted", &["peer_to_client"]);
}

#[test]
fn repeated_packets_are_noticed_and_count_once() {
    let out = run(Fault::Repeat, Flow::Both);
    noticed(&out, "duplicated", &["client_to_peer", "peer_to_client"]);
    assert_eq!(out["lost"], 0, "{out:#}");
}

#[test]
fn lost_packets_are_noticed_below_saturation() {
    let out = run(Fault::Lose, Flow::Both);
    let lost = out["lost"].as_u64().expect("a count");
    let sent = relayed(&out) + lost;
    assert!(
        lost.abs_diff(sent / EVERY) <= 4,
        "{lost} of {sent}: {out:#}"
    );
    assert!(has_failure(&out, "lost below saturation"), "{out:#}");
}

#[test]
fn clients_of_one_server_are_told_apart() {
    let right = run(Fault::None, Flow::Pair);
    assert_eq!(right["failures"], serde_json::json!([]), "{right:#}");
    assert!(relayed(&right) > 100, "{right:#}");
    for (fault, word) in [
        (Fault::Alter, "corrupt"),
        (Fault::Misroute, "misrouted"),
        (Fault::Repeat, "duplicated"),
    ] {
        noticed(&run(fault, Flow::Pair), word, &["client_to_peer"]);
    }
}

/// What looks like RTP is checked as everything else is, on every flow.
#[test]
fn packets_that_look_like_rtp_are_held_to_the_same() {
    for flow in [Flow::Both, Flow::Echo, Flow::Pair] {
        let right = run_with(Fault::None, flow, Payload::Rtp);
        assert_eq!(right["failures"], serde_json::json!([]), "{right:#}");
        assert!(relayed(&right) > 100, "{right:#}");
    }
    for (fault, word) in [
        (Fault::Alter, "corrupt"),
        (Fault::Misroute, "misrouted"),
        (Fault::Repeat, "duplicated"),
    ] {
        let out = run_with(fault, Flow::Both, Payload::Rtp);
        noticed(&out, word, &["client_to_peer", "peer_to_client"]);
    }
}

/// Frames that leave in one write arrive as they were, and a stream that is cut anywhere is put together again.
#[test]
fn bursts_over_streams_arrive_whole() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let Ok(SocketAddr::V4(at)) = listener.local_addr() else {
        panic!("an IPv4 address");
    };
    let mut fan = StreamFan::new(at, 1, false);
    fan.open(0).expect("connects");
    let (mut far, _) = listener.accept().expect("accepts");
    let frame = |n: u8| [&[0x40, n, 0, 8][..], &[n; 8]].concat();
    for n in 0..4 {
        fan.send_slice(0, &frame(n));
    }
    fan.flush();
    let mut got = [0; 48];
    far.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("settable");
    std::io::Read::read_exact(&mut far, &mut got).expect("all of them");
    assert_eq!(got[..], (0..4).flat_map(frame).collect::<Vec<_>>()[..]);
    let mut seen = Vec::new();
    for part in got.chunks(7) {
        std::io::Write::write_all(&mut far, part).expect("writes");
    }
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while seen.len() < 4 && std::time::Instant::now() < end {
        fan.poll(&mut |_, msg| seen.push(msg.to_vec()));
    }
    assert_eq!(seen, (0..4).map(frame).collect::<Vec<_>>());
}

fn relayed(out: &serde_json::Value) -> u64 {
    ["client_to_peer", "peer_to_client"]
        .iter()
        .map(|side| out[side]["relayed"].as_u64().expect("a count"))
        .sum()
}

fn has_failure(out: &serde_json::Value, word: &str) -> bool {
    let failures = out["failures"].as_array().expect("a list");
    failures
        .iter()
        .any(|f| f.as_str().is_some_and(|f| f.contains(word)))
}

/// About one in `EVERY` packets of each side was counted under this word, and the run failed for it.
fn noticed(out: &serde_json::Value, word: &str, sides: &[&str]) {
    assert!(has_failure(out, word), "{word}: {out:#}");
    for side in sides {
        let count = out[side][word].as_u64().expect("a count");
        let sent = out[side]["sent"].as_u64().expect("a count");
        assert!(count >= sent / EVERY - 1, "{side} {word}: {out:#}");
    }
}

fn run(fault: Fault, flow: Flow) -> serde_json::Value {
    run_with(fault, flow, Payload::Plain)
}

fn run_with(fault: Fault, flow: Flow, payload: Payload) -> serde_json::Value {
    let server = Server::start(fault);
    let mut clients = UdpFan::new(server.at, Ipv4Addr::new(127, 1, 0, 1), 64).expect("a socket");
    let mut peer = Peer::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), 64).expect("a socket");
    let creds = Credentials {
        user: "u".into(),
        password: "p".into(),
        realm: None,
        lifetime: 600,
    };
    let mut engine = Engine::new(CLIENTS, creds, SocketAddr::V4(peer.addr));
    let stats = engine.run(&mut clients, &[Step::Allocate], CLIENTS, 0.0);
    assert_eq!(stats.failed, 0, "{:?}", stats.errors);
    if flow == Flow::Pair {
        engine.pair_up();
    }
    let stats = engine.run(&mut clients, &[Step::Channel], CLIENTS, 0.0);
    assert_eq!(stats.failed, 0, "{:?}", stats.errors);
    let load = Load {
        mode: Mode::Channel,
        flow,
        pps: Some(200.0),
        payload,
        size: 172,
        seconds: 0.5,
        warmup: 0.0,
        max_window: 64,
        burst: 1,
        active: CLIENTS,
        server_pids: vec![],
        spin: false,
    };
    relay::run(&engine, &mut clients, &mut peer, &load)
}

/// Knows no credentials and no errors, and answers whoever asks.
struct Server {
    at: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(fault: Fault) -> Self {
        let socket = socket();
        let at = v4(socket.local_addr().expect("bound"));
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let mut relay = Relay {
            socket,
            fault,
            clients: Vec::new(),
            slots: HashMap::new(),
            counts: [0; 2],
        };
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                relay.turn();
            }
        });
        Server {
            at,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

struct Client {
    at: SocketAddrV4,
    relay: UdpSocket,
    channel: u16,
    peer: Option<SocketAddrV4>,
}

struct Relay {
    socket: UdpSocket,
    fault: Fault,
    clients: Vec<Client>,
    slots: HashMap<SocketAddrV4, usize>,
    /// Packets to peers and to clients so far.
    counts: [u64; 2],
}

impl Relay {
    fn turn(&mut self) {
        let mut buf = [0; 2048];
        let mut idle = true;
        while let Ok((len, from)) = self.socket.recv_from(&mut buf) {
            idle = false;
            self.take_from_client(v4(from), &buf[..len]);
        }
        for i in 0..self.clients.len() {
            while let Ok((len, from)) = self.clients[i].relay.recv_from(&mut buf) {
                idle = false;
                if self.clients[i].peer == Some(v4(from)) {
                    self.hand_to_client(i, &buf[..len]);
                }
            }
        }
        if idle {
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn take_from_client(&mut self, from: SocketAddrV4, bytes: &[u8]) {
        let Some(message) = Message::parse(bytes) else {
            let slot = self.slots[&from];
            return self.hand_to_peer(slot, &bytes[4..]);
        };
        let slot = *self.slots.entry(from).or_insert_with(|| {
            self.clients.push(Client {
                at: from,
                relay: socket(),
                channel: 0,
                peer: None,
            });
            self.clients.len() - 1
        });
        let client = &mut self.clients[slot];
        let id: TxId = message.txid().try_into().expect("twelve bytes");
        let mut answer = Builder::new(message.method(), class::SUCCESS, &id);
        if message.method() == method::ALLOCATE {
            let relayed = client.relay.local_addr().expect("bound");
            answer = answer.xor_addr(attr::XOR_RELAYED_ADDRESS, relayed);
        } else {
            let number = message.attr(attr::CHANNEL_NUMBER).expect("a channel");
            client.channel = u16::from_be_bytes([number[0], number[1]]);
            client.peer = message.xor_addr(attr::XOR_PEER_ADDRESS).map(v4);
        }
        let sent = self.socket.send_to(&answer.finish(None), from);
        sent.expect("loopback takes it");
    }

    fn hand_to_peer(&mut self, slot: usize, payload: &[u8]) {
        let wrong = self.is_due(0);
        let other = (slot + 1) % self.clients.len();
        let Some(peer) = self.clients[slot].peer else {
            return;
        };
        // Between clients only the second leg is wrong, where the client sees it.
        let between = self
            .clients
            .iter()
            .any(|c| v4(c.relay.local_addr().expect("bound")) == peer);
        let wrong = wrong && !between;
        let through = if wrong && self.fault == Fault::Misroute {
            other
        } else {
            slot
        };
        for packet in self.packets(wrong, payload) {
            let sent = self.clients[through].relay.send_to(&packet, peer);
            sent.expect("loopback takes it");
        }
    }

    fn hand_to_client(&mut self, slot: usize, payload: &[u8]) {
        let wrong = self.is_due(1);
        let other = (slot + 1) % self.clients.len();
        let to = if wrong && self.fault == Fault::Misroute {
            other
        } else {
            slot
        };
        let astray = u16::from(wrong && self.fault == Fault::WrongChannel);
        let client = &self.clients[to];
        for packet in self.packets(wrong, payload) {
            let head = [client.channel + astray, packet.len() as u16].map(u16::to_be_bytes);
            let message = [head.concat(), packet].concat();
            let sent = self.socket.send_to(&message, client.at);
            sent.expect("loopback takes it");
        }
    }

    fn is_due(&mut self, direction: usize) -> bool {
        self.counts[direction] += 1;
        self.counts[direction].is_multiple_of(EVERY)
    }

    /// What comes out for one packet.
    fn packets(&self, wrong: bool, payload: &[u8]) -> Vec<Vec<u8>> {
        let mut packet = payload.to_vec();
        match self.fault {
            Fault::Alter if wrong => {
                // Another byte each time: header, stamp and payload in turn.
                let at = (self.counts[0] + self.counts[1]) as usize * 7 % packet.len();
                packet[at] ^= 0x10;
                vec![packet]
            }
            Fault::Cut if wrong => vec![packet[..packet.len() - 1].to_vec()],
            Fault::Repeat if wrong => vec![packet.clone(), packet],
            Fault::Lose if wrong => vec![],
            Fault::None
            | Fault::Alter
            | Fault::Cut
            | Fault::Misroute
            | Fault::WrongChannel
            | Fault::Repeat
            | Fault::Lose => vec![packet],
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.set_nonblocking(true).expect("settable");
    socket
}

fn v4(addr: SocketAddr) -> SocketAddrV4 {
    match addr {
        SocketAddr::V4(addr) => addr,
        SocketAddr::V6(addr) => panic!("{addr} is not IPv4"),
    }
}
