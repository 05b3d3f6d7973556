//! The world of one scenario: a server, relay ports, a clock, and clients that know the protocol.

use super::*;
use crate::entropy::Entropy;
use crate::time::Now;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageType,
    MessageWriteVec, Method as WireMethod, TransactionId,
};

pub const REALM_NAME: &str = "relay.test";
pub const SERVER: &str = "9.1.1.1:3478";
pub const SERVER6: &str = "[2600:9::1]:3478";
pub const PEER: &str = "8.8.8.8:5000";
pub const PEER6: &str = "[2620::8]:5000";
pub const UNIX_S: u64 = 1_700_000_000;

pub fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal address")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

pub fn peer(text: &str) -> PeerAddr {
    PeerAddr::new(addr(text))
}

pub fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

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

/// Relay ports from 50000 on, in order, with whatever failure a test asks for.
#[derive(Default)]
pub struct FakePorts {
    pub fail: Option<BindError>,
    pub fail_v6: Option<BindError>,
    /// Addresses of another machine.
    pub foreign: Vec<IpAddr>,
    pub requests: Vec<BindRequest>,
    pub open: HashMap<RelayId, RelayedAddr>,
    reserved: HashMap<[u8; 8], SocketAddr>,
    next_port: u16,
    next_id: u32,
}

impl RelayPorts for FakePorts {
    fn bind(&mut self, request: BindRequest) -> Result<BoundRelay, BindError> {
        self.requests.push(request);
        if self.foreign.contains(&request.ip) {
            return Err(BindError::AddressUnusable);
        }
        let failure = if request.ip.is_ipv6() {
            self.fail_v6
        } else {
            None
        };
        if let Some(error) = self.fail.or(failure) {
            return Err(error);
        }
        let port = 50000 + self.next_port;
        let addr = match request.port {
            PortWish::Any | PortWish::Even => SocketAddr::new(request.ip, port),
            PortWish::EvenAndNext { token, .. } => {
                let next = SocketAddr::new(request.ip, port + 1);
                self.reserved.insert(token.0, next);
                SocketAddr::new(request.ip, port)
            }
            PortWish::Reserved(token) => {
                let kept = self.reserved.remove(&token.0);
                kept.ok_or(BindError::UnknownToken)?
            }
        };
        self.next_port += 2;
        let bound = BoundRelay {
            relay: RelayId(self.next_id),
            addr: RelayedAddr::new(addr),
        };
        self.next_id += 1;
        self.open.insert(bound.relay, bound.addr);
        Ok(bound)
    }
}

pub struct World {
    pub server: Server,
    pub shared: Arc<Shared>,
    pub ports: FakePorts,
    pub now: Now,
    /// Everything but replies and closed relays, in order.
    pub events: Vec<Output>,
    pub settings: Settings,
    /// Whether the tables are checked after each step, which costs as much as they are long.
    pub checked: bool,
}

