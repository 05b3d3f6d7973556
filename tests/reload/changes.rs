//! Each kind of change, by what a client meets before and after it.

use super::calls::Call;
use super::server::{Conf, Server, until};
use super::support::client::{Kind, UDP, is_code, is_success, peer, peer_is_empty};
use super::support::stun::{self, attr};
use super::web::certs::Authority;
use super::web::client::Client as Web;
use super::web::message::Message;
use super::web::origin::Origin;
use super::web::relayd::resolve;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

const HOST: &str = "api.example.com";
const OTHER: &str = "other.example.com";

fn request(server: &Server, method: &str, target: &str, headers: &str) -> Message {
    let mut client = Web::plain(server.listeners(Kind::Tcp)[0]);
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    ));
    client.answer()
}

fn get(server: &Server, target: &str) -> u16 {
    request(server, "GET", target, "").status()
}

#[test]
fn users_and_secrets_by_signal_with_a_line_that_says_what_changed() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let changed = Conf {
        users: vec![("bob", "another password"), ("carol", "came later")],
        ..conf
    };
    server.write(&changed);
    server.hang_up();
    let line = server.wait_for_log(&["\"reloaded\""]);
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        line["changes"],
        "turn.users: carol added, bob changed, alice removed"
    );
    assert_eq!(line["generation"], 2);
    server
        .client(Kind::Udp, ("carol", "came later"))
        .allocate()
        .expect("she is let in");
    server
        .client(Kind::Tcp, ("bob", "another password"))
        .allocate()
        .expect("he is let in");
    for gone in [("alice", "wonderland"), ("bob", "builder")] {
        assert!(server.client(Kind::Udp, gone).allocate().is_err());
    }
}

#[test]
fn a_reload_of_the_same_file_changes_nothing_and_says_so() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    for generation in 2..5 {
        let (status, report) = server.post();
        assert_eq!((status, &report["generation"]), (200, &generation.into()));
        assert_eq!(report["changes"], serde_json::json!([]));
        assert_eq!(report["restart_only"], serde_json::json!([]));
    }
    assert_eq!(
        server.metric("relayd_proxy_reloads_total"),
        Some(0.0),
        "what is pooled stays so"
    );
}

#[test]
fn peer_policy_holds_for_live_allocations_and_quotas_for_new_ones() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let mut call = Call::start(server.alice(Kind::Udp));
    let mut other = server.alice(Kind::Udp);
    other.allocate().expect("there is room");
    let denied = peer("127.0.0.9");
    let denied_addr = denied.local_addr().expect("bound");
    other
        .permit(denied_addr)
        .and_then(is_success)
        .expect("it is allowed");
    let changes = server.reloaded(
        &conf
            .clone()
            .with("turn.peers", "deny = [\"127.0.0.9/32\"]")
            .with("turn.limits", "allocations_per_user = 2"),
    );
    assert_eq!(
        changes,
        [
            "turn.peers.deny: 127.0.0.9/32 added",
            "turn.limits.allocations_per_user: 0 → 2"
        ]
    );
    call.assert_goes_on();
    other.send_to(denied_addr, b"not any more").expect("sent");
    other.fence().expect("dealt with");
    assert!(peer_is_empty(&denied));
    let reply = other.permit(denied_addr).expect("an answer");
    is_code(&reply, 403).expect("it is denied");
    let mut third = server.alice(Kind::Tcp);
    let reply = third.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP));
    is_code(&reply.expect("an answer"), 486).expect("she has two");
    server.reloaded(&conf);
    third.allocate().expect("there is room again");
}

