//! Messages of a client, as bytes.

use relayd::stun::integrity::{Algorithm, compute};
use std::net::SocketAddrV4;

pub const ALLOCATE: u16 = 0x0003;
pub const REFRESH: u16 = 0x0004;
pub const CREATE_PERMISSION: u16 = 0x0008;
pub const CHANNEL_BIND: u16 = 0x0009;
pub const SEND: u16 = 0x0016;

pub const USERNAME: u16 = 0x0006;
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
pub const CHANNEL_NUMBER: u16 = 0x000C;
pub const LIFETIME: u16 = 0x000D;
pub const XOR_PEER_ADDRESS: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const REALM: u16 = 0x0014;
pub const NONCE: u16 = 0x0015;
pub const REQUESTED_TRANSPORT: u16 = 0x0019;

const COOKIE: u32 = 0x2112_A442;

pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new(kind: u16, id: u64) -> Self {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend([0x55; 4]);
        bytes.extend(id.to_be_bytes());
        Self(bytes)
    }

    pub fn add(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let length = self.0.len() as u16 - 20;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
        self
    }

    pub fn add_peer(self, peer: SocketAddrV4) -> Self {
        let port = peer.port() ^ (COOKIE >> 16) as u16;
        let ip = u32::from(*peer.ip()) ^ COOKIE;
        let value = [&[0, 1][..], &port.to_be_bytes(), &ip.to_be_bytes()].concat();
        self.add(XOR_PEER_ADDRESS, &value)
    }

    /// With MESSAGE-INTEGRITY at the end.
    pub fn protected(self, key: &[u8]) -> Vec<u8> {
        let tag = compute(&self.0, self.0.len(), Algorithm::Sha1, key).expect("short enough");
        self.add(MESSAGE_INTEGRITY, tag.as_ref()).0
    }

    pub fn plain(self) -> Vec<u8> {
        self.0
    }
}
