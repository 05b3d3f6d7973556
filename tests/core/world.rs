//! The simulated world: two workers that share one `Shared`, clients, peers, a bad network, a jumping clock.

use super::agent::{Agent, Choices, Signing};
use super::model::{Model, Origin, Rules, Seen, ensure};
use super::ports::{Pool, Ports};
use super::support::rng::Rng;
use super::support::stun;
use relayd::addr::{ClientAddr, Family, FiveTuple, PeerAddr, Transport};
use relayd::ip_rules::IpRules;
use relayd::secret::Secret;
use relayd::time::Now;
use relayd::turn::{
    BindError, ExternalIps, Icmp, Limits, LinkId, Output, PortWish, RelayAddresses, RelayId,
    Server, Settings, Shared, UserKey, Verdict,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A timer may come late by so much, never early.
const TIMER_SLACK: Duration = Duration::from_millis(50);
const UNIX_START: Duration = Duration::from_secs(1_700_000_000);
const WORKERS: usize = 2;
const AGENTS: usize = 5;
const HISTORY: usize = 80;

const PEERS: [&str; 20] = [
    "9.9.9.9:5000",
    "9.9.9.9:5001",
    "8.8.4.4:6000",
    "8.8.4.4:6000",
    "10.9.0.1:7000",
    "[2607:5::1]:5000",
    "[2607:5::2]:5000",
    "9.9.9.9:0",
    "10.9.1.1:7000",
    "127.0.0.1:80",
    "0.0.0.0:80",
    "169.254.169.254:80",
    "192.168.1.1:53",
    "255.255.255.255:9",
    "[::1]:80",
    "[fe80::1]:80",
    "[64:ff9b::a00:1]:80",
    "[2002:a00:1::]:80",
    "[::127.0.0.1]:80",
    "[ff02::1]:80",
];
const ALLOWED: [&str; 5] = ["9.9.9.9", "8.8.4.4", "10.9.0.1", "2607:5::1", "2607:5::2"];
const NUMBERS: [u16; 13] = [
    0x4000, 0x4000, 0x4001, 0x4001, 0x4000, 0x4001, 0x4002, 0x4fff, 0x5000, 0x7fff, 0x3fff, 0x8000,
    0,
];

/// A packet under way.
enum Packet {
    Server {
        agent: Box<Agent>,
        bytes: Vec<u8>,
    },
    Agent {
        tuple: FiveTuple,
        bytes: Vec<u8>,
    },
    Relay {
        relay: SocketAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
}

pub struct World {
    rng: Rng,
    now: Now,
    begin: Instant,
    servers: Vec<Server>,
    ports: Vec<Ports>,
    pool: Rc<RefCell<Pool>>,
    pub model: Model,
    agents: Vec<Agent>,
    network: Vec<(Instant, Packet)>,
    next_port: u16,
    history: VecDeque<String>,
    step: usize,
    /// What happened how often, so that a run in which nothing happens is noticed.
    pub events: BTreeMap<String, u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let begin = Instant::now();
        let rules = draw_rules(&mut rng);
        let shared = Shared::new(&mut rng.clone());
        let settings = Arc::new(settings(&rules));
        let server = |_| {
            Server::new(
                settings.clone(),
                shared.clone(),
                Box::new(Rng::new(rng.next())),
            )
        };
        let servers = (0..WORKERS).map(server).collect();
        let pool = Pool::new(Rng::new(rng.next()), begin);
        let mut world = Self {
            servers,
            ports: (0..WORKERS).map(|_| Ports::new(pool.clone())).collect(),
            pool,
            model: Model::new(rules),
            agents: Vec::new(),
            network: Vec::new(),
            next_port: 1024,
            history: VecDeque::new(),
            events: BTreeMap::new(),
            step: 0,
            now: Now::new(begin, UNIX_START),
            begin,
            rng,
        };
        for _ in 0..AGENTS {
            let agent = world.new_agent();
            world.agents.push(agent);
        }
        world
    }

    pub fn history(&self) -> String {
        self.history
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }

    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        for step in 0..steps {
            self.step = step;
            if step == steps * 9 / 10 && self.rng.chance(30) {
                self.drain();
            }
            let acted = self.act().and_then(|()| self.deliver());
            acted.map_err(|fault| format!("step {step}: {fault}"))?;
        }
        self.wind_down()
            .map_err(|fault| format!("at the end: {fault}"))
    }

    fn act(&mut self) -> Result<(), String> {
        match self.rng.below(100) {
            0..=63 => self.client_speaks(),
            64..=75 => self.peer_speaks(),
            76..=78 => self.icmp(),
            79 => self.leave(),
            80 if self.rng.chance(25) => self.reload(),
            80..=81 => self.peer_speaks(),
            82..=85 => self.audit(),
            86..=96 => {
                let millis = self.rng.below(6_000) as u64;
                self.advance(Duration::from_millis(millis))
            }
            97..=98 => self.advance_to_an_edge(),
            _ => {
                let seconds = *self.rng.pick(&[60, 60, 240, 240, 1200]);
                self.advance(Duration::from_secs(seconds))
            }
        }
    }

    fn note(&mut self, text: String) {
        let at = self.now.instant().duration_since(self.begin);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history
            .push_back(format!("{:5} {:10.3} {text}", self.step, at.as_secs_f64()));
    }

    // Clients

    fn client_speaks(&mut self) -> Result<(), String> {
        let index = self.rng.below(self.agents.len());
        let mut peers: Vec<SocketAddr> = PEERS.iter().map(|text| addr(text)).collect();
        // Good peers are drawn more often than denied ones.
        peers.extend_from_within(..7);
        peers.extend_from_within(..7);
        let others = self.agents.iter().flat_map(|agent| agent.relayed.clone());
        let relayed: Vec<SocketAddr> = others.collect();
        for _ in 0..4 {
            peers.extend(&relayed);
        }
        peers.extend(self.model.rules.listeners.clone());
        let tokens: Vec<Vec<u8>> = self.agents.iter().flat_map(|a| a.tokens.clone()).collect();
        let users = self.model.rules.users.clone();
        let choices = Choices {
            users: &users,
            peers: &peers,
            numbers: &NUMBERS,
            tokens: &tokens,
        };
        let (name, bytes) = self.agents[index].compose(&mut self.rng, &choices);
        let agent = self.agents[index].clone();
        self.note(format!(
            "{} {name}, {} bytes",
            agent.tuple.client,
            bytes.len()
        ));
        if agent.tuple.transport.is_stream() {
            return self.client(&agent, &bytes);
        }
        let copies = match self.rng.below(100) {
            0..=4 => 0,
            5..=9 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let (agent, bytes) = (Box::new(agent.clone()), bytes.clone());
            self.send(Packet::Server { agent, bytes });
        }
        Ok(())
    }

    fn send(&mut self, packet: Packet) {
        let millis = match self.rng.below(100) {
            0..=2 => self.rng.below(20_000),
            3..=40 => self.rng.below(300),
            _ => 0,
        };
        let at = self.now.instant() + Duration::from_millis(millis as u64);
        self.network.push((at, packet));
    }

    fn deliver(&mut self) -> Result<(), String> {
        loop {
            let due = |(at, _): &(Instant, Packet)| *at <= self.now.instant();
            let Some(index) = self.network.iter().position(due) else {
                return Ok(());
            };
            match self.network.remove(index).1 {
                Packet::Server { agent, bytes } => self.client(&agent, &bytes)?,
                Packet::Agent { tuple, bytes } => {
                    self.answered(tuple, &bytes)?;
                }
                Packet::Relay { relay, from, bytes } => self.peer(relay, from, &bytes)?,
            }
        }
    }

    /// One message reaches the server.
    fn client(&mut self, agent: &Agent, bytes: &[u8]) -> Result<(), String> {
        let worker = agent.worker;
        if self.rng.chance(6) {
            let family = *self.rng.pick(&[Family::V4, Family::V6]);
            let errors = [
                BindError::PortsExhausted,
                BindError::FilesExhausted,
                BindError::AddressUnusable,
            ];
            let error = *self.rng.pick(&errors);
            self.pool.borrow_mut().faults.push((family, error));
        }
        let verdict = self.servers[worker].handle_client(
            self.now,
            &agent.tuple,
            agent.link,
            bytes,
            &mut self.ports[worker],
        );
        let seen = self.settle(worker, Some(verdict))?;
        self.note(format!("  {} -> {}", agent.tuple.client, describe(&seen)));
        let origin = self.origin(agent);
        self.model.client(&origin, bytes, &seen)?;
        self.check_tables()?;
        self.count(&seen, bytes.first().is_some_and(|first| *first >= 0x40));
        for (client, bytes) in &seen.replies {
            let (tuple, bytes) = (client.five_tuple, bytes.clone());
            if tuple.transport.is_stream() {
                self.answered(tuple, &bytes)?;
            } else if !self.rng.chance(5) {
                self.send(Packet::Agent { tuple, bytes });
            }
        }
        self.pass_on(agent, bytes, &seen)
    }

    /// An answer reaches its client, which may have to say something to that.
    fn answered(&mut self, tuple: FiveTuple, bytes: &[u8]) -> Result<(), String> {
        let Some(index) = self.agents.iter().position(|agent| agent.tuple == tuple) else {
            return Ok(());
        };
        if self.agents[index].rejections > 3 {
            let agent = self.agents[index].clone();
            return self.replace(&agent);
        }
        let Some(bytes) = self.agents[index].receive(bytes) else {
            return Ok(());
        };
        let agent = self.agents[index].clone();
        if tuple.transport.is_stream() {
            return self.client(&agent, &bytes);
        }
        let agent = Box::new(agent);
        self.send(Packet::Server { agent, bytes });
        Ok(())
    }

    /// What the driver does with a verdict.
    fn pass_on(&mut self, agent: &Agent, bytes: &[u8], seen: &Seen) -> Result<(), String> {
        match &seen.verdict {
            Some(Verdict::ToPeer {
                relay,
                peer,
                payload,
                ..
            }) => {
                let bound = self.ports[agent.worker].addr(*relay);
                let from = bound.ok_or("data leaves by a relay that is not bound")?;
                let relay = peer.socket_addr();
                if self.ports.iter().any(|ports| ports.find(relay).is_some()) {
                    let bytes = bytes[payload.clone()].to_vec();
                    self.happened("between clients");
                    self.send(Packet::Relay { relay, from, bytes });
                }
                Ok(())
            }
            Some(Verdict::Drop(reason))
                if reason.closes_stream() && agent.tuple.transport.is_stream() =>
            {
                self.note(format!(
                    "  {} is cut off: {}",
                    agent.tuple.client,
                    reason.label()
                ));
                self.close(agent)
            }
            _ => Ok(()),
        }
    }

    fn origin(&self, agent: &Agent) -> Origin {
        Origin {
            worker: agent.worker,
            tuple: agent.tuple,
            link: agent.link,
            now: self.now.instant(),
            unix_s: self.now.unix_s(),
        }
    }

    /// A client goes: its connection closes, or its socket is just forgotten; another comes.
    fn leave(&mut self) -> Result<(), String> {
        let index = self.rng.below(self.agents.len());
        let agent = self.agents[index].clone();
        self.replace(&agent)
    }

    fn replace(&mut self, agent: &Agent) -> Result<(), String> {
        if agent.tuple.transport.is_stream() {
            return self.close(agent);
        }
        if let Some(index) = self
            .agents
            .iter()
            .position(|other| other.tuple == agent.tuple)
        {
            self.agents[index] = self.new_agent();
        }
        Ok(())
    }

    fn close(&mut self, agent: &Agent) -> Result<(), String> {
        self.note(format!("{} closes", agent.tuple.client));
        self.servers[agent.worker].handle_closed(self.now, &agent.tuple);
        let seen = self.settle(agent.worker, None)?;
        let origin = self.origin(agent);
        self.model.closed(&origin, &seen)?;
        if let Some(index) = self
            .agents
            .iter()
            .position(|other| other.tuple == agent.tuple)
        {
            self.agents[index] = self.new_agent();
        }
        self.check_tables()
    }

    fn new_agent(&mut self) -> Agent {
        self.next_port += 1;
        let rng = &mut self.rng;
        let transport = *rng.pick(&[
            Transport::Udp,
            Transport::Udp,
            Transport::Tcp,
            Transport::Tls,
        ]);
        let server = *rng.pick(&self.model.rules.listeners);
        let ip = if server.is_ipv4() {
            "11.0.0.1"
        } else {
            "2620::11"
        };
        let ip: IpAddr = ip.parse().expect("a literal address");
        let tuple = FiveTuple {
            client: ClientAddr::new(SocketAddr::new(ip, self.next_port)),
            server,
            transport,
        };
        let (username, password, signing) = draw_user(rng, &self.model.rules, self.now.unix_s());
        // A client that opens another socket may reach another worker, and use the nonce that it has.
        let same = |other: &&Agent| other.tuple.client.ip() == ip && other.nonce.is_some();
        let before = self.agents.iter().find(same).filter(|_| rng.chance(30));
        let mut friends: Vec<SocketAddr> = PEERS[..7].iter().map(|text| addr(text)).collect();
        // Half of all calls are between two clients of this server.
        let relayed: Vec<SocketAddr> = self.agents.iter().flat_map(|a| a.relayed.clone()).collect();
        for relay in &relayed {
            friends.extend([relay; 2]);
        }
        let (realm, nonce, password_algorithms) = before.map_or_else(Default::default, |other| {
            (
                other.realm.clone(),
                other.nonce.clone(),
                other.password_algorithms.clone(),
            )
        });
        Agent {
            worker: rng.below(WORKERS),
            tuple,
            link: LinkId(u32::from(self.next_port)),
            username,
            password,
            signing,
            fingerprint: rng.chance(30),
            realm,
            nonce,
            password_algorithms,
            relayed: Vec::new(),
            tokens: Vec::new(),
            last: None,
            unsigned: None,
            rejections: 0,
            friends: (0..3).map(|_| *rng.pick(&friends)).collect(),
        }
    }

    // Peers

    fn peer_speaks(&mut self) -> Result<(), String> {
        let live = self.model.live_relays(None);
        if live.is_empty() {
            return Ok(());
        }
        let relay = *self.rng.pick(&live);
        let from = self.any_peer(relay);
        let len = self.rng.below(40);
        let bytes = self.rng.bytes(len);
        self.peer(relay, from, &bytes)
    }

    fn any_peer(&mut self, relay: SocketAddr) -> SocketAddr {
        let known = self.model.known_peers(relay);
        if !known.is_empty() && self.rng.chance(70) {
            return *self.rng.pick(&known);
        }
        let same = |peer: &SocketAddr| peer.is_ipv4() == relay.is_ipv4() && peer.port() != 0;
        let known = PEERS.iter().map(|text| addr(text));
        let peers: Vec<SocketAddr> = known.filter(same).collect();
        *self.rng.pick(&peers)
    }

    fn peer(&mut self, relay: SocketAddr, from: SocketAddr, bytes: &[u8]) -> Result<(), String> {
        let Some((worker, id)) = self.find_relay(relay) else {
            return Ok(());
        };
        let peer = PeerAddr::new(from);
        let verdict = self.servers[worker].handle_peer(self.now, id, peer, bytes);
        let seen = self.settle(worker, Some(verdict))?;
        self.note(format!("  {from} to {relay} -> {}", describe(&seen)));
        self.model
            .peer(worker, self.now.instant(), id, from, bytes, &seen)?;
        self.count(&seen, false);
        self.check_tables()
    }

    fn find_relay(&self, addr: SocketAddr) -> Option<(usize, RelayId)> {
        let mut workers = self.ports.iter().enumerate();
        workers.find_map(|(worker, ports)| Some((worker, ports.find(addr)?)))
    }

    fn icmp(&mut self) -> Result<(), String> {
        let live = self.model.live_relays(None);
        if live.is_empty() {
            return Ok(());
        }
        let relay = *self.rng.pick(&live);
        let peer = self.any_peer(relay);
        let (worker, id) = self.find_relay(relay).ok_or("a live relay is not bound")?;
        let icmp = match relay.is_ipv4() {
            true => Icmp {
                kind: 3,
                code: 4,
                data: 1400,
            },
            false => Icmp {
                kind: 2,
                code: 0,
                data: 1280,
            },
        };
        self.servers[worker].handle_icmp(self.now, id, PeerAddr::new(peer), icmp);
        let seen = self.settle(worker, None)?;
        self.note(format!(
            "  ICMP about {peer} to {relay} -> {}",
            describe(&seen)
        ));
        self.model
            .icmp(worker, self.now.instant(), id, peer, icmp, &seen)
    }

    // Operator

    fn reload(&mut self) -> Result<(), String> {
        let draining = self.model.rules.draining;
        let fresh = draw_rules(&mut self.rng);
        let before = self.model.rules.clone();
        // Addresses and realm stay: those need a restart.
        let rules = Rules {
            own: before.own,
            external: before.external,
            listeners: before.listeners,
            draining,
            ..fresh
        };
        self.note(format!("reload: {rules:?}"));
        let settings = Arc::new(settings(&rules));
        for server in &mut self.servers {
            server.set_settings(settings.clone());
        }
        self.model.reload(rules);
        for worker in 0..WORKERS {
            let seen = self.settle(worker, None)?;
            ensure(seen.ended.is_empty() && seen.replies.is_empty(), || {
                "a reload had effects".into()
            })?;
        }
        self.check_tables()
    }

    fn drain(&mut self) {
        self.note("drain".into());
        self.model.rules.draining = true;
        for server in &mut self.servers {
            server.set_draining();
        }
    }

    // Time

    fn advance(&mut self, by: Duration) -> Result<(), String> {
        self.now = self.now.advanced(by);
        self.leave_soft_edges();
        self.pool.borrow_mut().now = self.now.instant();
        for worker in 0..WORKERS {
            self.fire(worker)?;
        }
        self.check_tables()
    }

    /// To just before or just after some deadline: where off-by-one lives.
    fn advance_to_an_edge(&mut self) -> Result<(), String> {
        let now = self.now.instant();
        let ahead: Vec<Instant> = self
            .model
            .deadlines()
            .into_iter()
            .filter(|deadline| *deadline > now)
            .collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let edge = *self.rng.pick(&ahead) - now;
        let before = self.rng.chance(50);
        let step = if before {
            edge.saturating_sub(Duration::from_millis(1))
        } else {
            edge
        };
        self.advance(step)
    }

    /// Between a deadline and the latest excusable timer nothing is asked.
    fn leave_soft_edges(&mut self) {
        loop {
            let now = self.now.instant();
            let soft = |deadline: &Instant| *deadline <= now && now < *deadline + TIMER_SLACK;
            let Some(latest) = self.model.deadlines().into_iter().filter(soft).max() else {
                return;
            };
            self.now = self.now.advanced(latest + TIMER_SLACK - now);
        }
    }

    fn fire(&mut self, worker: usize) -> Result<(), String> {
        let mut outputs = Vec::new();
        for _ in 0..10_000 {
            let due = self.servers[worker].poll_timeout();
            if due.is_none_or(|at| at > self.now.instant()) {
                let seen = self.apply(worker, None, outputs)?;
                let expired = seen.ended.len();
                if expired > 0 {
                    self.happened("expired");
                    self.note(format!("worker {worker}: {expired} expired"));
                }
                return self.model.timeout(worker, self.now.instant(), &seen);
            }
            self.servers[worker].handle_timeout(self.now);
            while let Some(output) = self.servers[worker].poll_output() {
                outputs.push(output);
            }
        }
        Err("poll_timeout stays due after handle_timeout".into())
    }

    // Bookkeeping

    /// Empties the queue after a call, as the driver does, and closes what is to be closed.
    fn settle(&mut self, worker: usize, verdict: Option<Verdict>) -> Result<Seen, String> {
        let mut outputs = Vec::new();
        while let Some(output) = self.servers[worker].poll_output() {
            outputs.push(output);
        }
        self.apply(worker, verdict, outputs)
    }

    fn apply(
        &mut self,
        worker: usize,
        verdict: Option<Verdict>,
        outputs: Vec<Output>,
    ) -> Result<Seen, String> {
        let mut seen = Seen::new(verdict, outputs);
        seen.binds = std::mem::take(&mut self.pool.borrow_mut().log);
        seen.faults = std::mem::take(&mut self.pool.borrow_mut().faults);
        for relay in &seen.closed {
            self.ports[worker].close(*relay)?;
        }
        self.model.follow_paths(worker, &seen)?;
        Ok(seen)
    }

    fn count(&mut self, seen: &Seen, channel: bool) {
        match &seen.verdict {
            Some(Verdict::ToPeer { .. }) if channel => self.happened("channel to peer"),
            Some(Verdict::ToPeer { .. }) => self.happened("indication to peer"),
            Some(Verdict::ToClient { prefix, .. }) if prefix.header().len() == 4 => {
                self.happened("channel to client");
            }
            Some(Verdict::ToClient { .. }) => self.happened("indication to client"),
            Some(Verdict::Drop(reason)) => self.happened(&format!("dropped: {}", reason.label())),
            Some(Verdict::Consumed) | None => {}
        }
        for (_, bytes) in &seen.replies {
            let Ok(reply) = stun::Message::read(bytes) else {
                continue;
            };
            let answer = reply
                .error_code()
                .map_or("success".to_owned(), |code| code.to_string());
            self.happened(&format!("method {}: {answer}", reply.method));
            let special = [
                (stun::attr::RESERVATION_TOKEN, "port reserved"),
                (stun::attr::ADDRESS_ERROR_CODE, "one family of two"),
                (stun::attr::MESSAGE_INTEGRITY_SHA256, "SHA-256"),
            ];
            for (_, what) in special.iter().filter(|(kind, _)| reply.has(*kind)) {
                self.happened(what);
            }
            if reply.xor_addrs(stun::attr::XOR_RELAYED_ADDRESS).len() == 2 {
                self.happened("two families");
            }
        }
        for (wish, result) in &seen.binds {
            if matches!(wish.port, PortWish::Reserved(_)) && result.is_ok() {
                self.happened("reservation honoured");
            }
        }
        for (up, _) in &seen.paths {
            self.happened(if *up { "path up" } else { "path down" });
        }
    }

    fn happened(&mut self, what: &str) {
        *self.events.entry(what.to_owned()).or_default() += 1;
    }

    /// Invariants of the tables after each step.
    fn check_tables(&self) -> Result<(), String> {
        for worker in 0..WORKERS {
            let server = &self.servers[worker];
            let mine = self
                .model
                .allocations
                .iter()
                .filter(|a| a.worker == worker)
                .count();
            let count = server.allocation_count();
            ensure(count == mine, || {
                format!("worker {worker} counts {count}, are {mine}")
            })?;
            let (mut bound, mut live) = (
                self.ports[worker].bound(),
                self.model.live_relays(Some(worker)),
            );
            bound.sort();
            live.sort();
            ensure(bound == live, || format!("bound {bound:?}, live {live:?}"))?;
            if let Some(expiry) = self.model.next_expiry(worker) {
                let timeout = server.poll_timeout();
                let armed = timeout.is_some_and(|at| at <= expiry + TIMER_SLACK);
                ensure(armed, || "no timer for the next expiry".into())?;
            }
        }
        self.model.check_paths(self.now.instant())
    }

    /// Probes every permission and channel from both sides: relaying renews nothing, so this changes nothing.
    fn audit(&mut self) -> Result<(), String> {
        let now = self.now.instant();
        let mut probes = Vec::new();
        for allocation in &self.model.allocations {
            let (tuple, link, worker) = (allocation.tuple, allocation.link, allocation.worker);
            let channels = allocation
                .channels
                .iter()
                .map(|c| (c.number, c.peer))
                .collect::<Vec<_>>();
            let relays: Vec<SocketAddr> = allocation.halves.iter().map(|half| half.own).collect();
            let permitted: Vec<IpAddr> = allocation
                .permissions
                .iter()
                .map(|permission| permission.ip)
                .collect();
            probes.push((tuple, link, worker, channels, relays, permitted));
        }
        for (tuple, link, worker, channels, relays, permitted) in probes {
            let prober = Agent {
                tuple,
                link,
                worker,
                ..self.agents[0].clone()
            };
            for (number, peer) in channels {
                self.client(&prober, &stun::channel_data(number, b"probe", false))?;
                for relay in relays
                    .iter()
                    .filter(|relay| relay.is_ipv4() == peer.is_ipv4())
                {
                    self.peer(*relay, peer, b"probe")?;
                }
            }
            for ip in permitted {
                for relay in relays
                    .iter()
                    .filter(|relay| relay.is_ipv4() == ip.is_ipv4())
                {
                    self.peer(*relay, SocketAddr::new(ip, 12_345), b"probe")?;
                }
            }
        }
        debug_assert!(now == self.now.instant());
        Ok(())
    }

    /// Everything runs out by itself, and nothing is left.
    fn wind_down(&mut self) -> Result<(), String> {
        self.network.clear();
        self.audit()?;
        for _ in 0..3 {
            self.advance(Duration::from_secs(3700))?;
        }
        let left = self
            .servers
            .iter()
            .map(Server::allocation_count)
            .sum::<usize>();
        ensure(left == 0, || format!("{left} allocations never end"))?;
        ensure(self.pool.borrow().bound.is_empty(), || {
            "relay sockets were leaked".into()
        })
    }
}

