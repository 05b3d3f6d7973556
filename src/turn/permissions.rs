//! Permissions of one allocation (RFC 8656 §9): an IP address without a port, for five minutes.
//!
//! Renewed by CreatePermission and ChannelBind, never by data. Sorted by address; at most
//! [`PERMISSIONS_MAX`]. Each keeps what the policy says of its address.

use crate::turn::policy::Standing;
use std::net::IpAddr;

/// Permissions of one allocation; coturn's figure.
pub const PERMISSIONS_MAX: usize = 1024;
/// RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds".
pub const PERMISSION_NS: u64 = 300 * 1_000_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Permission {
    pub ip: IpAddr,
    pub standing: Standing,
    expires_ns: u64,
}

#[derive(Debug, Default)]
pub struct Permissions {
    by_ip: Vec<Permission>,
}

impl Permissions {
    pub fn find(&self, ip: IpAddr, now_ns: u64) -> Option<Permission> {
        let at = self.position(ip).ok()?;
        let permission = self.by_ip.get(at).copied();
        permission.filter(|permission| permission.expires_ns > now_ns)
    }

    /// Whether `ips` can all be installed. Sweeps first, where that decides.
    pub fn have_room_for(&mut self, ips: &[IpAddr], now_ns: u64) -> bool {
        if self.by_ip.len() + ips.len() <= PERMISSIONS_MAX {
            return true;
        }
        self.sweep(now_ns);
        let mut added: Vec<_> = ips
            .iter()
            .filter(|ip| self.position(**ip).is_err())
            .collect();
        added.sort_unstable();
        added.dedup();
        self.by_ip.len() + added.len() <= PERMISSIONS_MAX
    }

    /// Makes or renews a permission; there is room for it. Returns when it ends.
    pub fn install(&mut self, ip: IpAddr, standing: Standing, now_ns: u64) -> u64 {
        let permission = Permission {
            ip,
            standing,
            expires_ns: now_ns + PERMISSION_NS,
        };
        match self.position(ip) {
            Ok(at) => self.by_ip[at] = permission,
            Err(at) => self.by_ip.insert(at, permission),
        }
        permission.expires_ns
    }

    pub fn rejudge(&mut self, judge: impl Fn(IpAddr) -> Standing) {
        for permission in &mut self.by_ip {
            permission.standing = judge(permission.ip);
        }
    }

    /// Forgets what has ended; tells when the next one will.
    pub fn sweep(&mut self, now_ns: u64) -> Option<u64> {
        self.by_ip
            .retain(|permission| permission.expires_ns > now_ns);
        if self.by_ip.capacity() > 16 && self.by_ip.len() < self.by_ip.capacity() / 4 {
            self.by_ip.shrink_to_fit();
        }
        self.by_ip
            .iter()
            .map(|permission| permission.expires_ns)
            .min()
    }

    /// Permissions in force.
    pub fn count(&self, now_ns: u64) -> usize {
        let live = |permission: &&Permission| permission.expires_ns > now_ns;
        self.by_ip.iter().filter(live).count()
    }

    /// Those in force, by address, and when each ends.
    pub fn live(&self, now_ns: u64) -> impl Iterator<Item = (IpAddr, u64)> {
        let live = move |permission: &&Permission| permission.expires_ns > now_ns;
        let pair = |permission: &Permission| (permission.ip, permission.expires_ns);
        self.by_ip.iter().filter(live).map(pair)
    }

    fn position(&self, ip: IpAddr) -> Result<usize, usize> {
        self.by_ip
            .binary_search_by(|permission| permission.ip.cmp(&ip))
    }
}
