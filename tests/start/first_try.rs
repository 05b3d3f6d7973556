//! Without a file: what it prints, and that every word of it is true. In a network of its own, since it listens on all
//! addresses.

use super::network;
use super::process::{Serving, relayd, run};
use super::support::client::{Client, Kind, Wire, connect, is_success, secure};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// The last line of what it prints.
const END: &str = "For production:";

fn value<'a>(lines: &'a [String], name: &str) -> &'a str {
    let line = lines.iter().find_map(|line| line.trim().strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {lines:#?}"))
        .trim()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn get(server: SocketAddr, path: &str) -> String {
    let socket = connect(server).expect("it listens");
    let mut stream = secure(socket, &[b"http/1.1"]).expect("a handshake");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes it");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// What was printed works: the page, and an allocation over each transport, with the user that was printed.
fn assert_serves(lines: &[String], turn: u16, tls: u16) {
    let (user, password) = (value(lines, "user"), value(lines, "password"));
    let text = lines.join("\n");
    for part in [
        format!("test page   https://localhost:{tls}/"),
        format!("turn:localhost:{turn} over UDP and TCP, turns:localhost:{tls} over TLS"),
        format!("credential: \"{password}\""),
        format!("username: \"{user}\""),
        format!("\"turn:localhost:{turn}?transport=udp\""),
        format!("\"turns:localhost:{tls}?transport=tcp\""),
        format!("proxy: {{ url: \"https://localhost:{tls}\" }}"),
        "setTurnServer".to_owned(),
        format!("websocketProxy: \"wss://localhost:{tls}/ws/\""),
        format!("proxyUrl: \"wss://localhost:{tls}/websocket\""),
    ] {
        assert!(text.contains(&part), "no {part} in {text}");
    }
    let page = get(loopback(tls), "/");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(
        page.to_ascii_lowercase()
            .contains("content-type: text/html"),
        "{page}"
    );
    assert!(page.contains("<html"), "{page}");
    for kind in Kind::ALL {
        let port = if kind == Kind::Tls { tls } else { turn };
        let wire = Wire::open(kind, loopback(port)).expect("it listens");
        let mut client = Client::new(wire, user, password);
        let relayed = client.allocate();
        let relayed = relayed.unwrap_or_else(|fault| panic!("{kind:?}: {fault}"));
        assert!(relayed.ip().is_loopback(), "{relayed}");
        client.refresh(0).and_then(is_success).expect("it ends");
    }
}

#[test]
fn the_first_try_serves_the_page_and_every_transport_on_its_usual_ports() {
    network::alone(
        "first_try::the_first_try_serves_the_page_and_every_transport_on_its_usual_ports",
        &[],
        || {
            let mut first = Serving::start(&mut relayd(), END);
            assert_serves(&first.seen, 3478, 8443);
            let password = value(&first.seen, "password").to_owned();
            assert_eq!(first.stop(), Some(0));
            let mut second = Serving::start(&mut relayd(), END);
            assert_ne!(
                value(&second.seen, "password"),
                password,
                "made for each run"
            );
            assert_eq!(second.stop(), Some(0));
        },
    );
}

#[test]
fn the_first_try_takes_other_ports_and_a_second_one_names_who_has_them() {
    network::alone(
        "first_try::the_first_try_takes_other_ports_and_a_second_one_names_who_has_them",
        &[],
        || {
            let ports = [
                "--turn-port",
                "5000",
                "--tls-port",
                "5001",
                "--admin-port",
                "5002",
            ];
            let mut first = Serving::start(relayd().args(ports), END);
            assert_serves(&first.seen, 5000, 5001);
            let holder = format!("relayd (pid {})", first.pid());
            for (again, addr) in [
                (["5000", "5001", "5002"], "127.0.0.1:5002"),
                (["5000", "6001", "6002"], "0.0.0.0:5000"),
                (["6000", "5001", "6002"], "0.0.0.0:5001"),
            ] {
                let [turn, tls, admin] = again;
                let line = [
                    "--turn-port",
                    turn,
                    "--tls-port",
                    tls,
                    "--admin-port",
                    admin,
                ];
                let ended = run(relayd().args(line));
                assert_eq!(ended.code, Some(1), "{ended:#?}");
                let first_line = format!("error: cannot listen on {addr}");
                ended.assert_says(&[
                    &first_line,
                    &holder,
                    "--turn-port, --tls-port and --admin-port",
                ]);
                assert!(!ended.stdout.contains("password"), "{ended:#?}");
            }
            let socket = std::net::UdpSocket::bind("0.0.0.0:6000").expect("a free port");
            let line = [
                "--turn-port",
                "6000",
                "--tls-port",
                "6001",
                "--admin-port",
                "6002",
            ];
            let ended = run(relayd().args(line));
            assert_eq!(ended.code, Some(1), "{ended:#?}");
            ended.assert_says(&["cannot listen on udp 0.0.0.0:6000", "(pid ", "--turn-port,"]);
            drop(socket);
            assert_eq!(first.stop(), Some(0));
        },
    );
}

#[test]
fn a_machine_with_an_address_is_named_by_it() {
    network::alone(
        "first_try::a_machine_with_an_address_is_named_by_it",
        &["10.0.0.4/32"],
        || {
            let mut first = Serving::start(&mut relayd(), END);
            let text = first.seen.join("\n");
            assert!(text.contains("https://10.0.0.4:8443/"), "{text}");
            assert!(text.contains("also at     localhost"), "{text}");
            assert_eq!(first.stop(), Some(0));
        },
    );
}
