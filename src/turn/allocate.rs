//! Allocate (RFC 8656 §7): the checks of §7.2 in their order, one function each, then sockets.

use crate::addr::{Family, plain};
use crate::limits::{ByteBucket, Maxima, QuotaError, Share, User};
use crate::stun::attributes::{
    ADDITIONAL_ADDRESS_FAMILY, DONT_FRAGMENT, EVEN_PORT, REQUESTED_ADDRESS_FAMILY,
    RESERVATION_TOKEN,
};
use crate::stun::{Message, Reply};
use crate::turn::Server;
use crate::turn::allocation::{Allocation, Grant, Relay, place};
use crate::turn::auth::Caller;
use crate::turn::channels::Channels;
use crate::turn::counters::{Answer, Traffic};
use crate::turn::credentials::quota_name;
use crate::turn::output::{AllocationStart, Output};
use crate::turn::permissions::Permissions;
use crate::turn::ports::{
    BindError, BindRequest, BoundRelay, PortWish, RelayPorts, ReservationToken,
};
use crate::turn::requests::{Refusal, Request};
use std::sync::Arc;
use std::time::Duration;
use stun_types::AddressFamily;
use stun_types::attribute::{ErrorCode, XorMappedAddress};
use turn_types::attribute::{
    AddressErrorCode, EvenPort, Lifetime, RequestedTransport, ReservationToken as TokenAttribute,
    XorRelayedAddress,
};

/// How long the port next to an even one is kept (RFC 8656 §7.2: at least 30 seconds).
const RESERVATION: Duration = Duration::from_secs(30);

/// What a request asks for, once it is known to make sense.
struct Wanted {
    families: Families,
    port: WantedPort,
    dont_fragment: bool,
    lifetime_s: u32,
}

#[derive(Clone, Copy)]
enum Families {
    One(Family),
    Both,
}

#[derive(Clone, Copy)]
enum WantedPort {
    Any,
    Even,
    EvenAndNext,
    Reserved(ReservationToken),
}

