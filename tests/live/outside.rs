//! The view from outside, told by a STUN server of the test.

use super::network;
use super::site::{Checked, Site};
use super::support::stun::{BINDING, Class, Message, Writer, attr};
use std::net::{SocketAddr, UdpSocket};
use std::thread;

/// What the server says of an address.
#[derive(Clone, Copy)]
pub enum Told {
    AsItIs,
    /// Another address, the same port.
    Address([u8; 4]),
    /// Another address and another port.
    AddressAndPort([u8; 4], u16),
}

/// A STUN server on loopback. It ends with the process.
pub fn stun(told: Told) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut request = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut request) {
            let Ok(asked) = Message::read(&request[..length]) else {
                continue;
            };
            let seen = match told {
                Told::AsItIs => from,
                Told::Address(ip) => SocketAddr::new(ip.into(), from.port()),
                Told::AddressAndPort(ip, port) => SocketAddr::new(ip.into(), port),
            };
            let answer = Writer::new(Class::Success, BINDING, asked.transaction_id)
                .xor_addr(attr::XOR_MAPPED_ADDRESS, seen)
                .fingerprint()
                .bytes();
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

const SEEN: [u8; 4] = [9, 9, 9, 9];

fn view(site: &Site, told: Told) -> Checked {
    site.check(&["--only", "stun", "--stun", &stun(told).to_string()])
}

#[track_caller]
fn assert_view(checked: &Checked, result: &str, detail: &str, advice: &str) {
    let rows = checked.json["checks"].as_array().expect("rows").iter();
    let mut views = rows.filter(|row| row["part"] == "stun");
    let what = views.next().expect("a view")["what"].as_str();
    checked.assert(what.expect("text"), result, detail, advice);
}

#[test]
fn an_external_address_that_is_missing_or_wrong_or_behind_a_changing_nat_is_found() {
    const NAME: &str =
        "outside::an_external_address_that_is_missing_or_wrong_or_behind_a_changing_nat_is_found";
    network::alone(NAME, &[], || {
        let with_external = |ip: &str| {
            let line = format!("[server]\nexternal_ip = [\"{ip}\"]\n");
            Site::new().with("[server]\n", &line)
        };
        let mut serving = Site::new().serve();
        let missing = view(&Site::new(), Told::Address(SEEN));
        let advice = "Add external_ip = [\"9.9.9.9/127.0.0.1\"]";
        assert_view(&missing, "fail", "seen from outside as 9.9.9.9:", advice);
        missing.assert_code(1);

        let right = view(&with_external("9.9.9.9"), Told::Address(SEEN));
        assert_view(&right, "ok", "as server.external_ip says", "");
        right.assert_code(0);

        let wrong = view(&with_external("8.8.8.8"), Told::Address(SEEN));
        assert_view(&wrong, "warn", "clients are told 8.8.8.8", "sees 9.9.9.9");
        wrong.assert_code(0);

        let changing = view(&with_external("9.9.9.9"), Told::AddressAndPort(SEEN, 7));
        assert_view(&changing, "warn", "9.9.9.9:7", "A NAT changes ports");
        assert_eq!(serving.stop(), Some(0));
    });
}

/// "auto" names its servers already: they are asked without --stun.
#[test]
fn the_servers_of_an_automatic_external_address_are_asked_by_default() {
    const NAME: &str = "outside::the_servers_of_an_automatic_external_address_are_asked_by_default";
    network::alone(NAME, &[], || {
        let server = stun(Told::Address(SEEN));
        let lines =
            format!("[server]\nexternal_ip = [\"auto\"]\nexternal_ip_stun = [\"{server}\"]\n");
        let site = Site::new().with("[server]\n", &lines);
        let mut serving = site.serve();
        let checked = site.check(&["--only", "stun"]);
        assert_view(&checked, "ok", "as server.external_ip says", "");
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn a_stun_server_that_is_not_there_fails_and_none_is_asked_unasked() {
    const NAME: &str = "outside::a_stun_server_that_is_not_there_fails_and_none_is_asked_unasked";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let mut serving = site.serve();
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address").to_string();
        let checked = site.check(&["--only", "stun", "--stun", &address, "--timeout", "1s"]);
        assert_view(&checked, "fail", "does not answer", "allow UDP");
        let checked = site.check(&["--only", "stun"]);
        assert_view(&checked, "untried", "--stun HOST:PORT", "");
        checked.assert_code(0);
        assert_eq!(serving.stop(), Some(0));
    });
}
