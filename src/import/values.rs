//! Values of a turnserver.conf: how coturn reads numbers, switches and addresses, and what it would silently misread.

use super::peers::Range;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Why a value cannot be taken over. The value itself is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Follows the key: "is not a port".
    pub what: String,
    /// What is accepted, or what coturn does with it.
    pub label: String,
    pub help: Option<String>,
}

impl Wrong {
    pub fn new(what: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            label: label.into(),
            help: None,
        }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// The value without a comment or semicolon behind it; true if there was one. coturn knows neither.
pub fn without_tail(value: &str) -> (&str, bool) {
    let comment = value
        .char_indices()
        .find(|(at, c)| {
            let before = value.get(..*at).unwrap_or_default();
            *c == '#' && (before.is_empty() || before.ends_with([' ', '\t']))
        })
        .map_or(value.len(), |(at, _)| at);
    let cut = value.get(..comment).unwrap_or(value).trim_end();
    let cut = cut.strip_suffix(';').unwrap_or(cut).trim_end();
    (cut, cut.len() != value.len())
}

/// coturn's `get_bool_value`: the first character decides, and no value is yes.
pub fn flag(value: &str) -> Result<bool, Wrong> {
    match value.bytes().next() {
        None => Ok(true),
        Some(b'0' | b'n' | b'N' | b'f' | b'F') => Ok(false),
        Some(b'1'..=b'9' | b'y' | b'Y' | b't' | b'T') => Ok(true),
        Some(_) => match value {
            "on" | "ON" | "On" => Ok(true),
            "off" | "OFF" | "Off" => Ok(false),
            _ => Err(Wrong::new(
                "is neither on nor off",
                "accepted: on, off, yes, no, true, false, 1, 0, or no value for on",
            )),
        },
    }
}

pub fn number(value: &str) -> Result<u64, Wrong> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = value.parse::<u64>().ok().filter(|_| digits);
    parsed.ok_or_else(|| {
        Wrong::new(
            "is not a whole number",
            "coturn takes the digits it begins with, and 0 where there are none",
        )
        .help("write the number alone")
    })
}

pub fn number_u32(value: &str) -> Result<u32, Wrong> {
    u32::try_from(number(value)?)
        .map_err(|_| Wrong::new("is too large", format!("accepted: 0 to {}", u32::MAX)))
}

pub fn port(value: &str) -> Result<u16, Wrong> {
    let port = u16::try_from(number(value)?).ok().filter(|port| *port > 0);
    port.ok_or_else(|| Wrong::new("is not a port", "accepted: 1 to 65535"))
}

/// An address of coturn's lists; no value is every IPv4 address.
pub fn ip(value: &str) -> Result<IpAddr, Wrong> {
    if value.is_empty() {
        return Ok(Ipv4Addr::UNSPECIFIED.into());
    }
    let bare = value.trim_matches(['[', ']']);
    if bare != value && bare.parse::<IpAddr>().is_ok() {
        return Err(
            Wrong::new("has brackets", "an address without a port is written bare")
                .help("leave the brackets out"),
        );
    }
    value.parse().map_err(|_| {
        Wrong::new(
            "is not an IP address",
            "coturn looks names up once at start; relayd takes addresses",
        )
        .help("write the address in its place")
    })
}

/// `address:port`, `[address]:port`; a port that is left out is 3478.
pub fn endpoint(value: &str) -> Result<SocketAddr, Wrong> {
    let bare = value.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 3478));
    }
    let addr = value.parse::<SocketAddr>().ok();
    addr.filter(|addr| addr.port() > 0).ok_or_else(|| {
        Wrong::new(
            "is not an address with a port",
            "accepted: 198.51.100.7:3478 or [2001:db8::7]:3478",
        )
    })
}

/// One `external-ip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum External {
    Plain(IpAddr),
    /// Public, private.
    Pair(IpAddr, IpAddr),
}

pub fn external(value: &str) -> Result<External, Wrong> {
    let one = |text: &str| -> Result<IpAddr, Wrong> {
        let ip = ip(text.trim())?;
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Wrong::new(
                "is not the address of a machine",
                "clients would be told it as theirs",
            )
            .help("write the public address, or delete the line"));
        }
        Ok(ip)
    };
    let Some((public, private)) = value.split_once('/') else {
        return one(value).map(External::Plain);
    };
    let (public, private) = (one(public)?, one(private)?);
    if public.is_ipv4() != private.is_ipv4() {
        return Err(Wrong::new(
            "pairs an IPv4 with an IPv6 address",
            "both addresses of a pair are of one family",
        ));
    }
    Ok(External::Pair(public, private))
}

/// A prefix instead of a range; coturn does not know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    Range(Range),
    Prefix(Range),
}