/// Sockets that were bound for one allocation.
struct Bound {
    relays: Vec<BoundRelay>,
    token: Option<ReservationToken>,
    refused: Option<(Family, Answer)>,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        request: &Request,
        caller: &Caller,
        relays: &mut impl RelayPorts,
    ) -> Result<Reply, Refusal> {
        if let Some(reply) = self.repeat_success(request, caller)? {
            return Ok(reply);
        }
        let wanted = self.read_wanted(&request.message)?;
        let (port, token) = self.port_wish(request, wanted.port);
        let share = share(request.now_ns, port);
        let user = self.take_quota(request, caller, share)?;
        let bound = match self.bind(request, &wanted, (port, token), relays) {
            Ok(bound) => bound,
            Err(refusal) => {
                self.shared.quotas.undo(&user, share);
                return Err(refusal);
            }
        };
        let slot = self.insert(request, caller, user, &wanted, &bound);
        let allocation = self.table.get(slot).ok_or(Answer::InsufficientCapacity)?;
        Ok(self.success(request, allocation))
    }

    /// Check 2: the 5-tuple is free, or this is the request that took it, sent again.
    fn repeat_success(
        &mut self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(slot) = self.live_slot(&request.client.five_tuple, request.now_ns) else {
            return Ok(None);
        };
        let Some(allocation) = self.table.get(slot) else {
            return Ok(None);
        };
        let same = allocation.transaction_id == request.message.transaction_id()
            && *allocation.username == *caller.username;
        if !same {
            return Err(Answer::AllocationMismatch.into());
        }
        Ok(Some(self.success(request, allocation)))
    }

    /// Checks 3 to 9: what the attributes say, alone and together.
    fn read_wanted(&self, message: &Message) -> Result<Wanted, Refusal> {
        check_transport(message)?;
        let token = read_token(message)?;
        let families = read_families(message)?;
        let port = read_port(message, token, families)?;
        Ok(Wanted {
            families,
            port,
            dont_fragment: message.has(DONT_FRAGMENT),
            lifetime_s: self.granted_lifetime_s(message)?,
        })
    }

    /// What LIFETIME asks for, kept between the default and the maximum (RFC 8656 §7.2).
    pub(super) fn granted_lifetime_s(&self, message: &Message) -> Result<u32, Refusal> {
        let asked = message.get::<Lifetime>()?.map_or(0, |l| l.seconds());
        let settings = &self.settings;
        Ok(asked
            .max(settings.default_lifetime_s)
            .min(settings.max_lifetime_s))
    }

    /// Check 10: quotas. A server that drains has no room.
    fn take_quota(
        &self,
        request: &Request,
        caller: &Caller,
        share: Share,
    ) -> Result<Arc<User>, Refusal> {
        if self.draining || self.refusing {
            return Err(Answer::InsufficientCapacity.into());
        }
        let limits = &self.settings.limits;
        let name = quota_name(&self.settings, &caller.username);
        let maxima = Maxima {
            per_user: limits.allocations_per_user,
            total: limits.allocations_total,
        };
        let quotas = &self.shared.quotas;
        quotas
            .acquire(name, share, request.now_ns, maxima)
            .map_err(|error| match error {
                QuotaError::User => Answer::QuotaReached.into(),
                QuotaError::Total => Answer::InsufficientCapacity.into(),
            })
    }

    /// Binds every socket that is wanted. Of two families one is enough; the other's error is told.
    fn bind(
        &self,
        request: &Request,
        wanted: &Wanted,
        (port, token): (PortWish, Option<ReservationToken>),
        relays: &mut impl RelayPorts,
    ) -> Result<Bound, Refusal> {
        let mut bind = |family| self.bind_one(request, wanted, family, port, relays);
        match wanted.families {
            Families::One(family) => Ok(Bound {
                relays: vec![bind(family)?],
                token,
                refused: None,
            }),
            Families::Both => match (bind(Family::V4), bind(Family::V6)) {
                (Ok(v4), Ok(v6)) => Ok(Bound {
                    relays: vec![v4, v6],
                    token,
                    refused: None,
                }),
                (Ok(v4), Err(error)) => Ok(Bound {
                    relays: vec![v4],
                    token,
                    refused: Some((Family::V6, told(&error))),
                }),
                (Err(error), Ok(v6)) => Ok(Bound {
                    relays: vec![v6],
                    token,
                    refused: Some((Family::V4, told(&error))),
                }),
                (Err(error), Err(_)) => Err(error),
            },
        }
    }

    fn port_wish(
        &mut self,
        request: &Request,
        port: WantedPort,
    ) -> (PortWish, Option<ReservationToken>) {
        match port {
            WantedPort::Any => (PortWish::Any, None),
            WantedPort::Even => (PortWish::Even, None),
            WantedPort::Reserved(token) => (PortWish::Reserved(token), None),
            WantedPort::EvenAndNext => {
                let mut token = ReservationToken([0; 8]);
                self.entropy.fill(&mut token.0);
                let expires_at = request.now.instant() + RESERVATION;
                (PortWish::EvenAndNext { token, expires_at }, Some(token))
            }
        }
    }

    /// A reserved port brings its own address, so any address will do there.
    fn bind_one(
        &self,
        request: &Request,
        wanted: &Wanted,
        family: Family,
        port: PortWish,
        relays: &mut impl RelayPorts,
    ) -> Result<BoundRelay, Refusal> {
        let reached = plain(request.client.five_tuple.server).ip();
        let choose = |family| self.settings.relay_addresses.choose(reached, family);
        let ip = match port {
            PortWish::Reserved(_) => choose(family).or_else(|| choose(Family::V6)),
            PortWish::Any | PortWish::Even | PortWish::EvenAndNext { .. } => choose(family),
        };
        let bind = BindRequest {
            ip: ip.ok_or(Answer::FamilyUnsupported)?,
            port,
            dont_fragment: wanted.dont_fragment,
        };
        let mut bound = relays.bind(bind);
        let instead = self.settings.relay_addresses.instead_of(bind.ip);
        if let (Err(BindError::AddressUnusable), Some(ip)) = (bound, instead) {
            bound = relays.bind(BindRequest { ip, ..bind });
        }
        bound.map_err(|error| match error {
            BindError::PortsExhausted
            | BindError::UnknownToken
            | BindError::FilesExhausted
            | BindError::AddressUnusable => Answer::InsufficientCapacity.into(),
            BindError::DontFragmentUnsupported => Refusal::Unknown(vec![DONT_FRAGMENT]),
        })
    }

    fn insert(
        &mut self,
        request: &Request,
        caller: &Caller,
        user: Arc<User>,
        wanted: &Wanted,
        bound: &Bound,
    ) -> u32 {
        let expires_ns = request.now_ns + u64::from(wanted.lifetime_s) * 1_000_000_000;
        let mut relays = [None; 2];
        for relay in &bound.relays {
            self.shared.live.mark(relay.addr.socket_addr());
            relays[place(relay.addr.family())] = Some(Relay {
                id: relay.relay,
                addr: relay.addr,
                expires_ns,
                open: true,
            });
        }
        let allocation = Allocation {
            id: self.shared.next_id(),
            client: request.client,
            username: caller.username.as_str().into(),
            user,
            credential: caller.credential.clone(),
            transaction_id: request.message.transaction_id(),
            grant: Grant {
                lifetime_s: wanted.lifetime_s,
                token: bound.token,
                refused: bound.refused,
            },
            relays,
            permissions: Permissions::default(),
            channels: Channels::default(),
            traffic: Traffic::default(),
            to_peer: ByteBucket::default(),
            to_client: ByteBucket::default(),
            quality: None,
            started_ns: request.now_ns,
            timer_ns: expires_ns,
        };
        self.counters
            .count_start(request.client.five_tuple.transport);
        self.outputs
            .push_back(Output::Started(Box::new(AllocationStart {
                id: allocation.id,
                username: caller.username.clone(),
                five_tuple: request.client.five_tuple,
                relayed: allocation.relayed(),
            })));
        let id = allocation.id;
        let slot = self.table.insert(allocation);
        self.timers.set(expires_ns, slot, id);
        slot
    }

    fn success(&self, request: &Request, allocation: &Allocation) -> Reply {
        let mut reply = Reply::success(&request.message);
        let id = reply.transaction_id();
        for relayed in allocation.relayed() {
            let mut addr = relayed.socket_addr();
            addr.set_ip(self.settings.external_ips.external(addr.ip()));
            reply.add(&XorRelayedAddress::new(addr, id));
        }
        reply.add(&Lifetime::new(allocation.grant.lifetime_s));
        if let Some(token) = allocation.grant.token {
            reply.add(&TokenAttribute::new(u64::from_be_bytes(token.0)));
        }
        if let Some((family, answer)) = allocation.grant.refused {
            add_address_error(&mut reply, family, answer);
        }
        let client = request.client.five_tuple.client.socket_addr();
        reply.add(&XorMappedAddress::new(client, id));
        reply
    }
}

