//! Certificates that are renewed under a running server: by a reload, and by themselves.

use super::calls::Call;
use super::server::{Conf, REALM, Server, until, write_pair};
use super::support::client::{Kind, Wire};
use super::web::certs::{Leaf, Validity};
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

/// The certificate that a new handshake shows.
fn shown(server: &Server) -> Vec<u8> {
    let wire = Wire::open(Kind::Tls, server.listeners(Kind::Tls)[0]).expect("it listens");
    let Wire::Tls(stream) = wire else {
        panic!("asked for TLS")
    };
    let chain = stream.conn.peer_certificates().expect("a certificate");
    chain.first().expect("a leaf").to_vec()
}

fn leaf(server: &Server, to_day: i32) -> Leaf {
    let validity = Validity {
        from_day: -1,
        to_day,
    };
    server.authority.leaf_valid(&[REALM], validity)
}

fn is_shown(server: &Server, leaf: &Leaf) -> bool {
    shown(server) == leaf.chain[0].to_vec()
}

#[test]
fn new_handshakes_show_the_new_pair_by_themselves_and_old_connections_go_on() {
    let server = Server::start(&Conf::default());
    let mut old = Call::start(server.alice(Kind::Tls));
    let before = server.metric("relayd_tls_certificate_not_after_timestamp_seconds");
    let new = leaf(&server, 200);
    write_pair(&server.dir, &new);
    until("the new pair is shown", || is_shown(&server, &new));
    old.assert_goes_on();
    Call::start(server.alice(Kind::Tls)).assert_goes_on();
    server.wait_for_log(&["another certificate is in use"]);
    let after = server.metric("relayd_tls_certificate_not_after_timestamp_seconds");
    assert!(after > before && before.is_some(), "{before:?} {after:?}");
    assert_eq!(
        server.metric("relayd_tls_certificate_swaps_total{result=\"replaced\"}"),
        Some(1.0)
    );
    assert_eq!(
        server.metric("relayd_config_generation"),
        Some(1.0),
        "it is no reload"
    );
}

/// As certbot and Kubernetes do it: a link to a directory is turned, and the times of the files say nothing.
#[test]
fn a_link_that_is_turned_to_files_of_any_age_is_noticed() {
    let server = Server::start(&Conf::default());
    for (name, to_day) in [("first", 120), ("second", 150)] {
        let new = leaf(&server, to_day);
        let dir = server.dir.path(name);
        fs::create_dir(&dir).expect("a directory");
        for (file, text) in [("cert.pem", &new.chain_pem), ("key.pem", &new.key_pem)] {
            fs::write(dir.join(file), text).expect("written");
            let file = File::options()
                .write(true)
                .open(dir.join(file))
                .expect("opened");
            // A clock that was wrong, or a copy that kept its time.
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
                .expect("set");
        }
        for file in ["cert.pem", "key.pem"] {
            let link = server.dir.path("link");
            std::os::unix::fs::symlink(dir.join(file), &link).expect("a link");
            fs::rename(&link, server.dir.path(file)).expect("turned");
        }
        until("the new pair is shown", || is_shown(&server, &new));
    }
    assert!(
        !server
            .log()
            .iter()
            .any(|line| line.contains("cannot be used")),
        "half a renewal is no mistake"
    );
}

#[test]
fn a_certificate_and_a_key_that_come_one_after_the_other_end_in_the_new_pair() {
    let server = Server::start(&Conf::default());
    let first = shown(&server);
    let new = leaf(&server, 200);
    // The certificate alone does not go with the old key: seen, and warned about when it stays so.
    server.dir.write("cert.pem", &new.chain_pem);
    let line = server.wait_for_log(&["the certificate stays as it was", "\"WARN\""]);
    assert!(
        line.contains("key.pem") && line.contains("does not belong"),
        "{line}"
    );
    assert_eq!(shown(&server), first);
    server.dir.write("key.pem", &new.key_pem);
    until("the new pair is shown", || is_shown(&server, &new));
}

#[test]
fn a_broken_pair_keeps_the_old_one_and_is_warned_about_once_with_file_and_reason() {
    let server = Server::start(&Conf::default());
    let before = shown(&server);
    for (text, reason) in [
        ("", "is empty"),
        ("-----BEGIN CERTIFICATE-----\nnonsense", "no valid PEM"),
    ] {
        server.dir.write("cert.pem", text);
        let line = server.wait_for_log(&["the certificate stays as it was", reason]);
        assert!(line.contains("cert.pem"), "{line}");
    }
    // A reload says it too, and changes nothing.
    let (status, report) = server.post();
    assert_eq!(status, 422);
    assert!(
        report["problems"].to_string().contains("cert.pem"),
        "{report:#}"
    );
    fs::remove_file(server.dir.path("cert.pem")).expect("it was there");
    server.wait_for_log(&["the certificate stays as it was", "cannot read"]);
    assert_eq!(shown(&server), before);
    Call::start(server.alice(Kind::Tls)).assert_goes_on();
    assert_eq!(
        server.metric("relayd_tls_certificate_swaps_total{result=\"refused\"}"),
        Some(3.0)
    );
    let warnings = server
        .log()
        .into_iter()
        .filter(|line| line.contains("stays as it was") && line.contains("\"WARN\""));
    assert_eq!(warnings.count(), 3);
}

#[test]
fn a_reload_takes_the_new_pair_at_once_and_says_so() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let mut old = Call::start(server.alice(Kind::Tls));
    let new = leaf(&server, 200);
    write_pair(&server.dir, &new);
    let (status, report) = server.post();
    assert_eq!(status, 200);
    assert!(is_shown(&server, &new));
    // Unless the watch was faster.
    let changes = super::server::changes(&report);
    let watched =
        server.metric("relayd_tls_certificate_swaps_total{result=\"replaced\"}") == Some(1.0);
    assert!(
        watched || changes[0].starts_with("tls: another certificate, valid until "),
        "{changes:?}"
    );
    old.assert_goes_on();
}

#[test]
fn tls_is_switched_off_and_on_under_a_connection_over_it() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let mut old = Call::start(server.alice(Kind::Tls));
    let off = Conf {
        tls: Vec::new(),
        certificate: false,
        ..conf.clone()
    };
    server.reloaded(&off);
    assert_eq!(server.listeners(Kind::Tls), []);
    old.assert_goes_on();
    assert_eq!(
        server.metric("relayd_tls_certificate_not_after_timestamp_seconds"),
        None
    );
    // TLS on a plain port needs the certificate, too.
    assert!(Wire::open(Kind::Tls, server.listeners(Kind::Tcp)[0]).is_err());
    server.reloaded(&conf);
    old.assert_goes_on();
    Call::start(server.alice(Kind::Tls)).assert_goes_on();
    let plain = server.listeners(Kind::Tcp)[0];
    assert!(Wire::open(Kind::Tls, plain).is_ok());
}
