//! Calls that are up while a reload takes away what they were made with.

use super::server::{Conf, Server, until};
use super::support::client::{
    Client, Kind, UDP, Wire, ensure, is_code, is_success, peer, peer_receive,
};
use super::support::stun::{self, attr};
use std::net::{SocketAddr, TcpStream, UdpSocket};

pub struct Call {
    pub client: Client,
    peer: UdpSocket,
    relayed: SocketAddr,
}

impl Call {
    pub fn start(mut client: Client) -> Self {
        let peer = peer("127.0.0.1");
        let relayed = client.allocate().expect("there is room");
        let bound = client.bind_channel(0x4000, peer.local_addr().expect("bound"));
        bound.and_then(is_success).expect("it is allowed");
        Self {
            client,
            peer,
            relayed,
        }
    }

    /// Media both ways, and the requests that keep a call up.
    pub fn assert_goes_on(&mut self) {
        let mut goes_on = || {
            self.client.send_channel(0x4000, b"to the peer")?;
            let (got, relayed) = peer_receive(&self.peer)?;
            ensure(
                got == b"to the peer" && relayed == self.relayed,
                "other data",
            )?;
            let sent = self.peer.send_to(b"to the client", relayed);
            sent.map_err(|error| error.to_string())?;
            ensure(
                self.client.receive_data()?.2 == b"to the client",
                "other data",
            )?;
            is_success(self.client.permit(self.peer.local_addr().expect("bound"))?)?;
            is_success(self.client.refresh(600)?)
        };
        goes_on().expect("the call goes on");
    }
}

fn assert_refused(mut client: Client, code: u16) {
    client.challenge().expect("a challenge");
    let reply = client.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP));
    is_code(&reply.expect("an answer"), code).expect("it is refused");
}

#[test]
fn calls_over_every_transport_outlive_their_user_their_secret_and_their_listener() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let expiry = "4102444800:eve";
    let password = time_limited(conf.secrets[0], expiry);
    let mut calls = Vec::new();
    for kind in Kind::ALL {
        calls.push(Call::start(server.alice(kind)));
        calls.push(Call::start(server.client(kind, (expiry, &password))));
    }
    let old = Kind::ALL.map(|kind| server.listeners(kind)[0]);

    // The users and secrets go.
    let without = Conf {
        users: vec![("bob", "builder")],
        secrets: vec!["s3cret-of-today-only"],
        ..conf
    };
    let changes = server.reloaded(&without);
    assert_eq!(
        changes,
        [
            "turn.users: alice removed",
            "turn.auth_secret: 1 added, 1 removed"
        ]
    );
    calls.iter_mut().for_each(Call::assert_goes_on);
    assert_refused(server.alice(Kind::Udp), 401);
    assert_refused(server.client(Kind::Udp, (expiry, &password)), 401);

    // The listeners go; others come.
    let other = || vec!["127.0.0.2:0".to_owned()];
    let moved = Conf {
        udp: other(),
        tcp: other(),
        tls: other(),
        ..without
    };
    let changes = server.reloaded(&moved);
    assert_eq!(
        changes[0],
        "listen.udp: 127.0.0.2:0 added, 127.0.0.1:0 removed"
    );
    calls.iter_mut().for_each(Call::assert_goes_on);
    let [udp, tcp, tls] = old;
    for gone in [tcp, tls] {
        until("it does not listen", || TcpStream::connect(gone).is_err());
    }
    let late = Wire::open(Kind::Udp, udp).expect("a socket");
    assert_refused(Client::new(late, "bob", "builder"), 508);
    for kind in Kind::ALL {
        assert_eq!(server.listeners(kind)[0].ip().to_string(), "127.0.0.2");
        Call::start(server.client(kind, ("bob", "builder"))).assert_goes_on();
    }
    calls.iter_mut().for_each(Call::assert_goes_on);

    // With the last call that came by it, the UDP listener is closed.
    for call in &mut calls {
        call.client
            .refresh(0)
            .and_then(is_success)
            .expect("it ends");
    }
    until("the port is free", || UdpSocket::bind(udp).is_ok());
    server.wait_for_log(&["listener closed", &udp.to_string()]);
}

#[test]
fn a_listener_can_be_taken_away_and_given_back_under_its_calls() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let udp = server.listeners(Kind::Udp)[0];
    let mut call = Call::start(server.alice(Kind::Udp));
    let without = Conf {
        udp: Vec::new(),
        ..conf.clone()
    };
    server.reloaded(&without);
    assert_eq!(server.listeners(Kind::Udp), []);
    call.assert_goes_on();
    let again = Conf {
        udp: vec![udp.to_string()],
        ..conf
    };
    server.reloaded(&again);
    assert_eq!(server.listeners(Kind::Udp), [udp]);
    call.assert_goes_on();
    for _ in 0..8 {
        Call::start(server.alice(Kind::Udp)).assert_goes_on();
    }
}

#[test]
fn calls_live_through_a_move_to_the_wildcard_and_back_on_every_transport() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let ports = Kind::ALL.map(|kind| server.listeners(kind)[0].port());
    let on = |ip: &str| {
        let [udp, tcp, tls] = ports.map(|port| vec![format!("{ip}:{port}")]);
        Conf {
            udp,
            tcp,
            tls,
            ..conf.clone()
        }
    };
    let mut calls: Vec<Call> = Kind::ALL.map(|kind| Call::start(server.alice(kind))).into();
    for ip in ["0.0.0.0", "127.0.0.1", "0.0.0.0"] {
        server.reloaded(&on(ip));
        for (kind, port) in Kind::ALL.into_iter().zip(ports) {
            let wire = Wire::open(kind, SocketAddr::from(([127, 0, 0, 1], port)));
            let client = Client::new(wire.expect("it listens"), "alice", "wonderland");
            calls.push(Call::start(client));
        }
        calls.iter_mut().for_each(Call::assert_goes_on);
    }
}

#[test]
fn a_plain_port_can_become_a_tls_port_and_its_connections_go_on() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let tcp = server.listeners(Kind::Tcp)[0];
    let mut call = Call::start(server.alice(Kind::Tcp));
    let swapped = Conf {
        tcp: Vec::new(),
        tls: vec![tcp.to_string()],
        ..conf
    };
    server.reloaded(&swapped);
    assert_eq!(server.listeners(Kind::Tls), [tcp]);
    call.assert_goes_on();
    Call::start(server.alice(Kind::Tls)).assert_goes_on();
}

/// TURN REST: base64(HMAC-SHA1(secret, user name)), as `relayd credential` makes it.
fn time_limited(secret: &str, username: &str) -> String {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}
