//! Ctrl-C, SIGTERM or SIGHUP at any moment: it ends at once, and what it has allocated is deleted.

use super::network;
use super::site::{DOMAIN, Site, allocations};
use super::support::stun::{
    self, ALLOCATE, BINDING, CREATE_PERMISSION, Class, Integrity, Message, REFRESH, Writer, attr,
};
use serde_json::Value;
use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Method, lifetime and sender of a request with credentials.
type Asked = (u16, Option<u32>, SocketAddr);

const NONCE: &[u8] = b"a nonce";

fn start(site: &Site, arguments: &[&str]) -> Child {
    let mut command = site.command(&[&["--json", "--timeout", "10m"], arguments].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().expect("the binary")
}

/// Sends the signal; the report.
fn interrupt(child: &mut Child, signal: &str) -> Value {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.expect("kill runs").success());
    let code = child.wait().expect("an exit").code();
    assert_eq!(code, Some(130));
    let mut stdout = String::new();
    let mut pipe = child.stdout.take().expect("piped");
    pipe.read_to_string(&mut stdout).expect("text");
    let json: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(json["interrupted"], true, "{json:#}");
    json
}

/// An upstream that accepts and says nothing holds the test up.
#[test]
fn it_ends_at_once_and_leaves_no_allocation() {
    const NAME: &str = "interrupted::it_ends_at_once_and_leaves_no_allocation";
    network::alone(NAME, &[], || {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let site = Site::new().reaching(silent.local_addr().expect("an address"));
        let mut serving = site.serve();
        let mut child = start(&site, &[]);
        // The upstream test is under way once it has connected.
        let held = silent.accept().expect("a connection");
        interrupt(&mut child, "-INT");
        assert_eq!(allocations(), 0);
        drop(held);
        assert_eq!(serving.stop(), Some(0));
    });
}

/// A server of the test's own, which leaves a request unanswered while two allocations live.
#[test]
fn allocations_of_a_test_that_is_broken_off_are_deleted() {
    const NAME: &str = "interrupted::allocations_of_a_test_that_is_broken_off_are_deleted";
    network::alone(NAME, &[], || {
        let requests = turn_server("127.0.0.1:3478");
        let site = Site::new()
            .with("tcp = [\"127.0.0.1:3478\"]", "tcp = []")
            .with("listen = \"127.0.0.1:9641\"", "listen = \"off\"");
        let next = || {
            requests
                .recv_timeout(super::process::PATIENCE)
                .expect("a request")
        };
        for signal in ["-INT", "-TERM", "-HUP"] {
            let mut child = start(&site, &["--only", "turn"]);
            while next().0 != CREATE_PERMISSION {}
            interrupt(&mut child, signal);
            let deleted: HashSet<SocketAddr> = requests
                .try_iter()
                .filter(|(method, lifetime, _)| (*method, *lifetime) == (REFRESH, Some(0)))
                .map(|(_, _, from)| from)
                .collect();
            assert_eq!(deleted.len(), 2, "{signal}");
        }
    });
}

/// Tells the requests with credentials in their order. The server ends with the process.
fn turn_server(address: &str) -> Receiver<Asked> {
    let socket = UdpSocket::bind(address).expect("the port is free in this network");
    let (sender, requests) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let request = Message::read(&bytes[..length]).expect("a message");
            assert!(request.fingerprint_holds(), "{request:?}");
            if let Some(answer) = answer(&request, from, &sender) {
                socket.send_to(&answer, from).expect("sent");
            }
        }
    });
    requests
}

fn answer(request: &Message, from: SocketAddr, requests: &Sender<Asked>) -> Option<Vec<u8>> {
    let id = request.transaction_id;
    if request.method == BINDING {
        let success = Writer::new(Class::Success, BINDING, id);
        let success = success.xor_addr(attr::XOR_MAPPED_ADDRESS, from);
        return Some(success.fingerprint().bytes());
    }
    if !request.has_integrity() {
        let error = Writer::new(Class::Error, request.method, id)
            .attr(attr::ERROR_CODE, b"\0\0\x04\x01Unauthorized")
            .attr(attr::REALM, DOMAIN.as_bytes())
            .attr(attr::NONCE, NONCE);
        return Some(error.bytes());
    }
    let key = Integrity::Sha1(stun::key_md5("alice", DOMAIN, "s3cret-of-alice"));
    assert!(request.verify(&key), "{request:?}");
    assert_eq!(request.get(attr::NONCE), Some(NONCE));
    let _ = requests.send((request.method, request.u32(attr::LIFETIME), from));
    let success = Writer::new(Class::Success, request.method, id);
    match request.method {
        ALLOCATE => {
            let relayed = SocketAddr::from(([127, 0, 0, 1], 50_000));
            let success = success.xor_addr(attr::XOR_RELAYED_ADDRESS, relayed);
            Some(
                success
                    .attr(attr::LIFETIME, &600_u32.to_be_bytes())
                    .integrity(&key)
                    .bytes(),
            )
        }
        REFRESH => Some(success.integrity(&key).bytes()),
        _ => None,
    }
}
