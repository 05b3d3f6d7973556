//! relayd on imported configurations, on their own ports: who could allocate from coturn can do so here, and nobody else.

use super::Move;
use super::guides;
use super::network;
use super::process::{Serving, relayd};
use super::support::client::{self, Client, Kind, Wire};
use super::support::stun::{self, attr};
use super::web::certs::Authority;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};

/// In coturn's file; the password that clients have is made with it.
const SECRET: &str = "north";

/// Ends when it is dropped: its calls are not waited for.
fn served(moved: &Move) -> Serving {
    moved.import_and_check();
    let mut command = relayd();
    command.arg("--config").arg(moved.path("relay.toml"));
    Serving::start(&mut command, "serving")
}

fn client(kind: Kind, port: u16, user: &str, password: &str) -> Client {
    let server = SocketAddr::new([127, 0, 0, 1].into(), port);
    let wire = Wire::open(kind, server).expect("a connection");
    Client::new(wire, user, password)
}

/// The relayed address.
fn allocates(kind: Kind, port: u16, user: &str, password: &str) -> IpAddr {
    let allocated = client(kind, port, user, password).allocate();
    let relayed = allocated.unwrap_or_else(|error| panic!("{user} over {kind:?}: {error}"));
    relayed.ip()
}

fn is_refused(port: u16, user: &str, password: &str) {
    let add = |writer: stun::Writer| writer.attr(attr::REQUESTED_TRANSPORT, &client::UDP);
    let reply = client(Kind::Udp, port, user, password).request(stun::ALLOCATE, add);
    assert_eq!(reply.expect("an answer").error_code(), Some(401), "{user}");
}

fn limited(user: &str) -> (String, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let name = format!("{}:{user}", now.expect("after 1970").as_secs() + 3600);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let password = STANDARD.encode(hmac::sign(&key, name.as_bytes()));
    (name, password)
}

#[test]
fn the_user_of_trtcs_guide_allocates() {
    const NAME: &str = "serving::the_user_of_trtcs_guide_allocates";
    network::alone(NAME, &["9.9.9.9/32"], || {
        let moved = Move::of(guides::TRTC);
        let _serving = served(&moved);
        let external: IpAddr = [9, 9, 9, 9].into();
        for kind in [Kind::Udp, Kind::Tcp] {
            assert_eq!(allocates(kind, 3478, "turn", "turn"), external);
        }
        is_refused(3478, "turn", "another");
    });
}

#[test]
fn a_user_that_is_known_by_a_key_allocates_on_agoras_ports() {
    const NAME: &str = "serving::a_user_that_is_known_by_a_key_allocates_on_agoras_ports";
    network::alone(NAME, &["9.9.9.9/32"], || {
        let moved = Move::of(&guides::agora());
        let _serving = served(&moved);
        allocates(Kind::Udp, 3478, "test", "agoras");
        allocates(Kind::Tcp, 3433, "test", "agoras");
        is_refused(3478, "test", "another");
    });
}

#[test]
fn the_stock_file_with_a_user_serves_azures_clients() {
    const NAME: &str = "serving::the_stock_file_with_a_user_serves_azures_clients";
    network::alone(NAME, &["9.9.9.9/32"], || {
        let moved = Move::of(&guides::azure());
        let _serving = served(&moved);
        for kind in [Kind::Udp, Kind::Tcp] {
            allocates(kind, 3478, "turnserver1username", "turnserver1credential");
        }
    });
}

#[test]
fn a_time_limited_credential_allocates_over_tls_with_the_imported_certificate() {
    const NAME: &str =
        "serving::a_time_limited_credential_allocates_over_tls_with_the_imported_certificate";
    network::alone(NAME, &["9.9.9.9/32"], || {
        let moved = Move::of(&format!(
            "use-auth-secret\nstatic-auth-secret={SECRET}\nrealm=turn.example.com\ncert=fullchain.pem\npkey=privkey.pem\ntls-listening-port=443\nno-dtls\nuser=alice:hers\n"
        ));
        let authority = Authority::new("import test root");
        let leaf = authority.leaf(&["turn.example.com"]);
        moved.dir.write("fullchain.pem", &leaf.chain_pem);
        moved.dir.write("privkey.pem", &leaf.key_pem);
        let _serving = served(&moved);
        let (name, password) = limited("carol");
        for (kind, port) in [(Kind::Udp, 3478), (Kind::Tcp, 3478), (Kind::Tls, 443)] {
            allocates(kind, port, &name, &password);
        }
        // As in coturn, users do not count beside a secret.
        is_refused(3478, "alice", "hers");
    });
}
