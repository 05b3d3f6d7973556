//! One worker's relay sockets, and the obtaining of one while the core answers an Allocate.
//!
//! Invariant: a socket is in the worker's epoll from `bind` until `close`, under its own `RelayId`.

use crate::addr::RelayedAddr;
use crate::io::burst::Burst;
use crate::io::local::{LocalRelays, Owner};
use crate::io::outbox::Chain;
use crate::io::ports::{Held, PortLease, PortPool, Reservations};
use crate::io::runs::{Runs, Tally};
use crate::io::token::Token;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::socket::{Purpose, UdpSocket};
use crate::turn::{BindError, BindRequest, BoundRelay, PortWish, RelayId, RelayPorts};
use slab::Slab;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// How many ports that other processes hold are skipped before the range counts as exhausted.
const TRIES_MAX: usize = 64;

/// What the relay sockets of all workers share.
pub struct RelayShared {
    pub ports: Arc<PortPool>,
    pub reservations: Reservations<UdpSocket>,
    /// The open relays of all workers.
    pub local: LocalRelays,
    /// SO_RCVBUF and SO_SNDBUF, in bytes; 0: the system's default.
    pub buffer_bytes: usize,
}

pub struct Relay {
    held: Held<UdpSocket>,
    /// What waits to be sent from this socket in this round.
    pub chain: Chain,
    pub burst: Burst,
    pub runs: Runs,
    /// The kernel's count of what its receive buffer has dropped, as last seen.
    pub overflow: u32,
}

impl Relay {
    pub fn socket(&self) -> &UdpSocket {
        &self.held.socket
    }

    /// What a call for several has brought.
    pub fn note_runs(&mut self, tally: &Tally) {
        self.runs.note(tally, &self.held.socket);
    }

    /// The relayed transport address that it is bound to.
    pub fn addr(&self) -> SocketAddr {
        self.held.lease.addr()
    }
}

pub struct RelaySockets {
    /// The number of the worker that these belong to.
    worker: usize,
    sockets: Slab<Relay>,
    epoll: Rc<Epoll>,
    shared: Arc<RelayShared>,
    now: Instant,
    /// Some reservation was made here and may still be kept.
    has_reservations: bool,
}

impl RelaySockets {
    pub fn new(worker: usize, epoll: Rc<Epoll>, shared: Arc<RelayShared>, now: Instant) -> Self {
        Self {
            worker,
            sockets: Slab::new(),
            epoll,
            shared,
            now,
            has_reservations: false,
        }
    }

    /// The time that reservations are measured by until the next call.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub fn get_mut(&mut self, relay: RelayId) -> Option<&mut Relay> {
        self.sockets.get_mut(relay.0 as usize)
    }

    /// Closes the socket and gives its port back.
    pub fn close(&mut self, relay: RelayId) {
        if let Some(closed) = self.sockets.try_remove(relay.0 as usize) {
            self.shared.local.clear(closed.addr());
        }
    }

    /// Who of this process holds the relayed address `addr`.
    pub fn owner(&self, addr: SocketAddr) -> Option<Owner> {
        self.shared.local.owner(addr)
    }

    pub fn shared(&self) -> &RelayShared {
        &self.shared
    }

    /// Reservations that another process made are kept here, too.
    pub fn watch_reservations(&mut self) {
        self.has_reservations = true;
    }

    /// True while unclaimed reservations want to be looked after.
    pub fn has_reservations(&self) -> bool {
        self.has_reservations
    }

    /// Frees reserved ports that nobody claimed in time.
    pub fn expire_reservations(&mut self) {
        self.has_reservations = self.shared.reservations.expire(self.now) > 0;
    }

    fn add(&mut self, held: Held<UdpSocket>) -> Result<BoundRelay, BindError> {
        let entry = self.sockets.vacant_entry();
        let relay = RelayId(u32::try_from(entry.key()).map_err(|_| BindError::FilesExhausted)?);
        let token = Token::Relay(relay).to_bits();
        let added = self.epoll.add(held.socket.as_fd(), token, Interest::Read);
        // The only failures are of memory and of the watch limit, which go with the number of files.
        added.map_err(|_| BindError::FilesExhausted)?;
        let addr = RelayedAddr::new(held.lease.addr());
        let owner = Owner {
            worker: self.worker,
            relay,
        };
        self.shared.local.enter(addr.socket_addr(), owner);
        entry.insert(Relay {
            held,
            chain: Chain::EMPTY,
            burst: Burst::START,
            runs: Runs::START,
            overflow: 0,
        });
        Ok(BoundRelay { relay, addr })
    }
}