/// An address, a range of them, or a prefix.
pub fn peers(value: &str) -> Result<Peers, Wrong> {
    if value.is_empty() {
        return Err(Wrong::new("is empty", "coturn takes it for 0.0.0.0").help("delete the line"));
    }
    if value.contains('/') {
        let net: Result<ipnet::IpNet, _> = value.parse();
        let net = net.map_err(|_| Wrong::new("is not a range of addresses", RANGE))?;
        let range = Range::new(net.network(), net.broadcast());
        return Ok(Peers::Prefix(range.ok_or_else(|| {
            Wrong::new("is not a range of addresses", RANGE)
        })?));
    }
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() || last.is_empty() {
        return Err(Wrong::new("has one end only", RANGE));
    }
    let (first, last) = (ip(first)?, ip(last)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err(Wrong::new(
            "runs from one address family to the other",
            RANGE,
        ));
    }
    let range = Range::new(first, last).ok_or_else(|| {
        Wrong::new("runs backwards", "coturn finds no address in it")
            .help(format!("write {last}-{first}"))
    })?;
    Ok(Peers::Range(range))
}

const RANGE: &str = "accepted: 10.0.0.1, or 10.0.0.0-10.255.255.255";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_by_its_first_character_and_on_without_a_value() {
        for on in ["", "1", "yes", "Y", "true", "t", "on", "ON", "9", "10"] {
            assert_eq!(flag(on), Ok(true), "{on}");
        }
        for off in ["0", "no", "N", "false", "F", "off", "Off", "never"] {
            assert_eq!(flag(off), Ok(false), "{off}");
        }
        for wrong in ["oN", "enabled", "-1", "#"] {
            assert!(flag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_stands_behind_a_value_is_cut_and_reported() {
        for (text, value, cut) in [
            ("3478", "3478", false),
            ("3478 # TURN", "3478", true),
            ("3478;", "3478", true),
            ("# bare", "", true),
            ("a#b", "a#b", false),
            ("ä\t#", "ä", true),
            ("", "", false),
        ] {
            assert_eq!(without_tail(text), (value, cut), "{text:?}");
        }
    }

    #[test]
    fn numbers_and_ports_that_coturn_would_misread_are_refused() {
        assert_eq!(number("64000"), Ok(64_000));
        assert_eq!(port("65535"), Ok(65_535));
        assert_eq!(number_u32("4294967295"), Ok(u32::MAX));
        for wrong in ["", "-1", "+1", "64k", "0x10", "1 2", "99999999999999999999"] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["0", "65536", "https"] {
            assert!(port(wrong).is_err(), "{wrong:?}");
        }
        assert!(number_u32("4294967296").is_err());
    }

    #[test]
    fn addresses_pairs_and_endpoints_are_read() {
        assert!(ip("").expect("all").is_unspecified());
        for wrong in ["turn.example.com", "[::1]", "1.2.3.4:5", "1.2.3"] {
            assert!(ip(wrong).is_err(), "{wrong}");
        }
        let addr = |text: &str| text.parse::<IpAddr>().expect("an address");
        let pair = External::Pair(addr("198.51.100.7"), addr("10.0.0.4"));
        assert_eq!(external("198.51.100.7/10.0.0.4"), Ok(pair));
        for wrong in ["", "0.0.0.0", "1.2.3.4/::1", "1.2.3.4/", "/", "a/b/c"] {
            assert!(external(wrong).is_err(), "{wrong}");
        }
        for (text, full) in [
            ("198.51.100.7:33478", "198.51.100.7:33478"),
            ("198.51.100.7", "198.51.100.7:3478"),
            ("[2001:db8::7]:5", "[2001:db8::7]:5"),
            ("[2001:db8::7]", "[2001:db8::7]:3478"),
        ] {
            assert_eq!(endpoint(text).expect(text).to_string(), full);
        }
        for wrong in ["", "x:1", "1.2.3.4:0", ":3478"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_run_forward_in_one_family() {
        assert!(matches!(peers("10.0.0.1"), Ok(Peers::Range(_))));
        assert!(matches!(peers("10.0.0.0 - 10.0.0.9"), Ok(Peers::Range(_))));
        assert!(matches!(peers("10.1.2.3/8"), Ok(Peers::Prefix(_))));
        let backwards = peers("10.0.0.9-10.0.0.0").expect_err("backwards");
        assert_eq!(backwards.help.as_deref(), Some("write 10.0.0.0-10.0.0.9"));
        for wrong in ["", "-", "10.0.0.0-::1", "10.0.0.0/33", "10.*", "a-b"] {
            assert!(peers(wrong).is_err(), "{wrong}");
        }
    }
}
