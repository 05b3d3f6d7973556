//! PROXY.md "Match": client address, passes, cookies. "Do better" 10, 12, 13: hop-by-hop, forwarded, origin-wide headers.

use super::web::origin::{Origin, Then, send};
use super::web::relayd::{Relayd, Setup, reach};
use super::{World, plain, serving};

#[test]
fn end_to_end_headers_reach_the_upstream_unchanged() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let passing = [
        ("Authorization", "Bearer abc"),
        ("Origin", "https://app.example.org"),
        ("Referer", "https://app.example.org/a"),
        ("User-Agent", "Mozilla/5.0 (X11)"),
        ("Accept-Encoding", "gzip, br"),
        ("X-Skypetoken", "t=1; u"),
        ("X-Odd", "a  b\tc"),
        ("Range", "bytes=0-1"),
        ("If-None-Match", "\"x\""),
    ];
    relayd.request("GET", "/api.example.com/x", &passing, b"");
    let seen = origin.only();
    for (name, value) in passing {
        assert_eq!(seen.message.one(name), Some(value));
    }
}

#[test]
fn hop_by_hop_headers_and_those_named_by_connection_stay_here() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let staying = [
        ("Connection", "keep-alive, X-Private"),
        ("X-Private", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy", "http://evil.example.com"),
        ("TE", "gzip;q=0.5, trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ];
    let answer = relayd.request(
        "GET",
        "/api.example.com/x",
        &[&staying[..], &[("X-Kept", "2")]].concat(),
        b"",
    );
    assert_eq!(answer.status(), 200);
    let seen = origin.only();
    for (name, value) in staying {
        assert!(!seen.message.all(name).contains(&value), "{name}");
    }
    assert_eq!(seen.message.one("x-kept"), Some("2"));
}

#[test]
fn an_answers_hop_and_what_would_bind_relayds_origin_stay_here() {
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        let headers = [
            ("Connection", "X-Private"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Alt-Svc", "h3=\":443\""),
            ("Strict-Transport-Security", "max-age=31536000"),
            ("NEL", "{}"),
            ("Report-To", "{}"),
            ("Reporting-Endpoints", "a=\"https://x\""),
            ("Clear-Site-Data", "\"*\""),
            ("X-Kept", "2"),
            ("WWW-Authenticate", "Bearer"),
        ];
        send(wire, "200 OK", &headers, b"x")
    });
    let answer = relayd.get("/api.example.com/x");
    for name in [
        "x-private",
        "alt-svc",
        "strict-transport-security",
        "nel",
        "report-to",
        "reporting-endpoints",
        "clear-site-data",
    ] {
        assert_eq!(answer.one(name), None, "{name}");
    }
    assert!(!answer.all("keep-alive").contains(&"timeout=5"));
    assert_eq!(answer.one("x-kept"), Some("2"));
    assert_eq!(answer.one("www-authenticate"), Some("Bearer"));
}

const LIES: [(&str, &str); 5] = [
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Real-IP", "192.0.2.1"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Host", "lie.example.org"),
    ("Forwarded", "for=192.0.2.1"),
];

#[test]
fn a_clients_word_about_its_address_is_replaced() {
    let (origin, relayd) = plain(&["api.example.com"]);
    relayd.request("GET", "/api.example.com/x", &LIES, b"");
    let seen = origin.only();
    let authority = relayd.authority();
    assert_eq!(seen.message.one("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.message.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.message.one("x-forwarded-proto"), Some("https"));
    assert_eq!(
        seen.message.one("x-forwarded-host"),
        Some(authority.as_str())
    );
    let forwarded = format!("for=127.0.0.1;host=\"{authority}\";proto=https");
    assert_eq!(seen.message.one("forwarded"), Some(forwarded.as_str()));
}

#[test]
fn a_trusted_proxys_word_is_appended_to() {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let proxy = format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\n{}",
        reach(&["api.example.com"], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    relayd.request("GET", "/api.example.com/x", &LIES, b"");
    let seen = origin.only();
    assert_eq!(
        seen.message.one("x-forwarded-for"),
        Some("192.0.2.1, 127.0.0.1")
    );
    assert_eq!(seen.message.one("x-real-ip"), Some("192.0.2.1"));
    assert_eq!(seen.message.one("x-forwarded-proto"), Some("http"));
    assert_eq!(
        seen.message.one("x-forwarded-host"),
        Some("lie.example.org")
    );
    assert!(
        seen.message
            .one("forwarded")
            .is_some_and(|v| v.starts_with("for=192.0.2.1, for=127.0.0.1;"))
    );
}

#[test]
fn a_cookie_belongs_to_the_route_that_set_it() {
    let (origin, relayd) = serving(&["api.example.com", "other.example.com:8443"], |_, wire| {
        let headers = [
            ("Set-Cookie", "a=1; Domain=example.com; Path=/; Secure"),
            ("Set-Cookie", "b=2; Path=/x/y; HttpOnly"),
            ("Set-Cookie", "c=3"),
        ];
        send(wire, "200 OK", &headers, b"x")
    });
    let answer = relayd.get("/api.example.com/p/q");
    assert_eq!(
        answer.all("set-cookie"),
        [
            "a=1; Secure; Path=/api.example.com",
            "b=2; HttpOnly; Path=/api.example.com/x/y",
            "c=3; Path=/api.example.com/p",
        ]
    );
    let answer = relayd.get("/other.example.com:8443/");
    assert_eq!(
        answer.all("set-cookie")[0],
        "a=1; Secure; Path=/other.example.com:8443"
    );
    relayd.request("GET", "/api.example.com/x", &[("Cookie", "a=1; b=2")], b"");
    assert_eq!(origin.last().message.one("cookie"), Some("a=1; b=2"));
}

#[test]
fn a_host_header_that_is_missing_repeated_or_malformed_is_refused() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for head in [
        "GET /api.example.com/x HTTP/1.1\r\n\r\n".to_owned(),
        "GET /api.example.com/x HTTP/1.1\r\nHost: a.example.com\r\nHost: a.example.com\r\n\r\n"
            .to_owned(),
        "GET /api.example.com/x HTTP/1.1\r\nHost: a.example.com\r\nhost: b.example.com\r\n\r\n"
            .to_owned(),
        "GET /api.example.com/x HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
        "GET /api.example.com/x HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        "GET /api.example.com/x HTTP/1.1\r\nHost: user@a.example.com\r\n\r\n".to_owned(),
    ] {
        let mut client = relayd.connect();
        client.send(&head);
        assert_eq!(client.answer().status(), 400, "{head:?}");
        assert!(client.ended(), "{head:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_upstream_never_learns_of_relayd_by_a_header_of_its_own() {
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        send(wire, "200 OK", &[("Server", "theirs")], b"x");
        Then::KeepOpen
    });
    assert_eq!(
        relayd.get("/api.example.com/x").one("server"),
        Some("theirs")
    );
    let refused = relayd.get("/evil.example.org/x");
    let text = format!("{refused:?}").to_ascii_lowercase();
    assert!(
        !text.contains("relayd") && !text.contains("hyper"),
        "{text}"
    );
    assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}
