//! The credentials on TURN: over every transport until they are over, and not after.

use super::support::client::{self, Kind, Wire};
use super::support::stun::{self, attr};
use super::web::relayd::Relayd;
use super::{PATIENCE, TOKEN, ask, pair, serving};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[test]
fn a_credential_allocates_over_udp_tcp_and_tls_at_the_ports_of_the_answer() {
    let relayd = serving("", "");
    let answer = ask(&relayd, TOKEN, r#"{"name":"alice","ttl":600}"#);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer = answer.json();
    let (username, password) = pair(&answer);
    assert!(username.ends_with(":alice"), "{username}");
    let urls = answer["iceServers"][0]["urls"].as_array().expect("a list");
    let ports: Vec<u16> = urls
        .iter()
        .map(|url| port(url.as_str().expect("text")))
        .collect();
    assert_eq!(
        ports,
        [relayd.udp.port(), relayd.tcp.port(), relayd.tls.port()]
    );
    for (kind, port) in Kind::ALL.into_iter().zip(ports) {
        let server = SocketAddr::new([127, 0, 0, 1].into(), port);
        let wire = Wire::open(kind, server).expect("a connection");
        let mut turn = client::Client::new(wire, &username, &password);
        turn.allocate()
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(answer["realm"], turn.realm);
    }
    let mut wrong = client::Client::new(udp(&relayd), &username, "another password");
    assert_eq!(wrong.allocate_code(), Some(401));
}

#[test]
fn a_credential_is_refused_once_it_is_over_and_its_call_goes_on() {
    let relayd = serving("ttl_min = \"1s\"", "");
    let answer = ask(&relayd, TOKEN, r#"{"name":"bob","ttl":4}"#).json();
    assert_eq!(answer["ttl"], 4);
    let expires_s = answer["expires"].as_u64().expect("a time");
    let (username, password) = pair(&answer);
    let mut begun = client::Client::new(udp(&relayd), &username, &password);
    begun.allocate().expect("a credential that is good");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked_s = unix_s();
        let mut turn = client::Client::new(udp(&relayd), &username, &password);
        match turn.allocate_code() {
            None => {
                assert!(asked_s < expires_s, "good after its time");
                // The system may give this port to the next socket, whose Allocate would be a second one.
                turn.refresh(0).expect("an answer");
            }
            Some(401) => break,
            Some(code) => panic!("refused with {code}"),
        }
        assert!(Instant::now() < deadline, "never over");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(unix_s() >= expires_s, "over before its time");
    let refreshed = begun.refresh(600).expect("an answer");
    assert_eq!(refreshed.error_code(), None, "{refreshed:?}");
}

#[test]
fn a_reload_changes_who_may_ask_and_for_how_long() {
    let relayd = serving("", "");
    assert_eq!(ask(&relayd, TOKEN, "{}").json()["ttl"], 8 * 3600);
    relayd.reload(|file| {
        let file = file.replace(TOKEN, "another-application-token");
        format!("{file}ttl = \"5m\"\n")
    });
    relayd.wait_for_log("line about the reload", |line| {
        line.contains("\"reloaded\"")
    });
    assert_eq!(ask(&relayd, TOKEN, "{}").status(), 401);
    let answer = ask(&relayd, "another-application-token", "{}").json();
    assert_eq!(answer["ttl"], 300);
    let (username, password) = pair(&answer);
    let mut turn = client::Client::new(udp(&relayd), &username, &password);
    turn.allocate().expect("a credential that is good");
}

fn udp(relayd: &Relayd) -> Wire {
    Wire::open(Kind::Udp, relayd.udp).expect("a socket")
}

fn port(url: &str) -> u16 {
    let (before, _) = url.split_once('?').expect("a transport");
    let (_, port) = before.rsplit_once(':').expect("a port");
    port.parse().expect("a port")
}

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

trait AllocateCode {
    /// `None`: it succeeded.
    fn allocate_code(&mut self) -> Option<u16>;
}

impl AllocateCode for client::Client {
    fn allocate_code(&mut self) -> Option<u16> {
        let add = |writer: stun::Writer| writer.attr(attr::REQUESTED_TRANSPORT, &client::UDP);
        let reply = self.request(stun::ALLOCATE, add).expect("an answer");
        reply.error_code()
    }
}
