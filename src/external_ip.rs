//! `external_ip = "auto"`: asks STUN servers how this machine looks from outside (RFC 8489 Binding over UDP).
//!
//! Blocking, and only before anything is served. One answer for each family; servers are asked in their order.

use crate::addr::Family;
use crate::entropy::Entropy;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};
use stun_types::attribute::XorMappedAddress;
use stun_types::message::{BINDING, Message, MessageClass, MessageType, MessageWriteVec};
use stun_types::prelude::*;

/// RFC 8489 §6.2.1 retransmits for 39.5 s; a start cannot wait that long, and there are other servers.
const WAITS: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(1250),
];
/// A Binding response is far smaller.
const RESPONSE_BYTES_MAX: usize = 1500;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot look up the STUN server {server}")]
    Resolve { server: String, source: io::Error },
    #[error("cannot reach the STUN server {addr}")]
    Socket { addr: SocketAddr, source: io::Error },
    #[error("the STUN server {addr} did not answer")]
    NoAnswer { addr: SocketAddr },
    #[error("the STUN server {addr} told no usable address")]
    NoAddress { addr: SocketAddr },
    #[error("no STUN server is configured")]
    NoServer,
}

/// The external address of each family that a server could tell, IPv4 first. An error if none could: the last one.
pub fn discover(servers: &[String], entropy: &mut dyn Entropy) -> Result<Vec<IpAddr>, Error> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut failure = Error::NoServer;
    for server in servers {
        let addresses: Vec<SocketAddr> = match server.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(source) => {
                let server = server.clone();
                failure = Error::Resolve { server, source };
                continue;
            }
        };
        for family in [Family::V4, Family::V6] {
            let is_known = found.iter().any(|ip| Family::of(*ip) == family);
            let of_family = |addr: &&SocketAddr| Family::of(addr.ip()) == family;
            let Some(addr) = addresses.iter().find(of_family).filter(|_| !is_known) else {
                continue;
            };
            match ask(*addr, &WAITS, entropy) {
                Ok(ip) => found.push(ip),
                Err(error) => failure = error,
            }
        }
        if found.len() == 2 {
            break;
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(failure);
    }
    Ok(found)
}

