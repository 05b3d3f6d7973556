//! What the log says about people: traffic of each kind from a recognisable client by a recognisable user.

use super::server::{CLIENT, PASSWORD, Server, USER, wait_for};
use super::web::certs::Authority;
use super::web::origin::{Origin, Then, accept_websocket, echo_bytes, ok};
use super::web::relayd::{Directory, resolve};

const HOST: &str = "api.example.com";
/// In headers that name a client, and nowhere else.
const FORWARDED: &str = "127.0.0.78";
/// Part of every secret, token and query that a client sends.
const MARK: &str = "s3cret";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

/// Everything that the server said of the traffic at `log`.
fn log_of_traffic(log: &str) -> String {
    let authority = Authority::new("upstream root");
    let origin = Origin::start(&authority.leaf(&[HOST]), |seen, wire, reader| {
        if seen.message.one("upgrade").is_some() {
            accept_websocket(seen, wire, &[], b"");
            echo_bytes(wire, reader);
            return Then::Close;
        }
        ok(wire, "fine")
    });
    let dir = Directory::new();
    dir.write("ca.pem", &authority.pem);
    let tables = format!(
        "[proxy]\nallow = [{HOST:?}]\ntrusted_proxies = [\"{CLIENT}\"]\n{}ca_file = \"ca.pem\"\n\
         [credentials]\ntokens = [\"{MARK}-token-of-an-application\"]\n",
        resolve(&[HOST], origin.addr)
    );
    let server = Server::start_in(dir, log, &tables, &mut super::server::relayd());
    let ended = |count: usize| {
        wait_for("ended allocations", || {
            (server.said().matches("allocation ended").count() >= count).then_some(())
        });
    };

    // TURN: a call, a wrong password, a quota, a connection that breaks off, no TURN at all.
    server.call();
    ended(1);
    server
        .udp_client("s3cret-guess")
        .allocate()
        .expect_err("a wrong password");
    let mut first = server.tcp_client();
    first.allocate().expect("there is room");
    server
        .udp_client(PASSWORD)
        .allocate()
        .expect_err("the quota is 1");
    drop(first);
    ended(2);
    server.raw("\u{1}\u{2}no protocol\r\n\r\n");
    server.udp_socket().send(b"no STUN message").expect("sent");

    // The proxy: served, refused, with tokens where tokens are not meant to be, a tunnel.
    let header = format!("X-Forwarded-For: {FORWARDED}\r\nAuthorization: Bearer {MARK}-bearer\r\n");
    for target in [
        format!("/{HOST}/x?token={MARK}-query"),
        format!("/{HOST}/t/{JWT}/x"),
        format!("/{HOST}/users/{USER}"),
        format!("/{HOST}/token={MARK}"),
        format!("/evil.example.org/{USER}"),
        format!("/{USER}:{MARK}@{HOST}/x"),
        format!("/{CLIENT}/x"),
    ] {
        server.get(&target, &header);
    }
    let over_tls = |target: &str| {
        server.raw_tls(&format!(
            "GET {target} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n"
        ))
    };
    over_tls(&format!("/{HOST}/x"));
    over_tls("/unknown.example.org/");
    let upgrade = "GET /api.example.com/chat HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert!(server.raw(upgrade).starts_with("HTTP/1.1 101"));
    wait_for("end of the tunnel", || {
        let said = server.said();
        (said.contains(" tunnel ") || said.contains("\"tunnel\"")).then_some(())
    });

    // Credentials, by a good token and a bad one; the admin listener; a reload with a mistake beside the user's name.
    for token in [
        format!("{MARK}-token-of-an-application"),
        format!("{MARK}-guess"),
    ] {
        let body = format!("{{\"name\":\"{USER}\"}}");
        server.raw_tls(&format!(
            "POST /credentials HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    for path in ["/healthz", "/metrics", "/nothing", "/allocations"] {
        server.admin(path);
    }
    server.edit_and_reload(
        &format!("users = {{ {USER} = {PASSWORD:?} }}"),
        &format!("users = {{ {USER} = 7 }}"),
    );
    wait_for("word of the reload", || {
        server.said().contains("stays as it was").then_some(())
    });
    let (status, said) = server.stop();
    assert!(status.success(), "{said}");
    for line in [
        "allocation ended",
        "request",
        "tunnel",
        "credential",
        "serving",
        "stopped",
    ] {
        assert!(said.contains(line), "no {line} in {said}");
    }
    for secret in [MARK, JWT, "eyJ"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    said
}

fn lines<'a>(said: &'a str, levels: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let of_level = move |line: &&str| levels.iter().any(|level| line.contains(level));
    said.lines().filter(of_level)
}

const INFO_AND_ABOVE: [&str; 3] = [" INFO ", " WARN ", "ERROR "];

#[test]
fn with_privacy_neither_user_nor_client_is_in_the_log_and_an_allocation_keeps_its_id() {
    for format in ["text", "json"] {
        let said = log_of_traffic(&format!("privacy = true\nformat = \"{format}\""));
        for private in [USER, CLIENT, FORWARDED] {
            assert!(!said.contains(private), "{private} in {said}");
        }
        let ended = said
            .lines()
            .find(|line| line.contains("allocation ended"))
            .expect("a line");
        assert!(
            ended.contains("id=") || ended.contains("\"id\":"),
            "{ended}"
        );
        // What an operator needs is still there.
        assert!(said.contains("evil.example.org"), "{said}");
    }
}

#[test]
fn without_privacy_a_user_and_a_client_are_named() {
    let said = log_of_traffic("");
    assert!(said.contains(&format!("user=\"{USER}\"")), "{said}");
    let mut ended = lines(&said, &INFO_AND_ABOVE)
        .filter(|line| line.contains("allocation ended"))
        .peekable();
    assert!(ended.peek().is_some(), "{said}");
    assert!(
        ended.all(|line| line.contains(&format!("client={CLIENT}:"))),
        "{said}"
    );
}

#[test]
fn with_privacy_and_debug_the_lines_of_info_and_above_still_name_nobody() {
    let said = log_of_traffic("privacy = true\nlevel = \"debug\"");
    for line in lines(&said, &INFO_AND_ABOVE) {
        for private in [USER, CLIENT, FORWARDED] {
            assert!(!line.contains(private), "{private} in {line}");
        }
    }
    let started = said
        .lines()
        .find(|line| line.contains("allocation started"));
    let started = started.expect("a line of debug");
    assert!(
        started.contains(USER) && started.contains(CLIENT),
        "{started}"
    );
}
