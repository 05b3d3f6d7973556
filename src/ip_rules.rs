//! Which addresses may be reached: the operator's rules over the special-use deny set.
//!
//! Shared by TURN (peers) and by the proxy (what DNS returned). An address is canonicalised first, so
//! that an IPv4 address wrapped in an IPv6 one is judged as the IPv4 address that packets would reach.
//! Sources: the IANA special-purpose address registries, RFC 6890. No ports here.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Special-use networks that are denied unless the operator allows them.
pub const SPECIAL_USE: [&str; 25] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// The address that packets to `ip` really reach.
///
/// IPv4-mapped (`::ffff:0:0/96`), IPv4-compatible (`::/96`, but `::` and `::1`), 6to4 (`2002::/16`) and
/// NAT64 (`64:ff9b::/96`) become the IPv4 address inside; anything else stays.
pub fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let low = |hi: u16, lo: u16| {
        let ([a, b], [c, d]) = (hi.to_be_bytes(), lo.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, hi, lo] => low(hi, lo),
        [0x64, 0xff9b, 0, 0, 0, 0, hi, lo] => low(hi, lo),
        [0x2002, hi, lo, ..] => low(hi, lo),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => IpAddr::V6(v6),
        [0, 0, 0, 0, 0, 0, hi, lo] => low(hi, lo),
        _ => IpAddr::V6(v6),
    }
}

/// The rule that decided about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpRule {
    /// A network that the operator denies; it beats every allow.
    OperatorDeny(IpNet),
    /// A network that the operator allows; it opens the built-in denials.
    OperatorAllow(IpNet),
    /// A network of [`SPECIAL_USE`].
    SpecialUse(IpNet),
    /// No rule names the address: it is public.
    Public,
}

impl IpRule {
    pub fn permits(self) -> bool {
        match self {
            Self::OperatorAllow(_) | Self::Public => true,
            Self::OperatorDeny(_) | Self::SpecialUse(_) => false,
        }
    }
}

impl fmt::Display for IpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OperatorDeny(net) => write!(f, "denied by the configured deny {net}"),
            Self::OperatorAllow(net) => write!(f, "allowed by the configured allow {net}"),
            Self::SpecialUse(net) => write!(f, "denied by the built-in special-use list ({net})"),
            Self::Public => f.write_str("allowed: a public address"),
        }
    }
}

/// The operator's networks over the built-in list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRules {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    special_use: Vec<IpNet>,
}

impl Default for IpRules {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl IpRules {
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        let special_use = SPECIAL_USE
            .iter()
            .map(|net| net.parse().expect("SPECIAL_USE holds networks"))
            .collect();
        Self {
            allow,
            deny,
            special_use,
        }
    }

    /// Judges an address in any form; the first of deny, allow, special use that holds it decides.
    pub fn judge(&self, ip: IpAddr) -> IpRule {
        let ip = canonical(ip);
        let holds = |nets: &[IpNet]| nets.iter().copied().find(|net| net.contains(&ip));
        if let Some(net) = holds(&self.deny) {
            return IpRule::OperatorDeny(net);
        }
        if let Some(net) = holds(&self.allow) {
            return IpRule::OperatorAllow(net);
        }
        if let Some(net) = holds(&self.special_use) {
            return IpRule::SpecialUse(net);
        }
        IpRule::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a literal address")
    }

    #[test]
    fn wrapped_ipv4_is_judged_as_the_ipv4_address_inside() {
        let rules = IpRules::default();
        for wrapped in [
            "::ffff:127.0.0.1",
            "::127.0.0.2",
            "2002:7f00:1::1",
            "64:ff9b::127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:a00:1::",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(!rules.judge(ip(wrapped)).permits(), "{wrapped}");
        }
        assert!(rules.judge(ip("64:ff9b::8.8.8.8")).permits());
    }

    #[test]
    fn the_first_and_last_address_of_every_special_network_is_denied() {
        let rules = IpRules::default();
        for net in SPECIAL_USE {
            let net: IpNet = net.parse().expect("a network");
            for ip in [net.network(), net.broadcast()] {
                assert!(!rules.judge(ip).permits(), "{ip} of {net}");
            }
        }
    }

    #[test]
    fn a_deny_beats_an_allow_and_an_allow_opens_the_builtin_list() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        let rules = IpRules::new(vec![net("10.0.0.0/8")], vec![net("10.1.0.0/16")]);
        assert_eq!(
            rules.judge(ip("10.2.0.1")),
            IpRule::OperatorAllow(net("10.0.0.0/8"))
        );
        assert_eq!(
            rules.judge(ip("10.1.0.1")),
            IpRule::OperatorDeny(net("10.1.0.0/16"))
        );
        assert_eq!(
            rules.judge(ip("::ffff:10.1.0.1")),
            IpRule::OperatorDeny(net("10.1.0.0/16"))
        );
        assert_eq!(
            rules.judge(ip("192.168.0.1")),
            IpRule::SpecialUse(net("192.168.0.0/16"))
        );
        assert_eq!(rules.judge(ip("9.9.9.9")), IpRule::Public);
    }

    #[test]
    fn the_unspecified_and_loopback_ipv6_addresses_stay_ipv6() {
        for text in ["::", "::1"] {
            assert_eq!(canonical(ip(text)), ip(text));
            assert!(!IpRules::default().judge(ip(text)).permits());
        }
    }
}
