//! The endpoint as HTTP: paths, methods, bodies, CORS, HTTP/2.

use super::web::client::Client;
use super::web::relayd::{NAME, Relayd, Setup};
use super::{ORIGIN, TOKEN, ask, serving};
use std::process::Command;

#[test]
fn without_its_table_there_is_no_endpoint() {
    let relayd = Relayd::start(Setup::default());
    for method in ["POST", "GET"] {
        let answer = relayd.request(method, "/credentials", &[], b"");
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.json()["error"], "no_route");
    }
}

#[test]
fn the_endpoint_is_at_its_path_and_under_the_prefixes_and_nowhere_else() {
    let relayd = serving("", "prefixes = [\"/azure\"]");
    let authorization = format!("Bearer {TOKEN}");
    let status = |path| {
        let headers = [("Authorization", authorization.as_str())];
        relayd.request("POST", path, &headers, b"").status()
    };
    assert_eq!(status("/credentials"), 200);
    assert_eq!(status("/credentials?x=y"), 200);
    assert_eq!(status("/azure/credentials"), 200);
    assert_eq!(status("/credentials/"), 404);
    assert_eq!(status("/other/credentials"), 404);
}

#[test]
fn an_answer_is_kept_by_no_cache_and_names_this_server() {
    let relayd = serving("", "");
    let answer = ask(&relayd, TOKEN, r#"{"vendor":"azure"}"#);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.one("cache-control"), Some("no-store"));
    assert_eq!(answer.one("content-type"), Some("application/json"));
    let json = answer.json();
    let servers = json["iceServers"].as_array().expect("a list");
    let urls: Vec<&str> = servers
        .iter()
        .filter_map(|server| server["urls"][0].as_str())
        .collect();
    let expected = [
        format!("turn:{NAME}:{}?transport=udp", relayd.udp.port()),
        format!("turn:{NAME}:{}?transport=tcp", relayd.tcp.port()),
        format!("turn:{NAME}:{}?transport=tls", relayd.tls.port()),
    ];
    assert_eq!(urls, expected);
}

#[test]
fn pages_of_other_origins_may_ask_and_read_errors_too() {
    let relayd = serving("", "");
    let preflight = relayd.request(
        "OPTIONS",
        "/credentials",
        &[
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ],
        b"",
    );
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.one("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(preflight.one("access-control-allow-methods"), Some("POST"));
    let allowed = preflight.one("access-control-allow-headers");
    assert_eq!(allowed, Some("authorization,content-type"));
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(5000));
    for (token, body, status) in [
        (TOKEN, "{}", 200),
        ("a-token-that-was-guessed", "{}", 401),
        (TOKEN, "[]", 400),
        (TOKEN, large.as_str(), 413),
    ] {
        let answer = ask(&relayd, token, body);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.one("access-control-allow-origin"), Some(ORIGIN));
        let exposed = answer.one("access-control-expose-headers");
        assert!(exposed.is_some_and(|names| names.contains("content-type")));
        assert_eq!(answer.one("cache-control"), Some("no-store"));
        if status != 200 {
            assert!(answer.json()["message"].is_string());
        }
    }
}

#[test]
fn pages_that_are_not_on_the_list_get_nothing() {
    let relayd = serving("", &format!("cors_origins = [{ORIGIN:?}]"));
    assert_eq!(ask(&relayd, TOKEN, "{}").status(), 200);
    let authorization = format!("Bearer {TOKEN}");
    let other = ("Origin", "https://evil.example.org");
    let asked = relayd.request(
        "POST",
        "/credentials",
        &[other, ("Authorization", &authorization)],
        b"",
    );
    assert_eq!(asked.status(), 403);
    assert!(!asked.text().contains("credential\""), "{}", asked.text());
    let preflight = relayd.request(
        "OPTIONS",
        "/credentials",
        &[other, ("Access-Control-Request-Method", "POST")],
        b"",
    );
    assert_eq!(preflight.status(), 403);
}

