//! The data-plane load: paced or closed-loop traffic through N allocations.

use crate::frames::{unwrap, Frames, Mode};
use crate::lane::{Lane, Span};
use crate::mmsg::{drops, local_addr, setsockopt, udp_bind, Batch};
use crate::now_ns;
use crate::payload::Payload;
use crate::procstat::{ksoftirqd, rss_kb, slab_kb, udp_drops, Cpu};
use crate::session::Engine;
use crate::transport::Transport;
use crate::verdict;
use serde_json::{json, Value};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;

/// How far one direction may be ahead of the other in the closed loop.
const MAX_LEAD: u64 = 256;
/// Packets handed over between two looks at the sockets. Streams take more, since what goes to one connection leaves in one write.
const PASS_MAX: u64 = 64;
const PASS_MAX_STREAMS: u64 = 256;
/// The clock is read anew after so many arrivals.
const CLOCK_EVERY: u32 = 16;
const EPOCH_NS: u64 = 2_000_000;
/// A look at empty sockets takes no longer: the rest belonged to somebody else on the core.
const IDLE_LOOK_MAX_NS: u64 = 20_000;
/// How long stragglers are waited for.
const LINGER_NS: u64 = 300_000_000;

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
    pub payload: Payload,
    pub size: usize,
    pub seconds: f64,
    pub warmup: f64,
    pub max_window: u64,
    /// Consecutive packets of one allocation: of the client over streams, in each direction over UDP.
    pub burst: u64,
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

    #[inline]
    fn push(&mut self, to: SocketAddrV4, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.tx.push(to, None, len, fill);
        if self.tx.is_full() {
            self.tx.flush(self.fd);
        }
    }
}

/// A run under way.
struct Run<'a> {
    engine: &'a Engine,
    load: &'a Load,
    relays: Vec<SocketAddrV4>,
    fill: Vec<u8>,
    frames: Frames,
    up: Lane,
    down: Lane,
    span: Span,
    pass_max: u64,
    start: u64,
    /// Packets per nanosecond in each direction, when paced.
    rate: Option<f64>,
}

/// The kernel's accounts at one end of the measured interval.
struct Account {
    cpu: Cpu,
    at: u64,
}

