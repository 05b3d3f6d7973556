//! Limits, certificate swaps, resumption, socket options and the end.

use super::*;
use crate::sys::inherit::Inherited;

#[tokio::test]
async fn connection_past_a_limit_is_closed_at_once_and_the_next_after_a_drop_is_served() {
    let one = |settings: &mut Settings| settings.connections_per_address = 1;
    test(one, async |mut server| {
        let mut first = server.client(server.tcp).await;
        first.write_all(BINDING).await.expect("open");
        let accepted = server.turn().await;
        let mut second = server.client(server.tcp).await;
        server.closed_for(&mut second, Reason::AddressLimit).await;
        drop(accepted);
        assert_eq!(server.shared.connections(), 0);
        let mut third = server.client(server.tcp).await;
        third.write_all(REQUEST).await.expect("open");
        let (_, info) = server.http().await;
        assert_eq!(server.shared.connections(), 1);
        drop(info);
        assert_eq!(server.shared.connections(), 0);
    })
    .await;
}

#[tokio::test]
async fn total_and_pending_limits_are_counted_apart() {
    let total = |settings: &mut Settings| settings.connections_total = 1;
    test(total, async |mut server| {
        let _first = server.client(server.tcp).await;
        let mut second = server.client(server.tcp).await;
        server.closed_for(&mut second, Reason::TotalLimit).await;
    })
    .await;
    let pending = |settings: &mut Settings| settings.pending_per_address = 1;
    test(pending, async |mut server| {
        let mut first = server.client(server.tcp).await;
        let mut second = server.client(server.tcp).await;
        server.closed_for(&mut second, Reason::PendingLimit).await;
        first.write_all(BINDING).await.expect("open");
        let _first = server.turn().await;
        let mut third = server.client(server.tcp).await;
        third.write_all(BINDING).await.expect("open");
        server.turn().await;
    })
    .await;
}

#[tokio::test]
async fn certificate_is_swapped_under_live_listeners_and_live_connections() {
    test(
        |_| {},
        async |mut server| {
            let mut old = server.tls_client(&["http/1.1"]).await;
            let (mut stream, _) = server.http().await;
            let before = peer_certificate(&old);
            let store = server.store.clone().expect("it has one");
            store
                .reload(&certificate(&["localhost", "other.example"]))
                .expect("names are valid");
            let new = server.tls_client(&["http/1.1"]).await;
            assert_ne!(peer_certificate(&new), before);
            assert_eq!(peer_certificate(&new), store.chain()[0].to_vec());
            old.write_all(REQUEST).await.expect("still open");
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
        },
    )
    .await;
}

#[tokio::test]
async fn second_handshake_of_a_client_is_resumed() {
    test(
        |_| {},
        async |mut server| {
            let config = server.client_config(&["http/1.1"]);
            for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let stream = server.client(server.tls).await;
                let connector = TlsConnector::from(config.clone());
                let mut client = connector
                    .connect(localhost(), stream)
                    .await
                    .expect("the certificate is trusted");
                assert_eq!(client.get_ref().1.handshake_kind(), Some(expected));
                let (mut stream, _) = server.http().await;
                stream.write_all(b"x").await.expect("open");
                stream.flush().await.expect("open");
                // The tickets come before the first byte.
                assert_eq!(read(&mut client, 1).await, b"x");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn turn_over_tls_leaves_no_ticket_unsent_behind() {
    test(
        |_| {},
        async |mut server| {
            let _client = server.tls_client(&["stun.turn"]).await;
            let accepted = server.turn().await;
            assert!(!accepted.tls.expect("over TLS").wants_write());
        },
    )
    .await;
}

#[tokio::test]
async fn accepted_sockets_have_no_delay_and_keepalive() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.client(server.tcp).await;
            client.write_all(BINDING).await.expect("open");
            let accepted = server.turn().await;
            let socket = SockRef::from(&accepted.socket);
            assert!(socket.tcp_nodelay().expect("open"));
            assert!(socket.keepalive().expect("open"));
            assert_eq!(
                socket.tcp_keepalive_time().expect("open"),
                Duration::from_secs(60)
            );
            assert_eq!(
                socket.tcp_keepalive_interval().expect("open"),
                Duration::from_secs(15)
            );
            assert_eq!(socket.tcp_keepalive_retries().expect("open"), 4);
            let mut byte = [0];
            accepted.socket.peek(&mut byte).expect("the request");
            (&accepted.socket)
                .read_exact(&mut [0; BINDING.len()])
                .expect("the request");
            let error = accepted.socket.peek(&mut byte).expect_err("non-blocking");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        },
    )
    .await;
}

