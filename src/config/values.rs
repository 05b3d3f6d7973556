//! Text to values: durations, sizes, addresses, port ranges, networks. Pure; each error says how to write it.

use super::section::{Item, Wrong};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

const DURATION: &str = "a duration such as \"500ms\", \"60s\", \"10m\", \"1h\", or whole seconds";
const SIZE: &str = "a size such as \"512B\", \"32KiB\", \"4MiB\", \"1GiB\", or a number of bytes";
const ADDRESS: &str = "an address with its port, such as \"0.0.0.0:3478\" or \"[::]:443\"";
const PORT_RANGE: &str = "two ports, such as \"49152-65535\"";
const NETWORK: &str = "a network such as \"10.0.0.0/8\", or one address";

/// A duration within `range`.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&Item<'_>) -> Result<Duration, Wrong> {
    move |item| {
        let duration = match item.maybe_integer() {
            Some(seconds) => u64::try_from(seconds)
                .map(Duration::from_secs)
                .map_err(|_| negative())?,
            None => parse_duration(item.text(DURATION)?)?,
        };
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (low, high) = (show_duration(*range.start()), show_duration(*range.end()));
        Err(Wrong::new(
            "is out of range",
            format!("accepted: \"{low}\" to \"{high}\""),
        ))
    }
}

/// The same in whole seconds.
pub(super) fn seconds(range: RangeInclusive<u64>) -> impl Fn(&Item<'_>) -> Result<u64, Wrong> {
    let (low, high) = (*range.start(), *range.end());
    move |item| {
        let range = Duration::from_secs(low)..=Duration::from_secs(high);
        let duration = duration(range)(item)?;
        if duration.subsec_nanos() != 0 {
            return Err(Wrong::new(
                "is too fine",
                "accepted: whole seconds, such as \"10s\"",
            ));
        }
        Ok(duration.as_secs())
    }
}

/// The same where it is kept in 32 bits.
pub(super) fn seconds_u32(range: RangeInclusive<u32>) -> impl Fn(&Item<'_>) -> Result<u32, Wrong> {
    let seconds = seconds(u64::from(*range.start())..=u64::from(*range.end()));
    move |item| seconds(item).map(|s| u32::try_from(s).unwrap_or(u32::MAX))
}

fn negative() -> Wrong {
    Wrong::new("is negative", "accepted: 0 and more")
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let (number, unit) = split_unit(text);
    let bad = || Wrong::new("is not a duration", format!("accepted: {DURATION}"));
    let amount: u64 = number.parse().map_err(|_| bad())?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(bad().help(format!("write \"{amount}s\" for seconds"))),
        _ => return Err(bad()),
    };
    let millis = amount.checked_mul(millis).ok_or_else(bad)?;
    Ok(Duration::from_millis(millis))
}

/// The shortest way to write a duration: `90s`, `2m`, `1h`, `1500ms`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (duration.subsec_millis(), seconds) {
        (0, 0) => "0s".to_owned(),
        (0, s) if s % 86_400 == 0 => format!("{}d", s / 86_400),
        (0, s) if s % 3600 == 0 => format!("{}h", s / 3600),
        (0, s) if s % 60 == 0 => format!("{}m", s / 60),
        (0, s) => format!("{s}s"),
        (_, _) => format!("{}ms", duration.as_millis()),
    }
}

/// A number of bytes within `range`; with `or_zero`, 0 is accepted too and has its own meaning.
pub(super) fn size(
    range: RangeInclusive<u64>,
    zero: Zero,
) -> impl Fn(&Item<'_>) -> Result<u64, Wrong> {
    move |item| {
        let bytes = match item.maybe_integer() {
            Some(bytes) => u64::try_from(bytes).map_err(|_| negative())?,
            None => parse_size(item.text(SIZE)?)?,
        };
        if range.contains(&bytes) || (bytes == 0 && zero == Zero::Accepted) {
            return Ok(bytes);
        }
        let (low, high) = (show_size(*range.start()), show_size(*range.end()));
        Err(Wrong::new(
            "is out of range",
            format!("accepted: \"{low}\" to \"{high}\"{}", zero.suffix()),
        ))
    }
}

/// The same as an index-sized number.
pub(super) fn size_usize(
    range: RangeInclusive<u64>,
    zero: Zero,
) -> impl Fn(&Item<'_>) -> Result<usize, Wrong> {
    let size = size(range, zero);
    move |item| size(item).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Whether 0 is accepted beside a range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Accepted,
    Refused,
}

impl Zero {
    fn suffix(self) -> &'static str {
        match self {
            Self::Accepted => ", or 0",
            Self::Refused => "",
        }
    }
}

pub(super) fn parse_size(text: &str) -> Result<u64, Wrong> {
    let (number, unit) = split_unit(text);
    let bad = || Wrong::new("is not a size", format!("accepted: {SIZE}"));
    let amount: u64 = number.parse().map_err(|_| bad())?;
    let factor: u64 = match unit {
        "B" | "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "k" | "K" => return Err(bad().help(format!("write \"{amount}KiB\""))),
        "m" | "M" => return Err(bad().help(format!("write \"{amount}MiB\""))),
        "g" | "G" => return Err(bad().help(format!("write \"{amount}GiB\""))),
        _ => return Err(bad()),
    };
    amount.checked_mul(factor).ok_or_else(bad)
}

