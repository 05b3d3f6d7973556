//! What each fuzz target does with its bytes, and what must hold for all of them.
//!
//! Used by the targets (`cargo +nightly fuzz run --fuzz-dir tests/fuzz handle_client`) and by the ordinary test
//! `fuzz_corpus`, which replays the corpora.

// Each target uses its own part of this.
#![allow(dead_code)]

#[path = "../support/md5.rs"]
mod md5;
#[path = "../support/stun.rs"]
mod stun;

use relayd::addr::{ClientAddr, FiveTuple, PeerAddr, RelayedAddr, Transport};
use relayd::config::{Machine, Surroundings};
use relayd::entropy::Entropy;
use relayd::import::{Options, Secrets};
use relayd::ip_rules::IpRules;
use relayd::listen::proxy_protocol;
use relayd::proxy::allowlist::{Authority, HostList};
use relayd::proxy::route::{RouteKind, Router};
use relayd::proxy::{HostRule, PrefixRoute};
use relayd::quality::{self, Arrived, Side};
use relayd::secret::Secret;
use relayd::stun::framing::{Framing, next};
use relayd::stun::{channel_data, indication};
use relayd::time::Now;
use relayd::turn::{
    BindError, BindRequest, BoundRelay, LinkId, Output, PortWish, RelayId, RelayPorts, Server,
    Settings, Shared, UserKey, Verdict,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// A stream is cut in the same places however it arrives, and nothing reads past what it was given.
pub fn stun_framing(data: &[u8]) {
    let whole = frames(data, data.len());
    let (cut, _) = &whole;
    for frame in cut {
        if let Some(found) = channel_data::parse(frame) {
            assert!(frame.get(found.payload).is_some());
        }
        if let Ok(send) = indication::parse_send(frame) {
            assert!(frame.get(send.payload).is_some());
        }
        let _ = relayd::stun::Message::parse(frame);
    }
    for step in [1, 3, 20] {
        let pieces = frames(data, step);
        assert_eq!(pieces.0, whole.0, "in pieces of {step}");
        assert_eq!(pieces.1, whole.1, "in pieces of {step}");
    }
}

/// The messages of a stream that arrives `step` bytes at a time, and whether it broke.
fn frames(data: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut found, mut buffered) = (Vec::new(), Vec::new());
    for piece in data.chunks(step.max(1)) {
        buffered.extend_from_slice(piece);
        loop {
            match next(&buffered) {
                Ok(Framing::Incomplete) => break,
                Ok(Framing::Message { len, padded_len }) => {
                    assert!(0 < len && len <= padded_len && padded_len <= buffered.len());
                    let rest = buffered.split_off(padded_len);
                    buffered.truncate(len);
                    found.push(std::mem::replace(&mut buffered, rest));
                }
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

const REALM: &str = "fuzz";

/// A life of the TURN core: each record is an operation, a length and bytes.
///
/// 0: a datagram of the client; 1: one of a peer; 2: time passes; 3: the connection closes; 4: a request with these
/// attributes, signed as it should be; 5: a frame of a stream client. So the depths are reached without guessing an HMAC.
pub fn handle_client(data: &[u8]) {
    let mut life = Life::new();
    let mut rest = data;
    let mut records = 0;
    while let Some(([operation, len], after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(*len).min(after.len());
        let (bytes, after) = after.split_at(len);
        life.act(operation % 6, bytes);
        rest = after;
        records += 1;
        if records == 64 {
            break;
        }
    }
    life.server.assert_consistent();
    life.server.shutdown();
    life.drain();
    assert_eq!(life.server.allocation_count(), 0);
    assert_eq!(life.ports.open, 0, "every relay socket is given back");
}

struct Life {
    now: Now,
    server: Server,
    ports: FewPorts,
    nonce: Vec<u8>,
}

#[derive(Default)]
struct FewPorts {
    opened: u32,
    open: usize,
}

impl RelayPorts for FewPorts {
    fn bind(&mut self, request: BindRequest) -> Result<BoundRelay, BindError> {
        if self.open == 8 {
            return Err(BindError::PortsExhausted);
        }
        if let PortWish::Reserved(_) = request.port {
            return Err(BindError::UnknownToken);
        }
        let relay = RelayId(self.opened);
        self.opened += 1;
        self.open += 1;
        let port = 50_000 + 2 * self.opened as u16;
        let addr = RelayedAddr::new(SocketAddr::new(request.ip, port));
        Ok(BoundRelay { relay, addr })
    }
}

struct Steady(u8);

impl Entropy for Steady {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(3);
            *byte = self.0;
        }
    }
}

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Life {
    fn new() -> Self {
        let user = ("u".to_owned(), UserKey::Password(Secret::new("p")));
        let settings = Settings {
            realm: REALM.into(),
            users: [user].into(),
            peers: IpRules::default(),
            ..Settings::default()
        };
        let shared = Shared::new(&mut Steady(1));
        let server = Server::new(Arc::new(settings), shared, Box::new(Steady(2)));
        let now = Now::new(*BEGIN, Duration::from_secs(1_700_000_000));
        let mut life = Self {
            now,
            server,
            ports: FewPorts::default(),
            nonce: Vec::new(),
        };
        life.receive(Transport::Udp, &request(stun::REFRESH, &[], None));
        life
    }

    fn act(&mut self, operation: u8, bytes: &[u8]) {
        match operation {
            0 => self.receive(Transport::Udp, bytes),
            1 => {
                let from = PeerAddr::new(SocketAddr::from(([9, 9, 9, 9], 5000)));
                let relay = RelayId(bytes.len() as u32 % 4);
                let verdict = self.server.handle_peer(self.now, relay, from, bytes);
                if let Verdict::ToClient { prefix, .. } = verdict {
                    assert!(prefix.padding() < 4);
                }
            }
            2 => {
                let seconds = bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>() * 4;
                self.now = self.now.advanced(Duration::from_secs(seconds));
                self.server.handle_timeout(self.now);
                let next = self.server.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now.instant()),
                    "a timer stays due"
                );
            }
            3 => {
                let transport = if bytes.is_empty() {
                    Transport::Udp
                } else {
                    Transport::Tls
                };
                self.server.handle_closed(self.now, &five_tuple(transport));
            }
            4 => {
                let [method, attributes @ ..] = bytes else {
                    return;
                };
                let signed = request(u16::from(*method), attributes, Some(&self.nonce));
                self.receive(Transport::Udp, &signed);
            }
            _ => self.receive(Transport::Tls, bytes),
        }
        self.drain();
    }

    fn receive(&mut self, transport: Transport, bytes: &[u8]) {
        let tuple = five_tuple(transport);
        let link = LinkId(1);
        let verdict = self
            .server
            .handle_client(self.now, &tuple, link, bytes, &mut self.ports);
        if let Verdict::ToPeer { payload, .. } = verdict {
            assert!(
                bytes.get(payload).is_some(),
                "the payload is part of what came"
            );
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Reply { bytes, .. } => self.vet(&bytes),
                Output::CloseRelay(_) => self.ports.open -= 1,
                _ => {}
            }
        }
    }

    fn vet(&mut self, bytes: &[u8]) {
        // Answers of RFC 3489 have no cookie, and no padding to speak of.
        let Ok(reply) = stun::Message::read(bytes) else {
            panic!("an answer that is no message")
        };
        assert_eq!(reply.complaint(), None);
        if let Some(nonce) = reply.get(stun::attr::NONCE) {
            self.nonce = nonce.to_vec();
        }
    }
}

