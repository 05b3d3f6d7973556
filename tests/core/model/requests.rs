//! Requests and their answers (RFC 8656 §7 to §12): first what may be answered, then the answer is followed.

use super::auth::{Authenticated, Refused};
use super::{
    Allocation, Channel, Half, Model, Origin, PERMISSION, Permission, Policy, Reserved, Seen,
    ensure,
};
use super::{CHANNEL, CHANNEL_RESERVED, Counters};
use crate::ports::has_room;
use crate::support::stun::{self, Class, Integrity, Message, attr};
use relayd::addr::Family;
use relayd::turn::{BindError, EndReason, PortWish, Verdict};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The answers that the specification allows to one request.
struct Plan {
    codes: Vec<u16>,
    success: bool,
    /// Of the answer; `None` before the sender is known.
    integrity: Option<Integrity>,
}

impl Plan {
    fn refuse(codes: Vec<u16>, integrity: &Integrity) -> Self {
        Self {
            codes,
            success: false,
            integrity: Some(integrity.clone()),
        }
    }

    fn accept(integrity: &Integrity) -> Self {
        Self {
            codes: Vec::new(),
            success: true,
            integrity: Some(integrity.clone()),
        }
    }

    fn either(codes: Vec<u16>, integrity: &Integrity) -> Self {
        Self {
            codes,
            success: true,
            integrity: Some(integrity.clone()),
        }
    }
}

impl Model {
    pub fn message(
        &mut self,
        from: &Origin,
        message: &Message,
        len: usize,
        seen: &Seen,
    ) -> Result<(), String> {
        if message.has(attr::FINGERPRINT) && !message.fingerprint_holds() {
            return self.malformed(seen);
        }
        match (message.class, message.method) {
            (Class::Indication, stun::SEND) if message.cookie => {
                self.send_indication(from, message, len, seen)
            }
            (Class::Request, method) => {
                ensure(!is_relayed(seen), || "a request was relayed".into())?;
                match method {
                    stun::BINDING => binding(self, from, message, seen),
                    _ if !message.cookie => seen.is_silent(),
                    stun::ALLOCATE
                    | stun::REFRESH
                    | stun::CREATE_PERMISSION
                    | stun::CHANNEL_BIND => self.request(from, &message.protected(), seen),
                    _ => self.unknown_method(from, message, seen),
                }
            }
            _ => {
                ensure(!is_relayed(seen), || format!("{message:?} was relayed"))?;
                seen.is_silent()
            }
        }
    }

    /// A method of another specification: refused in whatever way, never obeyed.
    fn unknown_method(
        &mut self,
        from: &Origin,
        message: &Message,
        seen: &Seen,
    ) -> Result<(), String> {
        seen.is_steady()?;
        for reply in &seen.replies {
            let reply = self.vet_reply(from, message, reply)?;
            ensure(reply.class == Class::Error, || {
                format!("unknown method got {reply:?}")
            })?;
            if let Some(code @ (401 | 438)) = reply.error_code() {
                self.error(from, message, &reply, code, None)?;
            }
        }
        Ok(())
    }

    fn request(&mut self, from: &Origin, message: &Message, seen: &Seen) -> Result<(), String> {
        if seen.replies.is_empty() && self.may_be_tired_of(from, message) {
            return seen.is_steady();
        }
        let [reply] = seen.replies.as_slice() else {
            return Err(format!("{} answers to {message:?}", seen.replies.len()));
        };
        let reply = self.vet_reply(from, message, reply)?;
        let who = self.authenticate(from, message);
        let plan = match &who {
            Ok(who) => self.plan(from, message, who, seen),
            Err(Refused(codes)) => Plan {
                codes: codes.clone(),
                success: false,
                integrity: None,
            },
        };
        let code = reply.error_code();
        match reply.class {
            Class::Error => {
                seen.is_steady()?;
                let code = code.ok_or("an error without ERROR-CODE")?;
                if who.is_ok() && self.may_refuse_at_an_edge(from, message, code) {
                    return self.challenge(from, message, &reply);
                }
                // Unknown attributes may be complained of before or after anything else is looked at.
                let early = code == 420 && !unknown_required(message).is_empty();
                ensure(plan.codes.contains(&code) || early, || {
                    format!(
                        "{message:?} got {code}, expected {:?} or success {}",
                        plan.codes, plan.success
                    )
                })?;
                self.error(from, message, &reply, code, plan.integrity)
            }
            Class::Success => {
                ensure(plan.success, || {
                    format!("{message:?} succeeded, expected {:?}", plan.codes)
                })?;
                let Ok(who) = who else {
                    return Err("a stranger succeeded".into());
                };
                ensure(reply.verify(&who.integrity), || {
                    "integrity of a success".into()
                })?;
                self.follow(from, message, &reply, who, seen)
            }
            _ => Err(format!("{reply:?} answers a request")),
        }
    }

