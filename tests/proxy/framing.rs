//! PROXY.md "Do better" 10: what two servers could read in two ways is refused, and what is odd but clear passes.

use super::plain;
use super::web::client::Client;
use super::web::relayd::Relayd;

const TARGET: &str = "/api.example.com/x";

/// Sends `bytes` and expects a 400 that ends the connection, with nothing behind it served.
fn assert_refused(relayd: &Relayd, bytes: &[u8]) {
    for mut client in [relayd.connect(), Client::plain(relayd.tcp)] {
        client.send(bytes);
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        let shown = String::from_utf8_lossy(bytes);
        assert!(
            answer.starts_with("HTTP/1.1 400 "),
            "{shown:?} was answered {answer:?}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{shown:?} was answered {answer:?}"
        );
    }
}

#[test]
fn a_request_with_two_lengths_is_refused() {
    let (origin, relayd) = plain(&["api.example.com"]);
    for lengths in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\ntransfer-encoding: CHUNKED\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Content-Length : 3\r\n",
    ] {
        let head = format!(
            "POST {TARGET} HTTP/1.1\r\nHost: {}\r\n{lengths}\r\n",
            relayd.authority()
        );
        let smuggled = format!(
            "0\r\n\r\nGET {TARGET} HTTP/1.1\r\nHost: {}\r\n\r\n",
            relayd.authority()
        );
        assert_refused(&relayd, format!("{head}{smuggled}").as_bytes());
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn lines_that_do_not_end_in_cr_lf_and_other_broken_heads_are_refused() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let host = format!("Host: {}", relayd.authority());
    for head in [
        format!("GET {TARGET} HTTP/1.1\n{host}\n\n"),
        format!("GET {TARGET} HTTP/1.1\n{host}\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\nX: y\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nX: y\r\n\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\rX: y\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nX: a\r\n b\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nX: a\r\n\tb\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n X: a\r\n{host}\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nX : a\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nno colon\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\n: empty\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nX: a\0b\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1\r\n{host}\r\nX(y): a\r\n\r\n"),
        format!("GET  {TARGET} HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET {TARGET}  HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.1 \r\n{host}\r\n\r\n"),
        format!("GET {TARGET} HTTP/1.2\r\n{host}\r\n\r\n"),
        format!("GET {TARGET} HTTP/3.0\r\n{host}\r\n\r\n"),
        format!("GET {TARGET} http/1.1\r\n{host}\r\n\r\n"),
        format!("GET {TARGET}\r\n"),
        format!("GET {TARGET}\r\n{host}\r\n\r\n"),
        format!("GET api.example.com/x HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET {TARGET} x HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("G@T {TARGET} HTTP/1.1\r\n{host}\r\n\r\n"),
    ] {
        assert_refused(&relayd, head.as_bytes());
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn broken_chunks_end_the_connection_and_never_start_a_second_request() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let host = relayd.authority();
    let head =
        format!("POST {TARGET} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let smuggled = format!("GET /api.example.com/smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for body in [
        "3\nabc\n0\n\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3;\n\r\nabc\r\n0\r\n\r\n",
        "3;a=\nb\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = relayd.connect();
        client.send(format!("{head}{body}{smuggled}"));
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(
            answer.matches("HTTP/1.1 ").count() <= 1,
            "{body:?}: {answer:?}"
        );
        assert!(!answer.contains(" 200 "), "{body:?}: {answer:?}");
    }
    assert!(
        origin
            .seen()
            .iter()
            .all(|seen| seen.message.target() != "/smuggled")
    );
}

#[test]
fn chunk_extensions_end_here_and_no_trailer_changes_the_framing() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let mut client = relayd.connect();
    client.send(format!(
        "POST {TARGET} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n\
         3;name=\"v;w\"\r\nabc\r\n0;last\r\nX-After: 1\r\nContent-Length: 9\r\n\r\n",
        relayd.authority()
    ));
    assert_eq!(client.answer().status(), 200);
    let seen = origin.only().message;
    assert_eq!(seen.body, b"abc");
    assert_eq!(seen.one("content-length"), None);
    let smuggled = |line: &String| line.to_ascii_lowercase().starts_with("content-length");
    assert!(!seen.trailers.iter().any(smuggled), "{:?}", seen.trailers);
    client.send(relayd.head("GET", TARGET, &[], 0));
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (origin, relayd) = super::serving(&["api.example.com"], |seen, wire| {
        super::web::origin::ok(wire, seen.message.target())
    });
    let mut client = relayd.connect();
    let all: String = (0..20)
        .map(|i| relayd.head("GET", &format!("/api.example.com/{i}"), &[], 0))
        .collect();
    client.send(all);
    for i in 0..20 {
        assert_eq!(client.answer().text(), format!("/{i}"));
    }
    assert_eq!(origin.seen().len(), 20);
}

#[test]
fn a_request_behind_a_refused_one_is_not_served() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let good = relayd.head("GET", TARGET, &[], 0);
    let bad = format!("GET {TARGET} HTTP/1.1\nHost: {}\n\n", relayd.authority());
    let mut client = relayd.connect();
    client.send(format!("{good}{bad}{good}"));
    assert_eq!(client.answer().status(), 200);
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 400 "),
        "{rest:?}"
    );
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn an_absolute_target_is_routed_by_its_path() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let mut client = relayd.connect();
    client.send(format!(
        "GET https://{0}{TARGET} HTTP/1.1\r\nHost: {0}\r\n\r\n",
        relayd.authority()
    ));
    assert_eq!(client.answer().status(), 200);
    assert_eq!(origin.only().message.target(), "/x");
    client.send(format!(
        "GET http://api.example.com/x HTTP/1.1\r\nHost: {}\r\n\r\n",
        relayd.authority()
    ));
    assert_eq!(client.answer().status(), 404);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_client_may_send_its_request_byte_by_byte() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let mut client = relayd.connect();
    for byte in relayd
        .head("POST", TARGET, &[("X-A", "b")], 3)
        .bytes()
        .chain(*b"abc")
    {
        client.send([byte]);
    }
    assert_eq!(client.answer().status(), 200);
    assert_eq!(origin.only().message.body, b"abc");
}