/// `32KiB`, `4MiB`, `1000B`.
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        b if b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b if b % (1 << 10) == 0 => format!("{}KiB", b >> 10),
        b => format!("{b}B"),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

/// A whole number within `range`.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&Item<'_>) -> Result<u32, Wrong> {
    move |item| {
        let accepted = format!("a whole number, {} to {}", range.start(), range.end());
        let Some(number) = item.maybe_integer() else {
            let wrong = item.wrong_type(&accepted);
            return Err(match item.maybe_text().map(str::parse::<u32>) {
                Some(Ok(number)) => wrong.help(format!("write {number} without quotes")),
                Some(Err(_)) | None => wrong,
            });
        };
        u32::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| Wrong::new("is out of range", format!("accepted: {accepted}")))
    }
}

/// 0 to 1.
pub(super) fn ratio(item: &Item<'_>) -> Result<f64, Wrong> {
    const ACCEPTED: &str = "a number from 0 to 1, such as 0.1";
    let number = item
        .maybe_number()
        .ok_or_else(|| item.wrong_type(ACCEPTED))?;
    match (0.0..=1.0).contains(&number) {
        true => Ok(number),
        false => Err(Wrong::new(
            "is out of range",
            format!("accepted: {ACCEPTED}"),
        )),
    }
}

/// A listener's address.
pub(super) fn socket_addr(item: &Item<'_>) -> Result<SocketAddr, Wrong> {
    if let Some(port) = item.maybe_integer() {
        let help = format!("write \"0.0.0.0:{port}\", and \"[::]:{port}\" for IPv6");
        return Err(item.wrong_type(ADDRESS).help(help));
    }
    parse_socket_addr(item.text(ADDRESS)?)
}

pub(super) fn parse_socket_addr(text: &str) -> Result<SocketAddr, Wrong> {
    let text = text.trim();
    if let Ok(addr) = text.parse::<SocketAddr>() {
        if addr.ip().is_multicast() {
            return Err(Wrong::new(
                "is a multicast address",
                "accepted: a unicast address or a wildcard",
            ));
        }
        return Ok(crate::addr::plain(addr));
    }
    let bad = Wrong::new(
        "is not an address with a port",
        format!("accepted: {ADDRESS}"),
    );
    if let Ok(port) = text.trim_start_matches([':', '*']).parse::<u16>() {
        return Err(bad.help(format!(
            "write \"0.0.0.0:{port}\", and \"[::]:{port}\" for IPv6"
        )));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let addr = SocketAddr::new(ip, 3478);
        return Err(bad.help(format!("the port is missing: write it as \"{addr}\"")));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => match (host.parse::<IpAddr>(), port.parse::<u16>()) {
            (Ok(ip), Ok(port)) => {
                Err(bad.help(format!("write \"{}\"", SocketAddr::new(ip, port))))
            }
            (Ok(_), Err(_)) => Err(bad.help("a port is a number from 0 to 65535")),
            (Err(_), Ok(port)) => Err(bad.help(format!(
                "names are not looked up here: write an address of this machine, or \"0.0.0.0:{port}\" for all"
            ))),
            (Err(_), Err(_)) => Err(bad),
        },
        None => Err(bad),
    }
}

/// An address without a port.
pub(super) fn parse_ip(text: &str) -> Result<IpAddr, Wrong> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_canonical());
    }
    let bad = Wrong::new(
        "is not an IP address",
        "accepted: an IPv4 or IPv6 address, such as \"203.0.113.7\"",
    );
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Err(bad.help(format!("leave the port out: \"{}\"", addr.ip())));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(bad.help(format!("leave the brackets out: \"{ip}\"")));
    }
    Err(bad)
}

pub(super) fn parse_port_range(text: &str) -> Result<(u16, u16), Wrong> {
    let bad = || Wrong::new("is not a port range", format!("accepted: {PORT_RANGE}"));
    let (low, high) = text.split_once('-').ok_or_else(bad)?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| bad());
    let (low, high) = (port(low)?, port(high)?);
    if low == 0 {
        return Err(Wrong::new(
            "begins at port 0",
            "accepted: ports from 1 to 65535",
        ));
    }
    if low > high {
        return Err(Wrong::new("runs backwards", "first port is above the last")
            .help(format!("write \"{high}-{low}\"")));
    }
    Ok((low, high))
}

pub(super) fn port_range(item: &Item<'_>) -> Result<(u16, u16), Wrong> {
    parse_port_range(item.text(PORT_RANGE)?)
}

pub(super) fn network(item: &Item<'_>) -> Result<IpNet, Wrong> {
    parse_network(item.text(NETWORK)?)
}

