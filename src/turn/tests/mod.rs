//! Scenarios of the core: one promise each, on a clock that the test moves. Requests are written and answers
//! read with `stun-types` and `turn-types`, which know nothing of our integrity code.

mod allocate;
mod auth;
mod channels;
mod garbage;
mod lifecycle;
mod limits;
mod peers;
mod quality;
mod relaying;
mod support;

use crate::addr::{ClientAddr, FiveTuple, PeerAddr, RelayedAddr, Transport};
use crate::ip_rules::IpRules;
use crate::secret::Secret;
use crate::turn::*;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stun_types::attribute::*;
use stun_types::prelude::*;
use support::*;
use turn_types::attribute::*;
use turn_types::message::{
    ALLOCATE, CHANNEL_BIND, CONNECT, CONNECTION_BIND, CREATE_PERMISSION, REFRESH,
};
