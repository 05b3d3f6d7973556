//! Ten thousand clients at once, and a server whose open-files limit does not suffice for them.
//!
//! A client is a 5-tuple, not a socket: each has a source address of its own in 127.0.0.0/8, and its socket lives only while it asks.

use crate::support::{Options, PASSWORD, REALM, Server, USER, start_relayd};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use stun_types::attribute::{ErrorCode, Nonce, Realm, Username};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageWriteVec, Method,
};
use stun_types::prelude::*;
use turn_types::attribute::{Lifetime, RequestedTransport, XorRelayedAddress};
use turn_types::message::{ALLOCATE, REFRESH};

const CLIENTS: u16 = 10_000;
/// IANA's number of UDP.
const UDP: u8 = 17;
/// Longer than the whole test takes; within the server's maximum.
const LIFETIME_S: u32 = 3600;
/// RFC 8489 §6.2.1: a request is sent again when no answer comes.
const TRIES: u32 = 5;

/// A client whose allocation lives.
struct Client {
    addr: SocketAddr,
    nonce: String,
    relayed: SocketAddr,
}

/// 127.1.0.0 to 127.1.39.15: every client has its own.
fn source(index: u16) -> Ipv4Addr {
    let [high, low] = index.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

fn credentials() -> MessageIntegrityCredentials {
    LongTermKeyCredentials::new(USER.to_owned(), PASSWORD.to_owned(), REALM.to_owned()).into()
}

/// A request of `method`, signed where a nonce is known.
fn request(method: Method, nonce: Option<&str>, lifetime_s: Option<u32>) -> Vec<u8> {
    let mut message = Message::builder_request(method, MessageWriteVec::new());
    if method == ALLOCATE {
        message
            .add_attribute(&RequestedTransport::new(UDP))
            .expect("it fits");
    }
    if let Some(seconds) = lifetime_s {
        message
            .add_attribute(&Lifetime::new(seconds))
            .expect("it fits");
    }
    if let Some(nonce) = nonce {
        let (username, realm) = (
            Username::new(USER).expect("it is short"),
            Realm::new(REALM).expect("it is short"),
        );
        message.add_attribute(&username).expect("it fits");
        message.add_attribute(&realm).expect("it fits");
        message
            .add_attribute(&Nonce::new(nonce).expect("it came from a message"))
            .expect("it fits");
        message
            .add_message_integrity(&credentials(), IntegrityAlgorithm::Sha1)
            .expect("it fits");
    }
    message.finish()
}

/// Sends `request` until it is answered, and reads the answer that belongs to it.
fn ask<T>(socket: &UdpSocket, request: &[u8], read: impl Fn(&Message<'_>) -> T) -> Option<T> {
    let id = Message::from_bytes(request)
        .expect("this is a message")
        .transaction_id();
    let mut buffer = [0; 1500];
    for _ in 0..TRIES {
        socket.send(request).expect("loopback takes a datagram");
        while let Ok(len) = socket.recv(&mut buffer) {
            let answer =
                Message::from_bytes(buffer.get(..len).expect("a datagram fits its buffer"))
                    .expect("the answer is STUN");
            if answer.transaction_id() == id {
                return Some(read(&answer));
            }
        }
    }
    None
}

fn connect(addr: SocketAddr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(addr).expect("every address of 127.0.0.0/8 can be bound");
    socket.connect(server).expect("the server is on loopback");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("two seconds are not zero");
    socket
}

fn error_of(answer: &Message<'_>) -> Option<u16> {
    answer
        .attribute::<ErrorCode>()
        .ok()
        .map(|error| error.code())
}

/// Allocates from a socket of its own; the error code where the server refuses.
fn allocate(index: u16, server: SocketAddr) -> Result<Client, u16> {
    let socket = connect(SocketAddr::from((source(index), 0)), server);
    let addr = socket.local_addr().expect("a bound socket has an address");
    let nonce = ask(&socket, &request(ALLOCATE, None, None), |answer| {
        assert_eq!(
            error_of(answer),
            Some(401),
            "the first Allocate is challenged"
        );
        answer
            .attribute::<Nonce>()
            .expect("a 401 carries a nonce")
            .nonce()
            .to_owned()
    })
    .unwrap_or_else(|| panic!("the first Allocate of client {index} is answered"));
    let relayed = ask(
        &socket,
        &request(ALLOCATE, Some(&nonce), Some(LIFETIME_S)),
        |answer| match error_of(answer) {
            Some(code) => Err(code),
            None => {
                let relayed = answer
                    .attribute::<XorRelayedAddress>()
                    .expect("a success carries the relayed address");
                Ok(relayed.addr(answer.transaction_id()))
            }
        },
    )
    .unwrap_or_else(|| panic!("the signed Allocate of client {index} is answered"))?;
    Ok(Client {
        addr,
        nonce,
        relayed,
    })
}

/// Refreshes from the address the allocation was made from; the lifetime that was granted, or the error code.
fn refresh(client: &Client, server: SocketAddr, lifetime_s: u32) -> Result<u32, u16> {
    let socket = connect(client.addr, server);
    ask(
        &socket,
        &request(REFRESH, Some(&client.nonce), Some(lifetime_s)),
        |answer| match error_of(answer) {
            Some(code) => Err(code),
            None => Ok(answer
                .attribute::<Lifetime>()
                .expect("a success carries the lifetime")
                .seconds()),
        },
    )
    .unwrap_or_else(|| panic!("the Refresh of {} is answered", client.addr))
}

fn assert_binding_answers(server: &mut Server) {
    let socket = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server.udp());
    let answered = ask(&socket, &request(BINDING, None, None), |answer| {
        error_of(answer).is_none()
    });
    assert_eq!(answered, Some(true), "Binding succeeds");
    server.assert_alive();
}

#[test]
fn ten_thousand_allocations_live_at_once_and_all_answer() {
    // An address of their own for the relays: the ports of 127.0.0.1 belong to the other tests.
    let options = Options {
        turn: r#"relay_ip = ["127.0.0.77"]"#,
        ..Options::default()
    };
    let mut server = start_relayd("ten-thousand", &options);
    let udp = server.udp();
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|index| {
            allocate(index, udp).unwrap_or_else(|code| {
                panic!("client {index} is refused with {code}:\n{}", server.tail())
            })
        })
        .collect();
    let relayed: HashSet<SocketAddr> = clients.iter().map(|client| client.relayed).collect();
    assert_eq!(
        relayed.len(),
        clients.len(),
        "every client has a relayed address of its own"
    );
    assert!(
        relayed
            .iter()
            .all(|addr| addr.ip() == Ipv4Addr::new(127, 0, 0, 77))
    );
    for client in &clients {
        assert_eq!(
            refresh(client, udp, LIFETIME_S),
            Ok(LIFETIME_S),
            "{}",
            client.addr
        );
    }
    for client in &clients {
        assert_eq!(refresh(client, udp, 0), Ok(0), "{}", client.addr);
    }
    assert_binding_answers(&mut server);
    assert!(allocate(0, udp).is_ok(), "there is room again");
}