impl RelayPorts for RelaySockets {
    fn bind(&mut self, request: BindRequest) -> Result<BoundRelay, BindError> {
        self.has_reservations |= matches!(request.port, PortWish::EvenAndNext { .. });
        let shared = Arc::clone(&self.shared);
        let held = obtain(
            &shared.ports,
            &shared.reservations,
            request,
            self.now,
            |addr| {
                let socket = UdpSocket::bind(addr, Purpose::Relay)?;
                if shared.buffer_bytes > 0 {
                    socket.set_buffers(shared.buffer_bytes)?;
                }
                Ok(socket)
            },
        )?;
        self.add(held)
    }
}

/// Fulfils a wish with a bound socket; what it leaves behind on failure is nothing.
fn obtain<S>(
    ports: &Arc<PortPool>,
    reservations: &Reservations<S>,
    request: BindRequest,
    now: Instant,
    mut bind: impl FnMut(SocketAddr) -> io::Result<S>,
) -> Result<Held<S>, BindError> {
    let ip = request.ip;
    match request.port {
        PortWish::Reserved(token) => reservations
            .claim(token, now)
            .ok_or(BindError::UnknownToken),
        PortWish::Any => first_that_binds(|| Some(bound(ports.any(ip)?, &mut bind))),
        PortWish::Even => first_that_binds(|| Some(bound(ports.even(ip)?, &mut bind))),
        PortWish::EvenAndNext { token, expires_at } => {
            let (even, next) = first_that_binds(|| {
                let (even, next) = ports.pair(ip)?;
                let even = bound(even, &mut bind);
                Some(even.and_then(|even| Ok((even, bound(next, &mut bind)?))))
            })?;
            reservations.keep(token, next, expires_at);
            Ok(even)
        }
    }
}

fn bound<S>(
    lease: PortLease,
    bind: &mut impl FnMut(SocketAddr) -> io::Result<S>,
) -> io::Result<Held<S>> {
    match bind(lease.addr()) {
        Ok(socket) => Ok(Held { socket, lease }),
        Err(error) => {
            lease.give_back_unusable();
            Err(error)
        }
    }
}

/// Tries until a port binds that no other process holds. `attempt` returns `None` when no port is left.
fn first_that_binds<T>(mut attempt: impl FnMut() -> Option<io::Result<T>>) -> Result<T, BindError> {
    for _ in 0..TRIES_MAX {
        let error = match attempt().ok_or(BindError::PortsExhausted)? {
            Ok(bound) => return Ok(bound),
            Err(error) => error,
        };
        if let Some(fatal) = fatal(&error) {
            tracing::debug!(%error, "no relay socket");
            return Err(fatal);
        }
    }
    Err(BindError::PortsExhausted)
}

