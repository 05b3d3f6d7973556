//! How many connections there are: of the whole server, and of each client address.
//!
//! An IPv6 client is its /56, the usual size of one household's network; an IPv4 client is its address. A table entry
//! lives as long as a connection of its address, so the table is never larger than the number of connections.

use super::Settings;
use super::bind::Port;
use super::metrics::{Metrics, Protocol, Reason};
use crate::sys::inherit::Purpose;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpListener;

/// A table with less than this many places is not shrunk.
const TABLE_CAPACITY_MIN: usize = 1024;

/// What all accepting threads share: settings, counts and metrics.
#[derive(Debug)]
pub struct Shared {
    /// In force for the connections that come; the addresses in it are of no use here.
    settings: ArcSwap<Settings>,
    table: Mutex<Table>,
    /// Listeners that are accepted on, by whichever thread.
    listening: Mutex<Vec<(Weak<TcpListener>, Port)>>,
    handed_over: AtomicBool,
    pub metrics: Metrics,
}

#[derive(Debug, Default)]
struct Table {
    total: u32,
    addresses: HashMap<IpAddr, Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: u32,
    pending: u32,
}

impl Shared {
    pub fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            settings: ArcSwap::from_pointee(settings.clone()),
            table: Mutex::default(),
            listening: Mutex::default(),
            handed_over: AtomicBool::new(false),
            metrics: Metrics::default(),
        })
    }

    /// Holds the connections that come to other deadlines and limits; those that are counted stay.
    pub fn set_settings(&self, settings: &Settings) {
        self.settings.store(Arc::new(settings.clone()));
    }

    /// From accept to the end of the TLS handshake.
    pub(super) fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.settings.load().handshake_timeout_s)
    }

    /// From there to the first byte.
    pub(super) fn first_byte_timeout(&self) -> Duration {
        Duration::from_secs(self.settings.load().first_byte_timeout_s)
    }

    /// Connections at once, pending ones included.
    pub fn connections(&self) -> u32 {
        self.table().total
    }

    /// Connections that have not shown what they are.
    pub fn pending_connections(&self) -> u32 {
        self.metrics.pending_connections()
    }

    /// Remembers a listener for as long as it is open.
    pub(super) fn note_listening(&self, listener: &Arc<TcpListener>, port: Port) {
        let listening = self.listening.lock();
        let mut listening = listening.unwrap_or_else(PoisonError::into_inner);
        listening.retain(|(listener, _)| listener.strong_count() > 0);
        listening.push((Arc::downgrade(listener), port));
    }

    /// Every listener that is accepted on, for another process to accept on.
    pub fn offer(&self) -> io::Result<Vec<(OwnedFd, SocketAddr, Purpose)>> {
        let listening = self.listening.lock();
        let listening = listening.unwrap_or_else(PoisonError::into_inner);
        let open = listening.iter().filter_map(|(listener, port)| {
            let listener = listener.upgrade()?;
            Some((listener, port.purpose()))
        });
        open.map(|(listener, purpose)| {
            let socket = listener.as_fd().try_clone_to_owned()?;
            Ok((socket, listener.local_addr()?, purpose))
        })
        .collect()
    }

    /// Whether some thread may still accept a connection.
    pub fn is_listening(&self) -> bool {
        let listening = self.listening.lock();
        let listening = listening.unwrap_or_else(PoisonError::into_inner);
        listening
            .iter()
            .any(|(listener, _)| listener.strong_count() > 0)
    }

    /// From here on to stop means that another process accepts: connections that have not shown what they are stay.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// HTTP connections at once, WebSockets included.
    pub fn http_connections(&self) -> u32 {
        self.metrics.http_connections()
    }

    /// Counts a connection whose client address may still be unknown (it follows in the PROXY header).
    pub(super) fn admit(self: &Arc<Self>) -> Result<ConnectionGuard, Reason> {
        let mut table = self.table();
        if reached(table.total, self.settings.load().connections_total) {
            return Err(Reason::TotalLimit);
        }
        table.total += 1;
        drop(table);
        self.metrics.opened(Protocol::Pending);
        Ok(ConnectionGuard {
            shared: Arc::clone(self),
            prefix: None,
            protocol: Protocol::Pending,
        })
    }

    /// True where a PROXY header is required of the socket's peer.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        let settings = self.settings.load();
        settings
            .proxy_protocol_from
            .iter()
            .any(|network| network.contains(&peer))
    }

    /// The counts are whole after every statement, so a panic elsewhere leaves nothing to repair.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard {
    shared: Arc<Shared>,
    prefix: Option<IpAddr>,
    protocol: Protocol,
}

impl ConnectionGuard {
    /// Whether its client is known: else a PROXY header names it.
    pub(super) fn is_attributed(&self) -> bool {
        self.prefix.is_some()
    }