fn five_tuple(transport: Transport) -> FiveTuple {
    FiveTuple {
        client: ClientAddr::new(SocketAddr::from(([11, 0, 0, 1], 1024))),
        server: SocketAddr::from(([9, 1, 1, 1], 3478)),
        transport,
    }
}

/// A request with raw attributes, signed when there is a nonce.
fn request(method: u16, attributes: &[u8], nonce: Option<&[u8]>) -> Vec<u8> {
    let mut writer = stun::Writer::new(stun::Class::Request, method, [7; 12]);
    let mut rest = attributes;
    // Kind, length, value: one byte each of kind and length is enough for every attribute there is.
    while let Some(([high, kind, len], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(*len).min(after.len());
        let (value, after) = after.split_at(len);
        writer = writer.attr(u16::from_be_bytes([high & 0x80, *kind]), value);
        rest = after;
    }
    let Some(nonce) = nonce else {
        return writer.bytes();
    };
    let key = stun::Integrity::Sha1(stun::key_md5("u", REALM, "p"));
    writer
        .attr(stun::attr::USERNAME, b"u")
        .attr(stun::attr::REALM, REALM.as_bytes())
        .attr(stun::attr::NONCE, nonce)
        .integrity(&key)
        .bytes()
}

/// A header ends where it ends, whatever follows it.
pub fn proxy_header(data: &[u8]) {
    if let Some(len) = proxy_protocol::header_len(data) {
        assert!(0 < len && len <= data.len());
        assert_eq!(
            proxy_protocol::header_len(&data[..len]),
            Some(len),
            "what follows does not matter"
        );
        for cut in 0..len {
            assert_eq!(
                proxy_protocol::header_len(&data[..cut]),
                None,
                "a part is not a whole"
            );
        }
    }
}

/// Any text is a configuration or a list of problems, and both can be shown.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // No file of this machine is opened for a fuzzer: device files never end.
    if ["/dev", "/proc", "/sys", ".."]
        .iter()
        .any(|path| text.contains(path))
    {
        return;
    }
    let machine = Machine {
        hostname: Some("fuzz".into()),
        addresses: vec![SocketAddr::from(([9, 1, 1, 1], 0)).ip()],
        cpus: 2,
        rmem_max: Some(212_992),
        open_files_max: Some(1024),
        unix_s: 1_700_000_000,
    };
    let around = Surroundings {
        base_dir: Path::new("/nonexistent"),
        env: &|_| None,
        machine: &machine,
    };
    match relayd::config::parse(text, "fuzz.toml", &around) {
        Ok(loaded) => drop(format!("{:?}{:?}", loaded.config, loaded.warnings)),
        Err(report) => {
            assert!(!report.problems.is_empty(), "refused without a reason");
            drop(format!("{report}{report:?}"));
        }
    }
}

