//! Simulated relay sockets: a small port range shared by two workers, with faults on demand.

use super::support::rng::Rng;
use relayd::addr::{Family, RelayedAddr};
use relayd::turn::{
    BindError, BindRequest, BoundRelay, PortWish, RelayId, RelayPorts, ReservationToken,
};
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

pub const FIRST_PORT: u16 = 50_000;
pub const LAST_PORT: u16 = 50_011;

/// A port that EVEN-PORT with R kept for later.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    pub token: ReservationToken,
    pub addr: SocketAddr,
    pub expires_at: Instant,
}

/// What the workers share: which ports are taken.
pub struct Pool {
    pub now: Instant,
    pub bound: Vec<SocketAddr>,
    pub reserved: Vec<Reservation>,
    /// Binds of this family fail so, but for a port that was reserved.
    pub faults: Vec<(Family, BindError)>,
    /// Every call since the log was last taken.
    pub log: Vec<(BindRequest, Result<BoundRelay, BindError>)>,
    rng: Rng,
}

impl Pool {
    pub fn new(rng: Rng, now: Instant) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            now,
            bound: Vec::new(),
            reserved: Vec::new(),
            faults: Vec::new(),
            log: Vec::new(),
            rng,
        }))
    }

    fn is_free(&self, addr: SocketAddr) -> bool {
        let held = |kept: &Reservation| kept.addr == addr && kept.expires_at > self.now;
        !self.bound.contains(&addr) && !self.reserved.iter().any(held)
    }

    fn choose(&mut self, request: BindRequest) -> Result<SocketAddr, BindError> {
        if let PortWish::Reserved(token) = request.port {
            let held = |kept: &Reservation| kept.token == token && kept.expires_at > self.now;
            let found = self.reserved.iter().position(held);
            let index = found.ok_or(BindError::UnknownToken)?;
            return Ok(self.reserved.remove(index).addr);
        }
        let fault = |(family, _): &&(Family, BindError)| *family == Family::of(request.ip);
        if let Some((_, error)) = self.faults.iter().find(fault) {
            return Err(*error);
        }
        let at = |port| SocketAddr::new(request.ip, port);
        let fits = |port: &u16| match request.port {
            PortWish::Any => self.is_free(at(*port)),
            PortWish::Even => port.is_multiple_of(2) && self.is_free(at(*port)),
            PortWish::EvenAndNext { .. } => {
                let pair = port.is_multiple_of(2) && *port < LAST_PORT;
                pair && self.is_free(at(*port)) && self.is_free(at(port + 1))
            }
            PortWish::Reserved(_) => false,
        };
        let fitting: Vec<u16> = (FIRST_PORT..=LAST_PORT).filter(fits).collect();
        if fitting.is_empty() {
            return Err(BindError::PortsExhausted);
        }
        let port = *self.rng.pick(&fitting);
        if let PortWish::EvenAndNext { token, expires_at } = request.port {
            let addr = at(port + 1);
            self.reserved.push(Reservation {
                token,
                addr,
                expires_at,
            });
        }
        Ok(at(port))
    }
}

/// One worker's relay sockets.
pub struct Ports {
    pool: Rc<RefCell<Pool>>,
    relays: Vec<Option<SocketAddr>>,
}

impl Ports {
    pub fn new(pool: Rc<RefCell<Pool>>) -> Self {
        Self {
            pool,
            relays: Vec::new(),
        }
    }

    pub fn find(&self, addr: SocketAddr) -> Option<RelayId> {
        let index = self.relays.iter().position(|bound| *bound == Some(addr))?;
        Some(RelayId(index as u32))
    }

    pub fn addr(&self, relay: RelayId) -> Option<SocketAddr> {
        self.relays.get(relay.0 as usize).copied().flatten()
    }

    pub fn bound(&self) -> Vec<SocketAddr> {
        self.relays.iter().copied().flatten().collect()
    }

    /// Closes a relay socket; `Err` when there is none of this number.
    pub fn close(&mut self, relay: RelayId) -> Result<(), String> {
        let slot = self.relays.get_mut(relay.0 as usize);
        let addr = slot
            .and_then(Option::take)
            .ok_or(format!("{relay:?} closed twice"))?;
        self.pool.borrow_mut().bound.retain(|bound| *bound != addr);
        Ok(())
    }

    fn number(&mut self, addr: SocketAddr) -> RelayId {
        let free = self.relays.iter().position(Option::is_none);
        let index = free.unwrap_or(self.relays.len());
        if index == self.relays.len() {
            self.relays.push(None);
        }
        self.relays[index] = Some(addr);
        RelayId(index as u32)
    }
}

impl RelayPorts for Ports {
    fn bind(&mut self, request: BindRequest) -> Result<BoundRelay, BindError> {
        let chosen = self.pool.borrow_mut().choose(request);
        let result = chosen.map(|addr: SocketAddr| {
            self.pool.borrow_mut().bound.push(addr);
            let relay = self.number(addr);
            BoundRelay {
                relay,
                addr: RelayedAddr::new(addr),
            }
        });
        self.pool.borrow_mut().log.push((request, result));
        result
    }
}

/// What the model asks of a free port, in its own naive way.
pub fn has_room(taken: &[SocketAddr], ip: IpAddr, even: bool, pair: bool) -> bool {
    let is_free = |port: u16| !taken.contains(&SocketAddr::new(ip, port));
    (FIRST_PORT..=LAST_PORT).any(|port| {
        let parity = !even || port % 2 == 0;
        let next = !pair || (port < LAST_PORT && is_free(port + 1));
        parity && next && is_free(port)
    })
}
