//! Silence and half-open connections: closed by a deadline, for the right reason.

use super::*;

#[tokio::test]
async fn silence_on_a_plain_port_ends_at_the_first_byte_deadline() {
    let quick = |settings: &mut Settings| settings.first_byte_timeout_s = 0;
    test(quick, async |mut server| {
        let mut client = server.client(server.tcp).await;
        server
            .closed_for(&mut client, Reason::FirstByteTimeout)
            .await;
    })
    .await;
}

#[tokio::test]
async fn silence_before_or_within_the_handshake_ends_at_the_handshake_deadline() {
    let quick = |settings: &mut Settings| settings.handshake_timeout_s = 0;
    test(quick, async |mut server| {
        for beginning in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
            let mut client = server.client(server.tls).await;
            client.write_all(beginning).await.expect("open");
            server
                .closed_for(&mut client, Reason::HandshakeTimeout)
                .await;
        }
        let mut client = server.client(server.tcp).await;
        client.write_all(b"\x16\x03").await.expect("open");
        server
            .closed_for(&mut client, Reason::HandshakeTimeout)
            .await;
    })
    .await;
}

#[tokio::test]
async fn silence_after_the_handshake_ends_at_the_first_byte_deadline() {
    let quick = |settings: &mut Settings| settings.first_byte_timeout_s = 0;
    test(quick, async |mut server| {
        let mut client = server.tls_client(&[]).await;
        server
            .closed_for(&mut client, Reason::FirstByteTimeout)
            .await;
    })
    .await;
}

#[tokio::test]
async fn missing_proxy_header_ends_at_the_handshake_deadline() {
    let quick = |settings: &mut Settings| {
        trust_loopback(settings);
        settings.handshake_timeout_s = 0;
    };
    test(quick, async |mut server| {
        let mut client = server.client(server.tcp).await;
        client.write_all(b"PROXY TCP4").await.expect("open");
        server
            .closed_for(&mut client, Reason::HandshakeTimeout)
            .await;
    })
    .await;
}

#[tokio::test]
async fn clients_that_close_early_are_counted_as_such() {
    test(
        |_| {},
        async |mut server| {
            for (port, beginning) in [
                (server.tcp, b"".as_slice()),
                (server.tls, b""),
                (server.tls, b"\x16\x03\x01\x02\x00\x01"),
            ] {
                let mut client = server.client(port).await;
                client.write_all(beginning).await.expect("open");
                client.shutdown().await.expect("open");
                server.closed_for(&mut client, Reason::ClientClosed).await;
            }
            let mut client = server.tls_client(&[]).await;
            client.shutdown().await.expect("open");
            server.counted(Reason::ClientClosed).await;
        },
    )
    .await;
}