pub(super) fn parse_network(text: &str) -> Result<IpNet, Wrong> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(crate::ip_rules::canonical(ip)));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(Wrong::new(
            "is not a network",
            format!("accepted: {NETWORK}"),
        ));
    };
    if net.addr() != net.network() {
        return Err(Wrong::new(
            "has address bits beyond its prefix length",
            format!("/{} covers {}", net.prefix_len(), net.trunc()),
        )
        .help(format!(
            "write \"{}\", or \"{}\" for the one address",
            net.trunc(),
            net.addr()
        )));
    }
    if crate::ip_rules::canonical(net.addr()) != net.addr() && net.prefix_len() >= 96 {
        return Err(Wrong::new(
            "wraps IPv4 addresses in IPv6",
            "such addresses are judged as the IPv4 addresses inside",
        )
        .help("write the IPv4 network"));
    }
    Ok(net)
}

/// Text that a human reads back: no control characters, not empty.
pub(super) fn plain_text(item: &Item<'_>, bytes_max: usize) -> Result<String, Wrong> {
    let text = item.text("text")?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Wrong::new(
            "is empty or has control characters",
            "accepted: printable text",
        ));
    }
    if text.len() > bytes_max {
        return Err(Wrong::new(
            "is too long",
            format!("accepted: {bytes_max} bytes at most"),
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_are_shown_in_the_shortest_form() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("0s", 0, "0s"),
            ("60s", 60_000, "1m"),
            ("90 s", 90_000, "90s"),
            ("10m", 600_000, "10m"),
            ("1h", 3_600_000, "1h"),
            ("2d", 172_800_000, "2d"),
            ("1500ms", 1500, "1500ms"),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(duration, Duration::from_millis(ms), "{text}");
            assert_eq!(show_duration(duration), shown);
        }
        for text in [
            "",
            "s",
            "10",
            "-1s",
            "1.5h",
            "10 weeks",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let help = parse_duration("10").expect_err("no unit").help;
        assert_eq!(help.as_deref(), Some("write \"10s\" for seconds"));
    }

    #[test]
    fn sizes_have_units_and_an_ambiguous_one_is_refused_with_a_fix() {
        for (text, bytes) in [
            ("0", 0),
            ("512B", 512),
            ("32KiB", 32 << 10),
            ("4 MiB", 4 << 20),
            ("1GiB", 1 << 30),
            ("10kB", 10_000),
            ("3MB", 3_000_000),
        ] {
            assert_eq!(parse_size(text).expect(text), bytes);
        }
        for text in ["", "KiB", "-1", "1.5MiB", "7Zib", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        let help = parse_size("32k").expect_err("ambiguous").help;
        assert_eq!(help.as_deref(), Some("write \"32KiB\""));
        assert_eq!(show_size(4 << 20), "4MiB");
        assert_eq!(show_size(1000), "1000B");
    }

    #[test]
    fn addresses_without_port_brackets_or_address_are_refused_with_a_fix() {
        assert!(parse_socket_addr("0.0.0.0:3478").is_ok());
        assert!(parse_socket_addr("[::]:443").is_ok());
        assert_eq!(
            parse_socket_addr("[::ffff:10.0.0.1]:1").expect("mapped"),
            "10.0.0.1:1".parse().expect("an address")
        );
        for (text, help) in [
            ("3478", "write \"0.0.0.0:3478\", and \"[::]:3478\" for IPv6"),
            (":443", "write \"0.0.0.0:443\", and \"[::]:443\" for IPv6"),
            (
                "0.0.0.0",
                "the port is missing: write it as \"0.0.0.0:3478\"",
            ),
            ("[::1]", "the port is missing: write it as \"[::1]:3478\""),
            ("1.2.3.4:99999", "a port is a number from 0 to 65535"),
        ] {
            let wrong = parse_socket_addr(text).expect_err(text);
            assert_eq!(wrong.help.as_deref(), Some(help), "{text}");
        }
        for text in ["", "localhost:80", "239.1.2.3:5000", "1.2.3:4", "a:b"] {
            assert!(parse_socket_addr(text).is_err(), "{text}");
        }
    }

    #[test]
    fn port_ranges_run_forward_and_do_not_begin_at_zero() {
        assert_eq!(parse_port_range("49152-65535").ok(), Some((49152, 65535)));
        assert_eq!(parse_port_range("5000 - 5000").ok(), Some((5000, 5000)));
        let backwards = parse_port_range("65535-49152").expect_err("backwards");
        assert_eq!(backwards.help.as_deref(), Some("write \"49152-65535\""));
        for text in ["", "-", "0-10", "1-65536", "10", "a-b", "1-2-3"] {
            assert!(parse_port_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_aligned_and_single_addresses_are_accepted() {
        for (text, net) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            let expected: IpNet = net.parse().expect("a network");
            assert_eq!(parse_network(text).expect(text), expected);
        }
        let wrong = parse_network("10.1.2.3/8").expect_err("unaligned");
        assert_eq!(
            wrong.help.as_deref(),
            Some("write \"10.0.0.0/8\", or \"10.1.2.3\" for the one address")
        );
        for text in [
            "",
            "10.0.0.0/33",
            "example.com",
            "10.0.0.0-10.0.0.9",
            "::ffff:10.0.0.0/104",
        ] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
