//! Which upstream hosts are meant: host syntax, then lists of exact names and `*.suffix` rules with their ports.
//!
//! A host is letters, digits and hyphens in dotted labels (RFC 1123 §2.1), read from the raw target: nothing is
//! decoded, so `%`, `@`, `[`, an empty label, a trailing dot or an IP address in any notation is not a host.
//! Invariant: every name held here is lower case. Addresses are judged elsewhere, after DNS.

use super::HostRule;
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The port of a target that names none.
pub const HTTPS_PORT: u16 = 443;

/// RFC 1035 §2.3.4, without the root label and its dot.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host name and a port, as a target, a Location or a configuration names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Lower case.
    pub host: String,
    /// 443 where none was written.
    pub port: u16,
}

impl Authority {
    /// Reads `host` or `host:port`; the host has at least two labels.
    pub fn parse(text: &str) -> Option<Self> {
        let authority = Self::parse_any(text)?;
        authority.host.contains('.').then_some(authority)
    }

    /// Like [`Authority::parse`], and a single label such as `gateway` is a host too: for what the operator writes.
    pub fn parse_any(text: &str) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            None => (text, HTTPS_PORT),
            Some((host, port)) => (host, parse_port(port)?),
        };
        is_host_name(host).then(|| Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// `host`, or `host:port` where the port is not 443.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            HTTPS_PORT => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Whether `name` is a host name and no IP address in any of the notations that a resolver understands.
///
/// A name whose last label is a number (`127.1`, `0x7f.1`, `10.0.0.0x1`) is an IPv4 address to a URL parser
/// (WHATWG URL §3.5 "ends in a number"), so it is refused.
pub fn is_host_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !ends_in_number(name)
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    bytes.len() <= LABEL_BYTES_MAX
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes.first().is_some_and(|b| *b != b'-')
        && bytes.last().is_some_and(|b| *b != b'-')
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Reads a decimal port, 1 to 65535, without sign and without leading zeros.
pub fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse::<u16>().ok()?;
    plain.then_some(port)
}

/// Splits `host:port`, `host`, `[v6]:port` or `[v6]` before the port; the port is not checked.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a host name, `*.` and a host name, or either with a port or a range of ports from 1 to 65535"
)]
pub struct HostRuleError;

/// Reads `host`, `*.suffix`, and either with `:port` or `:low-high`; the configuration may also join ports by commas.
impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        let (rest, subdomains) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (name, ports) = match rest.split_once(':') {
            None => (rest, HTTPS_PORT..=HTTPS_PORT),
            Some((name, ports)) => (name, parse_ports(ports).ok_or(HostRuleError)?),
        };
        let Authority { host, .. } = Authority::parse_any(name).ok_or(HostRuleError)?;
        Ok(Self {
            name: host,
            subdomains,
            ports,
        })
    }
}

/// Reads `port` or `low-high`.
pub fn parse_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let ports = parse_port(low)?..=parse_port(high)?;
    (!ports.is_empty()).then_some(ports)
}

/// One line for each name, in order, as the configuration writes it: `*.example.org:443,4700-5000`.
pub fn lines(rules: &[HostRule]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut of_name: HashMap<String, Ports> = HashMap::new();
    for rule in rules {
        let star = if rule.subdomains { "*." } else { "" };
        let name = format!("{star}{}", rule.name);
        let ports = of_name.entry(name.clone()).or_insert_with(|| {
            names.push(name);
            Ports::default()
        });
        ports.0.push(rule.ports.clone());
    }
    of_name.values_mut().for_each(Ports::merge);
    let line = |name: String| match of_name.get(&name) {
        None => name,
        Some(ports) if ports.0 == [HTTPS_PORT..=HTTPS_PORT] => name,
        Some(ports) => format!("{name}:{ports}"),
    };
    names.into_iter().map(line).collect()
}

/// Hosts with their ports, compiled: one lookup for the name and one for each of its parents.
#[derive(Clone, Debug, Default)]
pub struct HostList {
    exact: HashMap<String, Ports>,
    below: HashMap<String, Ports>,
}