/// Any bytes are a turnserver.conf or a list of problems; what is imported goes the way of every configuration.
pub fn import_coturn(data: &[u8]) {
    let options = Options {
        file: "turnserver.conf".into(),
        base_dir: "/nonexistent".into(),
        secrets: Secrets::Inline,
    };
    match relayd::import::import(data, &options, &mut Steady(1)) {
        Ok(imported) => {
            drop(format!("{:?}{:?}", imported.settings, imported.remarks));
            config(imported.toml.as_bytes());
        }
        Err(report) => {
            assert!(!report.problems.is_empty(), "refused without a reason");
            drop(format!("{report}{report:?}"));
        }
    }
}

/// First line: the authority that the client used. Rest: the request target.
///
/// What comes out names an allowed host and carries the target's own bytes.
pub fn router(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (authority, target) = text.split_once('\n').unwrap_or(("proxy.example.org", text));
    let Lists {
        router,
        allow,
        agora,
        trtc,
        deny,
    } = &*LISTS;
    let Ok(route) = router.route(authority, target) else {
        return;
    };
    assert!(route.path_and_query.starts_with('/'));
    assert!(
        !route
            .path_and_query
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f)
    );
    let upstream = Authority::parse(&route.host).expect("an upstream host is a host name");
    assert_eq!(upstream.host, route.host, "lower case");
    let named = Authority {
        host: route.host.clone(),
        port: route.port,
    };
    assert!(!deny.holds(&named), "{named} is denied");
    match route.kind {
        RouteKind::Host => {
            assert!(allow.holds(&named), "{named} is not allowed");
            let rest = &route.path_and_query[1..];
            assert!(target.ends_with(rest), "the rest is passed byte for byte");
        }
        RouteKind::Query => assert!(agora.holds(&named), "{named} is not Agora's"),
        RouteKind::Unified => assert!(trtc.holds(&named), "{named} is not TRTC's"),
        RouteKind::Prefix => {
            assert_eq!(route.host, "signaling.example.com");
            let rest = route.path_and_query.strip_prefix(&route.upstream_base);
            let rest = rest
                .expect("below the upstream's base")
                .trim_start_matches('/');
            assert!(target.ends_with(rest), "the rest is passed byte for byte");
        }
    }
}

