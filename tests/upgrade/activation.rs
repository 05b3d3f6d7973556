//! Socket activation: the binary with LISTEN_FDS, as systemd starts it.

use super::server::{Activation, Server, Setup, refused, tcp, udp};
use super::support::client::{Client, Kind, Wire};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

const ANY: &str = "127.0.0.1:0";

/// Sockets for every listener, and the configuration that has their addresses.
fn all(addr: &str, reuse_port: bool) -> (Activation, Setup) {
    let mut setup = Setup::default();
    let mut sockets: Vec<OwnedFd> = Vec::new();
    let (socket, addr_udp) = udp(addr, reuse_port);
    sockets.push(socket);
    setup.udp = addr_udp.to_string();
    for listen in [&mut setup.tcp, &mut setup.tls, &mut setup.admin] {
        let (socket, addr) = tcp(addr);
        sockets.push(socket);
        *listen = addr.to_string();
    }
    let activation = Activation {
        sockets,
        names: "udp:tcp:tls:admin",
    };
    (activation, setup)
}

fn assert_serves_everything(server: &Server) {
    for kind in Kind::ALL {
        // Several, so that each worker gets some.
        for _ in 0..4 {
            server.alice(kind).allocate().expect("it serves");
        }
    }
    assert_eq!(server.admin("/healthz").0, 200);
}

#[test]
fn given_sockets_are_served_by_all_workers_where_they_may_be_shared() {
    let (activation, setup) = all(ANY, true);
    let mut server = Server::activated(&setup, &activation, &[]);
    assert_eq!(server.udp.map(|addr| addr.to_string()), Some(setup.udp));
    assert_serves_everything(&server);
    server.signal(server.pid, "-TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// Without ReusePort=yes nobody may bind beside the one socket.
#[test]
fn a_udp_socket_that_cannot_be_shared_is_served_by_one_worker_and_the_log_says_so() {
    let (activation, setup) = all(ANY, false);
    let server = Server::activated(&setup, &activation, &[]);
    let told = "fewer workers than there are read this listener";
    assert!(
        server.seen.iter().any(|line| line.contains(told)),
        "{:#?}",
        server.seen
    );
    assert_serves_everything(&server);
}

/// The queue is the service manager's: who connects while relayd is down waits for the next start.
#[test]
fn a_connection_made_before_the_start_is_served() {
    let (activation, setup) = all(ANY, false);
    let mut waiting: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(&setup.tcp).expect("it is listened on"))
        .collect();
    let _server = Server::activated(&setup, &activation, &[]);
    for stream in &mut waiting {
        let request = b"GET /healthcheck HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(Client::new(
        Wire::Tcp(waiting.remove(0)),
        "alice",
        "wonderland",
    ));
}

#[test]
fn listeners_without_a_given_socket_are_bound_as_ever() {
    let (socket, addr) = tcp(ANY);
    let setup = Setup {
        tcp: addr.to_string(),
        ..Setup::default()
    };
    let activation = Activation {
        sockets: vec![socket],
        names: "",
    };
    let server = Server::activated(&setup, &activation, &[]);
    assert_serves_everything(&server);
}

#[test]
fn a_socket_that_no_listener_has_is_an_error_that_names_it() {
    let (mut activation, setup) = all(ANY, false);
    let (stray, addr) = tcp(ANY);
    activation.sockets.push(stray);
    activation.names = "udp:tcp:tls:admin:stray.socket";
    let (code, text) = refused(&setup, &activation);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "\"stray.socket\" (descriptor 7)",
        &format!("tcp {addr}"),
        "listen.tcp",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn what_is_no_listening_socket_is_an_error_that_names_it() {
    let file = std::fs::File::open("/dev/null").expect("opened");
    let file = Activation {
        sockets: vec![file.into()],
        names: "odd",
    };
    let both = std::net::UdpSocket::bind("[::]:0").expect("bound");
    let both = Activation {
        sockets: vec![both.into()],
        names: "odd",
    };
    for (activation, says) in [(file, "cannot be used"), (both, "BindIPv6Only=ipv6-only")] {
        let (code, text) = refused(&Setup::default(), &activation);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("socket \"odd\" (descriptor 3)"), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

/// Ports below 1024 without root and without a capability: only their binder needs the privilege.
#[test]
fn low_ports_are_served_by_a_process_without_privileges() {
    let (socket, addr) = (600..1024)
        .find_map(|port| {
            let addr = format!("127.0.0.77:{port}");
            let bound = std::net::TcpListener::bind(&addr).ok()?;
            Some((OwnedFd::from(bound), addr))
        })
        .expect("this test needs root, or net.ipv4.ip_unprivileged_port_start below 1024");
    let port = addr.rsplit(':').next().expect("a port");
    let (socket_udp, _) = udp(&format!("127.0.0.77:{port}"), true);
    let setup = Setup {
        udp: addr.clone(),
        tcp: addr.clone(),
        ..Setup::default()
    };
    let activation = Activation {
        sockets: vec![socket, socket_udp],
        names: "web:turn",
    };
    let drop_all = [
        "setpriv",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
    ];
    let server = Server::activated(&setup, &activation, &drop_all);
    assert_serves_everything(&server);
}
