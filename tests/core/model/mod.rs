//! A naive TURN server: flat lists with absolute times, searched from end to end, written from the specification.
//!
//! It is told what the core was given and what it did. It says what is wrong with that, or follows it: where
//! the specification leaves the choice (which port, which token) the model takes over the core's choice.

mod auth;
mod relaying;
mod requests;

use super::support::stun::{Message, attr};
use relayd::addr::{Family, FiveTuple};
use relayd::turn::{
    AllocationEnd, AllocationStart, BindError, BindRequest, BoundRelay, ChannelPath, ClientRef,
    EndReason, LinkId, Output, RelayId, Verdict,
};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub const PERMISSION: Duration = Duration::from_secs(300);
pub const CHANNEL: Duration = Duration::from_secs(600);
/// RFC 8656 §12: number and peer stay reserved for each other so long after the binding expired.
pub const CHANNEL_RESERVED: Duration = Duration::from_secs(300);

/// How the model's world is configured; a reload replaces it.
#[derive(Clone, Debug)]
pub struct Rules {
    pub realm: String,
    pub users: Vec<(String, String)>,
    /// Users of whom only the MD5 key is known.
    pub md5_users: Vec<(String, String)>,
    pub secrets: Vec<String>,
    pub default_lifetime_s: u32,
    pub max_lifetime_s: u32,
    pub nonce_lifetime_s: u32,
    pub per_user: usize,
    pub total: usize,
    pub own: Vec<IpAddr>,
    /// (as clients see it, as it is bound)
    pub external: Vec<(IpAddr, IpAddr)>,
    pub listeners: Vec<SocketAddr>,
    pub allowed_peers: Vec<IpAddr>,
    pub draining: bool,
}

pub struct Half {
    pub relay: RelayId,
    pub own: SocketAddr,
    pub expires_at: Instant,
}

pub struct Permission {
    pub ip: IpAddr,
    pub expires_at: Instant,
    /// A reload denied its peer: it may be dead, or come back with the next reload.
    pub doubtful: bool,
}

pub struct Channel {
    pub number: u16,
    pub peer: SocketAddr,
    pub expires_at: Instant,
    /// As in `Permission`.
    pub doubtful: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub to_peer_packets: u64,
    pub to_peer_bytes: u64,
    pub to_client_packets: u64,
    pub to_client_bytes: u64,
}

pub struct Allocation {
    pub worker: usize,
    pub tuple: FiveTuple,
    pub link: LinkId,
    pub id: u64,
    pub username: String,
    /// What it was made with stays good for it, whatever a reload or the clock says.
    pub password: String,
    pub md5_only: bool,
    pub transaction_id: [u8; 12],
    pub relayed: Vec<SocketAddr>,
    pub token: Option<Vec<u8>>,
    pub started: Instant,
    pub halves: Vec<Half>,
    pub permissions: Vec<Permission>,
    pub channels: Vec<Channel>,
    pub counters: Counters,
}

impl Allocation {
    fn half(&self, family: Family) -> Option<&Half> {
        self.halves
            .iter()
            .find(|half| Family::of(half.own.ip()) == family)
    }

    /// RFC 8656 §8.1: with a family's relayed address go its permissions and channels.
    fn forget_lost_family(&mut self) {
        let kept: Vec<Family> = self
            .halves
            .iter()
            .map(|half| Family::of(half.own.ip()))
            .collect();
        self.permissions
            .retain(|permission| kept.contains(&Family::of(permission.ip)));
        self.channels
            .retain(|channel| kept.contains(&Family::of(channel.peer.ip())));
    }

    fn permission(&self, ip: IpAddr, now: Instant) -> Option<&Permission> {
        let mut live = self
            .permissions
            .iter()
            .filter(|permission| permission.expires_at > now);
        live.find(|permission| permission.ip == ip)
    }
}

struct Nonce {
    text: String,
    /// RFC 8656 leaves it open; here a nonce is good for every port of the address it was given to.
    client: IpAddr,
    issued: Instant,
}

