//! Rules that chance meets too seldom: the millisecond before and after, limits, and one past each limit.

use super::ports::{Pool, Ports};
use super::support::rng::Rng;
use super::support::stun::{self, Class, Integrity, Message, Writer, attr};
use relayd::addr::{ClientAddr, Family, FiveTuple, PeerAddr, Transport};
use relayd::ip_rules::IpRules;
use relayd::secret::Secret;
use relayd::time::Now;
use relayd::turn::{
    BindError, EndReason, Limits, LinkId, Output, RelayAddresses, RelayId, Server, Settings,
    Shared, UserKey, Verdict,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REALM: &str = "rules.test";
const PEER: &str = "9.9.9.9:5000";
const OTHER: &str = "8.8.4.4:6000";
const MS: Duration = Duration::from_millis(1);

/// Two workers, a clock that stands until it is moved, and everything that came out of them.
struct Rig {
    now: Now,
    servers: Vec<Server>,
    ports: Vec<Ports>,
    pool: Rc<RefCell<Pool>>,
    rng: Rng,
}

#[derive(Clone)]
struct Client {
    worker: usize,
    tuple: FiveTuple,
    username: &'static str,
    nonce: String,
}

fn settings() -> Settings {
    let user =
        |name: &str, password: &str| (name.to_owned(), UserKey::Password(Secret::new(password)));
    Settings {
        realm: REALM.into(),
        users: [user("alice", "alice"), user("bob", "bob")].into(),
        relay_addresses: RelayAddresses {
            fixed: Vec::new(),
            fallback: vec!["2600:9::1".parse().expect("a literal address")],
        },
        listeners: vec![addr("9.1.1.1:3478")],
        limits: unlimited(),
        ..Settings::default()
    }
}

fn unlimited() -> Limits {
    Limits {
        unauthenticated_per_s_per_address: 0,
        ..Limits::default()
    }
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let mut rng = Rng::new(5);
        let begin = Instant::now();
        let shared = Shared::new(&mut rng);
        let settings = Arc::new(settings);
        let server = |seed| Server::new(settings.clone(), shared.clone(), Box::new(Rng::new(seed)));
        let pool = Pool::new(Rng::new(6), begin);
        Self {
            now: Now::new(begin, Duration::from_secs(1_700_000_000)),
            servers: vec![server(1), server(2)],
            ports: vec![Ports::new(pool.clone()), Ports::new(pool.clone())],
            pool,
            rng,
        }
    }

    /// Moves the clock and lets the timers run.
    fn pass(&mut self, by: Duration) -> Vec<Output> {
        self.pass_without_timers(by);
        let mut outputs = Vec::new();
        for worker in 0..2 {
            while self.servers[worker]
                .poll_timeout()
                .is_some_and(|at| at <= self.now.instant())
            {
                self.servers[worker].handle_timeout(self.now);
                outputs.extend(self.drain(worker));
            }
        }
        outputs
    }

    fn pass_without_timers(&mut self, by: Duration) {
        self.now = self.now.advanced(by);
        self.pool.borrow_mut().now = self.now.instant();
    }

    fn drain(&mut self, worker: usize) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.servers[worker].poll_output() {
            if let Output::CloseRelay(relay) = output {
                self.ports[worker].close(relay).expect("closed once");
            }
            outputs.push(output);
        }
        outputs
    }

    fn receive(&mut self, client: &Client, bytes: &[u8]) -> (Verdict, Vec<Output>) {
        let (worker, link) = (client.worker, LinkId(1));
        let ports = &mut self.ports[worker];
        let verdict =
            self.servers[worker].handle_client(self.now, &client.tuple, link, bytes, ports);
        (verdict, self.drain(worker))
    }

    fn answer(&mut self, client: &Client, bytes: &[u8]) -> Option<Message> {
        let (_, outputs) = self.receive(client, bytes);
        outputs.into_iter().find_map(|output| match output {
            Output::Reply { bytes, .. } => Some(Message::read(&bytes).expect("a message")),
            _ => None,
        })
    }

    fn writer(&mut self, method: u16) -> Writer {
        Writer::new(Class::Request, method, self.rng.transaction_id())
    }

    /// A client on worker 0 that holds a nonce.
    fn client(&mut self, username: &'static str, from: &str) -> Client {
        let tuple = FiveTuple {
            client: ClientAddr::new(addr(from)),
            server: addr("9.1.1.1:3478"),
            transport: Transport::Udp,
        };
        let mut client = Client {
            worker: 0,
            tuple,
            username,
            nonce: String::new(),
        };
        let bytes = self.writer(stun::REFRESH).bytes();
        let reply = self.answer(&client, &bytes).expect("a challenge");
        client.nonce = reply.text(attr::NONCE).expect("a nonce");
        client
    }

    fn ask(&mut self, client: &Client, method: u16, add: impl Fn(Writer) -> Writer) -> Message {
        let writer = add(self.writer(method));
        let bytes = client.sign(writer);
        self.answer(client, &bytes).expect("an answer")
    }

    fn allocate(&mut self, client: &Client) -> Message {
        self.ask(client, stun::ALLOCATE, udp)
    }

    fn allocated(&mut self, username: &'static str, from: &str) -> Client {
        let client = self.client(username, from);
        let reply = self.allocate(&client);
        assert_eq!(reply.class, Class::Success, "{reply:?}");
        client
    }

    fn permit(&mut self, client: &Client, peer: &str) -> Message {
        self.ask(client, stun::CREATE_PERMISSION, |w| {
            w.xor_addr(attr::XOR_PEER_ADDRESS, addr(peer))
        })
    }

    fn bind(&mut self, client: &Client, number: u16, peer: &str) -> Message {
        let [high, low] = number.to_be_bytes();
        self.ask(client, stun::CHANNEL_BIND, |w| {
            w.attr(attr::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_addr(attr::XOR_PEER_ADDRESS, addr(peer))
        })
    }

    fn refresh(&mut self, client: &Client, lifetime_s: u32) -> Message {
        self.ask(client, stun::REFRESH, |w| {
            w.attr(attr::LIFETIME, &lifetime_s.to_be_bytes())
        })
    }

    fn relays_to(&mut self, client: &Client, peer: &str) -> bool {
        let bytes = Writer::new(Class::Indication, stun::SEND, self.rng.transaction_id())
            .xor_addr(attr::XOR_PEER_ADDRESS, addr(peer))
            .attr(attr::DATA, b"probe")
            .bytes();
        matches!(self.receive(client, &bytes).0, Verdict::ToPeer { .. })
    }

    fn relays_by(&mut self, client: &Client, number: u16) -> bool {
        let bytes = stun::channel_data(number, b"probe", false);
        matches!(self.receive(client, &bytes).0, Verdict::ToPeer { .. })
    }

    fn relays_from(&mut self, peer: &str, len: usize) -> bool {
        let peer = PeerAddr::new(addr(peer));
        let verdict = self.servers[0].handle_peer(self.now, RelayId(0), peer, &vec![1; len]);
        matches!(verdict, Verdict::ToClient { .. })
    }
}

