//! WebSockets: the handshake passes untouched, and so does every byte behind it.

use super::support::{ORIGIN, OriginStream, PROXY, Peer, World, block_on};
use crate::proxy::tunnel::End;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: abc\r\nSec-WebSocket-Protocol: 2.0\r\n\r\n";

fn handshake(path: &str) -> String {
    format!(
        "GET /{ORIGIN}{path} HTTP/1.1\r\nHost: {PROXY}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Origin: https://app.test\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: 2.0\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
}

async fn open(world: &World) -> (Peer<DuplexStream>, Peer<OriginStream>) {
    let mut client = world.client();
    client.send(handshake("/ws?t=1")).await;
    let mut origin = world.origin.take().await;
    origin.head().await;
    origin.send(SWITCHED).await;
    assert_eq!(client.head().await.status(), 101);
    (client, origin)
}

fn ends(world: &World, reason: End) -> u64 {
    let label = crate::proxy::metrics::EndLabel { reason };
    world
        .proxy
        .metrics()
        .tunnel_ends
        .get_or_create(&label)
        .get()
}

#[test]
fn the_handshake_passes_both_ways_with_its_subprotocol_and_extensions() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.send(handshake("/ws?t=1")).await;
        let mut origin = world.origin.take().await;
        let asked = origin.head().await;
        assert_eq!(asked.first, "GET /ws?t=1 HTTP/1.1");
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("origin", "https://app.test"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "2.0"),
            (
                "sec-websocket-extensions",
                "permessage-deflate; client_max_window_bits",
            ),
        ] {
            assert_eq!(asked.one(name), Some(value), "{name}");
        }
        origin.send(SWITCHED).await;
        let answer = client.head().await;
        assert_eq!(answer.status(), 101);
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "abc"),
            ("sec-websocket-protocol", "2.0"),
        ] {
            assert_eq!(answer.one(name), Some(value), "{name}");
        }
        assert_eq!(answer.one("transfer-encoding"), None);
        assert_eq!(answer.one("content-length"), None);
    });
}

/// A browser asks nobody before it opens a WebSocket, and shows the page whatever comes.
#[test]
fn a_page_of_another_origin_than_those_allowed_opens_none() {
    block_on(async {
        let world = World::with(|settings| {
            settings.cors_origins = vec!["https://other.test".to_owned()];
        })
        .await;
        let mut client = world.client();
        client.send(handshake("/ws")).await;
        let answer = client.message().await;
        assert_eq!(
            (answer.status(), answer.error()),
            (403, "origin_not_allowed".to_owned())
        );
        assert_eq!(world.origin.accepted(), 0);
    });
}

#[test]
fn bytes_that_come_with_the_101_or_before_it_are_not_lost() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!("{}\x01\n\nearly from client", handshake("/ws")))
            .await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        client.send(", more before the 101").await;
        origin
            .send(format!("{SWITCHED}\x02\n\nearly from upstream"))
            .await;
        assert_eq!(client.head().await.status(), 101);
        assert_eq!(client.exactly(22).await, b"\x02\n\nearly from upstream");
        assert_eq!(
            origin.exactly(41).await,
            b"\x01\n\nearly from client, more before the 101"
        );
    });
}

#[test]
fn sixteen_mebibytes_pass_each_way_at_the_same_time() {
    block_on(async {
        const SIZE: usize = 16 << 20;
        let world = World::new().await;
        let (client, origin) = open(&world).await;
        let up: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
        let down: Vec<u8> = (0..SIZE).map(|n| (n % 241) as u8).collect();
        let (mut client_read, mut client_write) = tokio::io::split(client.stream);
        let (mut origin_read, mut origin_write) = tokio::io::split(origin.stream);
        let (sent_up, sent_down) = (up.clone(), down.clone());
        let writing = tokio::task::spawn_local(async move {
            client_write.write_all(&sent_up).await.expect("written");
            client_write.shutdown().await.expect("shut down");
        });
        let answering = tokio::task::spawn_local(async move {
            origin_write.write_all(&sent_down).await.expect("written");
            origin_write.shutdown().await.expect("shut down");
        });
        let receiving = tokio::task::spawn_local(async move {
            let mut got = Vec::new();
            origin_read.read_to_end(&mut got).await.expect("read");
            got
        });
        let mut got = Vec::new();
        client_read.read_to_end(&mut got).await.expect("read");
        assert!(got == down, "what came down differs");
        assert!(
            receiving.await.expect("joined") == up,
            "what went up differs"
        );
        writing.await.expect("joined");
        answering.await.expect("joined");
        let metrics = world.proxy.metrics();
        while metrics.tunnels.get() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(metrics.tunnel_bytes_to_client.get(), SIZE as u64);
        assert_eq!(metrics.tunnel_bytes_to_upstream.get(), SIZE as u64);
    });
}