/// RFC 8656 §7.2: 508 is the answer of a server that has no resource left.
#[test]
fn server_with_few_files_answers_508_and_lives_on() {
    let options = Options {
        turn: r#"relay_ip = ["127.0.0.78"]"#,
        open_files: Some(400),
    };
    let mut server = start_relayd("few-files", &options);
    let udp = server.udp();
    let mut clients = Vec::new();
    let mut refused = 0;
    for index in 0..600 {
        match allocate(index, udp) {
            Ok(client) => clients.push(client),
            Err(code) => {
                assert_eq!(code, 508, "client {index}");
                refused += 1;
            }
        }
    }
    assert!(
        clients.len() >= 50,
        "{} allocations are too few for 400 files:\n{}",
        clients.len(),
        server.tail()
    );
    assert!(
        clients.len() < 400,
        "{} allocations cannot fit into 400 files",
        clients.len()
    );
    assert!(refused > 200, "{refused} refusals");
    assert_binding_answers(&mut server);
    assert!(
        server
            .admin_get("/readyz")
            .is_ok_and(|body| body.contains("true")),
        "the admin listener still has a file"
    );

    let leaving = clients.pop().expect("there are clients");
    assert_eq!(refresh(&leaving, udp, 0), Ok(0));
    assert!(
        allocate(1000, udp).is_ok(),
        "a place that was given back is given again"
    );
    for client in &clients {
        assert_eq!(
            refresh(client, udp, LIFETIME_S),
            Ok(LIFETIME_S),
            "{}",
            client.addr
        );
    }
    server.assert_alive();
}