#[tokio::test]
async fn stop_closes_what_is_pending_and_keeps_what_was_handed_over() {
    test(
        |_| {},
        async |mut server| {
            let mut served = server.client(server.tcp).await;
            served.write_all(REQUEST).await.expect("open");
            let (mut stream, _info) = server.http().await;
            let mut pending = server.client(server.tcp).await;
            // A second connection from the same listener proves that `pending` was accepted.
            let mut probe = server.client(server.tcp).await;
            probe.write_all(BINDING).await.expect("open");
            server.turn().await;

            server.stop.send(true).expect("it listens to this");
            (&mut server.running).await.expect("no panic");
            assert_eq!(server.shared.metrics.closed_for(Reason::Stopped), 1);
            assert!(ended(&mut pending).await);
            assert!(TcpStream::connect(server.tcp).await.is_err());
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
        },
    )
    .await;
}

#[tokio::test]
async fn a_listener_comes_and_another_goes_and_what_it_had_accepted_goes_on() {
    test(
        |_| {},
        async |mut server| {
            let mut served = server.client(server.tcp).await;
            served.write_all(REQUEST).await.expect("open");
            let (mut stream, _info) = server.http().await;
            let mut pending = server.client(server.tcp).await;
            let wanted = Asked {
                address: "127.0.0.1:0".parse().expect("an address"),
                port: Port::Tcp,
            };
            let listeners = Listeners::bind_beside(&[wanted], 1, &[], &mut Inherited::default())
                .expect("loopback");
            let new = listeners.bound()[0].address;
            let close = Bound {
                asked: Asked {
                    address: "127.0.0.1:0".parse().expect("an address"),
                    port: Port::Tcp,
                },
                address: server.tcp,
            };
            let (token, mut applied) = mpsc::channel::<()>(1);
            let change = Change {
                open: listeners.into_threads().remove(0),
                close: vec![close],
                applied: Box::new(token),
            };
            assert!(server.change.send(change).await.is_ok());
            assert_eq!(applied.recv().await, None);

            let mut client = server.client(new).await;
            client.write_all(BINDING).await.expect("open");
            server.turn().await;
            // It was connected before, though it may not have been accepted yet.
            pending.write_all(BINDING).await.expect("open");
            server.turn().await;
            while TcpStream::connect(server.tcp).await.is_ok() {
                tokio::task::yield_now().await;
            }
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
            let _tls = server.tls_client(&["stun.turn"]).await;
            server.turn().await;
        },
    )
    .await;
}

#[tokio::test]
async fn other_deadlines_and_limits_hold_for_the_connections_that_come() {
    test(
        |_| {},
        async |mut server| {
            let mut first = server.client(server.tcp).await;
            first.write_all(BINDING).await.expect("open");
            let _first = server.turn().await;
            let mut tight = settings(|_| {});
            tight.connections_per_address = 1;
            server.shared.set_settings(&tight);
            let mut second = server.client(server.tcp).await;
            server.closed_for(&mut second, Reason::AddressLimit).await;
            server.shared.set_settings(&settings(|settings| {
                settings.proxy_protocol_from = vec!["127.0.0.0/8".parse().expect("a network")];
            }));
            let mut proxied = server.client(server.tcp).await;
            let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 3478\r\n";
            proxied.write_all(header).await.expect("open");
            proxied.write_all(BINDING).await.expect("open");
            let accepted = server.turn().await;
            assert_eq!(accepted.five_tuple.client.to_string(), "192.0.2.7:40000");
        },
    )
    .await;
}

#[tokio::test]
async fn metrics_show_what_happened() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.client(server.tcp).await;
            client.write_all(BINDING).await.expect("open");
            let _accepted = server.turn().await;
            let mut registry = prometheus_client::registry::Registry::default();
            server.shared.metrics.register(&mut registry);
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string");
            for line in [
                "relayd_listen_connections{protocol=\"turn\"} 1",
                "relayd_listen_connections{protocol=\"pending\"} 0",
                "relayd_listen_accepted_total 1",
                "relayd_listen_identified_total{transport=\"tcp\",protocol=\"turn\"} 1",
                "relayd_listen_closed_total{reason=\"garbage\"} 0",
                "relayd_listen_tls_handshakes_total{kind=\"full\"} 0",
            ] {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
        },
    )
    .await;
}
