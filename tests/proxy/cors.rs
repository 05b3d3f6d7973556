//! PROXY.md "Do better" 7: CORS is relayd's.

use super::web::message::Message;
use super::web::origin::{Origin, send};
use super::web::relayd::{Relayd, Setup, reach};
use super::{World, plain, serving};

const APP: &str = "https://app.example.org";

fn assert_readable_by(answer: &Message, origin: &str) {
    assert_eq!(
        answer.one("access-control-allow-origin"),
        Some(origin),
        "{answer:?}"
    );
    assert_eq!(
        answer.one("access-control-allow-credentials"),
        Some("true"),
        "{answer:?}"
    );
    let vary = answer.all("vary").join(",").to_ascii_lowercase();
    assert!(
        vary.split(',').any(|field| field.trim() == "origin"),
        "{answer:?}"
    );
    let exposed = answer
        .one("access-control-expose-headers")
        .expect("exposed names")
        .to_ascii_lowercase();
    let exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
    let own = [
        "access-control-",
        "connection",
        "keep-alive",
        "date",
        "set-cookie",
        "transfer-encoding",
    ];
    for (name, _) in &answer.headers {
        let name = name.to_ascii_lowercase();
        if !own.iter().any(|own| name.starts_with(own)) {
            assert!(
                exposed.contains(&name.as_str()),
                "{name} is not exposed: {answer:?}"
            );
        }
    }
}

#[test]
fn every_answer_reflects_the_origin_and_replaces_the_upstreams_cors() {
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        let theirs = [
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Origin", "https://theirs.example.com"),
            ("Access-Control-Expose-Headers", "x-nothing"),
            ("Access-Control-Allow-Methods", "GET"),
            ("Content-Type", "application/json"),
            ("X-Trace", "1"),
            ("ETag", "\"e\""),
            ("Vary", "Accept-Encoding"),
        ];
        send(wire, "400 Bad Request", &theirs, b"{}")
    });
    let answer = relayd.request("GET", "/api.example.com/x", &[("Origin", APP)], b"");
    assert_eq!(answer.status(), 400);
    assert_readable_by(&answer, APP);
    assert_eq!(answer.one("access-control-allow-methods"), None);
    let answer = relayd.get("/api.example.com/x");
    assert_eq!(answer.one("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.one("access-control-allow-credentials"), None);
}

#[test]
fn relayds_own_errors_are_small_json_that_the_page_can_read() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for (method, target, status, label) in [
        ("GET", "/evil.example.org/x", 403, "host_not_allowed"),
        ("GET", "/nowhere", 404, "no_route"),
        ("TRACE", "/api.example.com/x", 405, "method_not_allowed"),
    ] {
        let answer = relayd.request(method, target, &[("Origin", APP)], b"");
        assert_eq!(
            (answer.status(), answer.json()["error"].as_str()),
            (status, Some(label))
        );
        assert_eq!(answer.one("content-type"), Some("application/json"));
        assert!(answer.body.len() < 256);
        assert_readable_by(&answer, APP);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_preflight_is_answered_here_and_echoes_what_was_asked() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let asking = [
        ("Origin", APP),
        ("Access-Control-Request-Method", "DELETE"),
        (
            "Access-Control-Request-Headers",
            "authorization,x-skypetoken",
        ),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    let answer = relayd.request("OPTIONS", "/api.example.com/x", &asking, b"");
    assert_eq!(answer.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "DELETE"),
        ("access-control-allow-headers", "authorization,x-skypetoken"),
        ("access-control-max-age", "7200"),
        ("access-control-allow-private-network", "true"),
    ] {
        assert_eq!(answer.one(name), Some(value), "{name}");
    }
    let refused = relayd.request("OPTIONS", "/evil.example.org/x", &asking, b"");
    assert_eq!(refused.status(), 403);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn options_that_is_no_preflight_goes_upstream() {
    let (origin, relayd) = plain(&["api.example.com"]);
    assert_eq!(
        relayd
            .request("OPTIONS", "/api.example.com/x", &[("Origin", APP)], b"")
            .status(),
        200
    );
    assert_eq!(origin.only().message.method(), "OPTIONS");
}

#[test]
fn an_origin_that_the_configuration_does_not_list_gets_no_cors() {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let proxy = format!(
        "cors_origins = [\"{APP}\"]\n{}",
        reach(&["api.example.com"], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let asking = |from| [("Origin", from), ("Access-Control-Request-Method", "GET")];
    assert_eq!(
        relayd
            .request("OPTIONS", "/api.example.com/x", &asking(APP), b"")
            .status(),
        204
    );
    for other in [
        "https://evil.example.org",
        "https://app.example.org.evil.com",
        "http://app.example.org",
        "null",
    ] {
        let refused = relayd.request("OPTIONS", "/api.example.com/x", &asking(other), b"");
        assert_eq!(refused.status(), 403, "{other}");
        let answer = relayd.request("GET", "/api.example.com/x", &[("Origin", other)], b"");
        assert_eq!(answer.one("access-control-allow-origin"), None, "{other}");
    }
    assert_readable_by(
        &relayd.request("GET", "/api.example.com/x", &[("Origin", APP)], b""),
        APP,
    );
}