#[test]
fn routes_allow_lists_vendors_and_cors_hold_for_the_next_request() {
    let authority = Authority::new("upstream root");
    let origin = Origin::plain(&authority.leaf(&[HOST, OTHER]));
    let conf = Conf::default();
    let server = Server::start(&conf);
    server.dir.write("ca.pem", &authority.pem);
    let proxy = |lines: &[&str]| {
        let conf = conf
            .clone()
            .with(
                "proxy",
                format!("ca_file = {:?}", server.dir.path("ca.pem")),
            )
            .with("proxy", resolve(&[HOST, OTHER], origin.addr));
        lines
            .iter()
            .fold(conf, |conf, line| conf.with("proxy", *line))
    };
    let (target, other) = (format!("/{HOST}/x"), format!("/{OTHER}/x"));
    assert_eq!(get(&server, &target), 403);
    server.reloaded(&proxy(&["allow = [\"api.example.com\"]"]));
    assert_eq!((get(&server, &target), get(&server, &other)), (200, 403));

    let cors = |server: &Server| {
        let answer = request(
            server,
            "GET",
            &format!("/{HOST}/x"),
            "Origin: https://app.example.com\r\n",
        );
        answer.one("access-control-allow-origin").map(str::to_owned)
    };
    assert!(cors(&server).is_some());
    let changes = server.reloaded(&proxy(&[
        "allow = [\"api.example.com\", \"other.example.com\"]",
        "cors_origins = [\"https://elsewhere.example.com\"]",
        "vendors = [\"azure\"]",
        "prefixes = [\"/pre\"]",
    ]));
    let changed = |key: &str| changes.iter().any(|change| change.starts_with(key));
    for key in [
        "proxy.vendors: azure added",
        "proxy.cors_origins:",
        "proxy.prefixes:",
        "proxy.allow:",
    ] {
        assert!(changed(key), "{key} is not in {changes:?}");
    }
    assert_eq!(get(&server, &other), 200);
    assert_eq!(get(&server, &format!("/pre/{HOST}/x")), 200);
    assert_eq!(cors(&server), None);

    // A request that is under way, on a connection that is kept: it ends, and the next one meets the new settings.
    let mut kept = Web::plain(server.listeners(Kind::Tcp)[0]);
    let head = format!("GET {target} HTTP/1.1\r\nHost: relay.test\r\n\r\n");
    kept.send(&head);
    assert_eq!(kept.answer().status(), 200);
    server.reloaded(&proxy(&[
        "deny = [\"api.example.com\"]",
        "allow = [\"api.example.com\"]",
    ]));
    kept.send(&head);
    assert_eq!(kept.answer().status(), 403);
}

#[test]
fn the_log_changes_its_level_and_its_format_between_two_lines() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let text = Conf {
        log: ("text", "debug"),
        ..conf.clone()
    };
    let changes = server.reloaded(&text);
    assert_eq!(
        changes,
        ["log.format: json → text", "log.level: info → debug"]
    );
    server.wait_for_log(&[" INFO ", "reloaded"]);
    server.alice(Kind::Udp).allocate().expect("there is room");
    server.wait_for_log(&["DEBUG", "allocation started"]);
    server.reloaded(&conf);
    server.wait_for_log(&["\"reloaded\"", "log.format: text → json"]);
    let debug = |server: &Server| {
        server
            .log()
            .iter()
            .filter(|line| line.contains("allocation started"))
            .count()
    };
    let before = debug(&server);
    server.alice(Kind::Udp).allocate().expect("there is room");
    assert_eq!(debug(&server), before);
}

#[test]
fn the_test_page_is_switched_on_and_off() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let page = |server: &Server| {
        let roots = {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(server.authority.certificate.clone())
                .expect("a root");
            roots
        };
        let mut client = Web::tls(
            server.listeners(Kind::Tls)[0],
            "relay.test",
            roots,
            &["http/1.1"],
        );
        client.send("GET / HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n");
        client.answer()
    };
    assert_ne!(page(&server).status(), 200);
    let changes = server.reloaded(&conf.clone().with("proxy", "test_page = true"));
    assert_eq!(changes, ["proxy.test_page: false → true"]);
    let answer = page(&server);
    assert_eq!(answer.status(), 200);
    assert!(answer.text().contains("<html"), "{}", answer.text());
    server.reloaded(&conf);
    assert_ne!(page(&server).status(), 200);
}

