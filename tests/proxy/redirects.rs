//! PROXY.md "Do better" 4: redirects are followed here, or rewritten so that the browser stays with the proxy.

use super::World;
use super::web::origin::{Origin, Seen, Then, Wire, ok, send};
use super::web::relayd::{NAME, Relayd};

const HOSTS: [&str; 3] = [
    "api.example.com",
    "other.example.com",
    "port.example.com:8443",
];

fn redirecting(status: &'static str, location: &'static str) -> (Origin, Relayd) {
    serving(move |seen, wire| match seen.message.target() {
        "/from" => send(
            wire,
            status,
            &[("Location", location), ("Set-Cookie", "hop=1; Path=/")],
            b"moved",
        ),
        _ => ok(wire, "arrived"),
    })
}

fn serving(handler: impl Fn(&Seen, &mut Wire) -> Then + Send + Sync + 'static) -> (Origin, Relayd) {
    let world = World::new();
    let origin = world.origin(handler);
    let relayd = Relayd::before(&world.ca, origin.addr, &HOSTS);
    (origin, relayd)
}

const CREDENTIALS: [(&str, &str); 3] = [
    ("Authorization", "Bearer x"),
    ("Cookie", "a=b"),
    ("X-Skypetoken", "t"),
];

#[test]
fn a_redirect_within_the_allow_list_is_followed_here() {
    for (location, host, target) in [
        ("/to?x=y", "api.example.com", "/to?x=y"),
        ("to", "api.example.com", "/to"),
        ("//other.example.com/to", "other.example.com", "/to"),
        ("https://other.example.com/to", "other.example.com", "/to"),
        ("http://other.example.com/to", "other.example.com", "/to"),
        (
            "https://port.example.com:8443/to",
            "port.example.com:8443",
            "/to",
        ),
    ] {
        let (origin, relayd) = redirecting("302 Found", location);
        let answer = relayd.request("GET", "/api.example.com/from", &CREDENTIALS, b"");
        assert_eq!(
            (answer.status(), answer.text()),
            (200, "arrived"),
            "{location}"
        );
        let last = origin.last();
        assert_eq!(
            (last.message.one("host"), last.message.target()),
            (Some(host), target),
            "{location}"
        );
        let same = host == "api.example.com";
        assert_eq!(
            last.message.one("authorization").is_some(),
            same,
            "{location}"
        );
        assert_eq!(last.message.one("cookie").is_some(), same, "{location}");
        assert_eq!(last.message.one("x-skypetoken"), Some("t"));
    }
}

#[test]
fn the_method_and_body_of_the_next_request_follow_the_status() {
    for (status, method, next) in [
        ("301 Moved Permanently", "POST", "GET"),
        ("302 Found", "POST", "GET"),
        ("303 See Other", "PUT", "GET"),
        ("307 Temporary Redirect", "POST", "POST"),
        ("308 Permanent Redirect", "PUT", "PUT"),
        ("302 Found", "DELETE", "DELETE"),
    ] {
        let (origin, relayd) = redirecting(status, "/to");
        let body: &[u8] = if method == "DELETE" { b"" } else { b"the body" };
        let answer = relayd.request(
            method,
            "/api.example.com/from",
            &[("Content-Type", "text/plain")],
            body,
        );
        assert_eq!(answer.text(), "arrived", "{status} {method}");
        let last = origin.last().message;
        assert_eq!(last.method(), next, "{status} {method}");
        if next == "GET" {
            assert!(last.body.is_empty());
            assert_eq!(last.one("content-type"), None);
        } else {
            assert_eq!(last.body, body);
        }
    }
}

#[test]
fn a_body_too_large_to_keep_is_sent_again_by_the_client() {
    let (origin, relayd) = redirecting("307 Temporary Redirect", "https://other.example.com/to?x");
    let body = vec![b'x'; 256 << 10];
    let answer = relayd.request("POST", "/api.example.com/from", &[], &body);
    assert_eq!(answer.status(), 307);
    let wanted = format!("https://{}/other.example.com/to?x", relayd.authority());
    assert_eq!(answer.one("location"), Some(wanted.as_str()));
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(origin.last().message.body.len(), body.len());
}

