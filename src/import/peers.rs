//! coturn's peer ranges as networks: ranges become the fewest prefixes, and coturn's order of rules becomes relayd's.
//!
//! In coturn an allowed range beats a denied one, and an address in neither is open; in relayd a deny beats an allow,
//! and special-use addresses in neither are closed. So what is allowed is taken out of what is denied. Pure.

use crate::ip_rules::canonical;
use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses from first to last, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    v4: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// `None` if it runs backwards or from one family to the other.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let number = |ip| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        let range = Self {
            v4: first.is_ipv4(),
            first: number(first),
            last: number(last),
        };
        (first.is_ipv4() == last.is_ipv4() && range.first <= range.last).then_some(range)
    }

    pub fn of_net(net: IpNet) -> Self {
        let whole = Self::new(net.network(), net.broadcast());
        whole.expect("a network's first address is not after its last")
    }

    /// The parts of this range that are not in `other`.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let apart = self.v4 != other.v4 || other.last < self.first || self.last < other.first;
        let below = (!apart && self.first < other.first).then(|| Self {
            last: other.first - 1,
            ..self
        });
        let above = (!apart && other.last < self.last).then(|| Self {
            first: other.last + 1,
            ..self
        });
        let whole = apart.then_some(self);
        [whole, below, above].into_iter().flatten()
    }

    fn nets(self) -> Vec<IpNet> {
        if self.v4 {
            let ip = |number: u128| Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX));
            let nets = Ipv4Subnets::new(ip(self.first), ip(self.last), 0);
            nets.map(|net: Ipv4Net| IpNet::V4(net)).collect()
        } else {
            let (first, last) = (Ipv6Addr::from(self.first), Ipv6Addr::from(self.last));
            let nets = Ipv6Subnets::new(first, last, 0);
            nets.map(|net: Ipv6Net| IpNet::V6(net)).collect()
        }
    }
}

/// Every range of `from` without every range of `out`.
pub fn subtract(from: &[Range], out: &[Range]) -> Vec<Range> {
    let mut left = merged(from);
    for cut in merged(out) {
        left = left
            .into_iter()
            .flat_map(|range| range.without(cut))
            .collect();
    }
    left
}

/// The fewest networks that hold exactly these ranges, without those that relayd has no need to be told.
pub fn networks(ranges: &[Range]) -> Vec<IpNet> {
    let nets = merged(ranges).into_iter().flat_map(Range::nets);
    nets.filter(|net| !is_wrapped(*net)).collect()
}

/// IPv4 addresses wrapped in IPv6: relayd judges them as the IPv4 addresses inside, whatever rule names the wrapping.
fn is_wrapped(net: IpNet) -> bool {
    let (first, last) = (net.network(), net.broadcast());
    canonical(first) != first && canonical(last) != last
}

/// Sorted, without overlaps and without neighbours.
fn merged(ranges: &[Range]) -> Vec<Range> {
    let mut sorted = ranges.to_vec();
    sorted.sort();
    let mut merged: Vec<Range> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(before)
                if before.v4 == range.v4 && range.first <= before.last.saturating_add(1) =>
            {
                before.last = before.last.max(range.last);
            }
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Range {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ip = |text: &str| text.parse().expect("an address");
        Range::new(ip(first), ip(last)).expect("a range")
    }

    fn shown(ranges: &[Range]) -> Vec<String> {
        networks(ranges).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        for (ranges, nets) in [
            (&["10.0.0.0-10.255.255.255"][..], &["10.0.0.0/8"][..]),
            (&["10.0.0.1"], &["10.0.0.1/32"]),
            (&["0.0.0.0-255.255.255.255"], &["0.0.0.0/0"]),
            (
                &["10.0.0.1-10.0.0.4"],
                &["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"],
            ),
            (
                &["10.0.0.0-10.0.0.127", "10.0.0.128-10.0.0.255"],
                &["10.0.0.0/24"],
            ),
            (
                &["10.0.0.0-10.0.0.9", "10.0.0.4-10.0.0.15"],
                &["10.0.0.0/28"],
            ),
            (
                &["fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
                &["fc00::/7"],
            ),
            (&["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], &["::/0"]),
            (
                &["255.255.255.255", "::"],
                &["::/128", "255.255.255.255/32"],
            ),
        ] {
            let ranges: Vec<Range> = ranges.iter().map(|text| range(text)).collect();
            assert_eq!(shown(&ranges), nets, "{ranges:?}");
        }
    }

    #[test]
    fn wrapped_ipv4_needs_no_rule_of_its_own() {
        for text in [
            "::ffff:0.0.0.0-::ffff:255.255.255.255",
            "2002::-2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "64:ff9b::-64:ff9b::ffff:ffff",
            "::2-::ffff:ffff",
        ] {
            assert_eq!(shown(&[range(text)]), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_taken_out_of_what_is_denied() {
        let denied = [range("10.0.0.0-10.0.0.255"), range("::1")];
        let allowed = [range("10.0.0.5"), range("10.0.0.128-10.0.1.255")];
        assert_eq!(
            shown(&subtract(&denied, &allowed)),
            [
                "::1/128",
                "10.0.0.0/30",
                "10.0.0.4/32",
                "10.0.0.6/31",
                "10.0.0.8/29",
                "10.0.0.16/28",
                "10.0.0.32/27",
                "10.0.0.64/26"
            ]
        );
        assert_eq!(subtract(&allowed, &allowed), []);
    }

    proptest! {
        #[test]
        fn an_address_is_in_the_networks_if_it_is_denied_and_not_allowed(
            denied in prop::collection::vec((0_u32..64, 0_u32..64), 0..6),
            allowed in prop::collection::vec((0_u32..64, 0_u32..64), 0..6),
        ) {
            let at = |offset: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + offset));
            let ranges = |pairs: &[(u32, u32)]| -> Vec<Range> {
                pairs.iter().filter_map(|(a, b)| Range::new(at(*a), at(*b))).collect()
            };
            let nets = networks(&subtract(&ranges(&denied), &ranges(&allowed)));
            for offset in 0..64 {
                let within = |pairs: &[(u32, u32)]| pairs.iter().any(|(a, b)| (*a..=*b).contains(&offset));
                let holds = nets.iter().filter(|net| net.contains(&at(offset))).count();
                prop_assert_eq!(holds, usize::from(within(&denied) && !within(&allowed)));
            }
        }

        #[test]
        fn the_whole_of_ipv6_minus_one_address_is_everything_else(number in any::<u128>()) {
            let one = IpAddr::V6(Ipv6Addr::from(number));
            let all = Range::of_net("::/0".parse().expect("a network"));
            let left = subtract(&[all], &[Range::new(one, one).expect("one address")]);
            prop_assert!(!networks(&left).iter().any(|net| net.contains(&one)));
            prop_assert!(networks(&left).len() <= 128);
        }
    }
}
