//! Each kind of client on each kind of port, told apart by ALPN or by its first byte.

use super::*;

#[tokio::test]
async fn tls_with_alpn_h2_is_http2() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.tls_client(&["h2", "http/1.1"]).await;
            assert_eq!(alpn(&client), Some("h2"));
            client.write_all(b"PRI * HTTP/2.0").await.expect("open");
            let (mut stream, info) = server.http().await;
            assert!(info.tls && info.h2);
            assert_eq!(info.sni.as_deref(), Some("localhost"));
            assert_eq!(info.client, client.get_ref().0.local_addr().expect("open"));
            assert_eq!(info.server, server.tls);
            assert_eq!(read(&mut stream, 14).await, b"PRI * HTTP/2.0");
        },
    )
    .await;
}

#[tokio::test]
async fn tls_with_alpn_http11_is_http_before_any_byte() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.tls_client(&["http/1.1"]).await;
            let (mut stream, info) = server.http().await;
            assert!(info.tls && !info.h2);
            client.write_all(REQUEST).await.expect("open");
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
        },
    )
    .await;
}

#[tokio::test]
async fn tls_with_a_stun_alpn_is_turn_before_any_byte() {
    test(
        |_| {},
        async |mut server| {
            for name in ["stun.turn", "stun.nat-discovery"] {
                let client = server.tls_client(&[name]).await;
                assert_eq!(alpn(&client), Some(name));
                let accepted = server.turn().await;
                assert!(accepted.tls.is_some());
                assert_eq!(accepted.five_tuple.transport, Transport::Tls);
            }
        },
    )
    .await;
}

/// coturn's `turnutils_uclient` offers HTTP's name beside TURN's; no HTTP client offers TURN's.
#[tokio::test]
async fn a_client_that_offers_turn_beside_http_is_turn() {
    test(
        |_| {},
        async |mut server| {
            let offered = ["http/1.1", "stun.nat-discovery", "stun.turn"];
            let client = server.tls_client(&offered).await;
            assert_eq!(alpn(&client), Some("stun.turn"));
            assert!(server.turn().await.tls.is_some());
        },
    )
    .await;
}

#[tokio::test]
async fn tls_without_alpn_is_told_apart_by_its_first_byte() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.tls_client(&[]).await;
            client.write_all(REQUEST).await.expect("open");
            let (mut stream, info) = server.http().await;
            assert!(info.tls && !info.h2);
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);

            let mut client = server.tls_client(&[]).await;
            let media = [BINDING, &[7; 5000]].concat();
            client.write_all(&media).await.expect("open");
            let accepted = server.turn().await;
            assert_eq!(read_turn(accepted, media.len()).await, media);
        },
    )
    .await;
}

#[tokio::test]
async fn plain_turn_and_plain_http_share_a_port() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.client(server.tcp).await;
            client.write_all(BINDING).await.expect("open");
            let accepted = server.turn().await;
            let tuple = accepted.five_tuple;
            assert!(accepted.tls.is_none());
            assert_eq!(tuple.transport, Transport::Tcp);
            assert_eq!(tuple.server, server.tcp);
            let address = client.local_addr().expect("open");
            assert_eq!(tuple.client, ClientAddr::new(address));
            assert_eq!(read_turn(accepted, BINDING.len()).await, BINDING);

            for request in [REQUEST, b"get / HTTP/1.1\r\n\r\n"] {
                let mut client = server.client(server.tcp).await;
                client.write_all(request).await.expect("open");
                let (mut stream, info) = server.http().await;
                assert!(!info.tls && !info.h2 && info.sni.is_none());
                assert_eq!(read(&mut stream, request.len()).await, request);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn tls_on_a_plain_port_is_served_as_tls() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.tls_client_at(server.tcp, &[]).await;
            client.write_all(BINDING).await.expect("open");
            let accepted = server.turn().await;
            assert_eq!(accepted.five_tuple.transport, Transport::Tls);
            assert_eq!(read_turn(accepted, BINDING.len()).await, BINDING);
        },
    )
    .await;
}

#[tokio::test]
async fn tls_without_a_certificate_is_closed_and_counted() {
    let settings = settings(|_| {});
    with_store(settings, None, async |mut server| {
        let mut client = server.client(server.tcp).await;
        client.write_all(b"\x16\x03\x01").await.expect("open");
        server.closed_for(&mut client, Reason::NoCertificate).await;
    })
    .await;
}

#[tokio::test]
async fn bytes_of_no_protocol_are_closed_and_counted() {
    test(
        |_| {},
        async |mut server| {
            for garbage in [b"\x40\x00", b"\xff\xff", b"{}", b"@@"] {
                let mut client = server.client(server.tcp).await;
                client.write_all(garbage).await.expect("open");
                server.closed_for(&mut client, Reason::Garbage).await;
            }
            let mut client = server.tls_client(&[]).await;
            client.write_all(b"\x80").await.expect("open");
            server.closed_for(&mut client, Reason::Garbage).await;
        },
    )
    .await;
}

#[tokio::test]
async fn tls_inside_tls_is_not_unwrapped_again() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.tls_client(&[]).await;
            client.write_all(b"\x16\x03\x01").await.expect("open");
            server.closed_for(&mut client, Reason::Garbage).await;
        },
    )
    .await;
}

#[tokio::test]
async fn http_on_a_tls_port_is_closed_and_counted() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.client(server.tls).await;
            client.write_all(REQUEST).await.expect("open");
            server.closed_for(&mut client, Reason::NotTls).await;
        },
    )
    .await;
}

/// RFC 7301 §3.2.
#[tokio::test]
async fn unknown_alpn_is_refused_with_an_alert() {
    test(
        |_| {},
        async |mut server| {
            let stream = server.client(server.tls).await;
            let connector = TlsConnector::from(server.client_config(&["smtp"]));
            let error = connector
                .connect(localhost(), stream)
                .await
                .expect_err("no common protocol");
            assert!(
                error.to_string().contains("NoApplicationProtocol"),
                "{error}"
            );
            server.counted(Reason::Alpn).await;
        },
    )
    .await;
}

#[tokio::test]
async fn protocols_are_known_from_bytes_that_arrive_one_by_one() {
    test(
        |_| {},
        async |mut server| {
            for (bytes, turn) in [(BINDING, true), (REQUEST, false)] {
                let mut client = Slow::new(server.client(server.tcp).await);
                let writer = spawn_local(async move {
                    client.write_all(bytes).await.expect("open");
                    client
                });
                if turn {
                    let accepted = server.turn().await;
                    assert_eq!(read_turn(accepted, bytes.len()).await, bytes);
                } else {
                    let (mut stream, _) = server.http().await;
                    assert_eq!(read(&mut stream, bytes.len()).await, bytes);
                }
                writer.await.expect("no panic");
            }
            for port in [server.tls, server.tcp] {
                let stream = Slow::new(server.client(port).await);
                let connector = TlsConnector::from(server.client_config(&[]));
                let mut client = connector
                    .connect(localhost(), stream)
                    .await
                    .expect("the certificate is trusted");
                client.write_all(BINDING).await.expect("open");
                client.flush().await.expect("open");
                let accepted = server.turn().await;
                assert_eq!(read_turn(accepted, BINDING.len()).await, BINDING);
            }
        },
    )
    .await;
}