/// Drives the load and tells what it cost.
pub fn run(engine: &Engine, t: &mut dyn Transport, peer: &mut Peer, load: &Load) -> Value {
    if load.burst > 1 && !t.padded() {
        t.join_runs();
        peer.tx.join_runs();
    }
    let softirq = ksoftirqd();
    let rss_before = rss_kb(&load.server_pids);
    let drops_before = [udp_drops(&load.server_pids), t.drops() + drops(peer.fd)];
    let mut run = Run::new(engine, load, t.padded());
    let account = || Account {
        cpu: Cpu::sample(&load.server_pids, &softirq),
        at: now_ns(),
    };
    let (mut first, mut last) = (None, None);
    let mut last_epoch = run.start;
    // Time in which there was nothing to do, of the measured interval. The load spins, so that no server pays for waking it.
    let (mut idle_ns, mut idle_since) = (0, None);
    loop {
        let now = now_ns();
        if let Some(since) = idle_since.take() {
            if run.span.holds(since) {
                idle_ns += (now - since).min(IDLE_LOOK_MAX_NS);
            }
        }
        if now >= run.span.begin && first.is_none() {
            first = Some(account());
        }
        if now >= run.span.end && last.is_none() {
            last = Some(account());
        }
        if now >= run.span.end + LINGER_NS {
            break;
        }
        let work = run.send(t, peer, now) + run.receive_peer(peer) + run.receive_clients(t);
        if work == 0 {
            idle_since = Some(now);
            if !load.spin {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        }
        if run.rate.is_none() && now - last_epoch > EPOCH_NS {
            last_epoch = now;
            run.up.adjust(now, load.max_window);
            run.down.adjust(now, load.max_window);
        }
    }
    let (first, last) = (first.expect("began"), last.expect("ended"));
    let elapsed_ns = (last.at - first.at) as f64;
    let seconds = elapsed_ns / 1e9;
    let (up, down) = (&run.up, &run.down);
    let relayed = up.m_recv + down.m_recv;
    let lost = up.lost() + down.lost();
    let server_ns = last.cpu.server_ns.saturating_sub(first.cpu.server_ns) as f64;
    let load_ns = last.cpu.own_ns.saturating_sub(first.cpu.own_ns + idle_ns) as f64;
    let pct = |ns: f64| (ns / elapsed_ns * 1e3).round() / 10.0;
    let drops_after = [udp_drops(&load.server_pids), t.drops() + drops(peer.fd)];
    let mut out = json!({
        "size": load.size, "active": run.relays.len(), "seconds": seconds,
        "offered_pps": ((relayed + lost) as f64 / seconds).round(),
        "relayed_pps": (relayed as f64 / seconds).round(),
        "relayed_mbit_s": ((up.m_bytes + down.m_bytes) as f64 * 8e-5 / seconds).round() / 10.0,
        "lost": lost,
        "loss_pct": (lost as f64 * 1e5 / (relayed + lost).max(1) as f64).round() / 1e3,
        "server_cpu_ns_per_packet": (server_ns / relayed.max(1) as f64).round(),
        "packets_per_server_cpu_s": (relayed as f64 * 1e9 / server_ns.max(1.0)).round(),
        "server_cpu_pct": pct(server_ns),
        "load_busy_pct": pct(load_ns),
        "limit": verdict::limit(load.pps.is_some(), pct(server_ns), pct(load_ns)),
        "window": [up.window(), down.window()],
        "cpu": last.cpu.since(&first.cpu),
        "send_errors": t.send_errors() + peer.tx.send_errors,
        "drops": {
            "server": drops_after[0].saturating_sub(drops_before[0]),
            "load": drops_after[1].saturating_sub(drops_before[1]),
        },
        "rss_kb": {"before": rss_before, "after": rss_kb(&load.server_pids)},
        "slab_kb": slab_kb(),
        "client_to_peer": up.json(seconds),
        "peer_to_client": down.json(seconds),
    });
    out["failures"] = verdict::failures(&out, &[up.faults, down.faults]).into();
    out
}

impl<'a> Run<'a> {
    fn new(engine: &'a Engine, load: &'a Load, streams: bool) -> Self {
        let n = load.active.min(engine.sessions.len());
        let relays = engine.sessions[..n]
            .iter()
            .map(|s| match s.relay {
                Some(SocketAddr::V4(a)) => a,
                other => panic!("no IPv4 relayed address: {other:?}"),
            })
            .collect();
        let start = now_ns();
        let begin = start + (load.warmup * 1e9) as u64;
        Run {
            engine,
            load,
            relays,
            fill: (0..load.size).map(|i| (i * 131 + 7) as u8).collect(),
            frames: Frames::new(engine, load.mode, load.size, streams),
            up: Lane::new(n, 0, load.payload, load.burst, start),
            down: Lane::new(
                n,
                1,
                load.payload,
                if streams { 1 } else { load.burst },
                start,
            ),
            span: Span {
                begin,
                end: begin + (load.seconds * 1e9) as u64,
            },
            pass_max: if streams { PASS_MAX_STREAMS } else { PASS_MAX },
            start,
            rate: load.pps.map(|p| p * n as f64 / 1e9),
        }
    }

    /// How many packets are due in one direction.
    fn quota(&self, lane: &Lane, other: &Lane, now: u64) -> u64 {
        if now >= self.span.end {
            return 0;
        }
        let due = match self.rate {
            Some(rate) => (((now - self.start) as f64 * rate) as u64).saturating_sub(lane.sent()),
            // Neither direction may run ahead, or a server that favours one would be measured on that one.
            None if self.load.flow == Flow::Both && lane.settled > other.settled + MAX_LEAD => 0,
            None => lane.room(),
        };
        due.min(self.pass_max)
    }

    fn send(&mut self, t: &mut dyn Transport, peer: &mut Peer, now: u64) -> u64 {
        let measured = self.span.holds(now);
        let mut sent = 0;
        if self.load.flow != Flow::Down {
            let due = self.quota(&self.up, &self.down, now);
            for _ in 0..due {
                let (i, seq) = self.up.take(measured);
                let (frames, fill, up) = (&self.frames, &self.fill, &self.up);
                t.send(i, frames.len, &mut |b| {
                    up.stamp(frames.write(i, fill, b), i, seq, now)
                });
            }
            t.flush();
            sent += due;
        }
        if matches!(self.load.flow, Flow::Both | Flow::Down) {
            let due = self.quota(&self.down, &self.up, now);
            for _ in 0..due {
                let (i, seq) = self.down.take(measured);
                let (fill, down) = (&self.fill, &self.down);
                peer.push(self.relays[i], fill.len(), |b| {
                    b.copy_from_slice(fill);
                    down.stamp(b, i, seq, now);
                });
            }
            peer.tx.flush(peer.fd);
            sent += due;
        }
        sent
    }

    fn receive_peer(&mut self, peer: &mut Peer) -> u64 {
        let got = peer.rx.recv(peer.fd, false);
        if got == 0 {
            return 0;
        }
        let now = now_ns();
        for k in 0..got {
            let (p, from) = peer.rx.get(k);
            let relays = &self.relays;
            let right_way = |i: usize| from == relays[i];
            let Some(i) = self.up.arrived(p, &self.fill, now, self.span, right_way) else {
                continue;
            };
            if self.load.flow == Flow::Echo {
                // The way back starts when the way out did: what the client sees is the round trip.
                let sent_at = self.up.sent_at(p);
                let seq = self.down.take_of(i, self.span.holds(sent_at));
                let down = &self.down;
                peer.tx.push(from, None, p.len(), |b| {
                    b.copy_from_slice(p);
                    down.stamp(b, i, seq, sent_at);
                });
                if peer.tx.is_full() {
                    peer.tx.flush(peer.fd);
                }
            }
        }
        peer.tx.flush(peer.fd);
        got as u64
    }

    fn receive_clients(&mut self, t: &mut dyn Transport) -> u64 {
        let (mut got, mut now) = (0, 0);
        let span = self.span;
        t.poll(&mut |client, msg| {
            if got % u64::from(CLOCK_EVERY) == 0 {
                now = now_ns();
            }
            got += 1;
            let Some((channel, p)) = unwrap(msg) else {
                self.down.faults.corrupt += 1;
                return;
            };
            let sessions = &self.engine.sessions;
            let at_home = sessions
                .get(client)
                .is_some_and(|s| channel.is_none_or(|c| c == s.channel));
            if self.load.flow == Flow::Pair {
                let right_way = |i: usize| i ^ 1 == client && at_home;
                self.up.arrived(p, &self.fill, now, span, right_way);
            } else {
                let right_way = |i: usize| i == client && at_home;
                self.down.arrived(p, &self.fill, now, span, right_way);
            }
        });
        got
    }
}
