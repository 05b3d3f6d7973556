//! PROXY.md "Do better" 9: HTTP/2 to clients, with the client of nghttp2 (Debian package nghttp2-client).

use super::web::origin::{ok, send};
use super::web::relayd::{NAME, Relayd};
use super::{plain, serving};
use std::process::Command;

/// Runs `nghttp` against the proxy and returns everything it says.
fn nghttp(relayd: &Relayd, arguments: &[&str], targets: &[&str]) -> String {
    let authority = relayd.authority();
    let mut command = Command::new("nghttp");
    command
        .args(["--verbose", "--no-dep", "--timeout=30s"])
        .args(arguments);
    command.arg(format!("--header=:authority: {authority}"));
    for target in targets {
        command.arg(format!("https://{}{target}", relayd.tls));
    }
    let output = command
        .output()
        .expect("nghttp, of the Debian package nghttp2-client");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn a_get_over_http_2_is_served_with_its_length_and_cors() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let text = nghttp(
        &relayd,
        &["--header=origin: https://app.example.org"],
        &["/api.example.com/a%2Fb//c?d"],
    );
    assert!(text.contains("The negotiated protocol: h2"), "{text}");
    for line in [
        ":status: 200",
        "content-length: 4",
        "access-control-allow-origin: https://app.example.org",
        "access-control-allow-credentials: true",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let seen = origin.only().message;
    assert_eq!(seen.target(), "/a%2Fb//c?d");
    assert_eq!(seen.one("host"), Some("api.example.com"));
    assert_eq!(
        seen.one("x-forwarded-host"),
        Some(relayd.authority().as_str())
    );
    assert!(seen.start.ends_with(" HTTP/1.1"));
}

/// PROXY.md "Time limits and sizes"; RFC 8441 is not offered, so browsers open WebSockets over HTTP/1.1.
#[test]
fn the_settings_offer_128_streams_and_no_extended_connect() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    let mut client = relayd.connect_alpn(&["h2"]);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    // RFC 9113 §3.4: the server's first frame is SETTINGS.
    let head = client.exactly(9);
    assert_eq!((head[3], head[4]), (4, 0), "{head:?}");
    let payload = client.exactly(usize::from(head[2]));
    let settings: Vec<(u16, u32)> = payload
        .chunks_exact(6)
        .map(|s| {
            let value = [s[2], s[3], s[4], s[5]];
            (u16::from_be_bytes([s[0], s[1]]), u32::from_be_bytes(value))
        })
        .collect();
    assert!(settings.contains(&(3, 128)), "{settings:?}");
    assert!(!settings.contains(&(8, 1)), "{settings:?}");
}

#[test]
fn hop_by_hop_headers_of_the_upstream_do_not_reach_an_http_2_client() {
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        send(
            wire,
            "200 OK",
            &[
                ("Connection", "keep-alive"),
                ("Keep-Alive", "timeout=5"),
                ("Alt-Svc", "h3"),
            ],
            b"x",
        )
    });
    let text = nghttp(&relayd, &[], &["/api.example.com/x"]);
    let received = text
        .split("recv HEADERS")
        .nth(1)
        .unwrap_or_else(|| panic!("no headers: {text}"));
    assert!(text.contains(":status: 200"), "{text}");
    for name in ["keep-alive:", "connection:", "alt-svc:"] {
        assert!(!received.contains(name), "{name} {text}");
    }
}

#[test]
fn a_post_over_http_2_arrives_whole() {
    let (origin, relayd) = serving(&["api.example.com"], |seen, wire| {
        ok(wire, &seen.message.body.len().to_string())
    });
    let file = relayd.directory().join("body");
    std::fs::write(&file, vec![b'x'; 300_000]).expect("a file");
    let data = format!("--data={}", file.display());
    let text = nghttp(&relayd, &[&data], &["/api.example.com/x"]);
    assert!(text.contains(":status: 200"), "{text}");
    let seen = origin.only().message;
    assert_eq!((seen.method(), seen.body.len()), ("POST", 300_000));
}

#[test]
fn many_streams_share_a_connection_and_the_upstream_connections() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let text = nghttp(
        &relayd,
        &["--multiply=60", "--null-out"],
        &["/api.example.com/x"],
    );
    assert_eq!(text.matches(":status: 200").count(), 60, "{text}");
    assert_eq!(origin.seen().len(), 60);
    assert!(origin.connections() <= 60);
}

#[test]
fn errors_of_relayd_are_the_same_over_http_2() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for (target, status, label) in [
        ("/evil.example.org/x", 403, "host_not_allowed"),
        ("/nowhere", 404, "no_route"),
    ] {
        let text = nghttp(&relayd, &[], &[target]);
        assert!(text.contains(&format!(":status: {status}")), "{text}");
        assert!(text.contains(label), "{text}");
    }
    let preflight = [
        "--header=:method: OPTIONS",
        "--header=origin: https://app.example.org",
        "--header=access-control-request-method: DELETE",
    ];
    let text = nghttp(&relayd, &preflight, &["/api.example.com/x"]);
    assert!(
        text.contains(":status: 204") && text.contains("access-control-allow-methods: DELETE"),
        "{text}"
    );
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_upstream_is_asked_again_for_no_request_that_it_may_have_begun() {
    let (origin, relayd) = serving(&["api.example.com"], |_, _| super::web::origin::Then::Close);
    let text = nghttp(
        &relayd,
        &["--header=:method: POST"],
        &["/api.example.com/x"],
    );
    assert!(text.contains(":status: 502"), "{text}");
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn alpn_chooses_the_protocol_and_none_means_http_1() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    assert_eq!(
        relayd.connect_alpn(&["h2", "http/1.1"]).alpn().as_deref(),
        Some("h2")
    );
    assert_eq!(
        relayd.connect_alpn(&["http/1.1"]).alpn().as_deref(),
        Some("http/1.1")
    );
    let mut without = relayd.connect_alpn(&[]);
    assert_eq!(without.alpn(), None);
    without.send(relayd.head("GET", "/api.example.com/x", &[], 0));
    assert_eq!(without.answer().status(), 200);
    assert!(relayd.authority().starts_with(NAME));
}

#[test]
fn an_http_2_request_that_contradicts_itself_is_refused() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for header in [
        "host: other.example.org",
        "transfer-encoding: chunked",
        "connection: keep-alive",
        "upgrade: websocket",
    ] {
        let text = nghttp(
            &relayd,
            &[&format!("--header={header}")],
            &["/api.example.com/x"],
        );
        assert!(!text.contains(":status: 200"), "{header}: {text}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn cookies_that_http_2_splits_reach_the_upstream_as_one_line() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let crumbs = ["--header=cookie: a=b", "--header=cookie: c=d"];
    let text = nghttp(&relayd, &crumbs, &["/api.example.com/x"]);
    assert!(text.contains(":status: 200"), "{text}");
    assert_eq!(origin.only().message.one("cookie"), Some("a=b; c=d"));
}
