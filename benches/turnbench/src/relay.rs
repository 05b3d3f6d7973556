//! The data-plane load: paced or closed-loop traffic through N allocations.

use crate::hist::Hist;
use crate::mmsg::{local_addr, setsockopt, udp_bind, Batch};
use crate::now_ns;
use crate::procstat::{ksoftirqd, rss_kb, slab_kb, Cpu};
use crate::session::Engine;
use crate::stun::{attr, class, method, Builder, Message};
use crate::transport::Transport;
use serde_json::{json, Value};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;

/// magic, allocation, sequence, timestamp, direction.
pub const HEADER: usize = 28;
/// How far one direction may be ahead of the other in the closed loop.
const MAX_LEAD: u64 = 256;
const TAG: u32 = 0x5442_6E31;

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    Channel,
    Send,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Flow {
    /// Independent streams both ways.
    Both,
    /// Client to peer only; the peer sinks.
    Up,
    /// Peer to client only.
    Down,
    /// Client to peer, sent back by the peer; the client sees round trips.
    Echo,
    /// Between neighbouring allocations of the same server, both ways; counted
    /// as client to peer, once per packet that comes out at the other client.
    Pair,
}

pub struct Load {
    pub mode: Mode,
    pub flow: Flow,
    /// Packets per second, per allocation and direction; `None`: as much as fits.
    pub pps: Option<f64>,
    pub size: usize,
    pub seconds: f64,
    pub warmup: f64,
    pub max_window: u64,
    pub active: usize,
    pub server_pids: Vec<u32>,
    pub spin: bool,
}

/// The far end: one UDP socket that every allocation talks to.
pub struct Peer {
    fd: RawFd,
    pub addr: SocketAddrV4,
    tx: Batch,
    rx: Batch,
}

impl Peer {
    pub fn bind(at: SocketAddrV4, batch: usize) -> std::io::Result<Self> {
        let fd = udp_bind(at, 32 << 20)?;
        let _ = setsockopt(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, 0);
        Ok(Peer {
            fd,
            addr: local_addr(fd)?,
            tx: Batch::new(batch),
            rx: Batch::new(batch),
        })
    }
}

/// One direction of all allocations.
struct Lane {
    next: Vec<u64>,
    /// One past the highest sequence number seen.
    seen: Vec<u64>,
    sent: u64,
    /// Packets that arrived or were overtaken, hence no longer in flight.
    settled: u64,
    cursor: usize,
    window: f64,
    lost_in_epoch: u64,
    last_progress: u64,
    // What was sent inside the measured interval:
    m_sent: u64,
    m_recv: u64,
    m_bytes: u64,
    reordered: u64,
    corrupt: u64,
    misrouted: u64,
    latency: Hist,
}

impl Lane {
    fn new(n: usize) -> Self {
        Lane {
            next: vec![0; n],
            seen: vec![0; n],
            sent: 0,
            settled: 0,
            cursor: 0,
            window: 32.0,
            lost_in_epoch: 0,
            last_progress: 0,
            m_sent: 0,
            m_recv: 0,
            m_bytes: 0,
            reordered: 0,
            corrupt: 0,
            misrouted: 0,
            latency: Hist::default(),
        }
    }

    fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.settled)
    }

    /// Allocation and sequence number of the next packet.
    #[inline]
    fn take(&mut self, measured: bool) -> (usize, u64) {
        let i = self.cursor;
        self.cursor += 1;
        if self.cursor == self.next.len() {
            self.cursor = 0;
        }
        let seq = self.next[i];
        self.next[i] += 1;
        self.sent += 1;
        self.m_sent += measured as u64;
        (i, seq)
    }

    /// Books an arrival; returns the allocation when the packet is sound.
    #[inline]
    fn arrived(
        &mut self,
        p: &[u8],
        dir: u8,
        fill: &[u8],
        now: u64,
        span: (u64, u64),
    ) -> Option<usize> {
        let alloc = match p.get(..4) {
            Some(t) if t == TAG.to_be_bytes() && p.len() == fill.len() && p[24] == dir => {
                u32::from_be_bytes(p[4..8].try_into().unwrap()) as usize
            }
            _ => {
                self.corrupt += 1;
                return None;
            }
        };
        if alloc >= self.seen.len() || p[HEADER..] != fill[HEADER..] {
            self.corrupt += 1;
            return None;
        }
        let seq = u64::from_be_bytes(p[8..16].try_into().unwrap());
        let sent = u64::from_be_bytes(p[16..24].try_into().unwrap());
        if seq >= self.seen[alloc] {
            let gap = seq - self.seen[alloc];
            self.lost_in_epoch += gap;
            self.settled += gap + 1;
            self.seen[alloc] = seq + 1;
        } else {
            self.reordered += 1;
        }
        self.last_progress = now;
        if sent >= span.0 && sent < span.1 {
            self.m_recv += 1;
            self.m_bytes += p.len() as u64;
            self.latency.add(now.saturating_sub(sent));
        }
        Some(alloc)
    }

    /// Closed-loop control, once per epoch: grow without loss, shrink with it.
    fn adjust(&mut self, now: u64, max: u64) {
        if self.in_flight() > 0 && now.saturating_sub(self.last_progress) > 20_000_000 {
            self.settled = self.sent;
            self.last_progress = now;
            self.window = (self.window / 2.0).max(8.0);
        } else if self.lost_in_epoch > 0 {
            self.window = (self.window * 0.8).max(8.0);
        } else {
            self.window = (self.window + 4.0).min(max as f64);
        }
        self.lost_in_epoch = 0;
    }

    fn json(&self, seconds: f64) -> Value {
        let lost = self.m_sent.saturating_sub(self.m_recv);
        json!({
            "sent": self.m_sent, "relayed": self.m_recv,
            "loss_pct": (lost as f64 * 1e5 / self.m_sent.max(1) as f64).round() / 1e3,
            "pps": (self.m_recv as f64 / seconds).round(),
            "mbit_s": (self.m_bytes as f64 * 8e-5 / seconds).round() / 10.0,
            "latency_us": self.latency.micros(),
            "reordered": self.reordered, "corrupt": self.corrupt, "misrouted": self.misrouted,
        })
    }
}

#[inline]
fn stamp(p: &mut [u8], alloc: usize, seq: u64, dir: u8, now: u64) {
    p[..4].copy_from_slice(&TAG.to_be_bytes());
    p[4..8].copy_from_slice(&(alloc as u32).to_be_bytes());
    p[8..16].copy_from_slice(&seq.to_be_bytes());
    p[16..24].copy_from_slice(&now.to_be_bytes());
    p[24] = dir;
}

/// Framing around the payload, client side.
struct Frames {
    head: Vec<Vec<u8>>,
    /// Where the payload starts, and the whole length on the wire.
    at: usize,
    len: usize,
}

impl Frames {
    fn new(engine: &Engine, mode: Mode, size: usize, padded: bool) -> Self {
        let head: Vec<Vec<u8>> = engine
            .sessions
            .iter()
            .enumerate()
            .map(|(i, s)| match mode {
                Mode::Channel => [s.channel.to_be_bytes(), (size as u16).to_be_bytes()].concat(),
                Mode::Send => {
                    let mut id = [0x5A; 12];
                    id[..8].copy_from_slice(&(i as u64).to_be_bytes());
                    let mut m = Builder::new(method::SEND, class::INDICATION, &id)
                        .xor_addr(attr::XOR_PEER_ADDRESS, s.peer.expect("set"))
                        .attr(attr::DATA, &vec![0; size])
                        .plain();
                    m.truncate(m.len() - size.next_multiple_of(4));
                    m
                }
            })
            .collect();
        let at = head[0].len();
        let pad = mode == Mode::Send || padded;
        Frames {
            head,
            at,
            len: at + if pad { size.next_multiple_of(4) } else { size },
        }
    }
}