#[test]
fn listeners_are_added_and_serve_turn_and_http_when_the_answer_is_there() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let old = server.listeners(Kind::Udp)[0];
    let both = || vec!["127.0.0.1:0".to_owned(), "127.0.0.3:0".to_owned()];
    let more = Conf {
        udp: both(),
        tcp: both(),
        tls: both(),
        ..conf.clone()
    };
    for _ in 0..3 {
        let changes = server.reloaded(&more);
        assert_eq!(
            changes,
            ["udp", "tcp", "tls"].map(|kind| format!("listen.{kind}: 127.0.0.3:0 added"))
        );
        for kind in Kind::ALL {
            let new = server.listeners(kind)[1];
            assert_eq!(new.ip().to_string(), "127.0.0.3");
            let wire = super::support::client::Wire::open(kind, new).expect("it listens");
            let client = super::support::client::Client::new(wire, "alice", "wonderland");
            let mut call = Call::start(client);
            call.assert_goes_on();
            call.client
                .refresh(0)
                .and_then(is_success)
                .expect("it ends");
        }
        let mut web = Web::plain(server.listeners(Kind::Tcp)[1]);
        web.send("GET /nowhere HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n");
        assert_eq!(web.answer().status(), 404);
        // relayd is no peer of its own: its new listener is known to the policy.
        let mut client = server.alice(Kind::Udp);
        client.allocate().expect("there is room");
        let own = server.listeners(Kind::Udp)[1];
        client
            .permit(own)
            .and_then(is_success)
            .expect("another port of the address may be reached");
        let dropped = "relayd_turn_dropped_packets_total{reason=\"peer_denied\"}";
        let before = server.metric(dropped);
        client.send_to(own, b"to itself").expect("sent");
        client.fence().expect("dealt with");
        until("it is counted", || server.metric(dropped) > before);
        server.reloaded(&conf);
    }
    assert_eq!(server.listeners(Kind::Udp), [old]);
}

#[test]
fn limits_deadlines_and_proxy_networks_of_listeners_hold_for_new_connections() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let tcp = server.listeners(Kind::Tcp)[0];
    let mut kept = Call::start(server.alice(Kind::Tcp));
    server.reloaded(
        &conf
            .clone()
            .with("listen.limits", "connections_per_address = 1"),
    );
    assert!(server_closes(tcp), "one is open already");
    server.reloaded(&conf.clone().with("listen.timeouts", "first_byte = \"1s\""));
    assert!(server_closes(tcp), "it says nothing for a second");
    kept.assert_goes_on();
    server.reloaded(
        &conf
            .clone()
            .with("listen", "proxy_protocol_from = [\"127.0.0.0/8\"]"),
    );
    let mut proxied = TcpStream::connect(tcp).expect("it listens");
    let request = "GET /nowhere HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n";
    let sent = proxied
        .write_all(format!("PROXY TCP4 192.0.2.7 127.0.0.1 4000 3478\r\n{request}").as_bytes());
    sent.expect("sent");
    server.wait_for_log(&["\"request\"", "192.0.2.7"]);
    kept.assert_goes_on();
    let idle = conf.with("listen.timeouts", "stream_idle = \"1s\"");
    server.reloaded(&idle);
    let mut turn = server.alice(Kind::Tcp);
    turn.fence().expect("it is served");
    turn.wait_closed().expect("it has no allocation");
    kept.assert_goes_on();
}

/// Whether a silent connection is closed by the server; waited for.
fn server_closes(address: SocketAddr) -> bool {
    use std::io::Read;
    let mut stream = TcpStream::connect(address).expect("it listens");
    let patience = super::web::PATIENCE;
    stream.set_read_timeout(Some(patience)).expect("set");
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
    }
}

#[test]
fn the_credentials_endpoint_is_switched_on_with_the_ports_that_are_open() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let ask = |server: &Server| {
        let roots = {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(server.authority.certificate.clone())
                .expect("a root");
            roots
        };
        let mut client = Web::tls(
            server.listeners(Kind::Tls)[0],
            "relay.test",
            roots,
            &["http/1.1"],
        );
        client.send(
            "POST /credentials HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer s3cret-token-of-the-application\r\nContent-Length: 16\r\n\r\n{\"name\":\"alice\"}",
        );
        client.answer()
    };
    assert_ne!(ask(&server).status(), 200);
    let on = Conf {
        udp: vec!["127.0.0.4:0".to_owned()],
        ..conf
    };
    let changes = server.reloaded(&on.with(
        "credentials",
        "tokens = [\"s3cret-token-of-the-application\"]",
    ));
    assert!(
        changes.contains(&"credentials.tokens: 1 added".to_owned()),
        "{changes:?}"
    );
    let answer = ask(&server);
    assert_eq!(answer.status(), 200);
    let port = server.listeners(Kind::Udp)[0].port().to_string();
    assert!(answer.text().contains(&port), "{}", answer.text());
}
