//! Relayed ports: which are free, for each relay address; shared by all workers, locked only while allocating.
//!
//! A free list is shuffled once and then a queue: a port that is given back waits behind all others, so late
//! packets of an ended call do not reach the next one. A `PortLease` gives its port back when it is dropped,
//! on every path. One that another process has bound goes back to a random place: at the end such ports would gather
//! side by side, and whoever met them would try all of them in a row.
//! The same port may be in use on different addresses at once.

use crate::entropy::Entropy;
use crate::turn::ReservationToken;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Free ports of every relay address.
pub struct PortPool {
    first: u16,
    last: u16,
    /// Ports that may be held at once, on all addresses: each costs a descriptor.
    leases_max: usize,
    state: Mutex<State>,
}

struct State {
    free: HashMap<IpAddr, FreeList>,
    leases: usize,
    entropy: Box<dyn Entropy>,
}

/// How many ports of one address are taken, those included that another process of an upgrade has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortUse {
    pub ip: IpAddr,
    pub used: usize,
}

/// One port of one address, taken until this is dropped.
pub struct PortLease {
    pool: Arc<PortPool>,
    addr: SocketAddr,
    /// It counts against the pool's maximum: a descriptor of this process goes with it.
    counted: bool,
    /// It could not be bound.
    unusable: bool,
}

impl PortLease {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives the port back, which could not be bound now.
    pub fn give_back_unusable(mut self) {
        self.unusable = true;
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        self.pool.give_back(self);
    }
}

impl PortPool {
    /// `range` is first and last port, in order.
    pub fn new(range: (u16, u16), leases_max: usize, entropy: Box<dyn Entropy>) -> Arc<Self> {
        let state = State {
            free: HashMap::new(),
            leases: 0,
            entropy,
        };
        Arc::new(Self {
            first: range.0,
            last: range.1.max(range.0),
            leases_max,
            state: Mutex::new(state),
        })
    }

    pub fn any(self: &Arc<Self>, ip: IpAddr) -> Option<PortLease> {
        let port = self.take(ip, 1, |list| {
            let index = list.oldest().next()?;
            list.take(index);
            Some(index)
        })?;
        Some(self.lease(ip, port))
    }

    pub fn even(self: &Arc<Self>, ip: IpAddr) -> Option<PortLease> {
        let index = self.take(ip, 1, |list| {
            let is_even = |index: &u16| self.port(*index).is_multiple_of(2);
            let index = list.oldest().find(is_even)?;
            list.take(index);
            Some(index)
        })?;
        Some(self.lease(ip, index))
    }

    /// An even port and the next one.
    pub fn pair(self: &Arc<Self>, ip: IpAddr) -> Option<(PortLease, PortLease)> {
        let index = self.take(ip, 2, |list| {
            let starts_pair =
                |index: &u16| self.port(*index).is_multiple_of(2) && list.is_free(index + 1);
            let index = list.oldest().find(starts_pair)?;
            list.take(index);
            list.take(index + 1);
            Some(index)
        })?;
        Some((self.lease(ip, index), self.lease(ip, index + 1)))
    }