/// Sends a Binding request, again after each of `waits`, and returns the address in the answer.
pub fn ask(
    server: SocketAddr,
    waits: &[Duration],
    entropy: &mut dyn Entropy,
) -> Result<IpAddr, Error> {
    let failed = |source| Error::Socket {
        addr: server,
        source,
    };
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).map_err(failed)?;
    // Connected, so that only this server is heard, and its ICMP errors too.
    socket.connect(server).map_err(failed)?;

    let request = request(entropy);
    let mut refused = None;
    for wait in waits {
        match exchange(&socket, &request, *wait) {
            Ok(Some(ip)) if is_usable(ip, server) => return Ok(ip),
            Ok(Some(_)) => return Err(Error::NoAddress { addr: server }),
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(match refused {
        Some(source) => failed(source),
        None => Error::NoAnswer { addr: server },
    })
}

fn request(entropy: &mut dyn Entropy) -> Vec<u8> {
    let mut id = [0; 16];
    let (_, random) = id.split_at_mut(4);
    entropy.fill(random);
    let request = MessageType::from_class_method(MessageClass::Request, BINDING);
    let transaction = u128::from_be_bytes(id).into();
    Message::builder(request, transaction, MessageWriteVec::new()).finish()
}

/// One request, and what comes within `wait`: an address, or nothing.
fn exchange(socket: &UdpSocket, request: &[u8], wait: Duration) -> io::Result<Option<IpAddr>> {
    socket.send(request)?;
    let deadline = Instant::now() + wait;
    let mut buffer = [0; RESPONSE_BYTES_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(count) => {
                let response = buffer.get(..count).unwrap_or_default();
                if let Some(ip) = mapped_address(response, request) {
                    return Ok(Some(ip));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// XOR-MAPPED-ADDRESS of the success response to `request` (RFC 8489 §14.2).
fn mapped_address(response: &[u8], request: &[u8]) -> Option<IpAddr> {
    let asked = Message::from_bytes(request).ok()?;
    let message = Message::from_bytes(response).ok()?;
    let answers = message.has_class(MessageClass::Success)
        && message.has_method(BINDING)
        && message.transaction_id() == asked.transaction_id();
    if !answers {
        return None;
    }
    let mapped = message.attribute::<XorMappedAddress>().ok()?;
    Some(mapped.addr(message.transaction_id()).ip().to_canonical())
}

fn is_usable(ip: IpAddr, server: SocketAddr) -> bool {
    Family::of(ip) == Family::of(server.ip()) && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::rng::SystemRng;
    use std::thread;

    const PATIENT: [Duration; 2] = [Duration::from_secs(20); 2];

    /// A server on loopback that answers each request with what `answer` makes of it.
    fn server(
        answers: usize,
        answer: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> (SocketAddr, thread::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        let addr = socket.local_addr().expect("its address");
        let serve = move || {
            let mut buffer = [0; 1500];
            for index in 0..answers {
                let (count, from) = socket.recv_from(&mut buffer).expect("a request");
                for datagram in answer(index, &buffer[..count]) {
                    socket.send_to(&datagram, from).expect("sent");
                }
            }
        };
        (addr, thread::spawn(serve))
    }

    fn success(request: &[u8], told: &str) -> Vec<u8> {
        let request = Message::from_bytes(request).expect("a STUN request");
        assert!(request.has_method(BINDING) && request.has_class(MessageClass::Request));
        let told = told.parse().expect("an address");
        let mut response = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(told, request.transaction_id());
        response.add_attribute(&mapped).expect("room");
        response.finish()
    }

    #[test]
    fn the_address_in_the_answer_is_the_external_one() {
        let (addr, thread) = server(1, |_, request| vec![success(request, "203.0.113.7:1234")]);
        let ip = ask(addr, &PATIENT, &mut SystemRng).expect("an answer");
        assert_eq!(ip, IpAddr::from([203, 0, 113, 7]));
        thread.join().expect("the server ends");
    }

    #[test]
    fn garbage_other_transactions_and_errors_are_passed_over() {
        let (addr, thread) = server(1, |_, request| {
            let mut other = success(request, "192.0.2.66:1");
            other[19] ^= 1;
            vec![
                Vec::new(),
                b"garbage".to_vec(),
                request.to_vec(),
                other,
                success(request, "203.0.113.7:1234"),
            ]
        });
        let ip = ask(addr, &PATIENT, &mut SystemRng).expect("an answer");
        assert_eq!(ip, IpAddr::from([203, 0, 113, 7]));
        thread.join().expect("the server ends");
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_with_the_same_transaction() {
        let (addr, thread) = server(2, |index, request| match index {
            0 => Vec::new(),
            _ => vec![success(request, "203.0.113.7:1234")],
        });
        let waits = [Duration::from_millis(1), Duration::from_secs(20)];
        let ip = ask(addr, &waits, &mut SystemRng).expect("an answer");
        assert_eq!(ip, IpAddr::from([203, 0, 113, 7]));
        thread.join().expect("the server ends");
    }

    #[test]
    fn an_unusable_address_and_silence_are_errors_that_name_the_server() {
        let (addr, thread) = server(1, |_, request| vec![success(request, "0.0.0.0:1")]);
        let error = ask(addr, &PATIENT, &mut SystemRng).expect_err("no address");
        assert!(matches!(error, Error::NoAddress { .. }), "{error}");
        thread.join().expect("the server ends");

        let silent = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        let addr = silent.local_addr().expect("its address");
        let waits = [Duration::from_millis(1); 2];
        let error = ask(addr, &waits, &mut SystemRng).expect_err("silence");
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }

    #[test]
    fn the_next_server_is_asked_when_one_fails() {
        let (addr, thread) = server(1, |_, request| vec![success(request, "203.0.113.7:1234")]);
        let servers = ["no port".to_owned(), addr.to_string()];
        let found = discover(&servers, &mut SystemRng).expect("the second answers");
        assert_eq!(found, [IpAddr::from([203, 0, 113, 7])]);
        thread.join().expect("the server ends");
        assert!(matches!(
            discover(&[], &mut SystemRng),
            Err(Error::NoServer)
        ));
    }
}
