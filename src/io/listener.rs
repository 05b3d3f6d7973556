//! UDP listeners: the same addresses for every worker, joined by SO_REUSEPORT, or taken over from who bound them.

use crate::io::BindError;
use crate::io::burst::Burst;
use crate::io::listeners::{GroupId, Leaving};
use crate::io::outbox::Chain;
use crate::io::runs::Runs;
use crate::sys::holder::{Protocol, holder};
use crate::sys::inherit::{self, Given, Inherited, Origin};
use crate::sys::socket::{Purpose, UdpSocket};
use std::io;
use std::net::SocketAddr;

pub struct Listener {
    pub socket: UdpSocket,
    /// What waits to be sent from this socket in this round.
    pub chain: Chain,
    pub burst: Burst,
    pub runs: Runs,
    /// The kernel's count of what its receive buffer has dropped, as last seen.
    pub overflow: u32,
    /// False while it is read by the process on the other side of an upgrade.
    pub is_read: bool,
    /// Which socket of the former process it is, after an upgrade.
    pub former: Option<Former>,
    /// Answers must name the address they leave from.
    pub is_wildcard: bool,
    /// The same for the sockets of all workers.
    pub group: GroupId,
    /// It is to close, and takes no new allocations.
    pub leaving: Option<Leaving>,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub address: SocketAddr,
    pub group: GroupId,
    /// An own listener overlaps with it (a wildcard and a part of it), so that the port is ours already.
    pub beside_own: bool,
}

/// A listener's place in the process that it was taken over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    pub index: usize,
    pub worker: usize,
}

impl Former {
    fn of(origin: Origin) -> Option<Self> {
        match origin {
            Origin::ServiceManager => None,
            Origin::Former { index, worker, .. } => Some(Self { index, worker }),
        }
    }
}

/// Binds `wanted` for `workers` workers; the outer vector has one entry for each. The addresses are as they were bound.
///
/// All workers share the real port of an address that asks for port 0. Sockets that are there already are used instead;
/// where others may not be bound beside them, some workers have no listener of that address.
pub fn bind(
    wanted: &[Wanted],
    workers: usize,
    buffer_bytes: usize,
    inherited: &mut Inherited,
) -> Result<(Vec<Vec<Listener>>, Vec<SocketAddr>), BindError> {
    let mut all: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::with_capacity(wanted.len());
    let mut smallest = usize::MAX;
    for wanted in wanted {
        let given = inherited.take(inherit::Purpose::Udp, wanted.address);
        let is_new = given.is_empty();
        let sockets = if is_new {
            bind_shared(wanted, workers, 0)?
        } else {
            take_over(wanted, given, workers)?
        };
        bound.extend(sockets.first().map(|(socket, _)| socket.addr()));
        for (index, (socket, former)) in sockets.into_iter().enumerate() {
            let real = socket.addr();
            let set = socket.set_buffers(buffer_bytes);
            smallest = smallest.min(set.map_err(|error| failed(real, error))?);
            if wanted.beside_own {
                // While the group was incomplete, the kernel gave packets of live calls to the wrong workers. Those are
                // lost; they must not be taken for a client's that has no allocation.
                socket.discard_received();
            }
            all[worker_of(index, former, workers)].push(Listener {
                is_wildcard: real.ip().is_unspecified(),
                overflow: socket.overflow(),
                runs: if is_new {
                    Runs::START
                } else {
                    Runs::of(&socket)
                },
                socket,
                is_read: former.is_none(),
                former,
                chain: Chain::EMPTY,
                burst: Burst::START,
                group: wanted.group,
                leaving: None,
            });
        }
    }
    if smallest < buffer_bytes {
        tracing::warn!(
            wanted_bytes = buffer_bytes,
            got_bytes = smallest,
            "UDP buffers are smaller than configured: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok((all, bound))
}

type Sockets = Vec<(UdpSocket, Option<Former>)>;

/// The former process's workers are shared out as a whole: each has a lane of its own.
fn worker_of(index: usize, former: Option<Former>, workers: usize) -> usize {
    former.map_or(index, |former| former.worker) % workers
}

/// One socket for each worker after the first `from`.
fn bind_shared(wanted: &Wanted, workers: usize, from: usize) -> Result<Sockets, BindError> {
    let mut real = wanted.address;
    let mut sockets = Sockets::new();
    for worker in from..workers {
        let purpose = if worker == 0 && !wanted.beside_own {
            Purpose::Listener
        } else {
            Purpose::SharedListener
        };
        let socket = UdpSocket::bind(real, purpose).map_err(|error| failed(real, error))?;
        if purpose == Purpose::Listener {
            socket.share_port().map_err(|error| failed(real, error))?;
        }
        real = socket.addr();
        sockets.push((socket, None));
    }
    Ok(sockets)
}

/// Sockets that are bound already, and beside those of a service manager as many as the workers want and it permits.
///
/// Nothing is bound beside a former process's: a group that changes spreads its packets anew, also those of live calls.
fn take_over(wanted: &Wanted, given: Vec<Given>, workers: usize) -> Result<Sockets, BindError> {
    let mut sockets = Sockets::new();
    for Given {
        socket,
        address,
        origin,
        ..
    } in given
    {
        let socket = UdpSocket::adopt(socket, address).map_err(|error| failed(address, error))?;
        sockets.push((socket, Former::of(origin)));
    }
    let Some((first, None)) = sockets.first() else {
        return Ok(sockets);
    };
    let (address, given) = (first.addr(), sockets.len());
    let shared = first.is_shared().map_err(|error| failed(address, error))?;
    let more = match shared {
        true => {
            let beside = Wanted { address, ..*wanted };
            bind_shared(&beside, workers, given)
        }
        false => Ok(Sockets::new()),
    };
    match more {
        Ok(more) => sockets.extend(more),
        // A port below 1024 may be the service manager's to bind alone.
        Err(error) => tracing::warn!(%error, "no more sockets beside those of the service manager"),
    }
    if sockets.len() < workers {
        tracing::info!(
            udp = %address,
            sockets = sockets.len(),
            workers,
            "fewer workers than there are read this listener: one for each socket that the service manager gave, or all with ReusePort=yes"
        );
    }
    Ok(sockets)
}

fn failed(addr: SocketAddr, source: io::Error) -> BindError {
    if source.kind() != io::ErrorKind::AddrInUse {
        return BindError::Udp { addr, source };
    }
    match holder(Protocol::Udp, addr) {
        Some(holder) => BindError::UdpInUse { addr, holder },
        None => BindError::Udp { addr, source },
    }
}