    /// Counts the connection for its client, too. Called once, while it is pending.
    pub(super) fn attribute(&mut self, client: IpAddr) -> Result<(), Reason> {
        debug_assert!(self.prefix.is_none(), "a connection has one client");
        let prefix = prefix(client);
        let limits = self.shared.settings.load();
        let mut table = self.shared.table();
        let known = table.addresses.get(&prefix).copied().unwrap_or_default();
        if reached(known.all, limits.connections_per_address) {
            return Err(Reason::AddressLimit);
        }
        if reached(known.pending, limits.pending_per_address) {
            return Err(Reason::PendingLimit);
        }
        let counts = table.addresses.entry(prefix).or_default();
        counts.all += 1;
        counts.pending += 1;
        drop(table);
        self.prefix = Some(prefix);
        Ok(())
    }

    /// The connection has shown what it is.
    pub(super) fn identify(&mut self, protocol: Protocol) {
        if let Some(prefix) = self.prefix
            && let Some(counts) = self.shared.table().addresses.get_mut(&prefix)
        {
            counts.pending -= 1;
        }
        self.shared.metrics.closed(self.protocol);
        self.shared.metrics.opened(protocol);
        self.protocol = protocol;
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shared.metrics.closed(self.protocol);
        let mut table = self.shared.table();
        table.total -= 1;
        let Some(prefix) = self.prefix else { return };
        let Some(counts) = table.addresses.get_mut(&prefix) else {
            return;
        };
        counts.all -= 1;
        if self.protocol == Protocol::Pending {
            counts.pending -= 1;
        }
        if counts.all == 0 {
            table.addresses.remove(&prefix);
            let (used, capacity) = (table.addresses.len(), table.addresses.capacity());
            if capacity > TABLE_CAPACITY_MIN && used < capacity / 8 {
                table
                    .addresses
                    .shrink_to((used * 2).max(TABLE_CAPACITY_MIN));
            }
        }
    }
}

fn reached(count: u32, limit: u32) -> bool {
    limit != 0 && count >= limit
}

/// The network that counts as one client: /32 or /56.
fn prefix(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 72))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_address_end_at_the_limit_and_begin_again_after_a_drop() {
        let shared = shared(|settings| settings.connections_per_address = 2);
        let (first, _second) = (open(&shared, "127.0.0.1"), open(&shared, "127.0.0.1"));
        assert_eq!(open(&shared, "127.0.0.1").err(), Some(Reason::AddressLimit));
        assert!(open(&shared, "127.0.0.2").is_ok());
        drop(first);
        assert!(open(&shared, "127.0.0.1").is_ok());
    }

    #[test]
    fn ipv6_clients_are_counted_by_56_bits() {
        let shared = shared(|settings| settings.connections_per_address = 1);
        let _first = open(&shared, "2001:db8:0:ff00::1");
        let same = open(&shared, "2001:db8:0:ffff:1::1");
        assert_eq!(same.err(), Some(Reason::AddressLimit));
        assert!(open(&shared, "2001:db8:0:fe00::1").is_ok());
    }

    #[test]
    fn pending_limit_counts_only_connections_that_have_not_shown_what_they_are() {
        let shared = shared(|settings| settings.pending_per_address = 1);
        let mut first = open(&shared, "127.0.0.1").expect("the first");
        assert_eq!(open(&shared, "127.0.0.1").err(), Some(Reason::PendingLimit));
        first.identify(Protocol::Turn);
        let second = open(&shared, "127.0.0.1").expect("none is pending");
        drop(first);
        assert_eq!(open(&shared, "127.0.0.1").err(), Some(Reason::PendingLimit));
        drop(second);
        assert!(open(&shared, "127.0.0.1").is_ok());
    }

    #[test]
    fn total_limit_holds_before_the_client_is_known() {
        let shared = shared(|settings| settings.connections_total = 1);
        let first = shared.admit().expect("the first");
        assert_eq!(shared.admit().err(), Some(Reason::TotalLimit));
        drop(first);
        assert!(shared.admit().is_ok());
    }

    #[test]
    fn zero_is_no_limit() {
        let shared = shared(|settings| {
            settings.connections_per_address = 0;
            settings.pending_per_address = 0;
            settings.connections_total = 0;
        });
        let guards: Vec<_> = (0..5000).map(|_| open(&shared, "127.0.0.1")).collect();
        assert!(guards.iter().all(Result::is_ok));
        assert_eq!(shared.connections(), 5000);
    }

    #[test]
    fn table_forgets_addresses_and_gives_their_memory_back() {
        let shared = shared(|_| {});
        let client = |n: u32| std::net::Ipv4Addr::from_bits(n).to_string();
        let guards: Vec<_> = (1..20_000).map(|n| open(&shared, &client(n))).collect();
        assert!(shared.table().addresses.capacity() >= guards.len());
        drop(guards);
        assert!(shared.table().addresses.is_empty());
        assert!(shared.table().addresses.capacity() <= 2 * TABLE_CAPACITY_MIN);
        assert_eq!(shared.connections(), 0);
    }

    fn shared(change: impl FnOnce(&mut Settings)) -> Arc<Shared> {
        let mut settings = Settings::default();
        change(&mut settings);
        Shared::new(&settings)
    }

    fn open(shared: &Arc<Shared>, client: &str) -> Result<ConnectionGuard, Reason> {
        let mut guard = shared.admit()?;
        guard.attribute(client.parse().expect("an address"))?;
        Ok(guard)
    }
}