    /// Ports of each address.
    pub fn size(&self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Of each address that a port was ever asked for, in their order.
    pub fn used(&self) -> Vec<PortUse> {
        let state = lock(&self.state);
        let each = state.free.iter().map(|(ip, list)| PortUse {
            ip: *ip,
            used: list.taken,
        });
        let mut used: Vec<PortUse> = each.collect();
        used.sort_by_key(|of| of.ip);
        used
    }

    /// Ports that nobody holds on this address.
    #[cfg(test)]
    pub fn free_count(&self, ip: IpAddr) -> usize {
        let mut state = lock(&self.state);
        self.list(&mut state, ip).oldest().count()
    }

    /// This very port, for a socket that is bound to it already. `None`: it is held, or not of this pool.
    pub fn exactly(self: &Arc<Self>, addr: SocketAddr) -> Option<PortLease> {
        let index = self.index(addr)?;
        self.take(addr.ip(), 1, |list| {
            let free = list.is_free(index);
            free.then(|| list.take(index))
        })?;
        Some(self.lease(addr.ip(), index))
    }

    /// Keeps a port from being given while another process has it. `None`: nobody would be given it.
    pub fn set_aside(self: &Arc<Self>, addr: SocketAddr) -> Option<PortLease> {
        let index = self.index(addr)?;
        self.take(addr.ip(), 0, |list| {
            let free = list.is_free(index);
            free.then(|| list.take(index))
        })?;
        let mut lease = self.lease(addr.ip(), index);
        lease.counted = false;
        Some(lease)
    }

    fn index(&self, addr: SocketAddr) -> Option<u16> {
        let range = self.first..=self.last;
        range
            .contains(&addr.port())
            .then(|| addr.port() - self.first)
    }

    fn give_back(&self, lease: &PortLease) {
        let index = lease.addr.port() - self.first;
        let mut state = lock(&self.state);
        state.leases -= usize::from(lease.counted);
        let mut random = [0; 8];
        if lease.unusable {
            state.entropy.fill(&mut random);
        }
        let list = self.list(&mut state, lease.addr.ip());
        if lease.unusable {
            list.give_back_anywhere(index, u64::from_ne_bytes(random));
        } else {
            list.give_back(index);
        }
    }

    fn lease(self: &Arc<Self>, ip: IpAddr, index: u16) -> PortLease {
        PortLease {
            pool: Arc::clone(self),
            addr: SocketAddr::new(ip, self.port(index)),
            counted: true,
            unusable: false,
        }
    }

    fn port(&self, index: u16) -> u16 {
        self.first + index
    }

    /// What `choose` takes from an address's list, `count` ports, unless that would be too many.
    fn take<T>(
        &self,
        ip: IpAddr,
        count: usize,
        choose: impl FnOnce(&mut FreeList) -> Option<T>,
    ) -> Option<T> {
        let mut state = lock(&self.state);
        if state.leases + count > self.leases_max {
            return None;
        }
        let taken = choose(self.list(&mut state, ip))?;
        state.leases += count;
        Some(taken)
    }

    fn list<'a>(&self, state: &'a mut State, ip: IpAddr) -> &'a mut FreeList {
        let State { free, entropy, .. } = state;
        free.entry(ip)
            .or_insert_with(|| FreeList::shuffled(self.last - self.first, entropy.as_mut()))
    }
}

/// A lock whose holder panicked is still consistent: every critical section here is a few assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Free port indices as a doubly linked list: taken from anywhere, given back at the end, all in O(1).
struct FreeList {
    /// Of each index, and at `sentinel` of the whole list.
    next: Vec<u32>,
    previous: Vec<u32>,
    sentinel: u32,
    /// Indices that are not free.
    taken: usize,
}

/// In `next` of an index that is taken.
const TAKEN: u32 = u32::MAX;

impl FreeList {
    fn shuffled(last: u16, entropy: &mut dyn Entropy) -> Self {
        let sentinel = u32::from(last) + 1;
        let mut list = Self {
            next: vec![TAKEN; sentinel as usize + 1],
            previous: vec![TAKEN; sentinel as usize + 1],
            sentinel,
            taken: sentinel as usize,
        };
        list.next[sentinel as usize] = sentinel;
        list.previous[sentinel as usize] = sentinel;
        let mut indices: Vec<u16> = (0..=last).collect();
        shuffle(&mut indices, entropy);
        for index in indices {
            list.give_back(index);
        }
        list
    }

    /// Free indices, longest free first.
    fn oldest(&self) -> impl Iterator<Item = u16> + '_ {
        let mut at = self.sentinel;
        std::iter::from_fn(move || {
            at = self.next[at as usize];
            u16::try_from(at).ok().filter(|_| at != self.sentinel)
        })
    }

    fn is_free(&self, index: u16) -> bool {
        let index = u32::from(index);
        index < self.sentinel && self.next[index as usize] != TAKEN
    }

    fn take(&mut self, index: u16) {
        debug_assert!(self.is_free(index));
        let index = usize::from(index);
        let (previous, next) = (self.previous[index], self.next[index]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
        self.next[index] = TAKEN;
        self.taken += 1;
    }

    fn give_back(&mut self, index: u16) {
        self.give_back_before(index, self.sentinel);
    }

    /// In front of a free one that `random` names; at the end, if it names none in a few draws.
    fn give_back_anywhere(&mut self, index: u16, random: u64) {
        let draws = (0..4).map(|at| (random >> (16 * at)) as u16);
        let named = draws.map(|draw| (u32::from(draw) % self.sentinel) as u16);
        let before = named.into_iter().find(|other| self.is_free(*other));
        self.give_back_before(index, before.map_or(self.sentinel, u32::from));
    }

    fn give_back_before(&mut self, index: u16, next: u32) {
        debug_assert!(!self.is_free(index));
        let index = u32::from(index);
        let previous = self.previous[next as usize];
        self.next[previous as usize] = index;
        self.previous[index as usize] = previous;
        self.next[index as usize] = next;
        self.previous[next as usize] = index;
        self.taken -= 1;
    }
}