impl HostList {
    pub fn new(rules: &[HostRule]) -> Self {
        let mut list = Self::default();
        for rule in rules {
            let names = match rule.subdomains {
                true => &mut list.below,
                false => &mut list.exact,
            };
            let ports = names.entry(rule.name.to_ascii_lowercase()).or_default();
            ports.0.push(rule.ports.clone());
        }
        list.exact.values_mut().for_each(Ports::merge);
        list.below.values_mut().for_each(Ports::merge);
        list
    }

    pub fn holds(&self, authority: &Authority) -> bool {
        let Authority { host, port } = authority;
        self.names_exactly(authority)
            || parents(host).any(|parent| self.below.get(parent).is_some_and(|p| p.contains(*port)))
    }

    /// Whether a rule without `*.` names this very host and port.
    pub fn names_exactly(&self, authority: &Authority) -> bool {
        let ports = self.exact.get(&authority.host);
        ports.is_some_and(|ports| ports.contains(authority.port))
    }
}

/// `a.b.c` → `b.c`, `c`.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    let parent = |name| str::split_once(name, '.').map(|(_, parent)| parent);
    std::iter::successors(parent(host), move |name| parent(name))
}

/// Sorted ranges with gaps between them.
#[derive(Clone, Debug, Default)]
struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    fn merge(&mut self) {
        self.0.sort_unstable_by_key(|range| *range.start());
        self.0.dedup_by(|next, kept| {
            let adjacent = *next.start() <= kept.end().saturating_add(1);
            if adjacent {
                *kept = *kept.start()..=*kept.end().max(next.end());
            }
            adjacent
        });
    }

    fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

