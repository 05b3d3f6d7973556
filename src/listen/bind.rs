//! Binding: every address once per thread with SO_REUSEPORT, so that the kernel spreads connections over threads.
//!
//! SO_REUSEPORT would also let a second relayd of the same user share the port without a word, and half of the
//! connections would go there. So each address is first bound without it: that finds any other listener.

use super::Settings;
use crate::sys::inherit::{Given, Inherited, Purpose};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;
/// A dead peer is found after 60 s + 4 · 15 s of silence.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({transport}){}", held_by(holder))]
pub struct BindError {
    pub address: SocketAddr,
    /// `tcp` or `tls`: the list that names the address.
    pub transport: &'static str,
    /// Who has the port, when that is known; for the caller to fill in when [`BindError::is_in_use`].
    pub holder: Option<String>,
    pub source: io::Error,
}

impl BindError {
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

fn held_by(holder: &Option<String>) -> String {
    holder
        .as_ref()
        .map(|name| format!(": {name} has it"))
        .unwrap_or_default()
}

/// What a connection to a port may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Tcp,
    Tls,
}

impl Port {
    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Tcp => Purpose::Tcp,
            Self::Tls => Purpose::Tls,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// A listener that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The port may be 0.
    pub address: SocketAddr,
    pub port: Port,
}

impl Asked {
    /// The listeners of the settings, plain ones first.
    pub fn all(settings: &Settings) -> Vec<Self> {
        let list = |addresses: &[SocketAddr], port| -> Vec<Self> {
            let asked = addresses.iter().map(|address| Self {
                address: *address,
                port,
            });
            asked.collect()
        };
        [
            list(&settings.tcp, Port::Tcp),
            list(&settings.tls, Port::Tls),
        ]
        .concat()
    }
}

/// A listener that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub asked: Asked,
    /// With its real port.
    pub address: SocketAddr,
}

/// All listeners of all threads, bound and listening.
#[derive(Debug)]
pub struct Listeners {
    threads: Vec<ThreadListeners>,
    bound: Vec<Bound>,
    skipped: Vec<SocketAddr>,
}

/// The listeners of one thread.
#[derive(Debug, Default)]
pub struct ThreadListeners {
    listeners: Vec<(TcpListener, Bound)>,
}

impl Listeners {
    /// Binds every address of `settings` once for each of `threads` threads (at least one).
    ///
    /// Port 0 becomes one free port that all threads share. `[::]` is left out on a machine without IPv6 (see
    /// [`Listeners::skipped`]): it is in the default configuration, and such machines are common.
    pub fn bind(settings: &Settings, threads: usize) -> Result<Self, BindError> {
        let nothing = &mut Inherited::default();
        Self::bind_beside(&Asked::all(settings), threads, &[], nothing)
    }