#[test]
fn a_half_close_reaches_the_other_side_which_may_still_speak() {
    block_on(async {
        let world = World::new().await;
        let (mut client, mut origin) = open(&world).await;
        client.stream.shutdown().await.expect("shut down");
        assert!(origin.ends().await);
        origin.send("last words").await;
        origin.stream.shutdown().await.expect("shut down");
        assert_eq!(client.rest().await, b"last words");
        while ends(&world, End::Client) == 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_upstream_that_is_gone_ends_the_clients_side() {
    block_on(async {
        let world = World::new().await;
        let (mut client, origin) = open(&world).await;
        drop(origin);
        assert!(client.ends().await);
        drop(client);
        while ends(&world, End::Upstream) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.proxy.metrics().tunnels.get(), 0);
    });
}

#[test]
fn a_silent_tunnel_ends_after_its_idle_time() {
    block_on(async {
        let world =
            World::with(|settings| settings.timeouts.tunnel_idle = Duration::from_millis(20)).await;
        let (mut client, mut origin) = open(&world).await;
        assert!(client.ends().await);
        assert!(origin.ends().await);
        assert_eq!(ends(&world, End::Idle), 1);
    });
}

#[test]
fn an_answer_other_than_101_passes_with_its_body_and_closes() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.send(handshake("/ws")).await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        origin
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let answer = client.message().await;
        assert_eq!((answer.status(), answer.text()), (403, "no"));
        assert_eq!(answer.head.one("connection"), Some("close"));
        assert!(client.ends().await);
    });
}

#[test]
fn a_redirected_handshake_is_followed() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.send(handshake("/old")).await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        origin
            .send("HTTP/1.1 307 Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")
            .await;
        let mut next = world.origin.take().await;
        let asked = next.head().await;
        assert_eq!(asked.first, "GET /new HTTP/1.1");
        assert_eq!(asked.one("upgrade"), Some("websocket"));
        next.send(SWITCHED).await;
        assert_eq!(client.head().await.status(), 101);
    });
}

#[test]
fn a_101_to_another_protocol_is_no_answer() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client.send(handshake("/ws")).await;
        let mut origin = world.origin.take().await;
        origin.head().await;
        origin
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            .await;
        assert_eq!(client.message().await.error(), "upstream_invalid");
    });
}

#[test]
fn more_tunnels_than_allowed_are_503_until_one_ends() {
    block_on(async {
        let world = World::with(|settings| settings.limits.tunnels = 1).await;
        let (client, origin) = open(&world).await;
        let mut second = world.client();
        second.send(handshake("/ws")).await;
        assert_eq!(second.message().await.error(), "too_many_tunnels");
        drop((client, origin));
        while world.proxy.metrics().tunnels.get() > 0 {
            tokio::task::yield_now().await;
        }
        open(&world).await;
    });
}

#[test]
fn a_tunnel_is_an_upstream_connection_until_it_ends() {
    block_on(async {
        let world = World::with(|settings| settings.limits.upstream_connections = 1).await;
        let (client, mut origin) = open(&world).await;
        let mut second = world.client();
        second.get("/").await;
        assert_eq!(second.message().await.error(), "upstream_busy");
        drop(client);
        assert!(origin.ends().await);
        drop(origin);
        loop {
            second.get("/").await;
            tokio::select! {
                refused = second.message() => assert_eq!(refused.error(), "upstream_busy"),
                mut origin = world.origin.take() => {
                    origin.message().await;
                    return;
                }
            }
        }
    });
}

#[test]
fn a_tunnel_outlives_the_drain_and_the_settings_it_began_under() {
    block_on(async {
        let world = World::new().await;
        let (mut client, mut origin) = open(&world).await;
        let mut settings = world.settings.clone();
        settings.allow.clear();
        world.proxy.replace(settings).expect("replaced");
        world.drain.send_replace(true);
        tokio::task::yield_now().await;
        client.send("still").await;
        assert_eq!(origin.exactly(5).await, b"still");
        origin.send("open").await;
        assert_eq!(client.exactly(4).await, b"open");
    });
}

/// The stream is on the heap and HTTP's buffers are gone, whatever the size of the client's stream.
#[test]
fn the_future_of_a_connection_is_small() {
    block_on(async {
        let world = World::new().await;
        let small = world.serving_size([0_u8; 1]);
        assert_eq!(small, world.serving_size([0_u8; 8 << 10]));
        assert!(small <= 1 << 10, "{small} bytes");
    });
}
