//! Settings of the TURN core; they arrive valid, from `config`.

use crate::addr::Family;
use crate::ip_rules::IpRules;
use crate::secret::Secret;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// A long-term user's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKey {
    Password(Secret),
    /// MD5(user ":" realm ":" password) (RFC 8489 §9.2.2); serves MESSAGE-INTEGRITY with MD5 keys only.
    Md5([u8; 16]),
}

/// Which address a relay socket is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayAddresses {
    /// `turn.relay_ip`: the first of the wanted family. Empty: the address that the client reached.
    pub fixed: Vec<IpAddr>,
    /// This machine's own addresses, for a family in which the client did not reach the server, or reached it by
    /// an address that is not this machine's (PROXY protocol).
    pub fallback: Vec<IpAddr>,
}

impl RelayAddresses {
    /// The address for a relay of `family`, asked for by a client that reached `reached`.
    pub fn choose(&self, reached: IpAddr, family: Family) -> Option<IpAddr> {
        let of_family = |ips: &[IpAddr]| ips.iter().copied().find(|ip| Family::of(*ip) == family);
        if let Some(ip) = of_family(&self.fixed) {
            return Some(ip);
        }
        if !self.fixed.is_empty() {
            return None;
        }
        if Family::of(reached) == family {
            return Some(reached);
        }
        of_family(&self.fallback)
    }

    /// For an address that cannot be bound: behind a balancer, the one that the client reached is the balancer's.
    pub fn instead_of(&self, unusable: IpAddr) -> Option<IpAddr> {
        let family = Family::of(unusable);
        let mut own = self.fallback.iter().copied();
        own.find(|ip| self.fixed.is_empty() && Family::of(*ip) == family && *ip != unusable)
    }
}

/// `server.external_ip`: how this machine's addresses look from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalIps {
    /// (public, private): the private address is shown as the public one.
    pub pairs: Vec<(IpAddr, IpAddr)>,
    /// For every other own address of the same family.
    pub plain: Vec<IpAddr>,
}

impl ExternalIps {
    /// An own address as clients are told it.
    pub fn external(&self, own: IpAddr) -> IpAddr {
        if let Some((public, _)) = self.pairs.iter().find(|(_, private)| *private == own) {
            return *public;
        }
        let same = |ip: &&IpAddr| Family::of(**ip) == Family::of(own);
        self.plain.iter().find(same).copied().unwrap_or(own)
    }
}

/// `[turn.limits]`; 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live allocations of one user; a port that it has reserved (EVEN-PORT) counts as one.
    pub allocations_per_user: u32,
    /// Live allocations of the server; `app` lowers it to what the open-files limit allows.
    pub allocations_total: u32,
    /// Relayed payload bytes per second of one allocation, each direction on its own.
    pub bytes_per_s_per_allocation: u64,
    /// Relayed payload bytes per second of one user, each direction on its own.
    pub bytes_per_s_per_user: u64,
    /// Relayed payload bytes per second of the server, each direction on its own.
    pub bytes_per_s_total: u64,
    /// Answers to unauthenticated requests per second and source prefix (/32, /56).
    pub unauthenticated_per_s_per_address: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations_per_user: 0,
            allocations_total: 0,
            bytes_per_s_per_allocation: 0,
            bytes_per_s_per_user: 0,
            bytes_per_s_total: 0,
            unauthenticated_per_s_per_address: 100,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub realm: String,
    /// SOFTWARE in answers; `None` (the default): left out.
    pub software: Option<String>,
    pub users: HashMap<String, UserKey>,
    /// Secrets of time-limited credentials, any of which may have made a password.
    pub auth_secrets: Vec<Secret>,
    pub default_lifetime_s: u32,
    pub max_lifetime_s: u32,
    pub nonce_lifetime_s: u32,
    pub relay_addresses: RelayAddresses,
    pub external_ips: ExternalIps,
    pub peers: IpRules,
    /// relayd's own listeners, as bound (wildcards included): never a peer by address and port.
    pub listeners: Vec<SocketAddr>,
    pub limits: Limits,
    /// Whether calls are measured (`quality`).
    pub call_quality: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            realm: "relayd".to_owned(),
            software: None,
            users: HashMap::new(),
            auth_secrets: Vec::new(),
            default_lifetime_s: 600,
            max_lifetime_s: 3600,
            nonce_lifetime_s: 600,
            relay_addresses: RelayAddresses::default(),
            external_ips: ExternalIps::default(),
            peers: IpRules::default(),
            listeners: Vec::new(),
            limits: Limits::default(),
            call_quality: true,
        }
    }
}