    /// Binds listeners beside those that this process has open: `own`, which are not taken for somebody else's.
    ///
    /// Sockets that are there already are used instead. Where these are fewer than the threads, they are shared: nothing
    /// that waits in their queues is lost with a socket that ends before the others.
    pub fn bind_beside(
        wanted: &[Asked],
        threads: usize,
        own: &[SocketAddr],
        inherited: &mut Inherited,
    ) -> Result<Self, BindError> {
        let mut listeners = Self {
            threads: Vec::new(),
            bound: Vec::new(),
            skipped: Vec::new(),
        };
        listeners
            .threads
            .resize_with(threads.max(1), ThreadListeners::default);
        if let Some(asked) = repeated(wanted) {
            let source = io::Error::new(io::ErrorKind::AddrInUse, "the address is listed twice");
            return Err(bind_error(asked, source));
        }
        let mut given = |asked: &Asked| inherited.take(asked.port.purpose(), asked.address);
        let wanted: Vec<_> = wanted.iter().map(|asked| (*asked, given(asked))).collect();
        for (asked, _) in wanted.iter().filter(|(_, given)| given.is_empty()) {
            // A probe would find our own listener, which shares its port with us anyway.
            if own.iter().any(|own| overlap(*own, asked.address)) {
                continue;
            }
            match probe(asked.address) {
                Err(error) if !lacks_ipv6(asked.address, &error) => {
                    return Err(bind_error(*asked, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        for (asked, given) in wanted {
            if given.is_empty() {
                listeners.bind_one(asked)?;
            } else {
                let taken = listeners.take_over(asked, given);
                taken.map_err(|error| bind_error(asked, error))?;
            }
        }
        Ok(listeners)
    }

    /// Shares sockets out: each thread has at least one, each socket at least one thread.
    fn take_over(&mut self, asked: Asked, given: Vec<Given>) -> io::Result<()> {
        let Some(address) = given.first().map(|given| given.address) else {
            return Ok(());
        };
        let bound = Bound { asked, address };
        let (sockets, threads) = (given.len(), self.threads.len());
        for turn in 0..sockets.max(threads) {
            let socket = given[turn % sockets].socket.try_clone()?;
            set_up(&socket)?;
            socket.listen(BACKLOG)?;
            let thread = &mut self.threads[turn % threads];
            thread.listeners.push((socket.into(), bound));
        }
        self.bound.push(bound);
        Ok(())
    }

    fn bind_one(&mut self, asked: Asked) -> Result<(), BindError> {
        let mut bound = Bound {
            asked,
            address: asked.address,
        };
        for thread in &mut self.threads {
            let listener = match listen(bound.address) {
                Ok(listener) => listener,
                Err(error) if lacks_ipv6(asked.address, &error) => {
                    self.skipped.push(asked.address);
                    return Ok(());
                }
                Err(error) => return Err(bind_error(asked, error)),
            };
            bound.address = listener
                .local_addr()
                .map_err(|error| bind_error(asked, error))?;
            thread.listeners.push((listener, bound));
        }
        self.bound.push(bound);
        Ok(())
    }

    /// What is open.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Plain listeners with their real ports.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.bound, Port::Tcp)
    }

    /// TLS listeners with their real ports.
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.bound, Port::Tls)
    }

    /// IPv6 wildcard addresses that were left out since this machine has no IPv6.
    pub fn skipped(&self) -> &[SocketAddr] {
        &self.skipped
    }

    /// One set of listeners for each thread.
    pub fn into_threads(self) -> Vec<ThreadListeners> {
        self.threads
    }
}

impl ThreadListeners {
    /// Registers the listeners with the runtime of the current thread.
    pub(super) fn into_tokio(self) -> Vec<(tokio::net::TcpListener, Bound)> {
        self.listeners
            .into_iter()
            .filter_map(|(listener, bound)| {
                tokio::net::TcpListener::from_std(listener)
                    .inspect_err(|error| tracing::error!(%error, "cannot watch a listener"))
                    .ok()
                    .map(|listener| (listener, bound))
            })
            .collect()
    }
}

/// The real addresses of one kind of listener.
pub fn addresses(bound: &[Bound], port: Port) -> Vec<SocketAddr> {
    let of_port = bound.iter().filter(|bound| bound.asked.port == port);
    of_port.map(|bound| bound.address).collect()
}

fn bind_error(asked: Asked, source: io::Error) -> BindError {
    BindError {
        address: asked.address,
        transport: asked.port.label(),
        holder: None,
        source,
    }
}

/// True where a connection could come to either: the same address, or a wildcard and a part of it.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && same_ip
}

/// The first address that stands in the lists a second time.
fn repeated(wanted: &[Asked]) -> Option<Asked> {
    let mut seen = HashSet::new();
    let mut wanted = wanted.iter().copied();
    wanted.find(|asked| asked.address.port() != 0 && !seen.insert(asked.address))
}

/// Fails when anybody else listens on the address, SO_REUSEPORT or not.
fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    socket(address)?.bind(&address.into())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    set_up(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Linux gives these options to every accepted connection, which saves their system calls there.
fn set_up(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )
}

/// A socket that may take a port whose old connections linger in TIME_WAIT, but not one that is listened on.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// True for `[::]` on a machine whose kernel has no IPv6 at all.
fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && matches!(
            error.raw_os_error(),
            Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
        )
}
