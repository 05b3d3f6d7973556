//! Upstreams that are down, slow, lying or not who they say they are, and the limits on clients.

use super::support::{Authority, ORIGIN, OTHER, PROXY, Peer, World, block_on};
use crate::proxy::respond::ProxyError;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// For what is meant to run out.
const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

/// Asks once and expects an own answer.
async fn refused(world: &World, status: u16, error: ProxyError) {
    let mut client = world.client();
    client.get("/").await;
    let answer = client.message().await;
    assert_eq!(
        (answer.status(), answer.error()),
        (status, error.label().to_owned())
    );
    assert_eq!(answer.head.one("access-control-allow-origin"), Some("*"));
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    assert_eq!(world.errors(error), 1);
}

/// A loopback port that nobody listens on.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    listener.local_addr().expect("an address")
}

/// Where a test sends the proxy instead of to its origin.
async fn world_at(address: SocketAddr, connect: Duration) -> World {
    World::with(|settings| {
        settings.resolve.insert((ORIGIN.to_owned(), 443), address);
        settings.timeouts.connect = connect;
    })
    .await
}

#[test]
fn an_upstream_that_is_down_is_502_connect() {
    block_on(async {
        let world = world_at(closed_port().await, LONG).await;
        refused(&world, 502, ProxyError::ConnectFailed).await;
    });
}

#[test]
fn an_upstream_that_never_shakes_hands_is_504_tls() {
    block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let world = world_at(silent.local_addr().expect("an address"), SHORT).await;
        refused(&world, 504, ProxyError::TlsTimeout).await;
    });
}

#[test]
fn an_upstream_that_does_not_speak_tls_is_502_tls() {
    block_on(async {
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let world = world_at(plain.local_addr().expect("an address"), LONG).await;
        tokio::task::spawn_local(async move {
            let (mut socket, _) = plain.accept().await.expect("accepted");
            let _ = socket.read(&mut [0; 16]).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        refused(&world, 502, ProxyError::TlsFailed).await;
    });
}

#[test]
fn a_certificate_for_another_name_of_another_issuer_or_of_another_time_is_502_and_says_which() {
    block_on(async {
        let ca = Authority::new;
        let (own, foreign) = (ca(), ca());
        for (certificate, error) in [
            (
                own.certificate(&["else.test"]),
                ProxyError::TlsCertificateWrongName,
            ),
            (
                foreign.certificate(&[ORIGIN]),
                ProxyError::TlsCertificateUntrusted,
            ),
            (
                own.certificate_for_years(&[ORIGIN], 2000, 2001),
                ProxyError::TlsCertificateExpired,
            ),
            (
                own.certificate_for_years(&[ORIGIN], 3000, 3001),
                ProxyError::TlsCertificateNotYetValid,
            ),
        ] {
            let file = own.file.clone();
            let world = World::with_certificate(ca(), certificate, |settings| {
                settings.ca_file = Some(file);
            })
            .await;
            refused(&world, 502, error).await;
        }
    });
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504_response() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.response = SHORT).await;
        refused(&world, 504, ProxyError::ResponseTimeout).await;
    });
}

#[test]
fn an_upstream_that_closes_or_talks_nonsense_is_502() {
    block_on(async {
        for (answer, error) in [
            ("", ProxyError::UpstreamClosed),
            ("HTTP/1.1 200 OK\r\nContent-", ProxyError::UpstreamClosed),
            ("SSH-2.0-OpenSSH_9.6\r\n\r\n", ProxyError::UpstreamInvalid),
            (
                "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
                ProxyError::UpstreamInvalid,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
                ProxyError::UpstreamInvalid,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                ProxyError::UpstreamInvalid,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                ProxyError::UpstreamInvalid,
            ),
        ] {
            let world = World::new().await;
            let mut client = world.client();
            client.get("/").await;
            let mut origin = world.origin.take().await;
            origin.message().await;
            origin.send(answer).await;
            drop(origin);
            let got = client.message().await;
            assert_eq!(
                (got.status(), got.error()),
                (502, error.label().to_owned()),
                "{answer:?}"
            );
        }
    });
}

#[test]
fn an_answer_shorter_than_it_claims_is_cut_off_and_not_made_to_look_whole() {
    block_on(async {
        for start in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        ] {
            let world = World::new().await;
            let mut client = world.client();
            client.get("/").await;
            let mut origin = world.origin.take().await;
            origin.message().await;
            origin.send(start).await;
            drop(origin);
            client.head().await;
            let rest = String::from_utf8(client.rest().await).expect("text");
            assert!(
                rest.contains("short") && !rest.contains("0\r\n\r\n"),
                "{rest:?}"
            );
        }
    });
}

#[test]
fn an_answer_longer_than_it_claims_spoils_the_upstream_connection_and_nothing_else() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/1").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            .await;
        assert_eq!(client.message().await.text(), "ok");
        assert!(origin.ends().await);
        client.get("/2").await;
        let mut fresh = world.origin.take().await;
        assert_eq!(fresh.message().await.head.first, "GET /2 HTTP/1.1");
        fresh.ok("honest").await;
        assert_eq!(client.message().await.text(), "honest");
    });
}

