//! Requests that two servers could read in two ways.

use super::support::{ORIGIN, PROXY, World, block_on};
use tokio::io::AsyncWriteExt;

/// Sends a request and says what came back before the end of the connection.
async fn raw(world: &World, request: &str) -> String {
    let mut client = world.client();
    // It may be refused before its last byte was taken.
    let _ = client.stream.write_all(request.as_bytes()).await;
    String::from_utf8(client.rest().await).expect("text")
}

#[test]
fn an_ambiguous_request_is_answered_400_and_nothing_behind_it_is_served() {
    block_on(async {
        let world = World::new().await;
        let start = format!("POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\n");
        let smuggled = format!("GET /{ORIGIN}/smuggled HTTP/1.1\r\nHost: {PROXY}\r\n\r\n");
        for request in [
            format!(
                "{start}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            format!(
                "{start}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            format!("{start}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde{smuggled}"),
            format!("{start}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
            format!(
                "{start}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            format!("{start}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("{start}X: y\nContent-Length: 4\r\n\r\nabcd{smuggled}"),
            format!("GET /{ORIGIN}/ HTTP/1.1\nHost: {PROXY}\n\n{smuggled}"),
            format!("{start}X: y\r\n folded: z\r\n\r\n{smuggled}"),
            format!("{start}Host: other\r\n\r\n{smuggled}"),
            format!("GET /{ORIGIN}/ HTTP/1.1\r\n\r\n{smuggled}"),
            format!("GET /{ORIGIN}/\r\n\r\n{smuggled}"),
            format!("GET  /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\n\r\n{smuggled}"),
            format!("\0\0\0\0\r\n\r\n{smuggled}"),
        ] {
            let answer = raw(&world, &request).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 "),
                "{request:?}: {answer:?}"
            );
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "{request:?}: {answer:?}"
            );
        }
        assert_eq!(world.origin.accepted(), 0);
    });
}

#[test]
fn a_head_that_comes_in_pieces_is_judged_as_a_whole() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        for piece in [
            "POST / HTTP/1.1\r\nHost: proxy.te",
            "st\r\nContent-Len",
            "gth: 4\r\nTransfer-Enc",
            "oding: chunked\r\n",
        ] {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let answer = client.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "));
    });
}

#[test]
fn a_broken_chunk_breaks_off_the_request_and_serves_nothing_behind_it() {
    block_on(async {
        let world = World::new().await;
        let mut client = world.client();
        client
            .send(format!(
                "POST /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n\
                 GET /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"
            ))
            .await;
        let answer = String::from_utf8(client.rest().await).expect("text");
        assert!(!answer.contains(" 200 "), "{answer}");
    });
}

#[test]
fn heads_that_are_too_large_are_answered_431_and_long_targets_414() {
    block_on(async {
        let world = World::new().await;
        let long = "x".repeat(70 << 10);
        let many = (0..101)
            .map(|n| format!("X-{n}: 1\r\n"))
            .collect::<String>();
        let target = "y".repeat(17 << 10);
        for (request, status) in [
            (
                format!("GET /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nX: {long}\r\n\r\n"),
                431,
            ),
            (
                format!("GET /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\n{many}\r\n"),
                431,
            ),
            (
                format!(
                    "GET /{ORIGIN}/{target} HTTP/1.1\r\nHost: {PROXY}\r\nConnection: close\r\n\r\n"
                ),
                414,
            ),
        ] {
            let answer = raw(&world, &request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
    });
}

/// Cookies and tokens grow: the page is to learn why its request failed.
#[test]
fn a_head_that_is_a_little_too_large_is_answered_in_json_with_cors() {
    block_on(async {
        let world = World::new().await;
        let of_size = |bytes: usize| {
            let head = format!(
                "GET /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nOrigin: https://app.test\r\nX: \r\n\r\n"
            );
            head.replace("X: ", &format!("X: {}", "x".repeat(bytes - head.len())))
        };
        let mut client = world.client();
        client.send(of_size(32 << 10)).await;
        let mut origin = world.origin.take().await;
        origin.message().await;
        origin.ok("").await;
        assert_eq!(client.message().await.status(), 200);
        client.send(of_size((32 << 10) + 1)).await;
        let answer = client.message().await;
        assert_eq!(
            (answer.status(), answer.error()),
            (431, "headers_too_large".to_owned())
        );
        assert_eq!(
            answer.head.one("access-control-allow-origin"),
            Some("https://app.test")
        );
    });
}

#[test]
fn a_connection_that_asked_for_another_protocol_serves_one_request() {
    block_on(async {
        let world = World::new().await;
        let answer = raw(
            &world,
            &format!(
                "GET /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\
                 GET /healthcheck HTTP/1.1\r\nHost: {PROXY}\r\n\r\n"
            ),
        )
        .await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    });
}

#[test]
fn trace_and_connect_are_not_proxied() {
    block_on(async {
        let world = World::new().await;
        for method in ["TRACE", "CONNECT"] {
            let answer = raw(
                &world,
                &format!(
                    "{method} /{ORIGIN}/ HTTP/1.1\r\nHost: {PROXY}\r\nConnection: close\r\n\r\n"
                ),
            )
            .await;
            let status = answer.get(9..12).expect("a status");
            assert!(["400", "405"].contains(&status), "{method}: {answer}");
        }
        assert_eq!(world.origin.accepted(), 0);
    });
}