#[test]
fn a_client_that_half_closes_after_its_request_gets_its_answer() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    for mut client in [relayd.connect(), Client::plain(relayd.tcp)] {
        client.send(relayd.head("GET", TARGET, &[], 0));
        client.half_close();
        assert_eq!(client.answer().status(), 200);
        assert!(client.ended());
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_takes_nothing_with_it() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let head = relayd.head("POST", TARGET, &[], 100);
    for cut in [1, 20, head.len() - 1, head.len()] {
        let mut client = relayd.connect();
        client.send(&head[..cut]);
        client.half_close();
        drop(client);
        let mut client = relayd.connect();
        client.send(&head);
        client.send("part");
        drop(client);
    }
    assert_eq!(relayd.get(TARGET).status(), 200);
    assert_eq!(origin.last().message.method(), "GET");
}

#[test]
fn http_1_0_is_served_and_closed() {
    let (_origin, relayd) = plain(&["api.example.com"]);
    let mut client = relayd.connect();
    client.send(format!(
        "GET {TARGET} HTTP/1.0\r\nHost: {}\r\n\r\n",
        relayd.authority()
    ));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (200, "fine"));
    assert!(client.ended());
}

#[test]
fn garbage_of_any_kind_is_refused_or_dropped_and_the_server_lives_on() {
    let (_origin, mut relayd) = plain(&["api.example.com"]);
    for garbage in [
        &b"\r\n\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"GET",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxxxx",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\xff\xff\x01\x00\x00\x00",
        b"\x80\x2e\x01\x03\x01",
        b"EHLO mail\r\n",
    ] {
        for mut client in [
            relayd.connect(),
            relayd.connect_alpn(&[]),
            Client::plain(relayd.tcp),
            Client::plain(relayd.tls),
        ] {
            client.send(garbage);
            client.half_close();
            let _ = client.reader.until_end(&mut client.stream);
        }
    }
    assert!(relayd.is_running());
    assert_eq!(relayd.get(TARGET).status(), 200);
}