pub struct Reserved {
    token: Vec<u8>,
    /// Whose quota it counts for.
    account: String,
    own: SocketAddr,
    expires_at: Instant,
}

/// Who sent what, and when.
#[derive(Clone, Copy)]
pub struct Origin {
    pub worker: usize,
    pub tuple: FiveTuple,
    pub link: LinkId,
    pub now: Instant,
    pub unix_s: u64,
}

/// What the core did with one input.
pub struct Seen {
    pub verdict: Option<Verdict>,
    pub replies: Vec<(ClientRef, Vec<u8>)>,
    pub started: Vec<AllocationStart>,
    pub ended: Vec<AllocationEnd>,
    pub closed: Vec<RelayId>,
    /// Fast paths that came up or went down, in their order.
    pub paths: Vec<(bool, ChannelPath)>,
    pub binds: Vec<(BindRequest, Result<BoundRelay, BindError>)>,
    pub faults: Vec<(Family, BindError)>,
}

impl Seen {
    pub fn new(verdict: Option<Verdict>, outputs: Vec<Output>) -> Self {
        let mut seen = Self {
            verdict,
            replies: Vec::new(),
            started: Vec::new(),
            ended: Vec::new(),
            closed: Vec::new(),
            paths: Vec::new(),
            binds: Vec::new(),
            faults: Vec::new(),
        };
        for output in outputs {
            match output {
                Output::Reply { client, bytes } => seen.replies.push((client, bytes)),
                Output::CloseRelay(relay) => seen.closed.push(relay),
                Output::Started(start) => seen.started.push(*start),
                Output::Ended(end) => seen.ended.push(*end),
                Output::PathUp(path) => seen.paths.push((true, path)),
                Output::PathDown(path) => seen.paths.push((false, path)),
            }
        }
        seen
    }

    /// Nothing was said and nothing changed.
    fn is_silent(&self) -> Result<(), String> {
        ensure(self.replies.is_empty(), || {
            format!("{} replies, none expected", self.replies.len())
        })?;
        self.is_steady()
    }

    fn is_steady(&self) -> Result<(), String> {
        ensure(self.started.is_empty(), || "an allocation started".into())?;
        ensure(self.ended.is_empty(), || "an allocation ended".into())
    }
}

pub fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

pub struct Model {
    pub rules: Rules,
    pub allocations: Vec<Allocation>,
    nonces: Vec<Nonce>,
    /// Failed authentications: who claimed to be whom, and when.
    failures: Vec<(IpAddr, String, Instant)>,
    reserved: Vec<Reserved>,
    /// What a fast path was told, by worker.
    paths: Vec<(usize, ChannelPath)>,
}