pub fn settings() -> Settings {
    let mut settings = Settings {
        realm: REALM_NAME.to_owned(),
        relay_addresses: RelayAddresses {
            fixed: Vec::new(),
            fallback: vec![ip("9.1.1.1"), ip("2600:9::1")],
        },
        listeners: vec![addr(SERVER), addr(SERVER6)],
        ..Settings::default()
    };
    for (name, password) in [("alice", "wonderland"), ("bob", "builder")] {
        let key = UserKey::Password(Secret::new(password));
        settings.users.insert(name.to_owned(), key);
    }
    settings
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let shared = Shared::new(&mut Seeded::new(1));
        Self {
            server: worker(&settings, &shared, 2),
            shared,
            ports: FakePorts::default(),
            now: Now::new(Instant::now(), Duration::from_secs(UNIX_S)),
            events: Vec::new(),
            settings,
            checked: true,
        }
    }

    pub fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.server.set_settings(Arc::new(self.settings.clone()));
        self.drain();
    }

    /// Time passes; the driver calls the timer when it asks to be called, and not otherwise.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.instant() + time;
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= end) {
            self.now = self
                .now
                .advanced(at.saturating_duration_since(self.now.instant()));
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.advanced(end - self.now.instant());
    }

    /// Hands bytes to the server; the verdict and the replies.
    pub fn send(&mut self, from: &FiveTuple, bytes: &[u8]) -> (Verdict, Vec<Vec<u8>>) {
        let verdict = self
            .server
            .handle_client(self.now, from, LinkId(7), bytes, &mut self.ports);
        (verdict, self.drain())
    }

    pub fn verdict(&mut self, from: &FiveTuple, bytes: &[u8]) -> Verdict {
        let (verdict, replies) = self.send(from, bytes);
        assert!(replies.is_empty(), "no answer expected");
        verdict
    }

    /// The one answer to a request.
    pub fn ask(&mut self, from: &FiveTuple, bytes: &[u8]) -> Answered {
        let (verdict, mut replies) = self.send(from, bytes);
        assert_eq!(verdict, Verdict::Consumed);
        assert_eq!(replies.len(), 1, "one answer");
        Answered(replies.pop().expect("one answer"))
    }

    pub fn peer_sends(&mut self, relay: RelayId, from: &str, payload: &[u8]) -> Verdict {
        let verdict = self
            .server
            .handle_peer(self.now, relay, peer(from), payload);
        assert!(self.drain().is_empty());
        verdict
    }

    /// Replies; everything else is kept or carried out.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Reply { bytes, .. } => replies.push(bytes),
                Output::CloseRelay(relay) => {
                    assert!(self.ports.open.remove(&relay).is_some(), "closed once");
                }
                Output::Started(_) | Output::Ended(_) | Output::PathUp(_) | Output::PathDown(_) => {
                    self.events.push(output);
                }
            }
        }
        if self.checked {
            self.server.assert_consistent();
            assert_eq!(self.ports.open.len(), self.relay_count());
        }
        replies
    }

    fn relay_count(&self) -> usize {
        let all = self.server.allocations();
        // Closed halves of dual allocations are still listed as relayed addresses.
        all.flat_map(|allocation| allocation.relayed)
            .filter(|addr| self.ports.open.values().any(|open| open == addr))
            .count()
    }

    pub fn ends(&self) -> Vec<AllocationEnd> {
        let end = |event: &Output| match event {
            Output::Ended(end) => Some((**end).clone()),
            Output::Reply { .. }
            | Output::CloseRelay(_)
            | Output::Started(_)
            | Output::PathUp(_)
            | Output::PathDown(_) => None,
        };
        self.events.iter().filter_map(end).collect()
    }

    /// A client of "alice" with an allocation for IPv4.
    pub fn allocated(&mut self) -> Client {
        let mut client = Client::new(1);
        let answer = client.allocate(self, &[]);
        assert_eq!(answer.code(), 0);
        client
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.server.counters().drops(reason)
    }
}

pub fn worker(settings: &Settings, shared: &Arc<Shared>, seed: u64) -> Server {
    Server::new(
        Arc::new(settings.clone()),
        Arc::clone(shared),
        Box::new(Seeded::new(seed)),
    )
}

/// A reply, read with the reference codec.
#[derive(Clone, Debug)]
pub struct Answered(pub Vec<u8>);

impl Answered {
    pub fn message(&self) -> Message<'_> {
        Message::from_bytes(&self.0).expect("a well-formed answer")
    }

    /// 0 for success, else the error code.
    pub fn code(&self) -> u16 {
        let message = self.message();
        match message.class() {
            MessageClass::Success => 0,
            MessageClass::Error => {
                let error = message.attribute::<ErrorCode>();
                error.expect("an error has a code").code()
            }
            MessageClass::Request | MessageClass::Indication => panic!("not an answer"),
        }
    }

    pub fn nonce(&self) -> String {
        let nonce = self.message().attribute::<Nonce>();
        nonce.expect("a nonce").nonce().to_owned()
    }

    pub fn has(&self, kind: AttributeType) -> bool {
        self.message().has_attribute(kind)
    }

    pub fn lifetime(&self) -> u32 {
        let lifetime = self.message().attribute::<Lifetime>();
        lifetime.expect("a lifetime").seconds()
    }

    /// Every XOR-RELAYED-ADDRESS.
    pub fn relayed(&self) -> Vec<SocketAddr> {
        let message = self.message();
        let id = message.transaction_id();
        let attributes = message.iter_attributes();
        let relayed = attributes.filter(|(_, raw)| raw.get_type() == XorRelayedAddress::TYPE);
        relayed
            .map(|(_, raw)| {
                XorRelayedAddress::from_raw_ref(&raw)
                    .expect("an address")
                    .addr(id)
            })
            .collect()
    }

    pub fn mapped(&self) -> SocketAddr {
        let message = self.message();
        let mapped = message.attribute::<XorMappedAddress>();
        mapped.expect("an address").addr(message.transaction_id())
    }

    pub fn token(&self) -> u64 {
        let token = self
            .message()
            .attribute::<turn_types::attribute::ReservationToken>();
        token.expect("a token").token()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Md5,
    /// SHA-256 keys, chosen from PASSWORD-ALGORITHMS.
    Sha256,
}