/// Fisher-Yates with 32 random bits a step; the bias over at most 65 536 items is below 2^-16.
fn shuffle(items: &mut [u16], entropy: &mut dyn Entropy) {
    let mut random = vec![0; items.len() * 4];
    entropy.fill(&mut random);
    for (last, bytes) in (1..items.len()).rev().zip(random.chunks_exact(4)) {
        let draw = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        items.swap(last, draw as usize % (last + 1));
    }
}

/// Ports kept for an EVEN-PORT reservation, with their bound sockets, for any worker.
///
/// Bounded by the port range, since each entry holds a lease.
pub struct Reservations<S> {
    kept: Mutex<HashMap<ReservationToken, Kept<S>>>,
}

struct Kept<S> {
    held: Held<S>,
    expires_at: Instant,
}

/// A bound socket with the lease of its port. The socket closes before the port is free again.
pub struct Held<S> {
    pub socket: S,
    pub lease: PortLease,
}

impl<S> Default for Reservations<S> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(HashMap::new()),
        }
    }
}

impl<S> Reservations<S> {
    pub fn keep(&self, token: ReservationToken, held: Held<S>, expires_at: Instant) {
        lock(&self.kept).insert(token, Kept { held, expires_at });
    }

    /// What was kept under `token`, once.
    /// Everything that is kept and has not expired, with the time that is left.
    pub fn take_all(&self, now: Instant) -> Vec<(ReservationToken, Held<S>, Duration)> {
        let all = std::mem::take(&mut *lock(&self.kept)).into_iter();
        let left = all.map(|(token, kept)| {
            let left = kept.expires_at.saturating_duration_since(now);
            (token, kept.held, left)
        });
        left.filter(|(_, _, left)| !left.is_zero()).collect()
    }

    pub fn claim(&self, token: ReservationToken, now: Instant) -> Option<Held<S>> {
        let kept = lock(&self.kept).remove(&token)?;
        (now < kept.expires_at).then_some(kept.held)
    }