/// The payload inside a message from the server, with the channel it came on.
#[inline]
fn unwrap(msg: &[u8]) -> Option<(Option<u16>, &[u8])> {
    if msg.first()? & 0xC0 == 0x40 {
        let len = u16::from_be_bytes([*msg.get(2)?, *msg.get(3)?]) as usize;
        return Some((
            Some(u16::from_be_bytes([msg[0], msg[1]])),
            msg.get(4..4 + len)?,
        ));
    }
    let m = Message::parse(msg)?;
    (m.method() == method::DATA && m.class() == class::INDICATION)
        .then(|| m.attr(attr::DATA).map(|d| (None, d)))?
}

pub fn run(engine: &Engine, t: &mut dyn Transport, peer: &mut Peer, load: &Load) -> Value {
    let n = load.active.min(engine.sessions.len());
    let relays: Vec<SocketAddrV4> = engine.sessions[..n]
        .iter()
        .map(|s| match s.relay {
            Some(SocketAddr::V4(a)) => a,
            other => panic!("no IPv4 relayed address: {other:?}"),
        })
        .collect();
    let fill: Vec<u8> = (0..load.size).map(|i| (i * 131 + 7) as u8).collect();
    let frames = Frames::new(engine, load.mode, load.size, t.padded());
    let (mut up, mut down) = (Lane::new(n), Lane::new(n));
    let (send_up, send_down) = (
        load.flow != Flow::Down,
        matches!(load.flow, Flow::Both | Flow::Down),
    );
    let both = send_up && send_down;
    let softirq = ksoftirqd();
    let per_ns = load.pps.map(|p| p * n as f64 / 1e9);

    let rss_before = rss_kb(&load.server_pids);
    let start = now_ns();
    let begin = start + (load.warmup * 1e9) as u64;
    let end = begin + (load.seconds * 1e9) as u64;
    let span = (begin, end);
    let (mut cpu0, mut cpu1) = (None, None);
    let mut last_epoch = start;
    let mut idle_polls = 0u64;
    let mut polls = 0u64;
    (up.last_progress, down.last_progress) = (start, start);
    loop {
        let now = now_ns();
        if now >= begin && cpu0.is_none() {
            cpu0 = Some((Cpu::sample(&load.server_pids, &softirq), now));
        }
        if now >= end && cpu1.is_none() {
            cpu1 = Some((Cpu::sample(&load.server_pids, &softirq), now));
        }
        if now >= end + 300_000_000 {
            break;
        }
        let sending = now < end;
        let measured = now >= begin && sending;
        // In the closed loop neither direction may run ahead, or a server that
        // favours one would be measured on that one.
        let quota = |lane: &Lane, other: &Lane| -> u64 {
            if !sending || (per_ns.is_none() && both && lane.settled > other.settled + MAX_LEAD) {
                return 0;
            }
            match per_ns {
                Some(r) => (((now - start) as f64 * r) as u64)
                    .saturating_sub(lane.sent)
                    .min(64),
                None => (lane.window as u64)
                    .saturating_sub(lane.in_flight())
                    .min(64),
            }
        };
        let before = up.settled + down.settled;
        let mut sent_now = 0;
        if send_up {
            for _ in 0..quota(&up, &down) {
                let (i, seq) = up.take(measured);
                let stamp_at = if per_ns.is_some() { now_ns() } else { now };
                let (head, at) = (&frames.head[i], frames.at);
                t.send(i, frames.len, &mut |b| {
                    b[..at].copy_from_slice(head);
                    b[at..at + fill.len()].copy_from_slice(&fill);
                    stamp(&mut b[at..], i, seq, 0, stamp_at);
                    b[at + fill.len()..].fill(0);
                });
                sent_now += 1;
            }
            t.flush();
        }
        if send_down {
            for _ in 0..quota(&down, &up) {
                let (i, seq) = down.take(measured);
                let stamp_at = if per_ns.is_some() { now_ns() } else { now };
                peer.tx.push(relays[i], None, |b| {
                    b[..fill.len()].copy_from_slice(&fill);
                    stamp(&mut b[..], i, seq, 1, stamp_at);
                    fill.len()
                });
                sent_now += 1;
                if peer.tx.is_full() {
                    peer.tx.flush(peer.fd);
                }
            }
            peer.tx.flush(peer.fd);
        }
        let got = peer.rx.recv(peer.fd, false);
        let now = now_ns();
        for k in 0..got {
            let (p, from) = peer.rx.get(k);
            let Some(i) = up.arrived(p, 0, &fill, now, span) else {
                continue;
            };
            up.misrouted += (from != relays[i]) as u64;
            if load.flow == Flow::Echo {
                down.next[i] += 1;
                down.sent += 1;
                down.m_sent += measured as u64;
                peer.tx.push(from, None, |b| {
                    b[..p.len()].copy_from_slice(p);
                    b[24] = 1;
                    p.len()
                });
                if peer.tx.is_full() {
                    peer.tx.flush(peer.fd);
                }
            }
        }
        peer.tx.flush(peer.fd);
        t.poll(&mut |client, msg| {
            let now = now_ns();
            match unwrap(msg) {
                Some((channel, p)) if load.flow == Flow::Pair => {
                    let Some(i) = up.arrived(p, 0, &fill, now, span) else {
                        return;
                    };
                    let right = i ^ 1 == client
                        && channel.is_none_or(|c| c == engine.sessions[client].channel);
                    up.misrouted += !right as u64;
                }
                Some((channel, p)) => {
                    let Some(i) = down.arrived(p, 1, &fill, now, span) else {
                        return;
                    };
                    let right =
                        i == client && channel.is_none_or(|c| c == engine.sessions[i].channel);
                    down.misrouted += !right as u64;
                }
                None => down.corrupt += 1,
            }
        });
        polls += 1;
        if sent_now == 0 && up.settled + down.settled == before {
            idle_polls += 1;
            if !load.spin {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        }
        if per_ns.is_none() && now - last_epoch > 2_000_000 {
            last_epoch = now;
            up.adjust(now, load.max_window);
            down.adjust(now, load.max_window);
        }
    }
    let ((c0, t0), (c1, t1)) = (cpu0.expect("began"), cpu1.expect("ended"));
    let seconds = (t1 - t0) as f64 / 1e9;
    let relayed = up.m_recv + down.m_recv;
    let sent = up.m_sent + down.m_sent;
    let server_ns = (c1.server_ns - c0.server_ns) as f64;
    json!({
        "size": load.size, "active": n, "seconds": seconds,
        "offered_pps": (sent as f64 / seconds).round(),
        "relayed_pps": (relayed as f64 / seconds).round(),
        "relayed_mbit_s": ((up.m_bytes + down.m_bytes) as f64 * 8e-5 / seconds).round() / 10.0,
        "loss_pct": (sent.saturating_sub(relayed) as f64 * 1e5 / sent.max(1) as f64).round() / 1e3,
        "server_cpu_ns_per_packet": (server_ns / relayed.max(1) as f64).round(),
        "server_cpu_pct": (server_ns / (t1 - t0) as f64 * 1e3).round() / 10.0,
        "generator_idle_polls_pct": (idle_polls as f64 * 1000.0 / polls.max(1) as f64).round() / 10.0,
        "window": [up.window as u64, down.window as u64],
        "cpu": c1.since(&c0),
        "send_errors": t.send_errors() + peer.tx.send_errors,
        "rss_kb": {"before": rss_before, "after": rss_kb(&load.server_pids)},
        "slab_kb": slab_kb(),
        "client_to_peer": up.json(seconds),
        "peer_to_client": down.json(seconds),
    })
}