    fn error(
        &mut self,
        from: &Origin,
        message: &Message,
        reply: &Message,
        code: u16,
        integrity: Option<Integrity>,
    ) -> Result<(), String> {
        if code == 401 && message.has_integrity() {
            self.remember_failure(from, message);
        }
        if code == 401 || code == 438 {
            return self.challenge(from, message, reply);
        }
        if code == 420 {
            let listed = reply.get(attr::UNKNOWN_ATTRIBUTES).unwrap_or_default();
            let listed: Vec<u16> = listed
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            let unknown = unknown_required(message);
            ensure(listed == unknown, || {
                format!("420 lists {listed:x?}, not {unknown:x?}")
            })?;
        }
        match integrity {
            Some(integrity) => ensure(reply.verify(&integrity), || format!("integrity of {code}")),
            None => ensure(!reply.has_integrity(), || {
                "integrity towards a stranger".into()
            }),
        }
    }

    /// 401 and 438 carry what the next attempt needs, and are no use to a reflector.
    fn challenge(
        &mut self,
        from: &Origin,
        message: &Message,
        reply: &Message,
    ) -> Result<(), String> {
        ensure(!reply.has_integrity(), || "integrity in a challenge".into())?;
        let realm = reply.text(attr::REALM);
        ensure(realm.as_deref() == Some(&self.rules.realm), || {
            format!("realm {realm:?}")
        })?;
        let nonce = reply.text(attr::NONCE).ok_or("a challenge without NONCE")?;
        ensure(nonce.len() < 128, || {
            format!("nonce of {} bytes", nonce.len())
        })?;
        // As packets, with 28 bytes of IPv4 and UDP headers: what a reflector's victim receives.
        let (asked, answered) = (message.len() + 28, reply.len() + 28);
        ensure(answered < 3 * asked, || {
            format!("{answered} bytes answer {asked}")
        })?;
        self.remember_nonce(from, nonce);
        Ok(())
    }

    fn plan(&self, from: &Origin, message: &Message, who: &Authenticated, seen: &Seen) -> Plan {
        let integrity = &who.integrity;
        if !unknown_required(message).is_empty() {
            return Plan::refuse(vec![420], integrity);
        }
        let existing = self
            .position(&from.tuple)
            .map(|index| &self.allocations[index]);
        if message.method == stun::ALLOCATE {
            return match existing {
                Some(old) if old.username != who.username => {
                    Plan::refuse(vec![437, 441], integrity)
                }
                Some(old) if old.transaction_id == message.transaction_id => {
                    Plan::accept(integrity)
                }
                Some(_) => Plan::refuse(vec![437], integrity),
                None => self.plan_allocate(from, message, who, seen),
            };
        }
        let Some(existing) = existing else {
            return Plan::refuse(vec![437], integrity);
        };
        if existing.username != who.username {
            return Plan::refuse(vec![441], integrity);
        }
        match message.method {
            stun::REFRESH => plan_refresh(existing, message, integrity),
            stun::CREATE_PERMISSION => self.plan_permission(existing, message, integrity),
            _ => self.plan_channel(from, existing, message, integrity),
        }
    }

