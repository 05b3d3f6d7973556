//! PROXY.md "Match": status and body of every upstream answer. "Do better" 6 and 9: errors pass, nothing is buffered whole.

use super::World;
use super::web::PATIENCE;
use super::web::message::find;
use super::web::origin::{BODY_LATER, Origin, Then, ok, raw, send};
use super::web::relayd::Relayd;
use super::{plain, serving};
use std::io::Write;
use std::sync::mpsc;

#[test]
fn every_status_passes_with_its_body_and_its_length() {
    let (_origin, relayd) = serving(&["api.example.com"], |seen, wire| {
        let status = seen.message.target().trim_start_matches('/').to_owned();
        send(
            wire,
            &format!("{status} Some Reason"),
            &[("Content-Type", "application/json")],
            b"{\"a\":1}",
        )
    });
    for status in [
        200, 201, 202, 206, 300, 400, 401, 403, 404, 405, 409, 410, 418, 429, 451, 500, 502, 503,
        599,
    ] {
        let answer = relayd.get(&format!("/api.example.com/{status}"));
        assert_eq!((answer.status(), answer.text()), (status, "{\"a\":1}"));
        assert_eq!(answer.one("content-length"), Some("7"));
        assert!(!answer.chunked);
        assert_eq!(answer.one("content-type"), Some("application/json"));
    }
}

#[test]
fn answers_without_a_body_stay_without() {
    let (_origin, relayd) = serving(&["api.example.com"], |seen, wire| {
        match seen.message.method() {
            "HEAD" => raw(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
            _ => raw(
                wire,
                format!(
                    "HTTP/1.1 {} X\r\nETag: \"e\"\r\n\r\n",
                    seen.message.target().trim_start_matches('/')
                )
                .as_bytes(),
            ),
        }
    });
    let mut client = relayd.connect();
    client.send(relayd.head("HEAD", "/api.example.com/", &[], 0));
    assert_eq!(client.answer_to("HEAD").one("content-length"), Some("1234"));
    for status in [204, 304] {
        client.send(relayd.head("GET", &format!("/api.example.com/{status}"), &[], 0));
        let answer = client.answer();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.one("etag"), Some("\"e\""));
    }
}

#[test]
fn a_sized_body_is_neither_rechunked_nor_compressed_nor_decompressed() {
    const GZIP: &[u8] = b"\x1f\x8b\x08\x00not really gzip, and nobody looks";
    let (origin, relayd) = serving(&["api.example.com"], |_, wire| {
        send(
            wire,
            "200 OK",
            &[
                ("Content-Encoding", "gzip"),
                ("Content-Type", "application/json"),
            ],
            GZIP,
        )
    });
    let answer = relayd.request(
        "POST",
        "/api.example.com/x",
        &[("Content-Encoding", "gzip"), ("Accept-Encoding", "gzip")],
        GZIP,
    );
    assert_eq!(answer.body, GZIP);
    assert_eq!(answer.one("content-encoding"), Some("gzip"));
    assert_eq!(
        answer.one("content-length"),
        Some(GZIP.len().to_string().as_str())
    );
    let seen = origin.only().message;
    assert_eq!(seen.body, GZIP);
    assert_eq!(
        seen.one("content-length"),
        Some(GZIP.len().to_string().as_str())
    );
    assert!(!seen.chunked);
}

#[test]
fn chunked_bodies_pass_both_ways() {
    let (origin, relayd) = serving(&["api.example.com"], |_, wire| {
        raw(wire, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
    });
    let mut client = relayd.connect();
    let head = relayd.head(
        "POST",
        "/api.example.com/x",
        &[("Transfer-Encoding", "chunked")],
        0,
    );
    client.send(head.replace("Content-Length: 0\r\n", ""));
    client.send("3;ext=\"a;b\"\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "hello world");
    assert_eq!(origin.only().message.body, b"abcdefg");
}

#[test]
fn a_body_that_ends_with_the_connection_passes() {
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        raw(
            wire,
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        );
        Then::Close
    });
    assert_eq!(relayd.get("/api.example.com/x").text(), "until the end");
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    let (origin, relayd) = serving(&["api.example.com"], |seen, wire| {
        send(wire, "200 OK", &[], &seen.message.body)
    });
    let body: Vec<u8> = (0..20u32 << 20).map(|i| (i % 251) as u8).collect();
    let mut client = relayd.connect();
    client.send(relayd.head("PUT", "/api.example.com/x", &[], body.len()));
    client.send(&body);
    let answer = client.answer();
    assert_eq!(answer.body.len(), body.len());
    assert!(answer.body == body);
    assert!(origin.only().message.body == body);
}

#[test]
fn an_answer_flows_while_the_upstream_still_writes_it() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (_origin, relayd) = serving(&["api.example.com"], move |_, wire| {
        let mut first = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst".to_vec();
        if wire.write_all(&first).and_then(|()| wire.flush()).is_err() {
            return Then::Close;
        }
        wait.lock()
            .expect("not poisoned")
            .recv()
            .expect("the test goes on");
        first = b"later".to_vec();
        raw(wire, &first)
    });
    let mut client = relayd.connect();
    client.send(relayd.head("GET", "/api.example.com/x", &[], 0));
    assert_eq!(client.answer_head().status(), 200);
    assert_eq!(client.exactly(5), b"first");
    go_on.send(()).expect("the origin waits");
    assert_eq!(client.exactly(5), b"later");
}

#[test]
fn a_request_body_flows_while_the_client_still_writes_it() {
    let world = World::new();
    let (saw, first_part) = mpsc::channel::<Vec<u8>>();
    let origin = Origin::start(&world.leaf, move |_, wire, reader| {
        let part = reader.exactly(wire, 5).unwrap_or_default();
        saw.send(part).expect("the test waits");
        match reader.exactly(wire, 5) {
            Ok(part) => ok(wire, &String::from_utf8_lossy(&part)),
            Err(_) => Then::Close,
        }
    });
    let relayd = Relayd::before(&world.ca, origin.addr, &["api.example.com"]);
    let mut client = relayd.connect();
    client.send(relayd.head("POST", "/api.example.com/x", &[(BODY_LATER, "1")], 10));
    client.send("first");
    assert_eq!(
        first_part.recv_timeout(PATIENCE).expect("the first part"),
        b"first"
    );
    client.send("later");
    assert_eq!(client.answer().text(), "later");
}

#[test]
fn expect_continue_is_answered_and_the_body_arrives() {
    let (origin, relayd) = plain(&["api.example.com"]);
    let mut client = relayd.connect();
    client.send(relayd.head(
        "POST",
        "/api.example.com/x",
        &[("Expect", "100-continue")],
        5,
    ));
    let interim = client.answer_head();
    assert_eq!(interim.status(), 100);
    client.send("hello");
    assert_eq!(client.answer().status(), 200);
    assert_eq!(origin.only().message.body, b"hello");
}

#[test]
fn a_truncated_answer_is_seen_as_truncated() {
    let (_origin, relayd) = serving(&["api.example.com"], |_, wire| {
        raw(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        Then::Close
    });
    let mut client = relayd.connect();
    client.send(relayd.head("GET", "/api.example.com/x", &[], 0));
    assert_eq!(client.answer_head().one("content-length"), Some("100"));
    let body = client.rest();
    assert!(
        find(&body, b"HTTP/1.1").is_none() && body.len() < 100,
        "{body:?}"
    );
}
