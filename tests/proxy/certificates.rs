//! PROXY.md "Do better" 3: upstream TLS is verified. Certificates early and late, on both sides.

use super::web::certs::{Authority, Leaf, Validity};
use super::web::origin::{Origin, Then, ok};
use super::web::relayd::{NAME, Relayd, Setup, reach};
use rustls::ServerConfig;

const HOST: &str = "api.example.com";
const TARGET: &str = "/api.example.com/x";

/// Asks an origin with `leaf` through a proxy that trusts `ca`.
fn ask(ca: &Authority, leaf: &Leaf) -> (u16, String) {
    let origin = Origin::plain(leaf);
    let relayd = Relayd::before(ca, origin.addr, &[HOST]);
    let answer = relayd.request("GET", TARGET, &[("Authorization", "secret")], b"");
    if answer.status() != 200 {
        assert!(
            origin.seen().is_empty(),
            "the request went to an origin that was not verified"
        );
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
    let label = match answer.status() {
        200 => String::new(),
        _ => answer.json()["error"].as_str().expect("a label").to_owned(),
    };
    (answer.status(), label)
}

#[test]
fn a_certificate_of_the_operators_authority_is_good() {
    let ca = Authority::new("upstream test root");
    assert_eq!(ask(&ca, &ca.leaf(&[HOST])).0, 200);
    assert_eq!(ask(&ca, &ca.leaf(&["*.example.com"])).0, 200);
}

#[test]
fn a_certificate_outside_its_time_is_refused_and_the_answer_says_which() {
    let ca = Authority::new("upstream test root");
    let late = ca.leaf_valid(
        &[HOST],
        Validity {
            from_day: -90,
            to_day: -1,
        },
    );
    assert_eq!(ask(&ca, &late), (502, "tls_certificate_expired".to_owned()));
    let early = ca.leaf_valid(
        &[HOST],
        Validity {
            from_day: 1,
            to_day: 90,
        },
    );
    assert_eq!(
        ask(&ca, &early),
        (502, "tls_certificate_not_yet_valid".to_owned())
    );
}

#[test]
fn a_certificate_for_another_name_or_of_another_authority_is_refused() {
    let ca = Authority::new("upstream test root");
    for names in [
        &["other.example.com"][..],
        &["example.com"],
        &["*.api.example.com"],
        &["127.0.0.1"],
    ] {
        assert_eq!(
            ask(&ca, &ca.leaf(names)),
            (502, "tls_certificate_wrong_name".to_owned()),
            "{names:?}"
        );
    }
    let stranger = Authority::new("somebody else");
    assert_eq!(
        ask(&ca, &stranger.leaf(&[HOST])),
        (502, "tls_certificate_untrusted".to_owned())
    );
}

#[test]
fn the_operators_file_adds_to_the_public_roots_and_does_not_open_anything_else() {
    let stranger = Authority::new("somebody else");
    let origin = Origin::plain(&stranger.leaf(&[HOST]));
    let relayd = Relayd::start(Setup {
        proxy: reach(&[HOST], origin.addr),
        ..Setup::default()
    });
    let answer = relayd.get(TARGET);
    assert_eq!(
        (answer.status(), answer.json()["error"].as_str()),
        (502, Some("tls_certificate_untrusted"))
    );
}

#[test]
fn upstreams_are_reached_by_tls_1_2_and_by_tls_1_3() {
    let ca = Authority::new("upstream test root");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let leaf = ca.leaf(&[HOST]);
        let config = ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(leaf.chain.clone(), leaf.key.clone_key())
            .expect("a good certificate");
        let origin = Origin::start_with(config, |_, wire, _| {
            let version = format!("{:?}", wire.conn.protocol_version());
            ok(wire, &version);
            Then::KeepOpen
        });
        let relayd = Relayd::before(&ca, origin.addr, &[HOST]);
        let answer = relayd.get(TARGET);
        assert_eq!(answer.status(), 200);
        assert!(
            answer
                .text()
                .contains(if *version == rustls::version::TLS12 {
                    "TLSv1_2"
                } else {
                    "TLSv1_3"
                })
        );
    }
}

#[test]
fn an_upstream_that_speaks_no_tls_is_an_error_that_says_so() {
    use std::io::Write;
    use std::net::TcpListener;
    let ca = Authority::new("upstream test root");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            });
        }
    });
    let relayd = Relayd::before(&ca, addr, &[HOST]);
    let answer = relayd.get(TARGET);
    assert_eq!(
        (answer.status(), answer.json()["error"].as_str()),
        (502, Some("tls_failed"))
    );
}

#[test]
fn a_server_certificate_that_ends_soon_is_served_with_a_warning() {
    let authority = Authority::new("server test root");
    let leaf = authority.leaf_valid(
        &[NAME],
        Validity {
            from_day: -80,
            to_day: 3,
        },
    );
    let relayd = Relayd::start(Setup {
        certificate: Some((&authority, leaf)),
        ..Setup::default()
    });
    let line = relayd.wait_for_log("warning about the certificate", |line| {
        line.contains("\"WARN\"") && line.contains("certificate") && line.contains("expire")
    });
    assert!(!line.contains("PRIVATE"));
    assert_eq!(relayd.get("/nowhere").status(), 404);
}

#[test]
fn a_server_certificate_with_time_left_is_served_without_a_warning() {
    let relayd = Relayd::start(Setup::default());
    assert_eq!(relayd.get("/nowhere").status(), 404);
    let warned = relayd
        .log()
        .lines()
        .any(|line| line.contains("\"WARN\"") && line.contains("expire"));
    assert!(!warned, "{}", relayd.log());
}