    fn plan_allocate(
        &self,
        from: &Origin,
        message: &Message,
        who: &Authenticated,
        seen: &Seen,
    ) -> Plan {
        let integrity = &who.integrity;
        match message.get(attr::REQUESTED_TRANSPORT) {
            Some([17, ..]) => {}
            Some([_, _, _, _]) => return Plan::refuse(vec![442], integrity),
            _ => return Plan::refuse(vec![400], integrity),
        }
        let asks = |kind| message.has(kind);
        let requested = message
            .get(attr::REQUESTED_ADDRESS_FAMILY)
            .and_then(|v| v.first().copied());
        let additional = message
            .get(attr::ADDITIONAL_ADDRESS_FAMILY)
            .and_then(|v| v.first().copied());
        let token = message.get(attr::RESERVATION_TOKEN);
        let pair = message
            .get(attr::EVEN_PORT)
            .is_some_and(|v| v.first().is_some_and(|r| r & 0x80 != 0));
        let family_given = requested.is_some() || additional.is_some();
        let contradiction = (token.is_some() && (asks(attr::EVEN_PORT) || family_given))
            || (requested.is_some() && additional.is_some())
            || (additional.is_some() && pair)
            || additional.is_some_and(|family| family != 2);
        if contradiction {
            return Plan::refuse(vec![400], integrity);
        }
        let families = match (requested, additional) {
            (_, Some(_)) => vec![Family::V4, Family::V6],
            (Some(2), _) => vec![Family::V6],
            (Some(1) | None, _) => vec![Family::V4],
            (Some(_), _) => return Plan::refuse(vec![440], integrity),
        };
        let mut codes = self.quota_codes(from, &who.username, token, pair);
        let relays = match token {
            Some(token) => vec![self.token_result(from, token)],
            None => {
                let bind = |family: &Family| {
                    self.bind_result(*family, asks(attr::EVEN_PORT), pair, from, seen)
                };
                families.iter().map(bind).collect()
            }
        };
        if relays.iter().all(|result| !result.is_empty()) {
            codes.extend(relays.into_iter().flatten());
        }
        if codes.is_empty() {
            Plan::accept(integrity)
        } else {
            Plan::refuse(codes, integrity)
        }
    }

    /// A reserved port counts for who reserved it until it is claimed.
    fn quota_codes(
        &self,
        from: &Origin,
        username: &str,
        token: Option<&[u8]>,
        pair: bool,
    ) -> Vec<u16> {
        let mut codes = Vec::new();
        let account = self.account(username);
        let waits = |kept: &&Reserved| {
            kept.expires_at > from.now && token.is_none_or(|token| kept.token != token)
        };
        let reserved: Vec<_> = self.reserved.iter().filter(waits).collect();
        let own_reserved = reserved.iter().filter(|kept| kept.account == account);
        let wanted = 1 + usize::from(pair);
        let own = self
            .allocations
            .iter()
            .filter(|other| self.account(&other.username) == account);
        let own = own.count() + own_reserved.count();
        if self.rules.per_user > 0 && own + wanted > self.rules.per_user {
            codes.push(486);
        }
        let all = self.allocations.len() + reserved.len();
        if self.rules.total > 0 && all + wanted > self.rules.total {
            codes.push(508);
        }
        if self.rules.draining {
            codes.push(508);
        }
        codes
    }

    fn taken(&self, from: &Origin) -> Vec<SocketAddr> {
        let kept = self
            .reserved
            .iter()
            .filter(|kept| kept.expires_at > from.now);
        self.live_relays(None)
            .into_iter()
            .chain(kept.map(|kept| kept.own))
            .collect()
    }

    /// The codes with which a relay of `family` fails; none when it works.
    fn bind_result(
        &self,
        family: Family,
        even: bool,
        pair: bool,
        from: &Origin,
        seen: &Seen,
    ) -> Vec<u16> {
        let Some(ip) = self.relay_ip(family) else {
            return vec![440];
        };
        if let Some((_, fault)) = seen.faults.iter().find(|(faulty, _)| *faulty == family) {
            return bind_codes(*fault);
        }
        let room = has_room(&self.taken(from), ip, even, pair);
        if room { Vec::new() } else { vec![508] }
    }

