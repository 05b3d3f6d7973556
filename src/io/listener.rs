//! UDP listeners: the same addresses for every worker, joined by SO_REUSEPORT.

use crate::io::BindError;
use crate::io::datagrams::BURST_START;
use crate::io::listeners::{GroupId, Leaving};
use crate::io::outbox::Chain;
use crate::sys::holder::{Protocol, holder};
use crate::sys::socket::{Purpose, UdpSocket};
use std::io;
use std::net::SocketAddr;

pub struct Listener {
    pub socket: UdpSocket,
    /// What waits to be sent from this socket in this round.
    pub chain: Chain,
    /// Datagrams to ask for in one call; follows what the last calls brought.
    pub burst: u8,
    /// The kernel's count of what its receive buffer has dropped, as last seen.
    pub overflow: u32,
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

/// Binds `wanted` for `workers` workers; the outer vector has one entry for each.
///
/// All workers share the real port of an address that asks for port 0.
pub fn bind(
    wanted: &[Wanted],
    workers: usize,
    buffer_bytes: usize,
) -> Result<Vec<Vec<Listener>>, BindError> {
    let mut all: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut smallest = usize::MAX;
    for wanted in wanted {
        let mut real = wanted.address;
        for (worker, listeners) in all.iter_mut().enumerate() {
            let purpose = if worker == 0 && !wanted.beside_own {
                Purpose::Listener
            } else {
                Purpose::SharedListener
            };
            let socket = UdpSocket::bind(real, purpose).map_err(|error| failed(real, error))?;
            let set = set_up(&socket, purpose, buffer_bytes);
            smallest = smallest.min(set.map_err(|error| failed(real, error))?);
            real = socket.addr();
            listeners.push(Listener {
                is_wildcard: real.ip().is_unspecified(),
                socket,
                chain: Chain::EMPTY,
                burst: BURST_START,
                overflow: 0,
                group: wanted.group,
                leaving: None,
            });
        }
        if wanted.beside_own {
            // While the group was incomplete, the kernel gave packets of live calls to the wrong workers. Those are lost; they
            // must not be taken for a client's that has no allocation.
            let sockets = all.iter().filter_map(|listeners| listeners.last());
            sockets.for_each(|listener| listener.socket.discard_received());
        }
    }
    if smallest < buffer_bytes {
        tracing::warn!(
            wanted_bytes = buffer_bytes,
            got_bytes = smallest,
            "UDP buffers are smaller than configured: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(all)
}

/// Returns the buffer size that was reached, in bytes.
fn set_up(socket: &UdpSocket, purpose: Purpose, buffer_bytes: usize) -> io::Result<usize> {
    if purpose == Purpose::Listener {
        socket.share_port()?;
    }
    socket.set_buffers(buffer_bytes)
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
