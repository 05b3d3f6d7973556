//! Renewal while everything runs: calls, requests and tunnels go on, and every handshake succeeds.

use super::gate::Way;
use super::server::{NAME, OBTAINED, World, verified};
use super::support::client::{self, peer, peer_receive};
use super::web::certs::Authority;
use super::web::client::Client;
use super::web::origin::{Origin, Then, accept_websocket, echo_bytes};
use super::web::relayd::reach;
use rustls::RootCertStore;
use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Renewed after about 13 s.
const SHORT_S: u32 = 20;
const HOST: &str = "api.example.com";

#[test]
fn calls_tunnels_and_handshakes_go_on_while_the_certificate_is_renewed() {
    let world = World::new(SHORT_S, Way::Open);
    let ca = Authority::new("upstream root");
    let origin = Origin::start(&ca.leaf(&[HOST]), |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    world.dir.write("upstream-ca.pem", &ca.pem);
    let proxy = format!(
        "[proxy]\nca_file = \"upstream-ca.pem\"\n{}",
        reach(&[HOST], origin.addr)
    );
    world.configure(&[NAME], "", &proxy);
    let mut server = world.start();
    server.serving.wait_for(OBTAINED);
    let roots = world.pebble.roots();
    let first = server.shown();

    let echo = peer("127.0.0.1");
    let peer_address = echo.local_addr().expect("bound");
    let mut call = server.turn_over_tls();
    call.allocate().expect("an allocation");
    call.permit(peer_address).expect("a permission");
    let mut tunnel = Client::tls(server.tls, NAME, roots.clone(), &["http/1.1"]);
    tunnel.send(format!(
        "GET /{HOST}/socket HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    assert_eq!(tunnel.answer_head().status(), 101);

    let over = Arc::new(AtomicBool::new(false));
    let (tls, admin) = (server.tls, server.admin);
    let handshakes: Vec<_> = ["stun.turn", "h2", "http/1.1"]
        .into_iter()
        .map(|alpn| shake_until(&over, tls, &roots, alpn))
        .collect();
    let calls = speak_until(&over, call, echo, tunnel);
    server.serving.wait_for(OBTAINED);
    let second = server.shown();
    assert_ne!(first, second);
    over.store(true, Ordering::SeqCst);
    let rounds = calls.join().expect("calls and tunnels go on");
    let mut all = HashSet::new();
    let mut count = 0;
    for handshake in handshakes {
        let (shaken, seen) = handshake.join().expect("every handshake succeeds");
        count += shaken;
        all.extend(seen);
    }
    assert!(
        rounds > 10 && count > 10,
        "{rounds} rounds, {count} handshakes"
    );
    assert!(
        all.is_subset(&HashSet::from([first, second])),
        "{}",
        all.len()
    );
    let (_, metrics) = super::support::subject::http_get(admin, "/metrics").expect("metrics");
    assert!(metrics.contains("relayd_acme_attempts_total{result=\"issued\"} 2"));
    assert_eq!(server.serving.stop(), Some(0));
}

/// Handshakes without pause, each verified as a browser does it: how many, and the certificates that were shown.
fn shake_until(
    over: &Arc<AtomicBool>,
    tls: SocketAddr,
    roots: &RootCertStore,
    alpn: &'static str,
) -> JoinHandle<(u32, HashSet<Vec<u8>>)> {
    let (over, roots) = (Arc::clone(over), roots.clone());
    thread::spawn(move || {
        let mut seen = HashSet::new();
        let mut count = 0;
        while !over.load(Ordering::SeqCst) {
            let shown = verified(tls, NAME, &roots, alpn);
            seen.insert(shown.expect("old or next, each is good"));
            count += 1;
        }
        (count, seen)
    })
}

/// The call and the tunnel answer all the while; each round trip is a wait for what must come.
fn speak_until(
    over: &Arc<AtomicBool>,
    mut call: client::Client,
    echo: UdpSocket,
    mut tunnel: Client,
) -> JoinHandle<u32> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let peer_address = echo.local_addr().expect("bound");
        let mut rounds = 0;
        while !over.load(Ordering::SeqCst) {
            call.send_to(peer_address, b"to the peer").expect("open");
            let (payload, relayed) = peer_receive(&echo).expect("relayed");
            assert_eq!(payload, b"to the peer");
            echo.send_to(b"to the client", relayed).expect("open");
            let (from, _, payload) = call.receive_data().expect("relayed");
            assert_eq!(
                (from, &payload[..]),
                (Some(peer_address), &b"to the client"[..])
            );
            tunnel.send(b"through the tunnel");
            assert_eq!(tunnel.exactly(18), b"through the tunnel");
            rounds += 1;
        }
        let refreshed = call.refresh(600).expect("an answer");
        assert_eq!(refreshed.error_code(), None);
        rounds
    })
}

#[test]
fn the_certificate_is_kept_when_the_authority_is_gone() {
    // Renewed after about 8 s.
    let world = World::new(12, Way::Open);
    let mut server = world.start();
    server.serving.wait_for("saved the certificate");
    let before = server.shown();
    let not_after = server.metric("relayd_acme_certificate_expiry_timestamp_seconds");
    world.gate.set(Way::Cut);
    let line = server.serving.wait_for("the certificate of before");
    assert!(
        line.contains("\"unreachable\"") && line.contains("TLS with 127.0.0.1 failed"),
        "{line}"
    );
    assert_eq!(server.shown(), before);
    assert_eq!(server.readyz()["certificate"], "obtained");
    assert_eq!(server.attempts("unreachable"), 1);
    assert_eq!(
        server.metric("relayd_acme_certificate_expiry_timestamp_seconds"),
        not_after
    );
    // The next attempt is minutes away, whatever the lifetime.
    let next = server.metric("relayd_acme_next_attempt_timestamp_seconds");
    assert!(next > not_after + 200, "{next} {not_after}");
    server.turn_over_tls().allocate().expect("TURN over TLS");
    assert_eq!(server.serving.stop(), Some(0));
}