/// What no other port would mend.
fn fatal(error: &io::Error) -> Option<BindError> {
    match error.raw_os_error()? {
        libc::EADDRINUSE | libc::EACCES => None,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
            Some(BindError::FilesExhausted)
        }
        _ => Some(BindError::AddressUnusable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::rng::SystemRng;
    use crate::turn::ReservationToken;
    use proptest::prelude::*;
    use std::net::{IpAddr, UdpSocket as StdSocket};
    use std::time::Duration;

    #[test]
    fn a_relay_socket_is_bound_in_the_range_of_its_address_and_its_port_comes_back() {
        for ip in ["127.0.0.1", "::1"].map(parsed) {
            let mut sockets = sockets((61_000, 61_063));
            let bound = sockets.bind(request(ip, PortWish::Even)).expect("bound");
            assert_eq!(bound.addr.ip(), ip);
            assert_eq!(bound.addr.port() % 2, 0);
            assert_eq!(sockets.shared.ports.free_count(ip), 63);
            sockets.close(bound.relay);
            assert_eq!(sockets.shared.ports.free_count(ip), 64);
        }
    }

    #[test]
    fn ports_of_other_processes_are_skipped() {
        let ip = parsed("127.0.0.11");
        let mut sockets = sockets((61_100, 61_103));
        let taken: Vec<_> = (61_100..61_103)
            .map(|port| StdSocket::bind((ip, port)).expect("free"))
            .collect();
        let bound = sockets
            .bind(request(ip, PortWish::Any))
            .expect("one is left");
        assert_eq!(bound.addr.port(), 61_103);
        let full = sockets.bind(request(ip, PortWish::Any));
        assert_eq!(full, Err(BindError::PortsExhausted));
        drop(taken);
        sockets
            .bind(request(ip, PortWish::Any))
            .expect("bound again");
    }

    /// A tenth of the range is another process's: as long as others are free, an Allocate finds one, however often the
    /// whole range has been given out and come back.
    #[test]
    fn ports_of_other_processes_do_not_gather() {
        let ip = parsed("127.0.0.1");
        let ports = PortPool::new((50_000, 51_999), usize::MAX, Box::new(SystemRng));
        let kept = Reservations::default();
        let now = Instant::now();
        let mut bind = |addr: SocketAddr| match addr.port() {
            50_500..50_700 => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
            _ => Ok(()),
        };
        for round in 0..30 {
            let held: Vec<_> = (0..1500)
                .map(|_| obtain(&ports, &kept, request(ip, PortWish::Any), now, &mut bind))
                .collect();
            let failed = held.iter().filter(|held| held.is_err()).count();
            assert_eq!(failed, 0, "round {round}");
        }
        assert_eq!(ports.free_count(ip), 2000);
    }

    #[test]
    fn an_address_of_another_machine_is_unusable() {
        let ip = parsed("192.0.2.1");
        let mut sockets = sockets((61_000, 61_063));
        let refused = sockets.bind(request(ip, PortWish::Any));
        assert_eq!(refused, Err(BindError::AddressUnusable));
        assert_eq!(sockets.shared.ports.free_count(ip), 64);
    }

    #[test]
    fn a_reserved_port_moves_to_the_worker_that_names_its_token() {
        let ip = parsed("127.0.0.12");
        let mut first = sockets((61_200, 61_201));
        let mut second = RelaySockets::new(
            1,
            Rc::new(Epoll::new().expect("epoll")),
            Arc::clone(&first.shared),
            first.now,
        );
        let token = ReservationToken([9; 8]);
        let expires_at = first.now + Duration::from_secs(30);
        let wish = PortWish::EvenAndNext { token, expires_at };
        let even = first.bind(request(ip, wish)).expect("bound");
        let claim = request(ip, PortWish::Reserved(token));
        let next = second.bind(claim).expect("kept");
        assert_eq!(even.addr.port() + 1, next.addr.port());
        assert_eq!(first.bind(claim), Err(BindError::UnknownToken));
        first.close(even.relay);
        second.close(next.relay);
        assert_eq!(first.shared.ports.free_count(ip), 2);
    }

    #[test]
    fn a_reservation_that_nobody_claims_is_freed() {
        let ip = parsed("127.0.0.13");
        let mut sockets = sockets((61_300, 61_301));
        let expires_at = sockets.now + Duration::from_secs(30);
        let token = ReservationToken([3; 8]);
        let wish = PortWish::EvenAndNext { token, expires_at };
        let even = sockets.bind(request(ip, wish)).expect("bound");
        sockets.close(even.relay);
        sockets.expire_reservations();
        assert!(sockets.has_reservations());
        sockets.set_now(expires_at);
        sockets.expire_reservations();
        assert!(!sockets.has_reservations());
        assert_eq!(sockets.shared.ports.free_count(ip), 2);
    }

    proptest! {
        /// Whatever the system refuses and when: every port is free again in the end.
        #[test]
        fn no_failure_leaks_a_port(
            wishes in prop::collection::vec((0..4u8, 0..3u8), 1..40),
            failures in prop::collection::vec(prop::option::of(0..4usize), 200),
        ) {
            const CODES: [i32; 4] = [libc::EADDRINUSE, libc::EMFILE, libc::EADDRNOTAVAIL, libc::EACCES];
            let ip = parsed("127.0.0.1");
            let ports = PortPool::new((50_000, 50_009), usize::MAX, Box::new(SystemRng));
            let kept = Reservations::default();
            let now = Instant::now();
            let mut failures = failures.into_iter().cycle();
            let mut held = Vec::new();
            for (wish, token) in wishes {
                let token = ReservationToken([token; 8]);
                let expires_at = now + Duration::from_secs(30);
                let wish = match wish {
                    0 => PortWish::Any,
                    1 => PortWish::Even,
                    2 => PortWish::EvenAndNext { token, expires_at },
                    _ => PortWish::Reserved(token),
                };
                let bind = |_| match failures.next().flatten() {
                    Some(at) => Err(io::Error::from_raw_os_error(CODES[at])),
                    None => Ok(()),
                };
                held.extend(obtain(&ports, &kept, request(ip, wish), now, bind).ok());
                let reserved = kept.expire(now);
                prop_assert_eq!(ports.free_count(ip) + held.len() + reserved, 10);
            }
            held.clear();
            kept.expire(now + Duration::from_secs(30));
            prop_assert_eq!(ports.free_count(ip), 10);
        }
    }

    fn sockets(range: (u16, u16)) -> RelaySockets {
        let shared = RelayShared {
            ports: PortPool::new(range, usize::MAX, Box::new(SystemRng)),
            reservations: Reservations::default(),
            local: LocalRelays::default(),
            buffer_bytes: 0,
        };
        let epoll = Rc::new(Epoll::new().expect("epoll"));
        RelaySockets::new(0, epoll, Arc::new(shared), Instant::now())
    }

    fn request(ip: IpAddr, port: PortWish) -> BindRequest {
        BindRequest {
            ip,
            port,
            dont_fragment: false,
        }
    }

    fn parsed(ip: &str) -> IpAddr {
        ip.parse().expect("valid")
    }
}