#[test]
fn an_upstream_that_falls_silent_in_its_body_is_cut_off() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.body_idle = SHORT).await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
            .await;
        client.head().await;
        assert_eq!(client.rest().await, b"short");
        assert!(origin.ends().await);
    });
}

#[test]
fn a_body_over_the_limit_is_413_by_its_length_and_by_its_chunks() {
    block_on(async {
        let world = World::with(|settings| settings.limits.body_bytes = 4).await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 5\r\n\r\nabcde"
            ))
            .await;
        assert_eq!(client.message().await.error(), "body_too_large");
        assert_eq!(world.origin.accepted(), 0);
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
            ))
            .await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        client.send("2\r\nde\r\n").await;
        let answer = client.message().await;
        assert_eq!(
            (answer.status(), answer.error().as_str()),
            (413, "body_too_large")
        );
    });
}

#[test]
fn a_body_that_stops_coming_is_408() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.body_idle = SHORT).await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nContent-Length: 5\r\n\r\nabc"
            ))
            .await;
        let answer = client.message().await;
        assert_eq!(
            (answer.status(), answer.error().as_str()),
            (408, "request_timeout")
        );
        assert!(client.ends().await);
    });
}

#[test]
fn a_head_that_is_not_complete_in_time_ends_the_connection() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.request_header = SHORT).await;
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: ").await;
        assert!(client.ends().await);
        let mut silent = world.client();
        assert!(silent.ends().await);
    });
}

#[test]
fn a_connection_is_closed_after_its_idle_time_and_not_during_a_request() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.idle = SHORT).await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        tokio::time::sleep(3 * SHORT).await;
        origin.ok("slow but fine").await;
        assert_eq!(client.message().await.text(), "slow but fine");
        assert!(client.ends().await);
    });
}

#[test]
fn a_client_that_takes_no_bytes_is_let_go() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.body_idle = SHORT).await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        let chunk = vec![b'x'; 1 << 16];
        while origin.stream.write_all(&chunk).await.is_ok() && origin.stream.flush().await.is_ok() {
        }
    });
}

#[test]
fn an_idle_upstream_connection_is_closed_after_its_time() {
    block_on(async {
        let world = World::with(|settings| settings.timeouts.upstream_idle = SHORT).await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("").await;
        client.message().await;
        assert!(origin.ends().await);
    });
}

#[test]
fn more_requests_than_a_host_may_have_under_way_are_503_and_other_hosts_go_on() {
    block_on(async {
        let world = World::with(|settings| settings.limits.upstream_connections_per_host = 1).await;
        let (mut first, mut second) = (world.client(), world.client());
        first.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        second.get("/").await;
        assert_eq!(second.message().await.error(), "upstream_busy");
        second
            .send(format!("GET /{OTHER}/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"))
            .await;
        let mut other = world.origin.take().await;
        assert_eq!(other.message().await.head.one("host"), Some(OTHER));
        other.ok("other").await;
        assert_eq!(second.message().await.text(), "other");
        origin.ok("done").await;
        first.message().await;
        second.get("/").await;
        origin.message().await;
        origin.ok("room again").await;
        assert_eq!(second.message().await.text(), "room again");
    });
}

/// A few HTTP/2 clients could take every file descriptor, those of calls included.
#[test]
fn more_upstream_connections_than_there_may_be_are_503_and_an_idle_one_gives_way() {
    block_on(async {
        let world = World::with(|settings| settings.limits.upstream_connections = 1).await;
        let (mut first, mut second) = (world.client(), world.client());
        let other = format!("GET /{OTHER}/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n");
        first.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        second.send(&other).await;
        assert_eq!(second.message().await.error(), "upstream_busy");
        origin.ok("done").await;
        assert_eq!(first.message().await.text(), "done");
        second.send(&other).await;
        let mut next = world.origin.take().await;
        assert_eq!(next.message().await.head.one("host"), Some(OTHER));
        next.ok("other").await;
        assert_eq!(second.message().await.text(), "other");
        assert!(origin.ends().await);
    });
}

#[test]
fn more_requests_a_second_than_an_address_may_make_are_429() {
    block_on(async {
        let world = World::with(|settings| settings.limits.requests_per_s_per_address = 2).await;
        let mut client = world.client();
        let mut statuses = Vec::new();
        for _ in 0..8 {
            client
                .send(format!(
                    "GET /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"
                ))
                .await;
            statuses.push(client.message().await.status());
        }
        assert_eq!(statuses.get(..2), Some(&[200, 200][..]));
        assert!(statuses.contains(&429), "{statuses:?}");
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.get("/").await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
        let sent = body.clone();
        let sending = tokio::task::spawn_local(async move {
            let length = sent.len();
            origin
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
                ))
                .await;
            origin.send(sent).await;
            origin
        });
        assert_eq!(client.message().await.body, body);
        let _: Peer<_> = sending.await.expect("joined");
    });
}
