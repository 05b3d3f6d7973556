//! PROXY headers through real sockets: split anywhere, missing, broken, or not to be believed.

use super::*;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\0\x02\x07\xc0\0\x02\x01\xc3\x50\x01\xbb";

#[tokio::test]
async fn headers_split_at_every_byte_lose_nothing() {
    test(trust_loopback, async |mut server| {
        for header in [V1, V2] {
            for cut in 0..=header.len() {
                let mut client = server.client(server.tcp).await;
                let (first, second) = header.split_at(cut);
                client.write_all(first).await.expect("open");
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                let rest = [second, BINDING].concat();
                client.write_all(&rest).await.expect("open");
                let accepted = server.turn().await;
                let tuple = accepted.five_tuple;
                assert_eq!(tuple.client.to_string(), "192.0.2.7:50000");
                assert_eq!(tuple.server.to_string(), "192.0.2.1:443");
                assert_eq!(read_turn(accepted, BINDING.len()).await, BINDING);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn header_comes_before_tls_in_bytes_one_by_one() {
    test(trust_loopback, async |mut server| {
        for port in [server.tcp, server.tls] {
            let mut stream = Slow::new(server.client(port).await);
            stream.write_all(V2).await.expect("open");
            let connector = TlsConnector::from(server.client_config(&["http/1.1"]));
            let mut client = connector
                .connect(localhost(), stream)
                .await
                .expect("the certificate is trusted");
            client.write_all(REQUEST).await.expect("open");
            client.flush().await.expect("open");
            let (mut stream, info) = server.http().await;
            assert_eq!(info.client.to_string(), "192.0.2.7:50000");
            assert_eq!(info.server.to_string(), "192.0.2.1:443");
            assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
        }
    })
    .await;
}

#[tokio::test]
async fn long_header_with_tlvs_is_taken_whole() {
    test(trust_loopback, async |mut server| {
        let mut header = V2.to_vec();
        let tlv = [&[0x04, 0x0b, 0xb8][..], &[0; 3000]].concat();
        header.extend_from_slice(&tlv);
        header[14..16].copy_from_slice(&3015_u16.to_be_bytes());
        let mut client = server.client(server.tcp).await;
        let bytes = [&header, BINDING].concat();
        client.write_all(&bytes).await.expect("open");
        let accepted = server.turn().await;
        assert_eq!(accepted.five_tuple.client.to_string(), "192.0.2.7:50000");
        assert_eq!(read_turn(accepted, BINDING.len()).await, BINDING);
    })
    .await;
}

#[tokio::test]
async fn local_and_unknown_keep_the_sockets_addresses() {
    test(trust_loopback, async |mut server| {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".as_slice();
        for header in [b"PROXY UNKNOWN\r\n".as_slice(), local] {
            let mut client = server.client(server.tcp).await;
            let bytes = [header, REQUEST].concat();
            client.write_all(&bytes).await.expect("open");
            let (_, info) = server.http().await;
            assert_eq!(info.client, client.local_addr().expect("open"));
            assert_eq!(info.server, server.tcp);
        }
    })
    .await;
}

#[tokio::test]
async fn header_is_required_of_listed_networks() {
    test(trust_loopback, async |mut server| {
        for bytes in [BINDING, REQUEST, b"PROXY TCP4 nonsense\r\n"] {
            let mut client = server.client(server.tcp).await;
            client.write_all(bytes).await.expect("open");
            server.closed_for(&mut client, Reason::ProxyHeader).await;
        }
    })
    .await;
}

#[tokio::test]
async fn header_of_a_stranger_is_never_believed() {
    test(
        |_| {},
        async |mut server| {
            let mut client = server.client(server.tcp).await;
            let bytes = [V1, REQUEST].concat();
            client.write_all(&bytes).await.expect("open");
            let (mut stream, info) = server.http().await;
            assert_eq!(info.client, client.local_addr().expect("open"));
            assert_eq!(read(&mut stream, bytes.len()).await, bytes);

            let mut client = server.client(server.tcp).await;
            let bytes = [V2, BINDING].concat();
            client.write_all(&bytes).await.expect("open");
            let accepted = server.turn().await;
            let address = client.local_addr().expect("open");
            assert_eq!(accepted.five_tuple.client, ClientAddr::new(address));
            assert_eq!(read_turn(accepted, bytes.len()).await, bytes);

            let mut client = server.client(server.tls).await;
            client.write_all(V1).await.expect("open");
            server.closed_for(&mut client, Reason::NotTls).await;
        },
    )
    .await;
}

#[tokio::test]
async fn limits_hold_for_the_client_and_not_for_its_proxy() {
    let one = |settings: &mut Settings| {
        trust_loopback(settings);
        settings.connections_per_address = 1;
    };
    test(one, async |mut server| {
        let mut kept = Vec::new();
        for client in ["192.0.2.7", "192.0.2.8"] {
            let header = format!("PROXY TCP4 {client} 192.0.2.1 50000 443\r\n");
            let mut stream = server.client(server.tcp).await;
            let bytes = [header.as_bytes(), BINDING].concat();
            stream.write_all(&bytes).await.expect("open");
            kept.push((stream, server.turn().await));
        }
        let mut third = server.client(server.tcp).await;
        third.write_all(V1).await.expect("open");
        server.closed_for(&mut third, Reason::AddressLimit).await;
    })
    .await;
}
