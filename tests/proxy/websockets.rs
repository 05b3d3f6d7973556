//! PROXY.md "Match": WebSocket. "Do better" 11: long-lived tunnels.

use super::web::certs::Authority;
use super::web::client::Client;
use super::web::message::Reader;
use super::web::origin::{Origin, Seen, Then, Wire, accept_websocket, echo_bytes, raw, send};
use super::web::relayd::{Relayd, Setup, reach};
use super::{NAMES, World};
use std::io::{Read, Write};
use std::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message as Frame, WebSocket};

const HOST: &str = "api.example.com";
const TARGET: &str = "/api.example.com/socket?a=b";

fn tunnel(
    handler: impl Fn(&Seen, &mut Wire, &mut Reader) + Send + Sync + 'static,
) -> (Origin, Relayd) {
    let world = World::new();
    let origin = Origin::start(&world.leaf, move |seen, wire, reader| {
        handler(seen, wire, reader);
        Then::Close
    });
    let relayd = Relayd::before(&world.ca, origin.addr, &[HOST]);
    (origin, relayd)
}

fn echoing() -> (Origin, Relayd) {
    tunnel(|seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
    })
}

fn open(relayd: &Relayd, headers: &[(&str, &str)]) -> Client {
    let mut client = relayd.connect();
    client.send(relayd.websocket_head(TARGET, headers));
    let answer = client.answer_head();
    assert_eq!(answer.status(), 101, "{answer:?}");
    client
}

#[test]
fn a_handshake_passes_with_its_subprotocol_and_extensions() {
    let (origin, relayd) = tunnel(|seen, wire, _| {
        let headers = [
            ("Sec-WebSocket-Protocol", "2.0"),
            (
                "Sec-WebSocket-Extensions",
                "permessage-deflate; client_max_window_bits=12",
            ),
        ];
        accept_websocket(seen, wire, &headers, b"");
    });
    let mut client = relayd.connect();
    let offered = [
        ("Sec-WebSocket-Protocol", "2.0, other"),
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        ),
        ("Origin", "https://app.example.org"),
    ];
    client.send(relayd.websocket_head(TARGET, &offered));
    let answer = client.answer_head();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.one("sec-websocket-protocol"), Some("2.0"));
    assert_eq!(
        answer.one("sec-websocket-extensions"),
        Some("permessage-deflate; client_max_window_bits=12")
    );
    assert_eq!(
        answer.one("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert!(
        answer
            .one("upgrade")
            .is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
    );
    assert!(
        answer
            .one("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("upgrade"))
    );
    let seen = origin.only().message;
    assert_eq!(seen.target(), "/socket?a=b");
    assert_eq!(seen.one("host"), Some(HOST));
    for (name, value) in offered {
        assert_eq!(seen.one(name), Some(value));
    }
    assert_eq!(
        seen.one("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
}

#[test]
fn bytes_in_the_same_packet_as_the_101_are_not_lost() {
    for _ in 0..20 {
        let (_origin, relayd) = tunnel(|seen, wire, reader| {
            accept_websocket(seen, wire, &[], b"\x81\x05early");
            echo_bytes(wire, reader);
        });
        let mut client = open(&relayd, &[]);
        assert_eq!(client.exactly(7), b"\x81\x05early");
        client.send("more");
        assert_eq!(client.exactly(4), b"more");
    }
}

#[test]
fn bytes_that_a_client_sends_before_the_101_are_not_lost() {
    let (_origin, relayd) = echoing();
    let mut client = relayd.connect();
    client.send(
        [
            relayd.websocket_head(TARGET, &[]).as_bytes(),
            b"\x81\x80\x00\x00\x00\x00",
        ]
        .concat(),
    );
    assert_eq!(client.answer_head().status(), 101);
    assert_eq!(client.exactly(6), b"\x81\x80\x00\x00\x00\x00");
}

#[test]
fn tunnelled_bytes_are_not_looked_at() {
    let (_origin, relayd) = echoing();
    let mut client = open(&relayd, &[]);
    let bytes: Vec<u8> = b"POST / HTTP/1.1\nbare LF\n\n"
        .iter()
        .copied()
        .chain(0..=255)
        .collect();
    client.send(&bytes);
    assert_eq!(client.exactly(bytes.len()), bytes);
}

#[test]
fn a_side_that_has_finished_still_receives() {
    let (_origin, relayd) = tunnel(|seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        let mut all = std::mem::take(&mut reader.left);
        let _ = wire.read_to_end(&mut all);
        raw(wire, &[b"after ".as_slice(), &all].concat());
    });
    let mut client = open(&relayd, &[]);
    client.send("the end");
    client.half_close();
    assert_eq!(client.rest(), b"after the end");

    let (saw, last) = mpsc::channel();
    let (_origin, relayd) = tunnel(move |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"bye");
        wire.conn.send_close_notify();
        let _ = wire.flush();
        let part = reader.exactly(wire, 4).unwrap_or_default();
        let _ = saw.send(part);
    });
    let mut client = open(&relayd, &[]);
    assert_eq!(client.exactly(3), b"bye");
    client.send("late");
    assert_eq!(
        last.recv_timeout(super::web::PATIENCE)
            .expect("the origin got it"),
        b"late"
    );
}

