//! `RelayPorts`: how the core obtains relay sockets while it answers (DESIGN decision 3).

use crate::addr::RelayedAddr;
use std::net::IpAddr;
use std::time::Instant;

/// The driver's handle of one relay socket; small and dense, so that the core can index by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

/// RESERVATION-TOKEN (RFC 8656 §18.10): unpredictable, made by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservationToken(pub [u8; 8]);

/// Which port of the range is wanted (RFC 8656 §7.2, EVEN-PORT and RESERVATION-TOKEN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortWish {
    Any,
    Even,
    /// An even port, and the next one kept under `token` until `expires_at`, for any worker.
    EvenAndNext {
        token: ReservationToken,
        expires_at: Instant,
    },
    /// The port that was kept under this token.
    Reserved(ReservationToken),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindRequest {
    pub ip: IpAddr,
    pub port: PortWish,
    /// DONT-FRAGMENT in the Allocate request: the driver must be able to set DF, else it refuses.
    pub dont_fragment: bool,
}

/// A relay socket that is bound and will receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundRelay {
    pub relay: RelayId,
    pub addr: RelayedAddr,
}

/// Each becomes 508, except where said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("all relayed ports are in use")]
    PortsExhausted,
    #[error("no reservation has this token")]
    UnknownToken,
    #[error("the open-files limit is reached")]
    FilesExhausted,
    /// The relay address is not on this machine, or the family is off.
    #[error("the relay address cannot be bound")]
    AddressUnusable,
    /// The DF bit cannot be set on this system: 420 naming DONT-FRAGMENT (RFC 8656 §7.2).
    #[error("the DF bit cannot be set")]
    DontFragmentUnsupported,
}

/// The driver's side of allocating: bound before success is promised. Called by `Server::handle_client`.
/// A socket is given back by `Output::CloseRelay` alone.
pub trait RelayPorts {
    fn bind(&mut self, request: BindRequest) -> Result<BoundRelay, BindError>;
}
