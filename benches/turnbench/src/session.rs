//! Client sessions: each runs a list of TURN transactions, many at a time.

use crate::hist::Hist;
use crate::now_ns;
use crate::stun::{attr, class, long_term_key, method, Builder, Message, TxId};
use crate::transport::Transport;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Connect,
    Allocate,
    Permission,
    Channel,
    Refresh,
    Delete,
}

pub struct Credentials {
    pub user: String,
    pub password: String,
    /// Used in place of the realm that the server sends, where given.
    pub realm: Option<String>,
    pub lifetime: u32,
}

#[derive(Default)]
pub struct Session {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Option<[u8; 16]>,
    pub relay: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
    pub channel: u16,
    step: usize,
    tries: u32,
    challenges: u32,
    txid: TxId,
    packet: Vec<u8>,
    sent_at: u64,
    due: u64,
    pub failed: bool,
}

#[derive(Default)]
pub struct PlanStats {
    pub ok: u64,
    pub failed: u64,
    pub retransmits: u64,
    pub bad_integrity: u64,
    pub no_integrity: u64,
    pub bad_fingerprint: u64,
    pub errors: BTreeMap<String, u64>,
    pub latency: BTreeMap<String, Hist>,
    pub elapsed_s: f64,
}

impl PlanStats {
    pub fn json(&self) -> serde_json::Value {
        let lat: serde_json::Map<_, _> = self
            .latency
            .iter()
            .map(|(k, h)| (k.clone(), h.micros()))
            .collect();
        serde_json::json!({
            "ok": self.ok, "failed": self.failed, "elapsed_s": self.elapsed_s,
            "per_s": (self.ok as f64 / self.elapsed_s.max(1e-9)).round(),
            "retransmits": self.retransmits, "errors": self.errors,
            "bad_integrity": self.bad_integrity, "no_integrity": self.no_integrity,
            "bad_fingerprint": self.bad_fingerprint, "transaction_us": lat,
        })
    }
}

const RTO_NS: u64 = 500_000_000;
const MAX_TRIES: u32 = 7;

pub struct Engine {
    pub sessions: Vec<Session>,
    creds: Credentials,
    tx_counter: u64,
    tx_salt: u32,
}

impl Engine {
    pub fn new(count: usize, creds: Credentials, peer: SocketAddr) -> Self {
        let sessions = (0..count)
            .map(|i| Session {
                peer: Some(peer),
                channel: 0x4000 + (i % 0x1000) as u16,
                ..Session::default()
            })
            .collect();
        let tx_salt = std::process::id() ^ now_ns() as u32;
        Engine {
            sessions,
            creds,
            tx_counter: 0,
            tx_salt,
        }
    }

