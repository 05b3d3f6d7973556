//! PROXY.md "Time limits and sizes".

use super::web::client::Client;
use super::web::origin::Origin;
use super::web::relayd::{Relayd, Setup, reach};
use super::{World, plain};

const TARGET: &str = "/api.example.com/x";

fn limited(limits: &str) -> (Origin, Relayd) {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let proxy = format!("{}{limits}", reach(&["api.example.com"], origin.addr));
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    (origin, relayd)
}

#[test]
fn a_target_of_16_kib_passes_and_a_longer_one_is_414() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let of_length = |length: usize| format!("{TARGET}{}", "y".repeat(length - TARGET.len()));
    assert_eq!(relayd.get(&of_length(16 << 10)).status(), 200);
    let refused = relayd.get(&of_length((16 << 10) + 1));
    assert_eq!(
        (refused.status(), refused.json()["error"].as_str()),
        (414, Some("target_too_long"))
    );
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn headers_up_to_the_limits_pass_and_larger_or_more_of_them_are_431() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let long = "v".repeat(24 << 10);
    assert_eq!(
        relayd
            .request("GET", TARGET, &[("X-Long", &long)], b"")
            .status(),
        200
    );
    let too_long = "v".repeat(40 << 10);
    assert_eq!(
        relayd
            .request("GET", TARGET, &[("X-Long", &too_long)], b"")
            .status(),
        431
    );
    let names: Vec<String> = (0..150).map(|i| format!("X-{i}")).collect();
    let many = |count: usize| -> Vec<(&str, &str)> {
        names[..count].iter().map(|n| (n.as_str(), "v")).collect()
    };
    assert_eq!(relayd.request("GET", TARGET, &many(90), b"").status(), 200);
    assert_eq!(relayd.request("GET", TARGET, &many(150), b"").status(), 431);
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn a_body_beyond_the_limit_is_413_whether_its_length_is_announced_or_not() {
    let (_origin, relayd) = limited("[proxy.limits]\nbody_bytes = 1000\n");
    assert_eq!(
        relayd.request("POST", TARGET, &[], &[b'x'; 1000]).status(),
        200
    );
    let announced = relayd.request(
        "POST",
        TARGET,
        &[("Origin", "https://app.example.org")],
        &[b'x'; 1001],
    );
    assert_eq!(
        (announced.status(), announced.json()["error"].as_str()),
        (413, Some("body_too_large"))
    );
    assert_eq!(
        announced.one("access-control-allow-origin"),
        Some("https://app.example.org")
    );
    let mut client = relayd.connect();
    let head = relayd.head("POST", TARGET, &[("Transfer-Encoding", "chunked")], 0);
    client.send(head.replace("Content-Length: 0\r\n", ""));
    client.send(format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001)));
    assert_eq!(client.answer().status(), 413);
}

#[test]
fn requests_beyond_the_rate_of_an_address_are_429() {
    let (_origin, relayd) = limited("[proxy.limits]\nrequests_per_second_per_address = 5\n");
    let mut client = relayd.connect();
    let mut refused = 0;
    for _ in 0..100 {
        client.send(relayd.head("GET", TARGET, &[], 0));
        let answer = client.answer();
        if answer.status() == 429 {
            assert_eq!(answer.json()["error"], "too_many_requests");
            assert!(answer.one("retry-after").is_some());
            refused += 1;
        } else {
            assert_eq!(answer.status(), 200);
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_let_go() {
    let (_origin, relayd) = limited("[proxy.timeouts]\nrequest_header = \"300ms\"\n");
    for mut client in [relayd.connect(), Client::plain(relayd.tcp)] {
        client.send("GET / HTTP/1.1\r\nHost: ");
        let answer = client.rest();
        assert!(
            answer.is_empty()
                || answer.starts_with(b"HTTP/1.1 408 ")
                || answer.starts_with(b"HTTP/1.1 400 ")
        );
    }
}

#[test]
fn an_idle_connection_is_let_go() {
    let (_origin, relayd) = limited("[proxy.timeouts]\nidle = \"300ms\"\n");
    let mut client = relayd.connect();
    client.send(relayd.head("GET", TARGET, &[], 0));
    assert_eq!(client.answer().status(), 200);
    assert!(client.ended());
}

#[test]
fn connections_beyond_the_limit_of_an_address_are_closed_and_room_is_made_again() {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let relayd = Relayd::start(Setup {
        proxy: reach(&["api.example.com"], origin.addr),
        upstream_ca: Some(&world.ca),
        listen: "[listen.limits]\nconnections_per_address = 3".to_owned(),
        ..Setup::default()
    });
    let mut kept: Vec<Client> = (0..3).map(|_| Client::plain(relayd.tcp)).collect();
    for client in &mut kept {
        client.send(relayd.head("GET", TARGET, &[], 0));
        assert_eq!(client.answer().status(), 200);
    }
    let mut fourth = Client::plain(relayd.tcp);
    fourth.send(relayd.head("GET", TARGET, &[], 0));
    assert!(fourth.ended());
    drop(kept);
    let deadline = std::time::Instant::now() + super::web::PATIENCE;
    loop {
        let mut client = Client::plain(relayd.tcp);
        client.send(relayd.head("GET", TARGET, &[], 0));
        if client
            .reader
            .message(&mut client.stream, false)
            .is_ok_and(|m| m.is_some_and(|m| m.status() == 200))
        {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no room was made");
    }
}

#[test]
fn silent_connections_do_not_hold_up_others() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    let silent: Vec<Client> = (0..20)
        .map(|i| Client::plain(if i % 2 == 0 { relayd.tcp } else { relayd.tls }))
        .collect();
    assert_eq!(relayd.get(TARGET).status(), 200);
    drop(silent);
}
