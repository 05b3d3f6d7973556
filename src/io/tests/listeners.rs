//! UDP listeners that come and go under live calls.

use super::client::Client;
use super::{Running, serve, settings, turn_settings, until};
use crate::io::Settings;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const INSUFFICIENT_CAPACITY: u16 = 508;

#[test]
fn a_new_listener_serves_on_every_worker_as_soon_as_the_change_is_applied() {
    let mut server = serve(with(&["127.0.0.1:0"]));
    server.listen(&["127.0.0.1:0", "127.0.0.2:0"]);
    assert_eq!(server.udp.len(), 2);
    assert_eq!(server.udp[1].ip().to_string(), "127.0.0.2");
    // Enough clients to reach each of the workers.
    for _ in 0..32 {
        for listener in server.udp.clone() {
            let mut client = Client::udp("127.0.0.1:0", listener);
            assert_eq!(client.binding(), client.link.local_addr().expect("bound"));
        }
    }
}

#[test]
fn a_removed_listener_keeps_its_calls_on_every_worker_refuses_others_and_closes_with_the_last() {
    let mut server = serve(with(&["127.0.0.1:0", "127.0.0.2:0"]));
    let leaving = server.udp[0];
    let peer = socket();
    let mut calls: Vec<_> = (0..16).map(|_| Call::start(leaving, &peer)).collect();
    server.listen(&["127.0.0.2:0"]);
    assert_eq!(server.udp.len(), 1);
    for _ in 0..8 {
        let mut late = Client::udp("127.0.0.1:0", leaving);
        assert_eq!(late.allocate(&[]), Err(INSUFFICIENT_CAPACITY));
    }
    while let Some(mut call) = calls.pop() {
        // All that are left, whichever worker they are with, as the others end.
        for call in calls.iter_mut().chain([&mut call]) {
            call.assert_relays(&peer);
        }
        call.client.refresh(0).expect("it ends");
    }
    until("it closes", || !is_open(leaving));
    assert!(is_open(server.udp[0]));
}

#[test]
fn a_removed_listener_without_calls_closes_at_once_and_can_be_had_again() {
    let mut server = serve(with(&["127.0.0.1:0"]));
    let address = server.udp[0];
    for _ in 0..20 {
        server.listen(&[]);
        until("it closes", || !is_open(address));
        server.listen(&[&address.to_string()]);
        assert_eq!(server.udp, [address]);
        Client::udp("127.0.0.1:0", address).binding();
    }
}

#[test]
fn a_listener_that_is_wanted_again_while_it_leaves_takes_calls_again() {
    let mut server = serve(with(&["127.0.0.1:0"]));
    let address = server.udp[0];
    let peer = socket();
    let mut call = Call::start(address, &peer);
    server.listen(&[]);
    let mut late = Client::udp("127.0.0.1:0", address);
    assert_eq!(late.allocate(&[]), Err(INSUFFICIENT_CAPACITY));
    server.listen(&[&address.to_string()]);
    for _ in 0..16 {
        Call::start(address, &peer);
    }
    call.assert_relays(&peer);
}

#[test]
fn a_plan_that_is_dropped_changes_nothing() {
    let mut server = serve(with(&["127.0.0.1:0"]));
    let address = server.udp[0];
    let peer = socket();
    let mut call = Call::start(address, &peer);
    drop(server.handle.plan(&with(&["127.0.0.2:0"])).expect("bound"));
    assert_eq!(server.handle.udp_addresses(), [address]);
    Call::start(address, &peer);
    // A plan that would have kept a leaving one.
    server.listen(&[]);
    drop(
        server
            .handle
            .plan(&with(&[&address.to_string()]))
            .expect("kept"),
    );
    call.assert_relays(&peer);
    call.client.refresh(0).expect("it ends");
    // The others were started above and are gone with their clients: their allocations are not.
    server.handle.stop();
    server.handle.join();
    assert!(!is_open(address));
}

#[test]
fn an_address_that_somebody_has_is_refused_and_nothing_changes() {
    let server = serve(with(&["127.0.0.1:0"]));
    let taken = socket();
    let address = taken.local_addr().expect("bound").to_string();
    let refused = server.handle.plan(&with(&["127.0.0.2:0", &address]));
    assert!(refused.is_err_and(|error| error.to_string().contains(&address)));
    assert_eq!(server.handle.udp_addresses(), server.udp);
}

/// The everyday move from one address to all of them and back, on the same port.
#[test]
fn calls_live_through_a_change_from_an_address_to_the_wildcard_and_back() {
    let mut server = serve(with(&["127.0.0.1:0"]));
    let port = server.udp[0].port();
    let (one, all) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let peer = socket();
    let mut calls: Vec<Call> = Vec::new();
    for listener in [&one, &all, &one, &all, &one] {
        server.listen(&[listener]);
        assert_eq!(server.udp[0].to_string(), *listener);
        calls.extend((0..8).map(|_| Call::start(address(&one), &peer)));
        for call in &mut calls {
            call.assert_relays(&peer);
        }
    }
}

impl Running {
    /// Makes these the listeners, and waits until every worker acts by it.
    fn listen(&mut self, udp: &[&str]) {
        let settings = with(udp);
        let plan = self.handle.plan(&settings).expect("bound");
        let orders = self.handle.adopt(plan);
        let (done, all_done) = channel::<()>();
        let turn = Arc::new(turn_settings());
        self.handle.change(orders, Some(&turn), &settings, || {
            Box::new(Mutex::new(Sender::clone(&done)))
        });
        drop(done);
        // Nothing is sent: it ends with the last token.
        assert_eq!(
            all_done.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Disconnected)
        );
        self.udp = self.handle.udp_addresses();
    }
}

struct Call {
    client: Client<UdpSocket>,
    relayed: SocketAddr,
}

impl Call {
    fn start(listener: SocketAddr, peer: &UdpSocket) -> Self {
        let mut client = Client::udp("127.0.0.1:0", listener);
        let relayed = client.allocate(&[]).expect("there is room");
        let peer = peer.local_addr().expect("bound");
        client.bind_channel(0x4000, peer).expect("it is allowed");
        Self { client, relayed }
    }

    fn assert_relays(&mut self, peer: &UdpSocket) {
        self.client.send_channel(0x4000, b"to the peer");
        let (len, from) = peer.recv_from(&mut [0; 64]).expect("it arrives");
        assert_eq!((len, from), (11, self.relayed));
        peer.send_to(b"back", self.relayed).expect("sent");
        assert_eq!(self.client.receive().expect("it arrives")[4..], *b"back");
        self.client.refresh(600).expect("it lives");
    }
}

fn with(udp: &[&str]) -> Settings {
    Settings {
        workers: 3,
        udp: udp.iter().map(|text| address(text)).collect(),
        relay_ports: (61_000, 65_535),
        ..settings()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("valid")
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

/// Whether anybody has the port: a socket that does not share it cannot be bound then.
fn is_open(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_err()
}