    fn build(&mut self, i: usize, step: Step) {
        self.tx_counter += 1;
        let mut txid = [0; 12];
        txid[..4].copy_from_slice(&self.tx_salt.to_be_bytes());
        txid[4..].copy_from_slice(
            &self
                .tx_counter
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_be_bytes(),
        );
        let s = &mut self.sessions[i];
        let lifetime = self.creds.lifetime.to_be_bytes();
        let peer = s.peer.expect("set in new");
        let msg = |m| Builder::new(m, class::REQUEST, &txid);
        let mut b = match step {
            Step::Connect => unreachable!("no message"),
            Step::Allocate => msg(method::ALLOCATE)
                .attr(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .attr(attr::LIFETIME, &lifetime),
            Step::Permission => {
                msg(method::CREATE_PERMISSION).xor_addr(attr::XOR_PEER_ADDRESS, peer)
            }
            Step::Channel => {
                let number = [(s.channel >> 8) as u8, s.channel as u8, 0, 0];
                msg(method::CHANNEL_BIND)
                    .attr(attr::CHANNEL_NUMBER, &number)
                    .xor_addr(attr::XOR_PEER_ADDRESS, peer)
            }
            Step::Refresh => msg(method::REFRESH).attr(attr::LIFETIME, &lifetime),
            Step::Delete => msg(method::REFRESH).attr(attr::LIFETIME, &[0; 4]),
        };
        if s.key.is_some() {
            b = b
                .attr(attr::USERNAME, self.creds.user.as_bytes())
                .attr(attr::REALM, &s.realm)
                .attr(attr::NONCE, &s.nonce);
        }
        s.packet = b.finish(s.key.as_ref().map(|k| &k[..]));
        s.txid = txid;
        s.tries = 0;
    }

    /// Forgets nonces and keys, so that the next request is challenged again.
    pub fn forget(&mut self) {
        for s in &mut self.sessions {
            (s.key, s.relay, s.failed) = (None, None, false);
        }
    }

    /// Makes neighbours each other's peers: 0 and 1, 2 and 3, and so on.
    pub fn pair_up(&mut self) {
        for i in 0..self.sessions.len() {
            self.sessions[i].peer = self.sessions[i ^ 1].relay;
        }
    }

    /// Runs `plan` on every session that has not failed, `concurrency` at a
    /// time. A positive `rate` starts at most that many sessions a second.
    pub fn run(
        &mut self,
        t: &mut dyn Transport,
        plan: &[Step],
        concurrency: usize,
        rate: f64,
    ) -> PlanStats {
        let mut stats = PlanStats::default();
        let start = now_ns();
        let mut waiting: VecDeque<usize> = (0..self.sessions.len())
            .filter(|i| !self.sessions[*i].failed)
            .collect();
        let mut active: Vec<usize> = Vec::new();
        let mut started = 0u64;
        let mut last_scan = start;
        let mut inbox: Vec<(usize, Vec<u8>)> = Vec::new();
        while !(waiting.is_empty() && active.is_empty()) {
            let now = now_ns();
            while active.len() < concurrency
                && (rate <= 0.0 || (started as f64) < (now - start) as f64 * rate / 1e9 + 1.0)
            {
                let Some(i) = waiting.pop_front() else { break };
                started += 1;
                self.sessions[i].step = 0;
                self.sessions[i].challenges = 0;
                active.push(i);
                self.begin(t, i, plan, &mut stats);
            }
            t.flush();
            t.poll(&mut |i, msg| inbox.push((i, msg.to_vec())));
            let mut finished = false;
            for (i, raw) in inbox.drain(..) {
                if i < self.sessions.len() {
                    finished |= self.input(t, i, &raw, plan, &mut stats);
                }
            }
            let connecting = matches!(plan.first(), Some(Step::Connect));
            let now = now_ns();
            if now - last_scan > 10_000_000 || (connecting && now - last_scan > 200_000) {
                last_scan = now;
                for i in &active {
                    finished |= self.tick(t, *i, plan, now, &mut stats);
                }
            }
            if finished {
                active.retain(|i| self.sessions[*i].step < plan.len());
            }
        }
        stats.elapsed_s = (now_ns() - start) as f64 / 1e9;
        stats
    }

    fn begin(&mut self, t: &mut dyn Transport, i: usize, plan: &[Step], stats: &mut PlanStats) {
        let now = now_ns();
        match plan[self.sessions[i].step] {
            Step::Connect => {
                if let Err(e) = t.open(i) {
                    self.fail(i, plan, format!("connect: {e}"), stats);
                }
                self.sessions[i].due = now + 10_000_000_000;
            }
            step => {
                self.build(i, step);
                let s = &mut self.sessions[i];
                t.send_slice(i, &s.packet);
                s.due = now + RTO_NS;
            }
        }
        self.sessions[i].sent_at = now;
    }

    fn fail(&mut self, i: usize, plan: &[Step], why: String, stats: &mut PlanStats) {
        self.sessions[i].failed = true;
        self.sessions[i].step = plan.len();
        stats.failed += 1;
        *stats.errors.entry(why).or_default() += 1;
    }

    /// The step succeeded: on to the next. True when the plan is through.
    fn advance(
        &mut self,
        t: &mut dyn Transport,
        i: usize,
        plan: &[Step],
        stats: &mut PlanStats,
    ) -> bool {
        let s = &mut self.sessions[i];
        let name = format!("{:?}", plan[s.step]).to_lowercase();
        stats
            .latency
            .entry(name)
            .or_default()
            .add(now_ns() - s.sent_at);
        s.step += 1;
        s.challenges = 0;
        if s.step == plan.len() {
            stats.ok += 1;
            return true;
        }
        self.begin(t, i, plan, stats);
        false
    }

    fn tick(
        &mut self,
        t: &mut dyn Transport,
        i: usize,
        plan: &[Step],
        now: u64,
        stats: &mut PlanStats,
    ) -> bool {
        let s = &mut self.sessions[i];
        if s.step >= plan.len() {
            return true;
        }
        let step = plan[s.step];
        if step == Step::Connect && t.ready(i) {
            return self.advance(t, i, plan, stats);
        }
        if now < s.due {
            return false;
        }
        s.tries += 1;
        if s.tries >= MAX_TRIES || t.padded() && s.tries > 2 {
            self.fail(i, plan, format!("{step:?}: timeout"), stats);
            return true;
        }
        s.due = now + (RTO_NS << s.tries);
        if !t.padded() {
            stats.retransmits += 1;
            t.send_slice(i, &s.packet);
        }
        false
    }

    fn input(
        &mut self,
        t: &mut dyn Transport,
        i: usize,
        raw: &[u8],
        plan: &[Step],
        stats: &mut PlanStats,
    ) -> bool {
        let s = &mut self.sessions[i];
        let Some(m) = Message::parse(raw) else {
            return false;
        };
        if s.step >= plan.len() || m.txid() != s.txid {
            return false;
        }
        let step = plan[s.step];
        stats.bad_fingerprint += (m.fingerprint_ok() == Some(false)) as u64;
        match m.class() {
            class::SUCCESS => {
                match s.key.and_then(|k| m.integrity_ok(&k)) {
                    Some(true) => {}
                    Some(false) => stats.bad_integrity += 1,
                    None => stats.no_integrity += 1,
                }
                if step == Step::Allocate {
                    s.relay = m.xor_addr(attr::XOR_RELAYED_ADDRESS);
                    if s.relay.is_none() {
                        self.fail(i, plan, "allocate: no relayed address".into(), stats);
                        return true;
                    }
                }
                self.advance(t, i, plan, stats)
            }
            class::ERROR => {
                let code = m.error_code().unwrap_or(0);
                let challenged = matches!(code, 401 | 438) && s.challenges < 2;
                if let (true, Some(nonce)) = (challenged, m.attr(attr::NONCE)) {
                    s.challenges += 1;
                    s.nonce = nonce.to_vec();
                    if let Some(realm) = m.attr(attr::REALM) {
                        s.realm = match &self.creds.realm {
                            Some(r) => r.clone().into_bytes(),
                            None => realm.to_vec(),
                        };
                    }
                    s.key = Some(long_term_key(
                        &self.creds.user,
                        &s.realm,
                        &self.creds.password,
                    ));
                    self.build(i, step);
                    let s = &mut self.sessions[i];
                    t.send_slice(i, &s.packet);
                    s.due = now_ns() + RTO_NS;
                    return false;
                }
                self.fail(i, plan, format!("{step:?}: error {code}"), stats);
                true
            }
            _ => false,
        }
    }
}