    fn token_result(&self, from: &Origin, token: &[u8]) -> Vec<u16> {
        let held = |kept: &Reserved| kept.token == token && kept.expires_at > from.now;
        if self.reserved.iter().any(held) {
            Vec::new()
        } else {
            vec![508]
        }
    }

    fn relay_ip(&self, family: Family) -> Option<IpAddr> {
        self.rules
            .own
            .iter()
            .copied()
            .find(|ip| Family::of(*ip) == family)
    }

    fn plan_permission(
        &self,
        allocation: &Allocation,
        message: &Message,
        integrity: &Integrity,
    ) -> Plan {
        let peers = message.xor_addrs(attr::XOR_PEER_ADDRESS);
        if peers.is_empty() || peers.contains(&None) {
            return Plan::refuse(vec![400], integrity);
        }
        let judged = peers
            .into_iter()
            .flatten()
            .map(|peer| self.peer_codes(allocation, peer, false));
        let (mut codes, mut open) = (Vec::new(), Vec::new());
        for (refused, maybe) in judged {
            codes.extend(refused);
            open.extend(maybe);
        }
        match (codes.is_empty(), open.is_empty()) {
            (true, true) => Plan::accept(integrity),
            (true, false) => Plan::either(open, integrity),
            (false, _) => Plan::refuse([codes, open].concat(), integrity),
        }
    }

    /// (codes that must be one of the answer's, codes that may be)
    fn peer_codes(
        &self,
        allocation: &Allocation,
        peer: SocketAddr,
        whole: bool,
    ) -> (Vec<u16>, Vec<u16>) {
        let mut codes = Vec::new();
        if allocation
            .half(Family::of(self.internal(peer).ip()))
            .is_none()
        {
            codes.push(443);
        }
        match self.judge(peer, whole) {
            Policy::Allowed => (codes, Vec::new()),
            Policy::Denied => {
                codes.push(403);
                (codes, Vec::new())
            }
            Policy::Either => (codes, vec![403]),
        }
    }

    fn plan_channel(
        &self,
        from: &Origin,
        allocation: &Allocation,
        message: &Message,
        integrity: &Integrity,
    ) -> Plan {
        let number = message
            .get(attr::CHANNEL_NUMBER)
            .and_then(|v| v.first_chunk::<2>());
        let number = number.map(|bytes| u16::from_be_bytes(*bytes));
        let peer = message.xor_addr(attr::XOR_PEER_ADDRESS);
        let (Some(number), Some(peer)) = (number, peer) else {
            return Plan::refuse(vec![400], integrity);
        };
        if !(0x4000..=0x7fff).contains(&number) {
            return Plan::refuse(vec![400], integrity);
        }
        let own = self.internal(peer);
        let (mut codes, open) = self.peer_codes(allocation, peer, true);
        let kept = |channel: &&Channel| channel.expires_at + CHANNEL_RESERVED > from.now;
        let clash = |channel: &Channel| (channel.number == number) != (channel.peer == own);
        if allocation.channels.iter().filter(kept).any(clash) {
            codes.push(400);
        }
        match (codes.is_empty(), open.is_empty()) {
            (true, true) => Plan::accept(integrity),
            (true, false) => Plan::either(open, integrity),
            (false, _) => Plan::refuse([codes, open].concat(), integrity),
        }
    }