fn describe(seen: &Seen) -> String {
    let replies = seen
        .replies
        .iter()
        .map(|(_, bytes)| format!("{:?} ", stun::Message::read(bytes)));
    let replies: String = replies.collect();
    let ended: Vec<_> = seen.ended.iter().map(|end| end.reason.label()).collect();
    match &seen.verdict {
        Some(Verdict::ToClient { client, prefix }) => {
            format!(
                "to {} {:02x?}",
                client.five_tuple.client,
                &prefix.header()[..4]
            )
        }
        verdict => format!("{verdict:?} {replies}{ended:?}"),
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal transport address")
}

fn draw_rules(rng: &mut Rng) -> Rules {
    let ip = |text: &str| text.parse::<IpAddr>().expect("a literal address");
    let behind_nat = rng.chance(30);
    let own4 = if behind_nat { "10.77.0.1" } else { "9.1.1.1" };
    let external = if behind_nat {
        vec![(ip("9.1.1.1"), ip("10.77.0.1"))]
    } else {
        Vec::new()
    };
    let own = vec![ip(own4), ip("2600:9::1")];
    let listeners = own.iter().map(|ip| SocketAddr::new(*ip, 3478)).collect();
    let strict = rng.chance(25);
    let denied = |text: &&&str| !(strict && text.starts_with("9."));
    let pair = |name: &str, password: &str| (name.to_owned(), password.to_owned());
    let alice = if rng.chance(30) {
        "changed"
    } else {
        "wonderland"
    };
    let mut users = vec![pair("alice", alice), pair("bob", "builder")];
    if rng.chance(20) {
        users.pop();
    }
    let secrets = vec!["first secret".to_owned(), "second secret".to_owned()];
    Rules {
        realm: "sim.test".into(),
        users,
        md5_users: if rng.chance(40) {
            vec![pair("dave", "hashed")]
        } else {
            Vec::new()
        },
        secrets: if rng.chance(60) { secrets } else { Vec::new() },
        default_lifetime_s: *rng.pick(&[600, 600, 120]),
        max_lifetime_s: 3600,
        nonce_lifetime_s: 600,
        per_user: *rng.pick(&[0, 0, 2, 3]),
        total: *rng.pick(&[0, 0, 4, 6]),
        own,
        external,
        listeners,
        allowed_peers: ALLOWED.iter().filter(denied).map(|text| ip(text)).collect(),
        draining: false,
    }
}

fn settings(rules: &Rules) -> Settings {
    let net = |text: &str| text.parse().expect("a literal network");
    let mut deny = vec![net("10.9.1.0/24")];
    if !rules
        .allowed_peers
        .iter()
        .any(|ip| ip.to_string() == "9.9.9.9")
    {
        deny.push(net("9.9.9.0/24"));
    }
    let password = |(name, password): &(String, String)| {
        (
            name.clone(),
            UserKey::Password(Secret::new(password.clone())),
        )
    };
    let hashed = |(name, password): &(String, String)| {
        let key = stun::key_md5(name, &rules.realm, password);
        let key = key.try_into().expect("MD5 is 16 bytes long");
        (name.clone(), UserKey::Md5(key))
    };
    let users = rules.users.iter().map(password);
    Settings {
        realm: rules.realm.clone(),
        software: None,
        users: users.chain(rules.md5_users.iter().map(hashed)).collect(),
        auth_secrets: rules.secrets.iter().map(Secret::new).collect(),
        default_lifetime_s: rules.default_lifetime_s,
        max_lifetime_s: rules.max_lifetime_s,
        nonce_lifetime_s: rules.nonce_lifetime_s,
        relay_addresses: RelayAddresses {
            fixed: Vec::new(),
            fallback: rules.own.clone(),
        },
        external_ips: ExternalIps {
            pairs: rules.external.clone(),
            plain: Vec::new(),
        },
        peers: IpRules::new(vec![net("10.9.0.0/16")], deny),
        listeners: rules.listeners.clone(),
        limits: Limits {
            allocations_per_user: rules.per_user as u32,
            allocations_total: rules.total as u32,
            unauthenticated_per_s_per_address: 0,
            ..Limits::default()
        },
        call_quality: true,
    }
}

fn draw_user(rng: &mut Rng, rules: &Rules, unix_s: u64) -> (String, String, Signing) {
    let signing = *rng.pick(&[
        Signing::Sha1,
        Signing::Sha1,
        Signing::Sha256,
        Signing::UserHash,
    ]);
    match rng.below(10) {
        6 if !rules.md5_users.is_empty() => {
            let (name, password) = rng.pick(&rules.md5_users).clone();
            (name, password, Signing::Sha1)
        }
        0..=5 => {
            let (name, password) = rng.pick(&rules.users).clone();
            (name, password, signing)
        }
        _ if rules.secrets.is_empty() => ("eve".into(), "nothing".into(), signing),
        _ => {
            let until = unix_s + *rng.pick(&[0, 5, 400, 100_000, 200_000]);
            let form = rng.below(3);
            let name = [
                format!("{until}:eve"),
                format!("eve:{until}"),
                until.to_string(),
            ];
            let secret = rng.pick(&rules.secrets).clone();
            let name = name[form].clone();
            let password = stun::rest_password(&secret, &name);
            // A hash cannot be turned back into a name that nobody listed.
            let signing = if signing == Signing::UserHash {
                Signing::Sha256
            } else {
                signing
            };
            (name, password, signing)
        }
    }
}