/// Whether the policy lets a peer be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Allowed,
    Denied,
    /// The specification leaves it open.
    Either,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            allocations: Vec::new(),
            nonces: Vec::new(),
            failures: Vec::new(),
            reserved: Vec::new(),
            paths: Vec::new(),
        }
    }

    /// One packet or frame from a client.
    pub fn client(&mut self, from: &Origin, bytes: &[u8], seen: &Seen) -> Result<(), String> {
        match bytes.first() {
            Some(0x00..=0x3f) => match Message::read(bytes) {
                Ok(message) => self.message(from, &message, bytes.len(), seen),
                Err(_) => self.malformed(seen),
            },
            Some(0x40..=0x7f) => self.channel_data(from, bytes, seen),
            _ => {
                let dropped = matches!(seen.verdict, Some(Verdict::Drop(_)));
                ensure(dropped, || format!("garbage was taken: {:?}", seen.verdict))?;
                seen.is_silent()
            }
        }
    }

    /// Looks like STUN, is not: dropped, or refused with 400.
    fn malformed(&self, seen: &Seen) -> Result<(), String> {
        seen.is_steady()?;
        for (_, reply) in &seen.replies {
            let code = Message::read(reply)?.error_code();
            ensure(code == Some(400), || {
                format!("malformed message answered with {code:?}")
            })?;
        }
        let relayed = matches!(
            seen.verdict,
            Some(Verdict::ToPeer { .. } | Verdict::ToClient { .. })
        );
        ensure(!relayed, || "a malformed message was relayed".into())
    }

    fn position(&self, tuple: &FiveTuple) -> Option<usize> {
        self.allocations
            .iter()
            .position(|allocation| allocation.tuple == *tuple)
    }

    pub fn find_relay(&self, worker: usize, relay: RelayId) -> Option<usize> {
        let holds = |allocation: &Allocation| {
            allocation.worker == worker && allocation.halves.iter().any(|half| half.relay == relay)
        };
        self.allocations.iter().position(holds)
    }

    /// An own address in its bound form, whichever form a client used.
    fn internal(&self, addr: SocketAddr) -> SocketAddr {
        let pair = self
            .rules
            .external
            .iter()
            .find(|(shown, _)| *shown == addr.ip());
        pair.map_or(addr, |(_, bound)| SocketAddr::new(*bound, addr.port()))
    }

    /// An own address as clients are told it.
    fn external(&self, addr: SocketAddr) -> SocketAddr {
        let pair = self
            .rules
            .external
            .iter()
            .find(|(_, bound)| *bound == addr.ip());
        pair.map_or(addr, |(shown, _)| SocketAddr::new(*shown, addr.port()))
    }

    pub fn live_relays(&self, worker: Option<usize>) -> Vec<SocketAddr> {
        let of_worker = |a: &&Allocation| worker.is_none_or(|worker| a.worker == worker);
        let live = self.allocations.iter().filter(of_worker);
        live.flat_map(|a| a.halves.iter().map(|half| half.own))
            .collect()
    }

    /// `whole` is false where only the address counts: a permission knows no port.
    fn judge(&self, peer: SocketAddr, whole: bool) -> Policy {
        let own = self.internal(peer);
        if self.live_relays(None).contains(&own) {
            return Policy::Allowed;
        }
        if self.rules.own.contains(&own.ip()) {
            return if whole {
                Policy::Denied
            } else {
                Policy::Either
            };
        }
        if !self.rules.allowed_peers.contains(&peer.ip()) {
            return Policy::Denied;
        }
        match (peer.port(), whole) {
            (0, true) => Policy::Denied,
            // RFC 8656 §9.2 ignores the port; the contract denies port 0 everywhere.
            (0, false) => Policy::Either,
            _ => Policy::Allowed,
        }
    }

    /// Peers that the allocation behind this relayed address has heard of.
    pub fn known_peers(&self, relay: SocketAddr) -> Vec<SocketAddr> {
        let holds = |a: &&Allocation| a.halves.iter().any(|half| half.own == relay);
        let owner = self.allocations.iter().filter(holds);
        let channels = owner
            .clone()
            .flat_map(|a| a.channels.iter().map(|channel| channel.peer));
        let permitted = owner.flat_map(|a| a.permissions.iter().map(|permission| permission.ip));
        let known = channels.chain(permitted.map(|ip| SocketAddr::new(ip, 5000)));
        known
            .filter(|peer| peer.is_ipv4() == relay.is_ipv4())
            .collect()
    }

    /// Every moment at which something runs out, and at which a late timer may still be excused.
    pub fn deadlines(&self) -> Vec<Instant> {
        let mut all: Vec<Instant> = self.reserved.iter().map(|kept| kept.expires_at).collect();
        for allocation in &self.allocations {
            all.extend(allocation.halves.iter().map(|half| half.expires_at));
            all.extend(
                allocation
                    .permissions
                    .iter()
                    .map(|permission| permission.expires_at),
            );
            for channel in &allocation.channels {
                all.extend([channel.expires_at, channel.expires_at + CHANNEL_RESERVED]);
            }
        }
        all
    }

    pub fn next_expiry(&self, worker: usize) -> Option<Instant> {
        let mine = self
            .allocations
            .iter()
            .filter(|allocation| allocation.worker == worker);
        mine.flat_map(|a| a.halves.iter().map(|half| half.expires_at))
            .min()
    }

    /// `handle_timeout` was called: exactly what is due must have ended.
    pub fn timeout(&mut self, worker: usize, now: Instant, seen: &Seen) -> Result<(), String> {
        ensure(seen.replies.is_empty(), || "a timer made a reply".into())?;
        let mut due: Vec<RelayId> = Vec::new();
        for allocation in self.allocations.iter_mut().filter(|a| a.worker == worker) {
            let expired = allocation
                .halves
                .iter()
                .filter(|half| half.expires_at <= now);
            due.extend(expired.map(|half| half.relay));
            allocation.halves.retain(|half| half.expires_at > now);
            allocation.forget_lost_family();
        }
        let mut closed = seen.closed.clone();
        closed.sort_by_key(|relay| relay.0);
        due.sort_by_key(|relay| relay.0);
        ensure(closed == due, || {
            format!("expiry closed {closed:?}, due were {due:?}")
        })?;
        self.bury(now, seen, EndReason::Expired)?;
        self.forget(now);
        Ok(())
    }

    pub fn closed(&mut self, from: &Origin, seen: &Seen) -> Result<(), String> {
        ensure(seen.replies.is_empty(), || {
            "a closed connection was answered".into()
        })?;
        if let Some(index) = self.position(&from.tuple) {
            self.allocations[index].halves.clear();
        }
        self.bury(from.now, seen, EndReason::Disconnected)
    }

    /// A reload: what the new policy denies may be dead from now on.
    pub fn reload(&mut self, rules: Rules) {
        self.rules = rules;
        let mut allocations = std::mem::take(&mut self.allocations);
        let live: Vec<SocketAddr> = allocations
            .iter()
            .flat_map(|a| a.halves.iter().map(|half| half.own))
            .collect();
        let denied = |ip: IpAddr| {
            !self.rules.allowed_peers.contains(&ip) && !live.iter().any(|own| own.ip() == ip)
        };
        for allocation in &mut allocations {
            for permission in &mut allocation.permissions {
                permission.doubtful |= denied(permission.ip);
            }
            for channel in &mut allocation.channels {
                channel.doubtful |= denied(channel.peer.ip());
            }
        }
        self.allocations = allocations;
    }

    /// Follows the orders to a fast path: up once, down once.
    pub fn follow_paths(&mut self, worker: usize, seen: &Seen) -> Result<(), String> {
        for (up, path) in &seen.paths {
            let told = self
                .paths
                .iter()
                .position(|other| *other == (worker, *path));
            match (up, told) {
                (true, None) => self.paths.push((worker, *path)),
                (true, Some(_)) => return Err(format!("{path:?} is up twice")),
                (false, Some(index)) => drop(self.paths.remove(index)),
                (false, None) => return Err(format!("{path:?} goes down and was not up")),
            }
        }
        Ok(())
    }

    /// A fast path relays exactly what the slow one would: live channels with a live permission, over UDP.
    pub fn check_paths(&self, now: Instant) -> Result<(), String> {
        let mut paths = self.paths.clone();
        for allocation in self
            .allocations
            .iter()
            .filter(|a| !a.tuple.transport.is_stream())
        {
            for channel in allocation.channels.iter().filter(|c| c.expires_at > now) {
                let Some(permission) = allocation.permission(channel.peer.ip(), now) else {
                    continue;
                };
                let Some(half) = allocation.half(Family::of(channel.peer.ip())) else {
                    continue;
                };
                let path = ChannelPath {
                    client: ClientRef {
                        link: allocation.link,
                        five_tuple: allocation.tuple,
                    },
                    relay: half.relay,
                    channel: channel.number,
                    peer: relayd::addr::PeerAddr::new(channel.peer),
                };
                let told = paths
                    .iter()
                    .position(|other| *other == (allocation.worker, path));
                // Between two clients of one server the slow path may be kept.
                let open = self.rules.own.contains(&channel.peer.ip())
                    || permission.doubtful
                    || channel.doubtful
                    || self.judge(channel.peer, true) != Policy::Allowed;
                match told {
                    Some(index) => drop(paths.remove(index)),
                    None => ensure(open, || format!("{path:?} is not up"))?,
                }
            }
        }
        ensure(paths.is_empty(), || {
            format!("these must be down: {paths:?}")
        })
    }

    /// Takes away the allocations that lost their last relayed address; each has one `Ended` that is true.
    fn bury(&mut self, now: Instant, seen: &Seen, reason: EndReason) -> Result<(), String> {
        let is_dead = |allocation: &Allocation| allocation.halves.is_empty();
        let (dead, live) = std::mem::take(&mut self.allocations)
            .into_iter()
            .partition(is_dead);
        self.allocations = live;
        let dead: Vec<Allocation> = dead;
        ensure(dead.len() == seen.ended.len(), || {
            format!(
                "{} allocations ended, {} were reported",
                dead.len(),
                seen.ended.len()
            )
        })?;
        for allocation in dead {
            let Some(end) = seen.ended.iter().find(|end| end.id == allocation.id) else {
                return Err(format!("no end of allocation {}", allocation.id));
            };
            let counted = Counters {
                to_peer_packets: end.to_peer_packets,
                to_peer_bytes: end.to_peer_bytes,
                to_client_packets: end.to_client_packets,
                to_client_bytes: end.to_client_bytes,
            };
            ensure(counted == allocation.counters, || {
                format!("counted {counted:?}, relayed {:?}", allocation.counters)
            })?;
            let who = (end.username == allocation.username, end.reason == reason);
            ensure(who == (true, true), || {
                format!("{end:?} of {}", allocation.username)
            })?;
            let client = end.client == allocation.tuple.client.socket_addr();
            ensure(
                client && end.transport == allocation.tuple.transport,
                || format!("{end:?}"),
            )?;
            let lived = now.duration_since(allocation.started);
            let slack = Duration::from_secs(3);
            ensure(
                end.duration <= lived && end.duration + slack >= lived,
                || format!("lived {lived:?}, reported {:?}", end.duration),
            )?;
        }
        Ok(())
    }

    /// Drops what no rule can mention any more.
    fn forget(&mut self, now: Instant) {
        self.reserved.retain(|kept| kept.expires_at > now);
        for allocation in &mut self.allocations {
            allocation
                .permissions
                .retain(|permission| permission.expires_at > now);
            allocation
                .channels
                .retain(|channel| channel.expires_at + CHANNEL_RESERVED > now);
        }
    }

    /// Rules of every message to a client, whatever it says.
    fn vet_reply(
        &self,
        from: &Origin,
        request: &Message,
        reply: &(ClientRef, Vec<u8>),
    ) -> Result<Message, String> {
        let (to, bytes) = reply;
        ensure(to.link == from.link && to.five_tuple == from.tuple, || {
            format!("answer goes to {to:?}")
        })?;
        let message = Message::read(bytes)?;
        if let Some(complaint) = message.complaint() {
            return Err(format!("a client would refuse {message:?}: {complaint}"));
        }
        let same =
            (message.method, message.transaction_id) == (request.method, request.transaction_id);
        ensure(same, || format!("{message:?} does not answer {request:?}"))?;
        let fingerprint = request.has(attr::FINGERPRINT) == message.has(attr::FINGERPRINT);
        ensure(fingerprint, || {
            format!("FINGERPRINT rule broken by {message:?}")
        })?;
        ensure(!message.has(attr::SOFTWARE), || {
            "SOFTWARE although it is off".into()
        })?;
        Ok(message)
    }
}