    fn follow(
        &mut self,
        from: &Origin,
        message: &Message,
        reply: &Message,
        who: Authenticated,
        seen: &Seen,
    ) -> Result<(), String> {
        match (message.method, self.position(&from.tuple)) {
            (stun::ALLOCATE, None) => self.start(from, message, reply, who, seen),
            (stun::ALLOCATE, Some(index)) => {
                seen.is_steady()?;
                let relayed = reply.xor_addrs(attr::XOR_RELAYED_ADDRESS);
                let allocation = &self.allocations[index];
                let before: Vec<_> = allocation.relayed.iter().copied().map(Some).collect();
                ensure(relayed == before, || {
                    format!("{relayed:?} repeated, first was {before:?}")
                })?;
                let token = reply.get(attr::RESERVATION_TOKEN).map(<[u8]>::to_vec);
                ensure(token == allocation.token, || {
                    "another token was repeated".into()
                })
            }
            (stun::REFRESH, Some(index)) => self.refresh(index, from, message, reply, seen),
            (stun::CREATE_PERMISSION, Some(index)) => {
                seen.is_steady()?;
                let peers = message.xor_addrs(attr::XOR_PEER_ADDRESS);
                for peer in peers.into_iter().flatten() {
                    self.permit(index, from, peer);
                }
                Ok(())
            }
            (stun::CHANNEL_BIND, Some(index)) => {
                seen.is_steady()?;
                self.bind_channel(index, from, message)
            }
            (method, _) => Err(format!(
                "method {method:#x} succeeded without an allocation"
            )),
        }
    }

    fn permit(&mut self, index: usize, from: &Origin, peer: SocketAddr) {
        let ip = self.internal(peer).ip();
        let permissions = &mut self.allocations[index].permissions;
        permissions.retain(|permission| permission.ip != ip);
        let expires_at = from.now + PERMISSION;
        permissions.push(Permission {
            ip,
            expires_at,
            doubtful: false,
        });
    }

    fn bind_channel(
        &mut self,
        index: usize,
        from: &Origin,
        message: &Message,
    ) -> Result<(), String> {
        let peer = message.xor_addr(attr::XOR_PEER_ADDRESS).ok_or("no peer")?;
        let number = message
            .get(attr::CHANNEL_NUMBER)
            .and_then(|v| v.first_chunk::<2>());
        let number = u16::from_be_bytes(*number.ok_or("no number")?);
        self.permit(index, from, peer);
        let peer = self.internal(peer);
        let channels = &mut self.allocations[index].channels;
        channels.retain(|channel| channel.number != number && channel.peer != peer);
        channels.push(Channel {
            number,
            peer,
            expires_at: from.now + CHANNEL,
            doubtful: false,
        });
        Ok(())
    }

    fn lifetime(&self, message: &Message) -> u32 {
        let default = self.rules.default_lifetime_s;
        let asked = message.u32(attr::LIFETIME).unwrap_or(default);
        asked.min(self.rules.max_lifetime_s).max(default)
    }

    fn refresh(
        &mut self,
        index: usize,
        from: &Origin,
        message: &Message,
        reply: &Message,
        seen: &Seen,
    ) -> Result<(), String> {
        ensure(seen.started.is_empty(), || {
            "Refresh started an allocation".into()
        })?;
        let asked = message
            .get(attr::REQUESTED_ADDRESS_FAMILY)
            .and_then(|v| v.first().copied());
        let applies = |half: &Half| match asked {
            Some(1) => half.own.is_ipv4(),
            Some(_) => half.own.is_ipv6(),
            None => true,
        };
        let delete = message.u32(attr::LIFETIME) == Some(0);
        let lifetime_s = if delete { 0 } else { self.lifetime(message) };
        let told = reply.u32(attr::LIFETIME);
        ensure(told == Some(lifetime_s), || {
            format!("LIFETIME {told:?}, expected {lifetime_s}")
        })?;
        let allocation = &mut self.allocations[index];
        if delete {
            allocation.halves.retain(|half| !applies(half));
            allocation.forget_lost_family();
            return self.bury(from.now, seen, EndReason::Deleted);
        }
        for half in allocation.halves.iter_mut().filter(|half| applies(half)) {
            half.expires_at = from.now + Duration::from_secs(u64::from(lifetime_s));
        }
        ensure(seen.ended.is_empty(), || {
            "Refresh ended an allocation".into()
        })
    }