impl Client {
    fn sign(&self, writer: Writer) -> Vec<u8> {
        let key = stun::key_md5(self.username, REALM, self.username);
        writer
            .attr(attr::USERNAME, self.username.as_bytes())
            .attr(attr::REALM, REALM.as_bytes())
            .attr(attr::NONCE, self.nonce.as_bytes())
            .integrity(&Integrity::Sha1(key))
            .bytes()
    }

    fn wrong(&self, writer: Writer) -> Vec<u8> {
        let key = stun::key_md5(self.username, REALM, "a guess");
        writer
            .attr(attr::USERNAME, self.username.as_bytes())
            .attr(attr::REALM, REALM.as_bytes())
            .attr(attr::NONCE, self.nonce.as_bytes())
            .integrity(&Integrity::Sha1(key))
            .bytes()
    }
}

fn udp(writer: Writer) -> Writer {
    writer.attr(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal transport address")
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// RFC 8656 §9: 300 seconds, renewed by CreatePermission and ChannelBind, never by data.
#[test]
fn a_permission_lives_300_s_and_data_does_not_renew_it() {
    let mut rig = Rig::new(settings());
    let client = rig.allocated("alice", "11.0.0.1:1");
    rig.refresh(&client, 3600);
    assert_eq!(rig.permit(&client, PEER).class, Class::Success);
    rig.pass(seconds(300) - MS);
    assert!(rig.relays_to(&client, PEER) && rig.relays_from(PEER, 9));
    rig.pass(MS);
    assert!(!rig.relays_to(&client, PEER) && !rig.relays_from(PEER, 9));

    assert_eq!(rig.permit(&client, PEER).class, Class::Success);
    rig.pass(seconds(200));
    assert_eq!(rig.permit(&client, PEER).class, Class::Success);
    rig.pass(seconds(299));
    assert!(rig.relays_to(&client, PEER));
}

/// RFC 8656 §12: the binding lives 600 s, its permission 300 s; ChannelBind renews both.
#[test]
fn a_channel_relays_as_long_as_its_binding_and_its_permission_live() {
    let mut rig = Rig::new(Settings {
        nonce_lifetime_s: 9000,
        ..settings()
    });
    let client = rig.allocated("alice", "11.0.0.1:1");
    rig.refresh(&client, 3600);
    assert_eq!(rig.bind(&client, 0x4000, PEER).class, Class::Success);
    rig.pass(seconds(300) - MS);
    assert!(rig.relays_by(&client, 0x4000) && rig.relays_from(PEER, 9));
    rig.pass(MS);
    assert!(!rig.relays_by(&client, 0x4000) && !rig.relays_from(PEER, 9));
    assert_eq!(rig.permit(&client, PEER).class, Class::Success);
    assert!(rig.relays_by(&client, 0x4000));
    rig.pass(seconds(300) - MS);
    assert!(
        rig.relays_by(&client, 0x4000),
        "599.999 s after the binding"
    );
    assert_eq!(rig.permit(&client, PEER).class, Class::Success);
    rig.pass(MS);
    assert!(!rig.relays_by(&client, 0x4000), "600 s after the binding");
    assert!(
        rig.relays_from(PEER, 9),
        "by an indication, the permission lives"
    );
}

/// RFC 8656 §12: number and peer stay reserved for each other until 300 s after the binding expired.
#[test]
fn an_expired_channel_is_refused_for_anything_else_until_300_s_pass() {
    let mut rig = Rig::new(Settings {
        nonce_lifetime_s: 9000,
        ..settings()
    });
    let client = rig.allocated("alice", "11.0.0.1:1");
    rig.refresh(&client, 3600);
    rig.bind(&client, 0x4000, PEER);
    rig.pass(seconds(900) - MS);
    assert_eq!(rig.bind(&client, 0x4000, OTHER).error_code(), Some(400));
    assert_eq!(rig.bind(&client, 0x4001, PEER).error_code(), Some(400));
    rig.pass(MS);
    assert_eq!(rig.bind(&client, 0x4000, OTHER).class, Class::Success);
    assert_eq!(rig.bind(&client, 0x4001, PEER).class, Class::Success);

    rig.pass(seconds(899));
    assert_eq!(
        rig.bind(&client, 0x4000, OTHER).class,
        Class::Success,
        "the same pair at any time"
    );
    assert!(rig.relays_by(&client, 0x4000));
}

#[test]
fn an_allocation_is_never_reaped_early_and_a_late_timer_revives_nothing() {
    let mut rig = Rig::new(settings());
    let client = rig.allocated("alice", "11.0.0.1:1");
    rig.permit(&client, PEER);
    rig.pass(seconds(300) - MS);
    rig.permit(&client, PEER);
    rig.pass(seconds(300) - MS);
    assert!(rig.relays_to(&client, PEER));
    rig.pass_without_timers(MS * 2);
    assert!(!rig.relays_to(&client, PEER));
    assert!(!rig.relays_from(PEER, 9));
    let fresh = rig.client("alice", "11.0.0.1:1");
    assert_eq!(rig.refresh(&fresh, 600).error_code(), Some(437));
    assert_eq!(rig.allocate(&fresh).class, Class::Success);
    rig.pass(seconds(1));
    assert_eq!(rig.servers[0].allocation_count(), 1);
    assert_eq!(rig.pool.borrow().bound.len(), 1);
}

#[test]
fn a_listener_is_no_peer_even_where_its_network_is_allowed() {
    let net = "9.1.1.0/24".parse().expect("a literal network");
    let peers = IpRules::new(vec![net], Vec::new());
    let mut rig = Rig::new(Settings {
        peers,
        ..settings()
    });
    let client = rig.allocated("alice", "11.0.0.1:1");
    assert_eq!(rig.permit(&client, "9.1.1.1:80").class, Class::Success);
    assert!(rig.relays_to(&client, "9.1.1.1:80"));
    assert!(!rig.relays_to(&client, "9.1.1.1:3478"));
    assert_eq!(
        rig.bind(&client, 0x4000, "9.1.1.1:3478").error_code(),
        Some(403)
    );
}

#[test]
fn a_source_of_unauthenticated_requests_is_answered_so_often_and_others_are_not_affected() {
    let limits = Limits {
        unauthenticated_per_s_per_address: 5,
        ..Limits::default()
    };
    let mut rig = Rig::new(Settings {
        limits,
        ..settings()
    });
    // Somebody who authenticated lately is no victim of a reflector.
    let known = rig.allocated("alice", "12.0.0.1:1");
    let answers = |rig: &mut Rig, from: &str| {
        let tuple = FiveTuple {
            client: ClientAddr::new(addr(from)),
            ..known.tuple
        };
        let client = Client {
            tuple,
            ..known.clone()
        };
        let asked = (0..50).map(|_| {
            let bytes = udp(rig.writer(stun::ALLOCATE)).bytes();
            usize::from(rig.answer(&client, &bytes).is_some())
        });
        asked.sum::<usize>()
    };
    assert_eq!(answers(&mut rig, "11.0.0.1:1"), 5);
    assert_eq!(
        answers(&mut rig, "11.0.0.1:2"),
        0,
        "the port does not matter"
    );
    assert_eq!(answers(&mut rig, "11.0.0.2:1"), 5);
    assert_eq!(
        answers(&mut rig, "12.0.0.1:2"),
        50,
        "a source that authenticated"
    );
    rig.pass(seconds(1));
    assert_eq!(answers(&mut rig, "11.0.0.1:1"), 5);
    assert_eq!(answers(&mut rig, "[2620::1]:1"), 5);
    assert_eq!(answers(&mut rig, "[2620:0:0:0:ff::1]:1"), 0, "the same /56");
    assert_eq!(answers(&mut rig, "[2620:0:0:100::1]:1"), 5, "another /56");
}

#[test]
fn guessing_locks_out_neither_the_neighbour_nor_the_user_elsewhere() {
    let mut rig = Rig::new(settings());
    let guesser = rig.client("alice", "11.0.0.1:1");
    for _ in 0..200 {
        let bytes = guesser.wrong(udp(rig.writer(stun::ALLOCATE)));
        rig.receive(&guesser, &bytes);
    }
    let bytes = guesser.sign(udp(rig.writer(stun::ALLOCATE)));
    assert!(
        rig.answer(&guesser, &bytes).is_none(),
        "also a right guess is not looked at"
    );
    rig.allocated("bob", "11.0.0.1:2");
    rig.allocated("alice", "11.0.0.2:1");
    rig.pass(seconds(60));
    assert_eq!(
        rig.allocate(&guesser).class,
        Class::Success,
        "the lock is for a while"
    );
}

#[test]
fn bandwidth_has_a_ceiling_in_each_direction_and_recovers() {
    let limits = Limits {
        bytes_per_s_per_allocation: 10_000,
        ..unlimited()
    };
    let mut rig = Rig::new(Settings {
        limits,
        ..settings()
    });
    let client = rig.allocated("alice", "11.0.0.1:1");
    rig.bind(&client, 0x4000, PEER);
    for round in 0..3 {
        let bytes = stun::channel_data(0x4000, &[7; 1000], false);
        let up =
            (0..100).filter(|_| matches!(rig.receive(&client, &bytes).0, Verdict::ToPeer { .. }));
        let up = up.count();
        let down = (0..100).filter(|_| rig.relays_from(PEER, 1000)).count();
        // A burst may be saved up, but never ten seconds' worth.
        assert!((10..100).contains(&up), "round {round}: {up} KB up");
        assert!((10..100).contains(&down), "round {round}: {down} KB down");
        rig.pass(seconds(20));
    }
}

#[test]
fn the_1025th_permission_and_channel_are_refused_and_the_others_are_kept() {
    let mut rig = Rig::new(settings());
    let client = rig.allocated("alice", "11.0.0.1:1");
    for index in 0..1024_u16 {
        let peer = format!("9.9.{}.{}:5000", index >> 8, index & 0xff);
        assert_eq!(
            rig.bind(&client, 0x4000 + index, &peer).class,
            Class::Success,
            "{index}"
        );
    }
    assert_eq!(rig.bind(&client, 0x5000, OTHER).error_code(), Some(508));
    assert_eq!(rig.permit(&client, OTHER).error_code(), Some(508));
    assert!(!rig.relays_to(&client, OTHER));
    assert_eq!(rig.permit(&client, "9.9.0.7:1").class, Class::Success);
    assert!(rig.relays_by(&client, 0x43ff));
    rig.pass(seconds(301));
    assert_eq!(
        rig.permit(&client, OTHER).class,
        Class::Success,
        "the old ones have expired"
    );
}

/// libwebrtc gives up after a second 401 or a 438.
#[test]
fn a_nonce_is_good_on_the_other_worker_after_a_reload_and_across_a_change_of_keys() {
    let mut rig = Rig::new(settings());
    for (case, hours) in [("at once", 0), ("a day later", 23), ("later still", 30)] {
        rig.pass(seconds(hours * 3600));
        for minute in 0..90 {
            let mut client = rig.client("alice", &format!("11.0.0.1:{}", 1000 + minute));
            client.worker = 1;
            rig.pass(seconds(60));
            rig.servers[1].set_settings(Arc::new(settings()));
            let reply = rig.allocate(&client);
            assert_eq!(
                reply.class,
                Class::Success,
                "{case}, minute {minute}: {reply:?}"
            );
            assert_eq!(rig.refresh(&client, 0).class, Class::Success);
        }
    }
}

#[test]
fn a_draining_server_refuses_what_is_new_and_keeps_what_is_there() {
    let mut rig = Rig::new(settings());
    let client = rig.client("alice", "11.0.0.1:1");
    let request = client.sign(udp(rig.writer(stun::ALLOCATE)));
    assert_eq!(
        rig.answer(&client, &request).expect("an answer").class,
        Class::Success
    );
    rig.servers.iter_mut().for_each(Server::set_draining);
    let again = rig.answer(&client, &request).expect("an answer");
    assert_eq!(
        again.class,
        Class::Success,
        "a retransmission is nothing new"
    );
    assert_eq!(rig.bind(&client, 0x4000, PEER).class, Class::Success);
    assert!(rig.relays_by(&client, 0x4000));
    assert_eq!(rig.refresh(&client, 600).class, Class::Success);
    let late = rig.client("bob", "11.0.0.1:2");
    assert_eq!(rig.allocate(&late).error_code(), Some(508));
}

#[test]
fn a_shutdown_ends_every_allocation_with_its_line_and_its_socket() {
    let mut rig = Rig::new(settings());
    for port in 1..5 {
        rig.allocated("alice", &format!("11.0.0.1:{port}"));
    }
    rig.servers[0].shutdown();
    let outputs = rig.drain(0);
    let stopped = outputs
        .iter()
        .filter(|output| matches!(output, Output::Ended(end) if end.reason == EndReason::Stopped));
    assert_eq!(stopped.count(), 4);
    assert!(rig.pool.borrow().bound.is_empty());
    assert_eq!(rig.servers[0].allocation_count(), 0);
}

/// RFC 8656 §7.2: at least 30 s; the token is used up by its use.
#[test]
fn a_reserved_port_is_kept_for_30_s_and_given_out_once() {
    let mut rig = Rig::new(settings());
    let first = rig.client("alice", "11.0.0.1:1");
    let even = |w: Writer| udp(w).attr(attr::EVEN_PORT, &[0x80]);
    let reply = rig.ask(&first, stun::ALLOCATE, even);
    let token = reply
        .get(attr::RESERVATION_TOKEN)
        .expect("a token")
        .to_vec();
    rig.pass(seconds(30) - MS);
    let with = |w: Writer| udp(w).attr(attr::RESERVATION_TOKEN, &token);
    let second = rig.client("bob", "11.0.0.1:2");
    let kept = rig.ask(&second, stun::ALLOCATE, with);
    assert_eq!(kept.class, Class::Success, "{kept:?}");
    let port = |reply: &Message| {
        reply
            .xor_addr(attr::XOR_RELAYED_ADDRESS)
            .expect("an address")
            .port()
    };
    assert_eq!(port(&kept), port(&reply) + 1);
    let third = rig.client("bob", "11.0.0.1:3");
    assert_eq!(
        rig.ask(&third, stun::ALLOCATE, with).error_code(),
        Some(508)
    );
}

/// RFC 8656 §7.2: DONT-FRAGMENT that cannot be honoured is an unknown attribute.
#[test]
fn dont_fragment_that_the_system_cannot_do_gets_420() {
    let mut rig = Rig::new(settings());
    let client = rig.client("alice", "11.0.0.1:1");
    rig.pool
        .borrow_mut()
        .faults
        .push((Family::V4, BindError::DontFragmentUnsupported));
    let reply = rig.ask(&client, stun::ALLOCATE, |w| {
        udp(w).attr(attr::DONT_FRAGMENT, &[])
    });
    assert_eq!(reply.error_code(), Some(420));
    assert_eq!(reply.get(attr::UNKNOWN_ATTRIBUTES), Some(&[0x00, 0x1a][..]));
    rig.pool.borrow_mut().faults.clear();
    assert_eq!(rig.allocate(&client).class, Class::Success);
}

#[test]
fn another_user_on_an_allocation_gets_441_for_everything() {
    let mut rig = Rig::new(settings());
    let alice = rig.allocated("alice", "11.0.0.1:1");
    let bob = Client {
        username: "bob",
        ..alice
    };
    assert_eq!(rig.refresh(&bob, 600).error_code(), Some(441));
    assert_eq!(rig.permit(&bob, PEER).error_code(), Some(441));
    assert_eq!(rig.bind(&bob, 0x4000, PEER).error_code(), Some(441));
}

/// Whatever the bytes, nothing panics and the tables stay sound.
#[test]
fn random_bytes_harm_nothing() {
    let mut rig = Rig::new(settings());
    let client = rig.allocated("alice", "11.0.0.1:1");
    rig.bind(&client, 0x4000, PEER);
    let good = client.sign(udp(rig.writer(stun::ALLOCATE)));
    for _ in 0..20_000 {
        let len = rig.rng.below(200);
        let mut bytes = if rig.rng.chance(50) {
            rig.rng.bytes(len)
        } else {
            good.clone()
        };
        for _ in 0..rig.rng.below(8) {
            let at = rig.rng.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rig.rng.next() as u8;
            }
        }
        if rig.rng.chance(50) {
            // Often enough a header that agrees with the length, so that the attributes are reached.
            let body = bytes.len().saturating_sub(20) as u16;
            if let Some(header) = bytes.get_mut(..8) {
                header[0] &= 0x01;
                header[2..4].copy_from_slice(&body.to_be_bytes());
                header[4..8].copy_from_slice(&stun::COOKIE);
            }
        }
        rig.receive(&client, &bytes);
    }
    rig.servers[0].assert_consistent();
    assert!(rig.relays_by(&client, 0x4000));
}