/// `443,4700-5000`.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (low, high) if low == high => write!(f, "{comma}{low}")?,
                (low, high) => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(rules: &[&str]) -> HostList {
        let rules: Vec<HostRule> = rules.iter().map(|r| r.parse().expect("a rule")).collect();
        HostList::new(&rules)
    }

    fn allows(list: &HostList, text: &str) -> bool {
        Authority::parse(text).is_some_and(|authority| list.holds(&authority))
    }

    #[test]
    fn a_suffix_rule_covers_names_below_it_on_a_label_edge_alone() {
        let list = list(&["*.skype.com"]);
        for good in [
            "edge.skype.com",
            "a.b.c.skype.com",
            "EDGE.Skype.COM",
            "edge.skype.com:443",
        ] {
            assert!(allows(&list, good), "{good}");
        }
        for bad in [
            "skype.com",
            "evilskype.com",
            "evil-skype.com",
            "skype.com.evil.com",
            "edge.skype.com.evil.com",
            "edge.skype.org",
            "edge.skype.com.",
            ".skype.com",
            "edge..skype.com",
            "edge.skype.com:8443",
            "edge.skype.com:",
            "com",
        ] {
            assert!(!allows(&list, bad), "{bad}");
        }
    }

    #[test]
    fn an_exact_rule_covers_its_name_and_port_alone() {
        let list = list(&["host.example.org:8443", "api.example.com"]);
        for good in [
            "host.example.org:8443",
            "api.example.com",
            "api.example.com:443",
        ] {
            assert!(allows(&list, good), "{good}");
        }
        for bad in [
            "host.example.org",
            "api.example.com:8443",
            "x.api.example.com",
            "example.com",
        ] {
            assert!(!allows(&list, bad), "{bad}");
        }
    }

    #[test]
    fn one_name_may_have_several_ports_and_both_kinds_of_rule() {
        let list = list(&[
            "*.edge.agora.io:4701-5000",
            "*.edge.agora.io:4700",
            "*.edge.agora.io",
            "edge.agora.io:65535",
        ]);
        assert_eq!(list.below["edge.agora.io"].0, [443..=443, 4700..=5000]);
        for good in [
            "x.edge.agora.io:4700",
            "x.edge.agora.io:5000",
            "x.edge.agora.io",
            "edge.agora.io:65535",
        ] {
            assert!(allows(&list, good), "{good}");
        }
        for bad in [
            "x.edge.agora.io:4699",
            "x.edge.agora.io:5001",
            "edge.agora.io:4700",
            "edge.agora.io",
        ] {
            assert!(!allows(&list, bad), "{bad}");
        }
    }

    #[test]
    fn no_notation_of_an_ip_address_is_a_host() {
        for text in [
            "127.0.0.1",
            "127.0.0.1:8443",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "10.0.0.0x1",
            "1.2.3.0X",
            "a.b.4",
            "[::1]",
            "[::1]:443",
            "::1",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
            assert_eq!(Authority::parse_any(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_letters_digits_and_hyphens_in_dotted_labels_is_no_host() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = format!("{}com", "a.".repeat(126));
        for text in [
            "",
            ".",
            "com",
            "localhost",
            ".com",
            "a..com",
            "a.com.",
            "a_b.com",
            "-a.com",
            "a-.com",
            "a.-com",
            "user@a.com",
            "a.com@b.com",
            "a%2ecom",
            "a.com%2F",
            "a.com\\b",
            "a com.com",
            "ä.com",
            "a.com\u{ff0e}b",
            "*.a.com",
            "a.com:443:443",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
        let label = format!("{}.com", "a".repeat(63));
        let name = format!("{}com", "a.".repeat(125));
        assert_eq!(name.len(), 253);
        for text in [
            "a.com",
            "xn--bcher-kva.example",
            "198-51-100-7.edge.agora.io",
            "1.com",
            &label,
            &name,
        ] {
            assert!(Authority::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_port_is_1_to_65535_in_plain_decimal() {
        for (text, port) in [("1", 1), ("443", 443), ("65535", 65535)] {
            assert_eq!(parse_port(text), Some(port));
        }
        for text in [
            "", "0", "00", "0443", "65536", "99999", "+443", "-1", "44 3", "0x1bb", "443a",
        ] {
            assert_eq!(parse_port(text), None, "{text}");
        }
    }

    #[test]
    fn a_rule_is_a_name_or_a_suffix_with_an_optional_port() {
        let rule: HostRule = "*.Example.NET:8443".parse().expect("a rule");
        assert_eq!(
            rule,
            HostRule {
                name: "example.net".into(),
                subdomains: true,
                ports: 8443..=8443
            }
        );
        let range: HostRule = "a.com:4700-5000".parse().expect("a rule");
        assert_eq!(range.ports, 4700..=5000);
        for bad in [
            "",
            "*",
            "*.",
            "a.*.com",
            "*a.com",
            "1.2.3.4",
            "https://a.com",
            "a.com/",
            "a.com:0",
            "a.com:0-9",
            "a.com:9-1",
            "a.com:1-65536",
            "a.com:-",
            "a.com:1-2-3",
        ] {
            assert_eq!(bad.parse::<HostRule>(), Err(HostRuleError), "{bad}");
        }
    }

    #[test]
    fn ports_of_a_name_are_folded_into_one_line() {
        let rules = [
            "a.com:3",
            "*.a.com:1",
            "a.com:1-2",
            "a.com",
            "b.com",
            "*.a.com:65535",
        ];
        let rules: Vec<HostRule> = rules.iter().map(|r| r.parse().expect("a rule")).collect();
        assert_eq!(lines(&rules), ["a.com:1-3,443", "*.a.com:1,65535", "b.com"]);
    }

    proptest! {
        #[test]
        fn whatever_is_read_as_an_authority_prints_as_one_that_reads_the_same(text in "[a-zA-Z0-9.:@%\\[\\]-]{0,40}") {
            if let Some(authority) = Authority::parse(&text) {
                prop_assert_eq!(Authority::parse(&authority.to_string()), Some(authority));
            }
        }

        #[test]
        fn only_names_that_end_in_the_suffix_with_a_dot_pass_a_suffix_rule(text in "[a-z.-]{0,12}(skype\\.com)[a-z.]{0,6}") {
            if allows(&list(&["*.skype.com"]), &text) {
                prop_assert!(text.ends_with(".skype.com"));
            }
        }
    }
}