#[test]
fn other_methods_types_and_the_port_without_tls_are_refused() {
    let relayd = serving("", "");
    let authorization = format!("Bearer {TOKEN}");
    let bearer = ("Authorization", authorization.as_str());
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = relayd.request(method, "/credentials", &[bearer], b"");
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.one("allow"), Some("POST, OPTIONS"));
    }
    let text = ("Content-Type", "text/plain");
    let answer = relayd.request("POST", "/credentials", &[bearer, text], b"{}");
    assert_eq!(answer.status(), 415);
    let mut plain = Client::plain(relayd.tcp);
    plain.send(relayd.head("POST", "/credentials", &[bearer], 0));
    let answer = plain.answer();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.json()["error"], "tls_required");
}

#[test]
fn a_body_is_bounded_whether_it_declares_its_length_or_not() {
    let relayd = serving("", "");
    let authorization = format!("Bearer {TOKEN}");
    let bearer = ("Authorization", authorization.as_str());
    let json = ("Content-Type", "application/json");
    // Declared: answered without a byte of it.
    let mut declared = relayd.connect();
    declared.send(relayd.head("POST", "/credentials", &[bearer, json], 4097));
    assert_eq!(declared.answer().status(), 413);
    // In chunks: answered when there are too many.
    let chunked = [bearer, json, ("Transfer-Encoding", "chunked")];
    let head = relayd.head("POST", "/credentials", &chunked, 0);
    let head = head.replace("Content-Length: 0\r\n", "");
    let mut endless = relayd.connect();
    endless.send(&head);
    for _ in 0..5 {
        endless.send(format!("400\r\n{}\r\n", " ".repeat(1024)));
    }
    assert_eq!(endless.answer().status(), 413);
    // As much as there may be.
    let mut full = relayd.connect();
    full.send(&head);
    for _ in 0..3 {
        full.send(format!("400\r\n{}\r\n", " ".repeat(1024)));
    }
    full.send(format!(
        "400\r\n{:>1024}\r\n0\r\n\r\n",
        r#"{"name":"last"}"#
    ));
    let answer = full.answer();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let counted = relayd.metric(
        "relayd_credentials_requests_total",
        &["result=\"body_too_large\""],
    );
    assert_eq!(counted, 2.0);
}

#[test]
fn a_connection_serves_several_requests_and_bodies() {
    let relayd = serving("", "");
    let authorization = format!("Bearer {TOKEN}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let mut client = relayd.connect();
    for (body, status) in [(r#"{"ttl":90}"#, 200), ("nonsense", 400), ("{}", 200)] {
        client.send(relayd.head("POST", "/credentials", &headers, body.len()));
        client.send(body);
        assert_eq!(client.answer().status(), status);
    }
}

/// With the client of nghttp2 (Debian package nghttp2-client).
#[test]
fn http_2_is_served_the_same() {
    let relayd = serving("", "");
    let file = relayd.directory().join("body");
    for (body, token, expected) in [
        (r#"{"name":"henry"}"#.to_owned(), TOKEN, ":status: 200"),
        ("{}".to_owned(), "a-token-that-was-guessed", ":status: 401"),
        ("x".repeat(9000), TOKEN, ":status: 413"),
    ] {
        std::fs::write(&file, body).expect("a file");
        let output = Command::new("nghttp")
            .args(["--verbose", "--no-dep", "--timeout=30s"])
            .arg(format!("--header=:authority: {}", relayd.authority()))
            .arg(format!("--header=authorization: Bearer {token}"))
            .arg("--header=content-type: application/json")
            .arg(format!("--header=origin: {ORIGIN}"))
            .arg(format!("--data={}", file.display()))
            .arg(format!("https://{}/credentials", relayd.tls))
            .output()
            .expect("nghttp, of the Debian package nghttp2-client");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("The negotiated protocol: h2"), "{text}");
        assert!(text.contains(expected), "{text}");
        let origin = format!("access-control-allow-origin: {ORIGIN}");
        assert!(text.contains(&origin), "{text}");
    }
}
