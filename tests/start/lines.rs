//! The log that operators live by: a line at the end of each allocation, request and tunnel, with every field, in both
//! formats, without a credential.

use super::stop::{World, log_line, rest_of_log};
use super::support::client::{Kind, is_success, peer, peer_receive};
use super::support::subject::{SECRET, SIGTERM, Setup};
use serde_json::Value;

fn text_setup() -> Setup {
    Setup {
        log_format: "text",
        ..Setup::default()
    }
}

/// Three packets of 5 bytes to the peer, two of 7 bytes back; then the allocation is given up.
fn call(world: &World, kind: Kind) -> (String, String) {
    let peer = peer("127.0.0.1");
    let peer_addr = peer.local_addr().expect("bound");
    let mut client = world.subject.alice(kind);
    let relayed = client.allocate().expect("there is room");
    let own = client.wire.local_addr();
    client
        .bind_channel(0x4000, peer_addr)
        .and_then(is_success)
        .expect("it is allowed");
    for _ in 0..3 {
        client.send_channel(0x4000, b"12345").expect("sent");
        peer_receive(&peer).expect("it arrives");
    }
    for _ in 0..2 {
        peer.send_to(b"1234567", relayed).expect("sent");
        client.receive_data().expect("it arrives");
    }
    client.refresh(0).and_then(is_success).expect("it ends");
    (own.to_string(), relayed.to_string())
}

#[test]
fn the_end_of_an_allocation_is_one_json_line_with_every_field() {
    let mut world = World::new(Setup::default());
    for (kind, transport) in [(Kind::Udp, "udp"), (Kind::Tcp, "tcp"), (Kind::Tls, "tls")] {
        let (own, relayed) = call(&world, kind);
        let line = log_line(&world.subject, "allocation ended");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["level"], "INFO", "{line}");
        assert_eq!(line["user"], "alice", "{line}");
        assert_eq!(line["transport"], transport, "{line}");
        assert_eq!(line["client"], own, "{line}");
        assert_eq!(line["relayed"], relayed, "{line}");
        assert_eq!(line["to_peer_packets"], 3, "{line}");
        assert_eq!(line["to_peer_bytes"], 15, "{line}");
        assert_eq!(line["to_client_packets"], 2, "{line}");
        assert_eq!(line["to_client_bytes"], 14, "{line}");
        assert!(
            line["reason"].as_str().is_some_and(|text| !text.is_empty()),
            "{line}"
        );
        assert!(
            line["duration_s"].as_f64().is_some_and(|s| s >= 0.0),
            "{line}"
        );
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z')),
            "{line}"
        );
    }
    world.subject.signal(SIGTERM);
    world.subject.wait().expect("it ends");
    let rest = rest_of_log(&world.subject);
    assert!(
        !rest.iter().any(|line| line.contains("allocation ended")),
        "one line each: {rest:#?}"
    );
}

/// Every reason has a name of its own.
#[test]
fn the_reason_tells_a_client_that_left_from_one_that_said_goodbye_and_from_a_stop() {
    let mut world = World::new(Setup {
        drain_timeout: "0s",
        ..Setup::default()
    });
    call(&world, Kind::Tcp);
    let reason = |line: &str| -> String {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["reason"].as_str().expect("text").to_owned()
    };
    let said = reason(&log_line(&world.subject, "allocation ended"));
    let mut client = world.subject.alice(Kind::Tcp);
    client.allocate().expect("there is room");
    drop(client);
    let left = reason(&log_line(&world.subject, "allocation ended"));
    let mut client = world.subject.alice(Kind::Tcp);
    client.allocate().expect("there is room");
    world.subject.signal(SIGTERM);
    world.subject.wait().expect("it ends");
    let stopped = reason(&log_line(&world.subject, "allocation ended"));
    let reasons = [&said, &left, &stopped];
    assert!(
        said != left && left != stopped && said != stopped,
        "{reasons:?}"
    );
}

#[test]
fn each_request_and_tunnel_is_one_json_line_without_its_query() {
    let mut world = World::new(Setup::default());
    assert_eq!(world.request("/api.example.com/x?token=s3cret-query"), 200);
    let line = log_line(&world.subject, "\"request\"");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["client"], "127.0.0.1", "{line}");
    assert_eq!(line["method"], "GET", "{line}");
    assert_eq!(line["host"], "api.example.com", "{line}");
    assert_eq!(line["path"], "/x", "{line}");
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(line["bytes"], 4, "{line}");
    assert!(
        line["duration_ms"].is_u64() && line["upstream_ms"].is_u64(),
        "{line}"
    );

    assert_eq!(world.request("/evil.example.org/x?token=s3cret-query"), 403);
    let line = log_line(&world.subject, "\"request\"");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["status"], 403, "{line}");
    // The host that would have to be allowed.
    assert_eq!(line["path"], "/evil.example.org/x", "{line}");

    let mut tunnel = world.tunnel("/api.example.com/chat?token=s3cret-query");
    tunnel.send("123456789");
    assert_eq!(tunnel.exactly(9), b"123456789");
    drop(tunnel);
    let line = log_line(&world.subject, "\"tunnel\"");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["host"], "api.example.com", "{line}");
    assert_eq!(line["path"], "/chat", "{line}");
    assert_eq!(line["bytes_to_upstream"], 9, "{line}");
    assert_eq!(line["bytes_to_client"], 9, "{line}");
    assert!(
        line["end"].as_str().is_some_and(|text| !text.is_empty()),
        "{line}"
    );
    world.subject.signal(SIGTERM);
    world.subject.wait().expect("it ends");
}

#[test]
fn the_text_log_says_the_same_and_nothing_says_a_credential() {
    let mut world = World::new(text_setup());
    let mut lines = Vec::new();
    let (own, relayed) = call(&world, Kind::Tls);
    let line = log_line(&world.subject, "allocation ended");
    for part in [
        " INFO ".to_owned(),
        "user=\"alice\"".to_owned(),
        "transport=\"tls\"".to_owned(),
        format!("client={own}"),
        format!("relayed={relayed:?}"),
        "to_peer_packets=3 to_peer_bytes=15 to_client_packets=2 to_client_bytes=14".to_owned(),
        "reason=".to_owned(),
        "duration_s=".to_owned(),
    ] {
        assert!(line.contains(&part), "no {part} in {line}");
    }
    lines.push(line);
    assert_eq!(world.request("/api.example.com/x?token=s3cret-query"), 200);
    let line = log_line(&world.subject, " request ");
    for part in [
        "method=GET",
        "host=\"api.example.com\"",
        "path=\"/x\"",
        "status=200",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    lines.push(line);
    drop(world.tunnel("/api.example.com/chat?token=s3cret-query"));
    lines.push(log_line(&world.subject, " tunnel "));
    world.subject.signal(SIGTERM);
    world.subject.wait().expect("it ends");
    lines.extend(rest_of_log(&world.subject));
    for line in lines {
        for secret in ["s3cret", "wonderland", "builder", SECRET] {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(
            !line.contains('\u{1b}'),
            "colours are for terminals: {line}"
        );
    }
}