#[test]
fn sixteen_mebibyte_frames_pass_both_ways() {
    const SIZE: usize = 16 << 20;
    let config = || {
        WebSocketConfig::default()
            .max_frame_size(None)
            .max_message_size(None)
    };
    let (_origin, relayd) = tunnel(move |seen, wire, _| {
        accept_websocket(seen, wire, &[], b"");
        let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config()));
        while let Ok(frame) = socket.read() {
            if frame.is_close() || socket.send(frame).is_err() {
                break;
            }
        }
    });
    let client = open(&relayd, &[]);
    let mut socket = WebSocket::from_raw_socket(client.stream, Role::Client, Some(config()));
    let payload: Vec<u8> = (0..SIZE).map(|i| (i % 253) as u8).collect();
    socket.send(Frame::binary(payload.clone())).expect("sent");
    let back = socket.read().expect("a frame").into_data();
    assert!(back == payload);
    socket.send(Frame::text("small")).expect("sent");
    assert_eq!(
        socket.read().expect("a frame").into_text().expect("text"),
        "small"
    );
}

#[test]
fn a_handshake_that_the_upstream_refuses_passes_as_the_answer_that_it_is() {
    let world = World::new();
    let origin = world.origin(|_, wire| {
        send(
            wire,
            "401 Unauthorized",
            &[("WWW-Authenticate", "Bearer")],
            b"no",
        )
    });
    let relayd = Relayd::before(&world.ca, origin.addr, &[HOST]);
    let mut client = relayd.connect();
    client.send(relayd.websocket_head(TARGET, &[("Origin", "https://app.example.org")]));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (401, "no"));
    assert_eq!(
        answer.one("access-control-allow-origin"),
        Some("https://app.example.org")
    );
}

#[test]
fn a_handshake_for_a_host_that_is_not_allowed_is_refused() {
    let (origin, relayd) = echoing();
    let mut client = relayd.connect();
    client.send(relayd.websocket_head("/evil.example.org/socket", &[]));
    assert_eq!(client.answer().status(), 403);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn other_upgrades_do_not_pass() {
    let (origin, relayd) = super::plain(&[HOST]);
    for upgrade in ["h2c", "TLS/1.0", "foo"] {
        let headers = [("Connection", "Upgrade"), ("Upgrade", upgrade)];
        assert_eq!(
            relayd
                .request("GET", "/api.example.com/x", &headers, b"")
                .status(),
            200
        );
        let seen = origin.last().message;
        assert_eq!(
            (
                seen.one("upgrade"),
                seen.all("connection").contains(&"Upgrade")
            ),
            (None, false),
            "{upgrade}"
        );
    }
}

#[test]
fn an_upstream_that_switches_without_being_asked_is_an_error() {
    let (_origin, relayd) = tunnel(|_, wire, _| {
        raw(wire, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nx");
    });
    assert_eq!(relayd.get(TARGET).status(), 502);
}

#[test]
fn an_idle_tunnel_ends_after_its_limit_and_a_busy_one_does_not() {
    let world = World::new();
    let origin = Origin::start(&world.leaf, |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    let proxy = format!(
        "{}[proxy.timeouts]\ntunnel_idle = \"1s\"\n",
        reach(&[HOST], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let mut client = open(&relayd, &[]);
    for _ in 0..200 {
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
    }
    assert!(client.ended());
}

#[test]
fn tunnels_beyond_the_limit_are_refused_and_a_closed_one_makes_room() {
    let world = World::new();
    let origin = Origin::start(&world.leaf, |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    let proxy = format!(
        "{}[proxy.limits]\ntunnels = 2\n",
        reach(&[HOST], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&world.ca),
        ..Setup::default()
    });
    let (first, _second) = (open(&relayd, &[]), open(&relayd, &[]));
    let mut third = relayd.connect();
    third.send(relayd.websocket_head(TARGET, &[]));
    let refused = third.answer();
    assert_eq!(
        (refused.status(), refused.json()["error"].as_str()),
        (503, Some("too_many_tunnels"))
    );
    drop(first);
    relayd.wait_for_log("end of the first tunnel", |line| {
        line.contains("tunnel") && line.contains("socket")
    });
    let deadline = std::time::Instant::now() + super::web::PATIENCE;
    loop {
        let mut again = relayd.connect();
        again.send(relayd.websocket_head(TARGET, &[]));
        if again.answer_head().status() == 101 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no room was made");
    }
}

#[test]
fn many_tunnels_at_once_keep_their_bytes_apart() {
    let (_origin, relayd) = echoing();
    let mut clients: Vec<Client> = (0..50).map(|_| open(&relayd, &[])).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("{i:04}").repeat(500));
    }
    for (i, client) in clients.iter_mut().enumerate() {
        assert!(client.exactly(2000) == format!("{i:04}").repeat(500).into_bytes());
    }
}

#[test]
fn a_websocket_works_on_a_connection_without_alpn_and_on_plain_tcp() {
    let (_origin, relayd) = echoing();
    for mut client in [relayd.connect_alpn(&[]), Client::plain(relayd.tcp)] {
        client.send(relayd.websocket_head(TARGET, &[]));
        assert_eq!(client.answer_head().status(), 101);
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
    }
}

#[test]
fn a_prefix_route_carries_websockets_without_its_slash() {
    let ca = Authority::new("upstream test root");
    let leaf = ca.leaf(&NAMES);
    let origin = Origin::start(&leaf, |seen, wire, reader| {
        accept_websocket(seen, wire, &[], b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    let proxy = format!(
        "{}[[proxy.route]]\nprefix = \"/ws/\"\nupstream = \"https://api.example.com/\"\n",
        super::web::relayd::resolve(&[HOST], origin.addr)
    );
    let relayd = Relayd::start(Setup {
        proxy,
        upstream_ca: Some(&ca),
        ..Setup::default()
    });
    let mut client = relayd.connect();
    client.send(relayd.websocket_head("/ws?sdkAppId=1", &[]));
    assert_eq!(client.answer_head().status(), 101);
    assert_eq!(origin.only().message.target(), "/?sdkAppId=1");
    client.send("ping");
    assert_eq!(client.exactly(4), b"ping");
}