/// Check 3. TCP relays (RFC 6062) are not served.
fn check_transport(message: &Message) -> Result<(), Refusal> {
    let transport = message.get::<RequestedTransport>()?;
    let transport = transport.ok_or(Answer::BadRequest)?;
    if transport.protocol() == RequestedTransport::UDP {
        Ok(())
    } else {
        Err(Answer::TransportUnsupported.into())
    }
}

/// Check 5: a reservation fixes the port and the family, so nothing else may.
fn read_token(message: &Message) -> Result<Option<ReservationToken>, Refusal> {
    let Some(token) = message.get::<TokenAttribute>()? else {
        return Ok(None);
    };
    let others = [
        EVEN_PORT,
        REQUESTED_ADDRESS_FAMILY,
        ADDITIONAL_ADDRESS_FAMILY,
    ];
    if others.iter().any(|kind| message.has(*kind)) {
        return Err(Answer::BadRequest.into());
    }
    debug_assert!(message.has(RESERVATION_TOKEN));
    Ok(Some(ReservationToken(token.token().to_be_bytes())))
}

/// Checks 6 to 8. IPv4 where nothing is said, on an IPv6 listener too.
fn read_families(message: &Message) -> Result<Families, Refusal> {
    let requested = message.family(REQUESTED_ADDRESS_FAMILY)?;
    let additional = message.family(ADDITIONAL_ADDRESS_FAMILY)?;
    match (requested, additional) {
        (Some(_), Some(_)) | (None, Some(Some(Family::V4))) => Err(Answer::BadRequest.into()),
        (Some(None), None) | (None, Some(None)) => Err(Answer::FamilyUnsupported.into()),
        (Some(Some(family)), None) => Ok(Families::One(family)),
        (None, Some(Some(Family::V6))) => Ok(Families::Both),
        (None, None) => Ok(Families::One(Family::V4)),
    }
}

/// Check 9: one reservation token cannot stand for two relayed addresses.
fn read_port(
    message: &Message,
    token: Option<ReservationToken>,
    families: Families,
) -> Result<WantedPort, Refusal> {
    if let Some(token) = token {
        return Ok(WantedPort::Reserved(token));
    }
    let even = message.get::<EvenPort>()?;
    match (even.map(|even| even.requested()), families) {
        (None, _) => Ok(WantedPort::Any),
        (Some(false), _) => Ok(WantedPort::Even),
        (Some(true), Families::One(_)) => Ok(WantedPort::EvenAndNext),
        (Some(true), Families::Both) => Err(Answer::BadRequest.into()),
    }
}

/// What counts against quotas: a port that is kept for later does too.
fn share(now_ns: u64, port: PortWish) -> Share {
    match port {
        PortWish::Any | PortWish::Even => Share::Allocation,
        PortWish::EvenAndNext { token, .. } => Share::AllocationAndReserved {
            token: token.0,
            until_ns: now_ns.saturating_add(RESERVATION.as_nanos() as u64),
        },
        PortWish::Reserved(token) => Share::Claim(token.0),
    }
}

/// The code that ADDRESS-ERROR-CODE tells for the family that could not be had.
fn told(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Error(answer) => *answer,
        Refusal::Unknown(_) => Answer::InsufficientCapacity,
    }
}

fn add_address_error(reply: &mut Reply, family: Family, answer: Answer) {
    let family = match family {
        Family::V4 => AddressFamily::IPV4,
        Family::V6 => AddressFamily::IPV6,
    };
    let code = answer
        .code()
        .map(|code| ErrorCode::new(code, answer.reason()));
    if let Some(Ok(error)) = code {
        reply.add(&AddressErrorCode::new(family, error));
    }
}
