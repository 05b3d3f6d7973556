//! The TURN core without sockets: packets through `turn::Server`, and whole lives of allocations.

use crate::bench::Runner;
use crate::quality;
use crate::wire::{self, Writer};
use relayd::addr::{ClientAddr, FiveTuple, PeerAddr, RelayedAddr, Transport};
use relayd::entropy::Entropy;
use relayd::secret::Secret;
use relayd::stun::integrity::md5_key;
use relayd::stun::message::Message;
use relayd::time::Now;
use relayd::turn::{
    BindError, BindRequest, BoundRelay, LinkId, Output, RelayId, RelayPorts, Server, Settings,
    Shared, UserKey, Verdict,
};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REALM: &str = "bench";
const USER: &str = "user";
const PASSWORD: &str = "password";
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(9, 1, 1, 1), 3478);
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 5000);
const CHANNEL: u16 = 0x4000;
const PAYLOAD: [u8; 172] = [7; 172];
const UDP: [u8; 4] = [17, 0, 0, 0];

pub fn run(runner: &mut Runner) {
    for allocations in [1, 100, 10_000] {
        packets(runner, allocations);
    }
    for allocations in [1, 1000] {
        media(runner, allocations, true);
        media(runner, allocations, false);
    }
    for others in [0, 10_000] {
        lives(runner, others);
    }
}

fn packets(runner: &mut Runner, allocations: usize) {
    let name = |what: &str| format!("core/{what}/{allocations}");
    let names = ["channel_to_peer", "channel_to_client", "send", "data"].map(name);
    if !names.iter().any(|name| runner.wants(name)) {
        return;
    }
    let n = runner.at_most(allocations);
    let [to_peer, to_client, send, data] = names;

    let mut bound = World::with(n, Bond::Channel);
    let header = [CHANNEL, PAYLOAD.len() as u16].map(u16::to_be_bytes);
    let frame = [header.concat(), PAYLOAD.to_vec()].concat();
    let mut next = (0..n).cycle();
    runner.bench(&to_peer, || {
        let verdict = bound.client_sends(next.next().unwrap_or(0), &frame);
        assert!(matches!(verdict, Verdict::ToPeer { .. }));
    });
    runner.bench(&to_client, || {
        let verdict = bound.peer_sends(next.next().unwrap_or(0));
        assert!(matches!(verdict, Verdict::ToClient { .. }));
    });

    let mut permitted = World::with(n, Bond::Permission);
    let indication = Writer::new(wire::SEND, 1)
        .add_peer(PEER)
        .add(wire::DATA, &PAYLOAD)
        .plain();
    runner.bench(&send, || {
        let verdict = permitted.client_sends(next.next().unwrap_or(0), &indication);
        assert!(matches!(verdict, Verdict::ToPeer { .. }));
    });
    runner.bench(&data, || {
        let verdict = permitted.peer_sends(next.next().unwrap_or(0));
        assert!(matches!(verdict, Verdict::ToClient { .. }));
    });
}

/// A stream of each client in turn, with its quality measured and without: the difference is the price.
fn media(runner: &mut Runner, allocations: usize, measured: bool) {
    let name = match measured {
        true => format!("core/rtp_to_peer/{allocations}"),
        false => format!("core/rtp_to_peer_unmeasured/{allocations}"),
    };
    if !runner.wants(&name) {
        return;
    }
    let n = runner.at_most(allocations);
    let mut world = World::measuring(n, Bond::Channel, measured);
    let payload = quality::rtp();
    let header = [CHANNEL, payload.len() as u16].map(u16::to_be_bytes);
    let mut frame = [header.concat(), payload].concat();
    let (began, mut sent) = (world.now, 0);
    runner.bench(&name, || {
        quality::number(&mut frame[4..], (sent / n) as u64);
        // Again and again from the start: a permission lives for 300 s.
        let passed_ns = sent as u64 * 20_000_000 / n as u64 % 250_000_000_000;
        world.now = began.advanced(Duration::from_nanos(passed_ns));
        let verdict = world.client_sends(sent % n, &frame);
        assert!(matches!(verdict, Verdict::ToPeer { .. }));
        sent += 1;
    });
}

fn lives(runner: &mut Runner, others: usize) {
    let challenge = format!("core/allocate_challenged/beside_{others}");
    let life = format!("core/whole_life/beside_{others}");
    if !runner.wants(&challenge) && !runner.wants(&life) {
        return;
    }
    let mut world = World::with(runner.at_most(others), Bond::Channel);
    let newcomer = tuple(60_000);
    let plain = Writer::new(wire::ALLOCATE, 1)
        .add(wire::REQUESTED_TRANSPORT, &UDP)
        .plain();
    runner.bench(&challenge, || world.ask(&newcomer, &plain));
    runner.bench(&life, || {
        let nonce = world.challenge(&newcomer);
        world.authorised(&newcomer, &nonce, wire::ALLOCATE, |w| {
            w.add(wire::REQUESTED_TRANSPORT, &UDP)
        });
        for lifetime in [600_u32, 0] {
            world.authorised(&newcomer, &nonce, wire::REFRESH, |w| {
                w.add(wire::LIFETIME, &lifetime.to_be_bytes())
            });
        }
    });
}

#[derive(Clone, Copy)]
enum Bond {
    Channel,
    Permission,
}

