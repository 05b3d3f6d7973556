//! What the configuration asks of the machine: name, addresses, limits. Read once, then passed as a value.

use crate::sys::{clock, interfaces, limits};
use std::net::IpAddr;

/// Facts about the machine that decide defaults and warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The host name, if it has one.
    pub hostname: Option<String>,
    /// Addresses of the interfaces that are up, loopback included.
    pub addresses: Vec<IpAddr>,
    /// Processors that this process may use; at least 1 once read.
    pub cpus: usize,
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: Option<u64>,
    /// The open-files limit in force: `relayd check` raises it first, as the server does.
    pub open_files_max: Option<u64>,
    /// Wall clock, in seconds since 1970.
    pub unix_s: u64,
}

impl Machine {
    /// Asks the system. What it does not tell is `None` or empty.
    pub fn read() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).ok();
        let hostname = file("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && name != "(none)");
        Self {
            hostname,
            addresses: interfaces::interface_addresses().unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            rmem_max: limits::rmem_max().map(|bytes| bytes as u64),
            open_files_max: limits::open_files().ok().map(|files| files.soft),
            unix_s: clock::now().unix_s(),
        }
    }

    /// Own addresses to relay from when the client does not tell the family by its path: global ones first,
    /// then private ones; no link-local ones; loopback only on a machine that has nothing else.
    pub fn relay_fallback(&self) -> Vec<IpAddr> {
        let rules = crate::ip_rules::IpRules::default();
        let usable = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified() && !is_link_local(*ip);
        let mut addresses: Vec<IpAddr> = self.addresses.iter().copied().filter(usable).collect();
        addresses.sort_by_key(|ip| !rules.judge(*ip).permits());
        if addresses.is_empty() {
            addresses = self.addresses.clone();
        }
        addresses
    }
}

pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_prefers_global_addresses_and_leaves_out_link_local_ones() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("a literal address");
        let machine = Machine {
            addresses: [
                "127.0.0.1",
                "::1",
                "fe80::1",
                "169.254.0.1",
                "10.0.0.4",
                "9.9.9.9",
                "fd00::1",
            ]
            .map(ip)
            .to_vec(),
            ..Machine::default()
        };
        assert_eq!(
            machine.relay_fallback(),
            ["9.9.9.9", "10.0.0.4", "fd00::1"].map(ip)
        );
        let alone = Machine {
            addresses: vec![ip("127.0.0.1")],
            ..Machine::default()
        };
        assert_eq!(alone.relay_fallback(), [ip("127.0.0.1")]);
    }

    #[test]
    fn this_machine_has_a_processor_and_an_address() {
        let machine = Machine::read();
        assert!(machine.cpus >= 1);
        assert!(machine.addresses.iter().any(IpAddr::is_loopback));
    }
}