    fn start(
        &mut self,
        from: &Origin,
        message: &Message,
        reply: &Message,
        who: Authenticated,
        seen: &Seen,
    ) -> Result<(), String> {
        let mapped = reply.xor_addr(attr::XOR_MAPPED_ADDRESS);
        let client = from.tuple.client.socket_addr();
        ensure(mapped == Some(client), || {
            format!("mapped {mapped:?}, is {client}")
        })?;
        let lifetime_s = self.lifetime(message);
        let told = reply.u32(attr::LIFETIME);
        ensure(told == Some(lifetime_s), || {
            format!("LIFETIME {told:?}, expected {lifetime_s}")
        })?;

        let bound: Vec<_> = seen
            .binds
            .iter()
            .filter_map(|(_, result)| result.ok())
            .collect();
        let mut shown: Vec<_> = bound
            .iter()
            .map(|b| Some(self.external(b.addr.socket_addr())))
            .collect();
        let mut relayed = reply.xor_addrs(attr::XOR_RELAYED_ADDRESS);
        let order = relayed.clone();
        shown.sort();
        relayed.sort();
        ensure(shown == relayed && !shown.is_empty(), || {
            format!("{relayed:?} told, {shown:?} bound")
        })?;
        let wants_two = message.has(attr::ADDITIONAL_ADDRESS_FAMILY);
        let complains = reply.has(attr::ADDRESS_ERROR_CODE);
        ensure(complains == (wants_two && bound.len() == 1), || {
            format!("ADDRESS-ERROR-CODE {complains} with {} relays", bound.len())
        })?;
        for (request, _) in &seen.binds {
            let dont_fragment = message.has(attr::DONT_FRAGMENT);
            ensure(request.dont_fragment == dont_fragment, || {
                "DONT-FRAGMENT not passed on".into()
            })?;
        }
        let account = self.account(&who.username).to_owned();
        let token = self.reserve(from, account, message, reply, seen)?;

        let [start] = seen.started.as_slice() else {
            return Err(format!("{} allocations started", seen.started.len()));
        };
        let fits = start.username == who.username && start.five_tuple == from.tuple;
        ensure(fits && start.relayed.len() == bound.len(), || {
            format!("{start:?}")
        })?;
        ensure(
            self.allocations
                .iter()
                .all(|other| other.id != start.id || other.worker != from.worker),
            || format!("allocation id {} again", start.id),
        )?;
        let expires_at = from.now + Duration::from_secs(u64::from(lifetime_s));
        let half = |b: &relayd::turn::BoundRelay| Half {
            relay: b.relay,
            own: b.addr.socket_addr(),
            expires_at,
        };
        self.allocations.push(Allocation {
            worker: from.worker,
            tuple: from.tuple,
            link: from.link,
            id: start.id,
            md5_only: self
                .rules
                .md5_users
                .iter()
                .any(|(name, _)| *name == who.username),
            password: who.password,
            username: who.username,
            transaction_id: message.transaction_id,
            relayed: order.into_iter().flatten().collect(),
            token,
            started: from.now,
            halves: bound.iter().map(half).collect(),
            permissions: Vec::new(),
            channels: Vec::new(),
            counters: Counters::default(),
        });
        Ok(())
    }