    /// Gives back what has expired; returns how many are still kept.
    pub fn expire(&self, now: Instant) -> usize {
        let mut kept = lock(&self.kept);
        kept.retain(|_, entry| now < entry.expires_at);
        kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn every_port_of_the_range_is_given_once_and_then_none() {
        let pool = pool(50_000, 50_099);
        let leases: Vec<_> = std::iter::from_fn(|| pool.any(ip(1))).collect();
        let ports: HashSet<u16> = leases.iter().map(|lease| lease.addr().port()).collect();
        assert_eq!(ports, (50_000..=50_099).collect());
        assert!(pool.any(ip(1)).is_none() && pool.even(ip(1)).is_none());
        assert!(
            pool.any(ip(2)).is_some(),
            "another address has its own ports"
        );
        let used = |ip, used| PortUse { ip, used };
        assert_eq!(pool.used(), [used(ip(1), 100), used(ip(2), 0)]);
        drop(leases);
        assert_eq!(pool.free_count(ip(1)), 100);
        assert_eq!(pool.used(), [used(ip(1), 0), used(ip(2), 0)]);
    }

    #[test]
    fn the_order_is_not_that_of_the_numbers() {
        let pool = pool(50_000, 50_999);
        let leases: Vec<_> = std::iter::from_fn(|| pool.any(ip(1))).collect();
        let steps = leases
            .windows(2)
            .map(|two| two[0].addr().port().abs_diff(two[1].addr().port()));
        let neighbours = steps.filter(|step| *step == 1).count();
        assert!(neighbours < 50, "{neighbours}");
    }

    #[test]
    fn a_port_given_back_waits_behind_all_others() {
        let pool = pool(50_000, 50_009);
        let first = pool.any(ip(1)).expect("free");
        let port = first.addr().port();
        drop(first);
        let order: Vec<_> = std::iter::from_fn(|| pool.any(ip(1))).collect();
        assert_eq!(order.last().map(|lease| lease.addr().port()), Some(port));
    }

    #[test]
    fn the_last_port_of_the_range_starts_no_pair() {
        let pool = pool(50_000, 50_000);
        assert!(pool.pair(ip(1)).is_none());
        assert!(pool.even(ip(1)).is_some());
        let top = self::pool(65_534, 65_535);
        assert!(top.pair(ip(1)).is_some());
        let odd = self::pool(50_001, 50_001);
        assert!(odd.even(ip(1)).is_none() && odd.any(ip(1)).is_some());
    }

    #[test]
    fn a_reservation_is_claimed_once_and_not_after_its_time() {
        let pool = pool(50_000, 50_001);
        let kept = Reservations::default();
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(30);
        let token = ReservationToken([1; 8]);
        let reserve = || {
            let (even, next) = pool.pair(ip(1)).expect("free");
            drop(even);
            let held = Held {
                socket: (),
                lease: next,
            };
            kept.keep(token, held, later);
        };
        reserve();
        assert!(kept.claim(ReservationToken([2; 8]), start).is_none());
        assert_eq!(
            kept.claim(token, start)
                .map(|held| held.lease.addr().port()),
            Some(50_001)
        );
        assert!(kept.claim(token, start).is_none());
        reserve();
        assert!(kept.claim(token, later).is_none());
        reserve();
        assert_eq!(kept.expire(start), 1);
        assert_eq!(kept.expire(later), 0);
        assert_eq!(pool.free_count(ip(1)), 2);
    }

    #[test]
    fn no_more_ports_are_held_than_there_are_descriptors_for() {
        let pool = PortPool::new((50_000, 50_009), 3, Box::new(crate::sys::rng::SystemRng));
        let first = pool.any(ip(1)).expect("free");
        let pair = pool.pair(ip(2)).expect("free");
        assert!(pool.any(ip(3)).is_none() && pool.even(ip(1)).is_none());
        drop(first);
        assert!(pool.pair(ip(1)).is_none(), "one is too few");
        assert!(pool.even(ip(1)).is_some());
        drop(pair);
        assert!(pool.pair(ip(1)).is_some());
    }

    #[test]
    fn a_port_set_aside_is_given_to_nobody_and_takes_no_place() {
        let pool = PortPool::new((50_000, 50_003), 2, Box::new(crate::sys::rng::SystemRng));
        let addr = |port| SocketAddr::new(ip(1), port);
        let aside: Vec<_> = [50_000, 50_002]
            .map(|port| pool.set_aside(addr(port)))
            .into();
        assert!(aside.iter().all(Option::is_some));
        assert!(
            pool.set_aside(addr(50_000)).is_none(),
            "it is set aside already"
        );
        assert!(pool.set_aside(addr(49_999)).is_none() && pool.set_aside(addr(50_004)).is_none());
        assert!(pool.even(ip(1)).is_none());
        let held = [
            pool.any(ip(1)),
            pool.exactly(addr(50_001)).or_else(|| pool.any(ip(1))),
        ];
        assert!(held.iter().all(Option::is_some), "two places");
        drop(aside);
        assert_eq!(pool.free_count(ip(1)), 2);
        assert!(pool.exactly(addr(50_000)).is_none(), "no place is left");
        drop(held);
        let lease = pool.exactly(addr(50_000)).expect("free");
        assert_eq!(lease.addr(), addr(50_000));
        assert!(pool.exactly(addr(50_000)).is_none());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Any,
        Even,
        Pair,
        Drop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Any),
            Just(Step::Even),
            Just(Step::Pair),
            (0..64usize).prop_map(Step::Drop),
        ]
    }

    proptest! {
        /// Whatever is taken and dropped in whatever order: no port is held twice, none is lost.
        #[test]
        fn held_and_free_ports_are_the_range(
            first in 50_000u16..50_002,
            count in 1u16..20,
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let pool = pool(first, first + count - 1);
            let mut held: Vec<PortLease> = Vec::new();
            for step in steps {
                match step {
                    Step::Any => match pool.any(ip(1)) {
                        Some(lease) => held.push(lease),
                        None => prop_assert_eq!(held.len(), usize::from(count)),
                    },
                    Step::Even => {
                        if let Some(lease) = pool.even(ip(1)) {
                            prop_assert_eq!(lease.addr().port() % 2, 0);
                            held.push(lease);
                        }
                    }
                    Step::Pair => {
                        if let Some((even, next)) = pool.pair(ip(1)) {
                            prop_assert_eq!(even.addr().port() % 2, 0);
                            prop_assert_eq!(even.addr().port() + 1, next.addr().port());
                            held.extend([even, next]);
                        }
                    }
                    Step::Drop(at) if at < held.len() => drop(held.swap_remove(at)),
                    Step::Drop(_) => {}
                }
                let ports: HashSet<u16> = held.iter().map(|lease| lease.addr().port()).collect();
                prop_assert_eq!(ports.len(), held.len());
                prop_assert!(ports.iter().all(|port| (first..first + count).contains(port)));
                prop_assert_eq!(pool.free_count(ip(1)) + held.len(), usize::from(count));
            }
        }
    }

    fn pool(first: u16, last: u16) -> Arc<PortPool> {
        PortPool::new(
            (first, last),
            usize::MAX,
            Box::new(crate::sys::rng::SystemRng),
        )
    }

    fn ip(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }
}
