//! PROXY.md "Do better" 14 and the binary around the proxy: health, logs, metrics, a clean stop.

use super::World;
use super::web::client::Client;
use super::web::origin::{Origin, Then, accept_websocket, echo_bytes, ok};
use super::web::relayd::Relayd;
use super::{plain, serving};

const TARGET: &str = "/api.example.com/x";

#[test]
fn healthcheck_answers_200_on_the_proxys_own_port() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for mut client in [relayd.connect(), Client::plain(relayd.tcp)] {
        client.send(relayd.head(
            "GET",
            "/healthcheck",
            &[("Origin", "https://app.example.org")],
            0,
        ));
        let answer = client.answer();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.one("access-control-allow-origin"),
            Some("https://app.example.org")
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_admin_listener_reports_health_readiness_and_metrics() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    assert_eq!(relayd.admin("/healthz").status(), 200);
    assert_eq!(relayd.admin("/readyz").json()["ready"], true);
    assert_eq!(relayd.get(TARGET).status(), 200);
    assert_eq!(relayd.get("/evil.example.org/x").status(), 403);
    let metrics = relayd.admin("/metrics");
    assert!(
        metrics.text().contains("relayd_proxy_"),
        "{}",
        metrics.text()
    );
    assert!(
        metrics.text().contains("host_not_allowed"),
        "{}",
        metrics.text()
    );
}

#[test]
fn a_request_leaves_one_line_in_the_log_and_no_credential() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    let secrets = [
        ("Authorization", "Bearer TOP-SECRET-1"),
        ("Cookie", "s=TOP-SECRET-2"),
    ];
    relayd.request(
        "GET",
        "/api.example.com/x?token=TOP-SECRET-3",
        &secrets,
        b"",
    );
    let line = relayd.wait_for_log("line of the request", |line| {
        line.contains("api.example.com") && line.contains("200")
    });
    assert!(line.contains("GET"), "{line}");
    assert!(!relayd.log().contains("TOP-SECRET"), "{}", relayd.log());
}

#[test]
fn sigterm_refuses_new_connections_lets_tunnels_and_requests_end_and_exits_0() {
    let world = World::new();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(&world.leaf, move |seen, wire, reader| {
        if seen.message.one("upgrade").is_some() {
            accept_websocket(seen, wire, &[], b"");
            echo_bytes(wire, reader);
            return Then::Close;
        }
        let _ = wait.lock().expect("not poisoned").recv();
        ok(wire, "late but whole")
    });
    let mut relayd = Relayd::before(&world.ca, origin.addr, &["api.example.com"]);
    let mut tunnel = relayd.connect();
    tunnel.send(relayd.websocket_head(TARGET, &[]));
    assert_eq!(tunnel.answer_head().status(), 101);
    let mut request = relayd.connect();
    request.send(relayd.head("GET", TARGET, &[], 0));
    origin.wait_for(2);

    relayd.signal("TERM");
    relayd.wait_for_log("line about the stop", |line| line.contains("stopping"));
    tunnel.send("ping");
    assert_eq!(tunnel.exactly(4), b"ping");
    release.send(()).expect("the origin waits");
    assert_eq!(request.answer().text(), "late but whole");
    drop((tunnel, request));
    assert_eq!(relayd.wait(), Some(0));
}

#[test]
fn sigterm_does_not_wait_for_connections_without_a_request() {
    let (_origin, mut relayd) = plain(&["api.example.com"]);
    let mut idle = relayd.connect();
    idle.send(relayd.head("GET", TARGET, &[], 0));
    assert_eq!(idle.answer().status(), 200);
    let mut fresh = relayd.connect();
    let mut h2 = relayd.connect_alpn(&["h2"]);
    h2.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2.send(h2_frame(4, 0, 0, &[]));
    let mut pings = |answer: bool| loop {
        let head = h2.exactly(9);
        let payload = h2.exactly(usize::from(head[2]));
        if answer && head[3] == 6 {
            return h2.send(h2_frame(6, 1, 0, &payload));
        }
        // The acknowledgement of the settings: the connection is up.
        if !answer && (head[3], head[4]) == (4, 1) {
            return;
        }
    };
    pings(false);

    relayd.signal("TERM");
    // RFC 9113 §6.8: a GOAWAY without a limit, and the last one once the client has been seen to have it.
    pings(true);
    assert!(idle.ended());
    assert!(fresh.ended());
    assert_eq!(relayd.wait(), Some(0));
    assert!(!relayd.log().contains("drain timeout"), "{}", relayd.log());
}

/// What is complete to the proxy may still wait for its client's window.
#[test]
fn sigterm_lets_a_slow_client_have_the_whole_of_an_answer() {
    const LENGTH: usize = 4000;
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        ok(wire, &"x".repeat(LENGTH))
    });
    let mut client = relayd.connect_alpn(&["h2"]);
    let authority = relayd.authority();
    let mut head = vec![0x82, 0x87];
    for (name, value) in [(1, authority.as_str()), (4, TARGET)] {
        head.extend([name, u8::try_from(value.len()).expect("a short value")]);
        head.extend(value.as_bytes());
    }
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // SETTINGS_INITIAL_WINDOW_SIZE: 100 bytes of an answer, then it waits.
    client.send(h2_frame(4, 0, 0, &[0, 4, 0, 0, 0, 100]));
    client.send(h2_frame(1, 5, 1, &head));
    let mut got = h2_data(&mut client, 100).0;
    relayd.wait_for_log("line of the request", |line| {
        line.contains("api.example.com") && line.contains("200")
    });

    relayd.signal("TERM");
    relayd.wait_for_log("line about the stop", |line| line.contains("stopping"));
    // Each is a round trip to the server: time enough for one that does not wait.
    for _ in 0..500 {
        assert_eq!(relayd.admin("/healthz").status(), 200);
    }
    client.send(h2_frame(8, 0, 1, &[0, 1, 0, 0]));
    let (more, ended) = h2_data(&mut client, LENGTH - got);
    got += more;
    assert_eq!((got, ended), (LENGTH, true));
}

/// RFC 9113 §4.1.
fn h2_frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Reads frames until `wanted` bytes of data have come: how many, and whether that was the end of the stream.
fn h2_data(client: &mut Client, wanted: usize) -> (usize, bool) {
    let mut got = 0;
    loop {
        let head = client.exactly(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        client.exactly(length);
        if head[3] != 0 {
            continue;
        }
        got += length;
        let ended = head[4] & 1 == 1;
        if got >= wanted || ended {
            return (got, ended);
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let world = World::new();
    let origin = Origin::start(&world.leaf, |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    let mut relayd = Relayd::before(&world.ca, origin.addr, &["api.example.com"]);
    let mut tunnel = relayd.connect();
    tunnel.send(relayd.websocket_head(TARGET, &[]));
    assert_eq!(tunnel.answer_head().status(), 101);
    relayd.signal("TERM");
    relayd.wait_for_log("line about the stop", |line| line.contains("stopping"));
    relayd.signal("TERM");
    assert_eq!(relayd.wait(), Some(0));
    assert!(tunnel.ended());
}