/// A server with allocations, and the driver's part of it.
struct World {
    server: Server,
    ports: Ports,
    now: Now,
    clients: Vec<FiveTuple>,
    relays: Vec<RelayId>,
    key: [u8; 16],
    next_id: u64,
}

impl World {
    fn with(allocations: usize, bond: Bond) -> Self {
        Self::measuring(allocations, bond, true)
    }

    fn measuring(allocations: usize, bond: Bond, call_quality: bool) -> Self {
        let mut settings = Settings {
            call_quality,
            realm: REALM.to_owned(),
            listeners: vec![SERVER.into()],
            ..Settings::default()
        };
        settings.limits.unauthenticated_per_s_per_address = 0;
        let key = UserKey::Password(Secret::new(PASSWORD));
        settings.users.insert(USER.to_owned(), key);
        let shared = Shared::new(&mut Seeded(1));
        let mut world = Self {
            server: Server::new(Arc::new(settings), shared, Box::new(Seeded(2))),
            ports: Ports::default(),
            now: Now::new(Instant::now(), Duration::from_secs(1_700_000_000)),
            clients: Vec::new(),
            relays: Vec::new(),
            key: md5_key(USER, REALM, PASSWORD),
            next_id: 0,
        };
        for index in 0..allocations {
            world.allocate(index, bond);
        }
        world
    }

    fn allocate(&mut self, index: usize, bond: Bond) {
        let client = tuple(index);
        let nonce = self.challenge(&client);
        self.authorised(&client, &nonce, wire::ALLOCATE, |w| {
            w.add(wire::REQUESTED_TRANSPORT, &UDP)
        });
        self.clients.push(client);
        self.relays
            .push(self.ports.latest.expect("an allocation has a relay"));
        match bond {
            Bond::Channel => self.authorised(&client, &nonce, wire::CHANNEL_BIND, |w| {
                let [high, low] = CHANNEL.to_be_bytes();
                w.add(wire::CHANNEL_NUMBER, &[high, low, 0, 0])
                    .add_peer(PEER)
            }),
            Bond::Permission => self.authorised(&client, &nonce, wire::CREATE_PERMISSION, |w| {
                w.add_peer(PEER)
            }),
        }
    }

    /// The nonce of a 401.
    fn challenge(&mut self, client: &FiveTuple) -> Vec<u8> {
        self.next_id += 1;
        let request =
            Writer::new(wire::ALLOCATE, self.next_id).add(wire::REQUESTED_TRANSPORT, &UDP);
        let answer = self.ask(client, &request.plain());
        let answer = Message::parse(&answer).expect("an answer");
        answer.value(wire::NONCE).expect("a nonce").to_vec()
    }

    fn authorised(
        &mut self,
        client: &FiveTuple,
        nonce: &[u8],
        method: u16,
        attributes: impl FnOnce(Writer) -> Writer,
    ) {
        self.next_id += 1;
        let request = attributes(Writer::new(method, self.next_id))
            .add(wire::USERNAME, USER.as_bytes())
            .add(wire::REALM, REALM.as_bytes())
            .add(wire::NONCE, nonce)
            .protected(&self.key);
        let answer = self.ask(client, &request);
        assert_eq!(answer[..2], (method | 0x0100).to_be_bytes(), "success");
    }

    /// The answer to a request.
    fn ask(&mut self, client: &FiveTuple, request: &[u8]) -> Vec<u8> {
        let verdict =
            self.server
                .handle_client(self.now, client, LinkId(0), request, &mut self.ports);
        assert_eq!(verdict, Verdict::Consumed);
        let mut answer = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Reply { bytes, .. } => answer = bytes,
                Output::CloseRelay(relay) => self.ports.free.push(relay),
                Output::Started(_) | Output::Ended(_) | Output::PathUp(_) | Output::PathDown(_) => {
                }
            }
        }
        answer
    }

    fn client_sends(&mut self, index: usize, bytes: &[u8]) -> Verdict {
        let client = &self.clients[index];
        self.server
            .handle_client(self.now, client, LinkId(0), bytes, &mut self.ports)
    }

    fn peer_sends(&mut self, index: usize) -> Verdict {
        let peer = PeerAddr::new(PEER.into());
        self.server
            .handle_peer(self.now, self.relays[index], peer, &PAYLOAD)
    }
}

fn tuple(index: usize) -> FiveTuple {
    let ip = Ipv4Addr::from(0x0B00_0001 + index as u32);
    FiveTuple {
        client: ClientAddr::new(SocketAddr::from((ip, 40_000))),
        server: SERVER.into(),
        transport: Transport::Udp,
    }
}

/// Relay ports that are numbers alone, dense as the driver's.
#[derive(Default)]
struct Ports {
    /// How many there have been at once.
    opened: u32,
    free: Vec<RelayId>,
    latest: Option<RelayId>,
}

impl RelayPorts for Ports {
    fn bind(&mut self, request: BindRequest) -> Result<BoundRelay, BindError> {
        let relay = self.free.pop().unwrap_or_else(|| {
            self.opened += 1;
            RelayId(self.opened - 1)
        });
        self.latest = Some(relay);
        let port = 1024 + (relay.0 % 60_000) as u16;
        Ok(BoundRelay {
            relay,
            addr: RelayedAddr::new(SocketAddr::new(request.ip, port)),
        })
    }
}

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}
