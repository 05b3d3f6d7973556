//! Who asked: X-Real-IP, X-Forwarded-For/-Proto/-Host and Forwarded (RFC 7239).
//!
//! What a client says about itself is believed only from a trusted peer: its lists are appended to and its single
//! values kept. From anybody else everything is replaced.

use super::headers::ClientInfo;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use std::net::IpAddr;

pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Sets the five headers in `to_upstream`, a copy of the client's headers.
pub fn set(to_upstream: &mut HeaderMap, client: &ClientInfo, trusted: &[IpNet]) {
    let ip = client.ip.to_canonical();
    let trusted = is_trusted(ip, trusted);
    let proto = match client.tls {
        true => "https",
        false => "http",
    };
    let forwarded = forwarded_element(ip, proto, &client.authority);
    if !trusted {
        for name in [
            X_REAL_IP,
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
            header::FORWARDED,
        ] {
            to_upstream.remove(name);
        }
    }
    append(to_upstream, X_FORWARDED_FOR, &ip.to_string());
    append(to_upstream, header::FORWARDED, &forwarded);
    keep_or_set(to_upstream, X_REAL_IP, &ip.to_string(), is_ip);
    keep_or_set(to_upstream, X_FORWARDED_PROTO, proto, |v| {
        matches!(v, "http" | "https")
    });
    keep_or_set(to_upstream, X_FORWARDED_HOST, &client.authority, |v| {
        v.parse::<http::uri::Authority>().is_ok()
    });
}

/// `ip` is canonical.
pub fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

/// The client's own address: behind trusted peers, the last of X-Forwarded-For that is none of theirs.
pub fn client_ip(from_client: &HeaderMap, client: &ClientInfo, trusted: &[IpNet]) -> IpAddr {
    let mut ip = client.ip.to_canonical();
    let lines = from_client.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b','));
    for entry in entries {
        let entry = std::str::from_utf8(entry)
            .map(str::trim)
            .unwrap_or_default();
        match entry.parse::<IpAddr>() {
            Ok(before) if is_trusted(ip, trusted) => ip = before.to_canonical(),
            Ok(_) | Err(_) => break,
        }
    }
    ip
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// RFC 7239 §4 and §6: an IPv6 address stands in brackets and quotes, and so does whatever has a colon.
fn forwarded_element(ip: IpAddr, proto: &str, authority: &str) -> String {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    };
    let host = match authority.bytes().all(is_token_byte) {
        true => authority.to_owned(),
        false => format!("\"{authority}\""),
    };
    format!("for={ip};host={host};proto={proto}")
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Several lines become one list, which ends in `value`.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let given = headers.get_all(&name).iter();
    let mut list: Vec<&[u8]> = given
        .map(HeaderValue::as_bytes)
        .filter(|v| !v.is_empty())
        .collect();
    list.push(value.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list.join(&b", "[..])) {
        headers.insert(name, list);
    }
}

fn keep_or_set(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: &str,
    good: impl Fn(&str) -> bool,
) {
    let mut given = headers.get_all(&name).iter();
    let kept = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().is_ok_and(good),
        (None, _) | (Some(_), Some(_)) => false,
    };
    if kept {
        return;
    }
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: &str) -> ClientInfo {
        ClientInfo {
            ip: ip.parse().expect("an address"),
            tls: true,
            authority: "proxy.example.com:8443".into(),
        }
    }

    fn given(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const LIES: [(&str, &str); 7] = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "front.example.com"),
        ("forwarded", "for=1.1.1.1"),
        ("forwarded", "for=2.2.2.2"),
    ];

    fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
        let all = headers.get_all(name).iter();
        all.map(|v| v.to_str().expect("ASCII").to_owned()).collect()
    }

    #[test]
    fn what_a_client_says_of_itself_is_replaced() {
        for headers in [given(&LIES), HeaderMap::new()] {
            let mut headers = headers;
            set(
                &mut headers,
                &client("203.0.113.9"),
                &["10.0.0.0/8".parse().expect("a network")],
            );
            assert_eq!(all(&headers, "x-forwarded-for"), ["203.0.113.9"]);
            assert_eq!(all(&headers, "x-real-ip"), ["203.0.113.9"]);
            assert_eq!(all(&headers, "x-forwarded-proto"), ["https"]);
            assert_eq!(
                all(&headers, "x-forwarded-host"),
                ["proxy.example.com:8443"]
            );
            assert_eq!(
                all(&headers, "forwarded"),
                ["for=203.0.113.9;host=\"proxy.example.com:8443\";proto=https"]
            );
        }
    }

    #[test]
    fn what_a_trusted_peer_says_is_appended_to_and_its_single_values_kept() {
        let mut headers = given(&LIES);
        set(
            &mut headers,
            &client("::ffff:10.1.2.3"),
            &["10.0.0.0/8".parse().expect("a network")],
        );
        assert_eq!(
            all(&headers, "x-forwarded-for"),
            ["1.1.1.1, 2.2.2.2, 3.3.3.3, 10.1.2.3"]
        );
        assert_eq!(all(&headers, "x-real-ip"), ["1.1.1.1"]);
        assert_eq!(all(&headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(all(&headers, "x-forwarded-host"), ["front.example.com"]);
        assert_eq!(
            all(&headers, "forwarded"),
            ["for=1.1.1.1, for=2.2.2.2, for=10.1.2.3;host=\"proxy.example.com:8443\";proto=https"]
        );
    }

    #[test]
    fn the_clients_own_address_is_the_last_that_no_trusted_peer_has() {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let ip = |peer: &str, lists: &[(&'static str, &'static str)]| {
            client_ip(&given(lists), &client(peer), &trusted).to_string()
        };
        let list = [("x-forwarded-for", "1.1.1.1, 203.0.113.9 ,10.2.2.2")];
        assert_eq!(ip("10.1.2.3", &list), "203.0.113.9");
        assert_eq!(ip("::ffff:10.1.2.3", &list), "203.0.113.9");
        assert_eq!(ip("192.0.2.1", &list), "192.0.2.1");
        assert_eq!(ip("10.1.2.3", &[]), "10.1.2.3");
        let lines = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "10.2.2.2, 10.3.3.3"),
        ];
        assert_eq!(ip("10.1.2.3", &lines), "203.0.113.9");
        for nonsense in ["203.0.113.9:5000", "unknown", "", "203.0.113.9, x"] {
            let list = [("x-forwarded-for", nonsense)];
            assert_eq!(ip("10.1.2.3", &list), "10.1.2.3", "{nonsense}");
        }
    }

    #[test]
    fn a_trusted_peers_nonsense_is_replaced_too() {
        let mut headers = given(&[
            ("x-real-ip", "none"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a b"),
        ]);
        set(
            &mut headers,
            &client("10.1.2.3"),
            &["10.0.0.0/8".parse().expect("a network")],
        );
        assert_eq!(all(&headers, "x-real-ip"), ["10.1.2.3"]);
        assert_eq!(all(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(
            all(&headers, "x-forwarded-host"),
            ["proxy.example.com:8443"]
        );
    }

    #[test]
    fn an_ipv6_client_stands_in_brackets_and_quotes_in_forwarded_alone() {
        let mut headers = HeaderMap::new();
        let mut client = client("2001:db8::7");
        client.authority = "proxy.example.com".into();
        client.tls = false;
        set(&mut headers, &client, &[]);
        assert_eq!(all(&headers, "x-forwarded-for"), ["2001:db8::7"]);
        assert_eq!(
            all(&headers, "forwarded"),
            ["for=\"[2001:db8::7]\";host=proxy.example.com;proto=http"]
        );
    }
}