struct Lists {
    router: Router,
    allow: HostList,
    agora: HostList,
    trtc: HostList,
    deny: HostList,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let rule = |name: &str, subdomains, ports| HostRule {
        name: name.into(),
        subdomains,
        ports,
    };
    let settings = relayd::proxy::Settings {
        allow: vec![
            rule("api.example.com", false, 443..=443),
            rule("example.net", true, 443..=443),
            rule("host.example.org", false, 8443..=8443),
        ],
        deny: vec![rule("closed.example.net", false, 1..=65535)],
        agora_hosts: vec![rule("agora.example", true, 443..=5000)],
        trtc_signal_hosts: vec![rule("trtc.example", true, 443..=443)],
        routes: vec![PrefixRoute {
            prefix: "/ws/".into(),
            upstream: "https://signaling.example.com/v2/".into(),
        }],
        prefixes: vec!["/azure".into()],
        public_names: vec!["proxy.example.org".into()],
        ..relayd::proxy::Settings::default()
    };
    Lists {
        router: Router::new(&settings).expect("valid settings"),
        allow: HostList::new(&settings.allow),
        agora: HostList::new(&settings.agora_hosts),
        trtc: HostList::new(&settings.trtc_signal_hosts),
        deny: HostList::new(&settings.deny),
    }
});

/// A call: each record is a side with a pause, a length, and the packet's bytes.
///
/// Whatever passes, the record keeps its bounds, and ratios are ratios.
pub fn quality(data: &[u8]) {
    const STREAMS_MAX: usize = 32;
    const STEPS_MAX: usize = 61;
    let (mut call, mut counts) = (None, quality::Counts::default());
    let (mut rest, mut now_ns) = (data, 0_u64);
    let peer = PeerAddr::new("8.8.8.8:5000".parse().expect("a literal address"));
    while let Some((&[head, len], after)) = rest.split_first_chunk::<2>() {
        let side = Side::ALL[usize::from(head & 1)];
        // From nothing to two minutes, mostly little.
        now_ns += u64::from(head >> 1).pow(4) * 500;
        let (packet, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        quality::measure(
            &mut call,
            &mut counts,
            Arrived::new(side, peer, now_ns),
            packet,
        );
    }
    let Some(call) = call else {
        return;
    };
    for at_ns in [now_ns, now_ns + 5_000_000_000, now_ns + 100_000_000_000] {
        let report = call.report(at_ns, true);
        assert_eq!(report.trouble.score, call.trouble(at_ns));
        assert!(report.trouble.score <= 100);
        assert_eq!(report.trouble.score == 0, report.trouble.worst.is_none());
        for side in Side::ALL.map(|side| report.side(side)) {
            assert!(side.totals.lost <= side.totals.expected);
            let values = [
                side.interval.jitter_ms,
                side.interval.round_trip_ms,
                side.interval.bits_per_s,
            ];
            assert!(
                values
                    .iter()
                    .flatten()
                    .all(|value| value.is_finite() && *value >= 0.0)
            );
            let mut loss = side.interval.loss_ratio.into_iter();
            assert!(loss.all(|ratio| (0.0..=1.0).contains(&ratio)));
        }
        let details = report.details.expect("asked for");
        assert!(details.streams.len() <= STREAMS_MAX && details.history.steps.len() <= STEPS_MAX);
    }
    let summary = call.summary();
    for side in Side::ALL.map(|side| summary.side(side)) {
        assert!(side.loss_ratio().is_none_or(|ratio| ratio <= 1.0));
    }
}