/// A client with one 5-tuple.
#[derive(Clone)]
pub struct Client {
    pub tuple: FiveTuple,
    pub username: String,
    pub password: String,
    pub realm: String,
    pub nonce: String,
    pub security: Security,
    pub userhash: bool,
    pub fingerprint: bool,
    pub relay: Option<RelayId>,
    pub relayed: Option<SocketAddr>,
    next_transaction: u128,
}

impl Client {
    /// "alice" on UDP over IPv4.
    pub fn new(port: u16) -> Self {
        Self::at(&format!("11.0.0.1:{port}"), SERVER, Transport::Udp)
    }

    pub fn at(client: &str, server: &str, transport: Transport) -> Self {
        Self {
            tuple: FiveTuple {
                client: ClientAddr::new(addr(client)),
                server: addr(server),
                transport,
            },
            username: "alice".to_owned(),
            password: "wonderland".to_owned(),
            realm: REALM_NAME.to_owned(),
            nonce: String::new(),
            security: Security::Md5,
            userhash: false,
            fingerprint: false,
            relay: None,
            relayed: None,
            next_transaction: 1,
        }
    }

    pub fn named(mut self, username: &str, password: &str) -> Self {
        self.username = username.to_owned();
        self.password = password.to_owned();
        self
    }

    pub fn plain(&mut self, method: WireMethod, attributes: &[&dyn AttributeWrite]) -> Vec<u8> {
        let mut write = self.unsigned(method, attributes);
        if self.fingerprint {
            write.add_fingerprint().expect("the first one");
        }
        write.finish()
    }

    pub fn unsigned(
        &mut self,
        method: WireMethod,
        attributes: &[&dyn AttributeWrite],
    ) -> MessageWriteVec {
        let id = TransactionId::from(self.next_transaction);
        self.next_transaction += 1;
        let kind = MessageType::from_class_method(MessageClass::Request, method);
        let mut write = Message::builder(kind, id, MessageWriteVec::new());
        for attribute in attributes {
            write.push_attribute_unchecked(*attribute);
        }
        write
    }

    pub fn signed(&mut self, method: WireMethod, attributes: &[&dyn AttributeWrite]) -> Vec<u8> {
        let mut write = self.unsigned(method, attributes);
        if self.userhash {
            let hash = Userhash::compute(&self.username, &self.realm);
            write.push_attribute_unchecked(&Userhash::new(hash));
        } else {
            let name = RawAttribute::new(Username::TYPE, self.username.as_bytes());
            write.push_attribute_unchecked(&name);
        }
        write.push_attribute_unchecked(&Realm::new(&self.realm).expect("short"));
        write.push_attribute_unchecked(&Nonce::new(&self.nonce).expect("short"));
        let algorithm = match self.security {
            Security::Md5 => IntegrityAlgorithm::Sha1,
            Security::Sha256 => {
                let offered = [PasswordAlgorithmValue::SHA256, PasswordAlgorithmValue::MD5];
                write.push_attribute_unchecked(&PasswordAlgorithms::new(&offered));
                let chosen = PasswordAlgorithm::new(PasswordAlgorithmValue::SHA256);
                write.push_attribute_unchecked(&chosen);
                IntegrityAlgorithm::Sha256
            }
        };
        let key = self.credentials().make_key(algorithm);
        write
            .add_message_integrity_with_key(&key, algorithm)
            .expect("the first one");
        if self.fingerprint {
            write.add_fingerprint().expect("the first one");
        }
        write.finish()
    }

    pub fn credentials(&self) -> LongTermKeyCredentials {
        LongTermKeyCredentials::new(
            self.username.clone(),
            self.password.clone(),
            self.realm.clone(),
        )
    }

    /// Takes a nonce from the server, as a first request without credentials does.
    pub fn challenge(&mut self, world: &mut World) -> Answered {
        let bytes = self.plain(ALLOCATE, &[&RequestedTransport::new(17)]);
        let answer = world.ask(&self.tuple, &bytes);
        assert_eq!(answer.code(), 401);
        self.nonce = answer.nonce();
        answer
    }

    /// Sends a request with credentials; every answer but a challenge is protected with the same key.
    pub fn ask(
        &mut self,
        world: &mut World,
        method: WireMethod,
        attributes: &[&dyn AttributeWrite],
    ) -> Answered {
        let bytes = self.signed(method, attributes);
        let answer = world.ask(&self.tuple, &bytes);
        self.check(&answer);
        answer
    }