    /// EVEN-PORT and RESERVATION-TOKEN: parity, and the next port kept for at least 30 s.
    fn reserve(
        &mut self,
        from: &Origin,
        account: String,
        message: &Message,
        reply: &Message,
        seen: &Seen,
    ) -> Result<Option<Vec<u8>>, String> {
        if let Some(token) = message.get(attr::RESERVATION_TOKEN) {
            let used = self.reserved.iter().position(|kept| kept.token == token);
            let kept = self
                .reserved
                .remove(used.ok_or("an unknown token was honoured")?);
            let relayed = reply.xor_addr(attr::XOR_RELAYED_ADDRESS);
            ensure(relayed == Some(self.external(kept.own)), || {
                format!("{relayed:?}, kept {}", kept.own)
            })?;
        }
        let told = reply.get(attr::RESERVATION_TOKEN).map(<[u8]>::to_vec);
        let even = message
            .get(attr::EVEN_PORT)
            .and_then(|v| v.first().copied());
        let Some(flags) = even else {
            ensure(told.is_none(), || "a token that nobody asked for".into())?;
            return Ok(None);
        };
        let bound = seen
            .binds
            .iter()
            .find_map(|(wish, result)| Some((wish.port, result.ok()?)));
        let (wish, bound) = bound.ok_or("EVEN-PORT without a bind")?;
        let own = bound.addr.socket_addr();
        ensure(own.port().is_multiple_of(2), || {
            format!("{own} is not even")
        })?;
        if flags & 0x80 == 0 {
            ensure(told.is_none(), || "a token without R".into())?;
            return Ok(None);
        }
        let PortWish::EvenAndNext { token, expires_at } = wish else {
            return Err(format!("R asked for, {wish:?} bound"));
        };
        ensure(told.as_deref() == Some(&token.0), || {
            "the token told is not the one kept".into()
        })?;
        ensure(expires_at >= from.now + Duration::from_secs(30), || {
            "kept too short".into()
        })?;
        let next = SocketAddr::new(own.ip(), own.port() + 1);
        self.reserved.push(Reserved {
            token: token.0.to_vec(),
            account,
            own: next,
            expires_at,
        });
        Ok(told)
    }
}

fn plan_refresh(allocation: &Allocation, message: &Message, integrity: &Integrity) -> Plan {
    let asked = message
        .get(attr::REQUESTED_ADDRESS_FAMILY)
        .and_then(|v| v.first().copied());
    let family = match asked {
        None => return Plan::accept(integrity),
        Some(1) => Family::V4,
        Some(2) => Family::V6,
        Some(_) => return Plan::refuse(vec![400, 440, 443], integrity),
    };
    match allocation.half(family) {
        Some(_) => Plan::accept(integrity),
        None => Plan::refuse(vec![443], integrity),
    }
}

fn bind_codes(error: BindError) -> Vec<u16> {
    match error {
        BindError::AddressUnusable => vec![440, 508],
        BindError::DontFragmentUnsupported => vec![420],
        BindError::PortsExhausted | BindError::UnknownToken | BindError::FilesExhausted => {
            vec![508]
        }
    }
}

fn binding(model: &Model, from: &Origin, message: &Message, seen: &Seen) -> Result<(), String> {
    seen.is_steady()?;
    // RFC 3489 knew UDP only.
    if !message.cookie && from.tuple.transport.is_stream() && seen.replies.is_empty() {
        return Ok(());
    }
    let [reply] = seen.replies.as_slice() else {
        return Err(format!(
            "{} answers to a Binding request",
            seen.replies.len()
        ));
    };
    let unknown = unknown_required(message);
    let reply = model.vet_reply(from, message, reply)?;
    if !unknown.is_empty() {
        return ensure(reply.error_code() == Some(420), || {
            format!("{reply:?} for {unknown:x?}")
        });
    }
    let client = from.tuple.client.socket_addr();
    let told = match message.cookie {
        true => reply.xor_addr(attr::XOR_MAPPED_ADDRESS),
        false => reply.plain_addr(attr::MAPPED_ADDRESS),
    };
    ensure(
        reply.class == Class::Success && told == Some(client),
        || format!("{reply:?} tells {told:?} to {client}"),
    )
}

fn is_relayed(seen: &Seen) -> bool {
    matches!(
        seen.verdict,
        Some(Verdict::ToPeer { .. } | Verdict::ToClient { .. })
    )
}

/// Comprehension-required attributes that no TURN server knows (RFC 8489 §6.3.1), in their order.
pub fn unknown_required(message: &Message) -> Vec<u16> {
    let known = |kind: &u16| matches!(kind, 0x0000..=0x002a);
    let kinds = message.attrs.iter().map(|attr| attr.kind);
    kinds
        .filter(|kind| *kind < 0x8000 && !known(kind))
        .collect()
}