#[test]
fn a_location_outside_the_allow_list_comes_back_to_the_proxy_and_an_address_never_passes() {
    for (location, wanted) in [
        (
            "https://evil.example.org/x?y",
            Some("/evil.example.org/x?y"),
        ),
        ("http://evil.example.org/x", Some("/evil.example.org/x")),
        (
            "https://other.example.com:444/x",
            Some("/other.example.com:444/x"),
        ),
        (
            "https://evil.example.org/../../x",
            Some("/evil.example.org/x"),
        ),
        ("https://127.0.0.1/x", None),
        ("http://169.254.169.254/latest", None),
        ("https://[::1]/x", None),
        ("https://user@api.example.com/x", None),
        ("javascript:alert(1)", None),
    ] {
        let (origin, relayd) = redirecting("302 Found", location);
        let answer = relayd.get("/api.example.com/from");
        assert_eq!(
            (answer.status(), answer.text()),
            (302, "moved"),
            "{location}"
        );
        let wanted = wanted.map(|path| format!("https://{}{path}", relayd.authority()));
        assert_eq!(answer.one("location"), wanted.as_deref(), "{location}");
        assert_eq!(origin.seen().len(), 1, "{location}");
    }
}

#[test]
fn after_five_hops_the_client_is_asked_to_go_on() {
    let (origin, relayd) = serving(|seen, wire| {
        let hop: u32 = seen
            .message
            .target()
            .trim_start_matches("/hop/")
            .parse()
            .expect("a number");
        send(
            wire,
            "302 Found",
            &[("Location", &format!("/hop/{}", hop + 1))],
            b"",
        )
    });
    let answer = relayd.get("/api.example.com/hop/0");
    assert_eq!(answer.status(), 302);
    let wanted = format!("https://{}/api.example.com/hop/6", relayd.authority());
    assert_eq!(answer.one("location"), Some(wanted.as_str()));
    assert_eq!(origin.seen().len(), 6);
}

#[test]
fn a_location_that_names_the_proxy_itself_means_the_route_behind_it() {
    let (origin, relayd) = serving(|seen, wire| match seen.message.target() {
        "/from" => {
            let host = seen
                .message
                .one("x-forwarded-host")
                .expect("set by the proxy");
            let location = format!("https://{host}/other.example.com/to");
            send(wire, "302 Found", &[("Location", &location)], b"")
        }
        "/login" => {
            let host = seen
                .message
                .one("x-forwarded-host")
                .expect("set by the proxy");
            let location = format!("https://{host}/welcome");
            send(wire, "302 Found", &[("Location", &location)], b"")
        }
        _ => ok(wire, "arrived"),
    });
    assert_eq!(relayd.get("/api.example.com/from").text(), "arrived");
    assert_eq!(origin.last().message.one("host"), Some("other.example.com"));
    assert_eq!(relayd.get("/api.example.com/login").text(), "arrived");
    let last = origin.last().message;
    assert_eq!(
        (last.one("host"), last.target()),
        (Some("api.example.com"), "/welcome")
    );
}

#[test]
fn a_rewritten_location_names_the_authority_that_the_client_used() {
    let (_origin, relayd) = redirecting("302 Found", "https://evil.example.org/x");
    let mut client = relayd.connect();
    client.send("GET /api.example.com/from HTTP/1.1\r\nHost: front.example.net:4443\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        answer.one("location"),
        Some("https://front.example.net:4443/evil.example.org/x")
    );
    client.send(format!(
        "GET /api.example.com/from HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
    ));
    let answer = client.answer();
    assert_eq!(
        answer.one("location"),
        Some(format!("https://{NAME}/evil.example.org/x").as_str())
    );
}