    pub fn check(&self, answer: &Answered) {
        let message = answer.message();
        if message.raw_attribute(Nonce::TYPE).is_some() {
            return;
        }
        let algorithm = match self.security {
            Security::Md5 => IntegrityAlgorithm::Sha1,
            Security::Sha256 => IntegrityAlgorithm::Sha256,
        };
        let key = self.credentials().make_key(algorithm);
        let verified = message.validate_integrity_with_key(&key);
        assert_eq!(verified.expect("the answer is protected"), algorithm);
    }

    pub fn code(
        &mut self,
        world: &mut World,
        method: WireMethod,
        attributes: &[&dyn AttributeWrite],
    ) -> u16 {
        self.ask(world, method, attributes).code()
    }

    /// Challenge and Allocate with REQUESTED-TRANSPORT and `more`.
    pub fn allocate(&mut self, world: &mut World, more: &[&dyn AttributeWrite]) -> Answered {
        if self.nonce.is_empty() {
            self.challenge(world);
        }
        let udp = RequestedTransport::new(17);
        let mut attributes: Vec<&dyn AttributeWrite> = vec![&udp];
        attributes.extend(more);
        let before = world.ports.open.len();
        let answer = self.ask(world, ALLOCATE, &attributes);
        if world.ports.open.len() > before {
            let newest = world.ports.open.keys().max_by_key(|relay| relay.0);
            self.relay = newest.copied();
            self.relayed = answer.relayed().first().copied();
        }
        answer
    }

    pub fn permit(&mut self, world: &mut World, peer: &str) -> u16 {
        let peer = XorPeerAddress::new(addr(peer), TransactionId::from(self.next_transaction));
        self.code(world, CREATE_PERMISSION, &[&peer])
    }

    pub fn connect(&mut self, world: &mut World, peer: &str) -> u16 {
        let peer = XorPeerAddress::new(addr(peer), TransactionId::from(self.next_transaction));
        self.code(world, CONNECT, &[&peer])
    }

    pub fn bind(&mut self, world: &mut World, number: u16, peer: &str) -> u16 {
        let number = ChannelNumber::new(number);
        let peer = XorPeerAddress::new(addr(peer), TransactionId::from(self.next_transaction));
        self.code(world, CHANNEL_BIND, &[&number, &peer])
    }

    pub fn refresh(&mut self, world: &mut World, lifetime_s: u32) -> u16 {
        self.code(world, REFRESH, &[&Lifetime::new(lifetime_s)])
    }

    pub fn send(&self, world: &mut World, peer: &str, payload: &[u8]) -> Verdict {
        world.verdict(&self.tuple, &send_indication(peer, payload, &[]))
    }

    pub fn channel_data(&self, world: &mut World, number: u16, payload: &[u8]) -> Verdict {
        world.verdict(&self.tuple, &channel_data(number, payload))
    }

    pub fn relay(&self) -> RelayId {
        self.relay.expect("an allocation")
    }

    pub fn to_peer(&self, to: &str, payload: std::ops::Range<usize>) -> Verdict {
        Verdict::ToPeer {
            relay: self.relay(),
            peer: peer(to),
            payload,
            dont_fragment: false,
        }
    }
}

pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; payload.len() + 4];
    turn_types::channel::ChannelData::new(number, payload).write_into_unchecked(&mut bytes);
    bytes
}

pub fn send_indication(peer: &str, payload: &[u8], more: &[&dyn AttributeWrite]) -> Vec<u8> {
    let id = TransactionId::from(99);
    let kind = MessageType::from_class_method(MessageClass::Indication, turn_types::message::SEND);
    let mut write = Message::builder(kind, id, MessageWriteVec::new());
    write.push_attribute_unchecked(&XorPeerAddress::new(addr(peer), id));
    for attribute in more {
        write.push_attribute_unchecked(*attribute);
    }
    write.push_attribute_unchecked(&Data::new(payload));
    write.finish()
}

/// What the client receives: prefix, payload, padding.
pub fn delivered(verdict: &Verdict, payload: &[u8]) -> Vec<u8> {
    let Verdict::ToClient { prefix, .. } = verdict else {
        panic!("not for the client: {verdict:?}");
    };
    let mut bytes = prefix.header().to_vec();
    bytes.extend(payload);
    bytes.resize(bytes.len() + prefix.padding(), 0);
    bytes
}

/// Peer and payload of a Data indication.
pub fn data_indication(bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let message = Message::from_bytes(bytes).expect("a Data indication");
    assert!(message.has_method(turn_types::message::DATA));
    let peer = message.attribute::<XorPeerAddress>().expect("a peer");
    let data = message.raw_attribute(Data::TYPE).expect("data");
    (peer.addr(message.transaction_id()), data.value.to_vec())
}
