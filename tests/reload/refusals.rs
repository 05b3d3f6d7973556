//! Reloads that cannot be: nothing changes, and the report is that of `relayd check`.

use super::calls::Call;
use super::server::{Conf, Server, binary};
use super::support::client::{Kind, is_success};
use serde_json::Value;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

fn check(server: &Server) -> Value {
    let run = Command::new(binary())
        .args(["check", "--json", "--config"])
        .arg(server.config_path())
        .output()
        .expect("it runs");
    serde_json::from_slice(&run.stdout).expect("JSON")
}

fn assert_says_what_check_says(report: &Value, check: &Value) {
    for part in ["source", "ok", "problems", "plan", "peers"] {
        assert_eq!(report[part], check[part], "{part}");
    }
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_is_reported_as_by_check() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let mut call = Call::start(server.alice(Kind::Udp));
    let broken = Conf {
        users: vec![("carol", "s3cret-later")],
        udp: vec!["127.0.0.2:0".to_owned()],
        ..conf.clone()
    };
    let broken = broken
        .with("turn", "no_such_key = 1")
        .with("listen.timeouts", "handshake = \"soon\"");
    let (status, report) = server.reload(&broken);
    assert_eq!(status, 422);
    assert_says_what_check_says(&report, &check(&server));
    assert_eq!(report["ok"], false);
    assert!(
        report["problems"]
            .as_array()
            .is_some_and(|problems| problems.len() >= 2),
        "{report:#}"
    );
    assert_eq!(report["generation"], 1);
    assert_eq!(report["changes"], Value::Array(Vec::new()));
    assert!(!report.to_string().contains("s3cret"));
    server.wait_for_log(&["the configuration stays as it was", "no_such_key", "soon"]);

    call.assert_goes_on();
    assert_eq!(server.listeners(Kind::Udp)[0].ip().to_string(), "127.0.0.1");
    Call::start(server.alice(Kind::Tls)).assert_goes_on();
    assert!(
        server
            .client(Kind::Udp, ("carol", "s3cret-later"))
            .allocate()
            .is_err()
    );
    assert_eq!(
        server.metric("relayd_config_last_reload_successful"),
        Some(0.0)
    );
    assert_eq!(server.metric("relayd_config_generation"), Some(1.0));
    assert_eq!(
        server.metric("relayd_config_reloads_total{result=\"configuration\"}"),
        Some(1.0)
    );

    let (status, report) = server.reload(&conf);
    assert_eq!(status, 200);
    assert_says_what_check_says(&report, &check(&server));
    assert_eq!(report["generation"], 2);
    assert_eq!(
        server.metric("relayd_config_last_reload_successful"),
        Some(1.0)
    );
    assert_eq!(
        server.metric("relayd_config_reloads_total{result=\"in_force\"}"),
        Some(1.0)
    );
    let when = server.metric("relayd_config_last_reload_success_timestamp_seconds");
    assert!(when.is_some_and(|unix_s| unix_s > 1.7e9), "{when:?}");
}

#[test]
fn a_listener_that_cannot_be_bound_keeps_all_the_rest_of_the_file_out_of_force() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let (udp, tcp) = (
        UdpSocket::bind("127.0.0.1:0"),
        TcpListener::bind("127.0.0.1:0"),
    );
    let (udp, tcp) = (udp.expect("bound"), tcp.expect("bound"));
    let both = |own: &[String], taken: std::net::SocketAddr| [own, &[taken.to_string()]].concat();
    let before = server.listeners(Kind::Udp);
    let fds = server.fds();
    for (conf, taken) in [
        (
            Conf {
                udp: both(&conf.udp, udp.local_addr().expect("bound")),
                ..conf.clone()
            },
            udp.local_addr().expect("bound"),
        ),
        (
            Conf {
                tls: both(&conf.tls, tcp.local_addr().expect("bound")),
                ..conf.clone()
            },
            tcp.local_addr().expect("bound"),
        ),
    ] {
        let conf = Conf {
            users: vec![("carol", "came later")],
            log: ("text", "debug"),
            ..conf
        };
        let (status, report) = server.reload(&conf);
        assert_eq!(status, 422, "{report:#}");
        let said = report["problems"].to_string();
        assert!(said.contains(&taken.to_string()), "{said}");
        assert_eq!(report["changes"], Value::Array(Vec::new()));
        server.wait_for_log(&[
            "the configuration stays as it was",
            &taken.to_string(),
            "\"ERROR\"",
        ]);
        assert_eq!(server.listeners(Kind::Udp), before);
        assert!(
            server
                .client(Kind::Udp, ("carol", "came later"))
                .allocate()
                .is_err()
        );
        let mut alice = server.alice(Kind::Tcp);
        alice.allocate().expect("she is still let in");
        alice.refresh(0).and_then(is_success).expect("it ends");
    }
    assert_eq!(
        server.metric("relayd_config_reloads_total{result=\"listener\"}"),
        Some(2.0)
    );
    // What was bound for nothing is closed again.
    super::server::until("the descriptors are given back", || server.fds() <= fds);
}

#[test]
fn what_only_a_restart_can_change_is_named_and_the_rest_is_in_force() {
    let conf = Conf::default();
    let server = Server::start(&conf);
    let changed = Conf {
        users: vec![("alice", "wonderland"), ("carol", "came later")],
        ..conf
    };
    let changed = changed
        .with("turn.limits", "relay_buffer_bytes = \"64KiB\"")
        .with("listen.limits", "udp_buffer_bytes = \"1MiB\"");
    for _ in 0..2 {
        // The second time nothing is new, and the keys still wait.
        let (status, report) = server.reload(&changed);
        assert_eq!(status, 200);
        let waiting = [
            "listen.limits.udp_buffer_bytes",
            "turn.limits.relay_buffer_bytes",
        ];
        assert_eq!(report["restart_only"], serde_json::json!(waiting));
    }
    for key in [
        "listen.limits.udp_buffer_bytes",
        "turn.limits.relay_buffer_bytes",
    ] {
        server.wait_for_log(&["takes effect at a restart", key]);
    }
    server
        .client(Kind::Udp, ("carol", "came later"))
        .allocate()
        .expect("she is let in");
}

#[test]
fn a_file_that_is_gone_is_an_error_and_not_the_defaults() {
    let server = Server::start(&Conf::default());
    std::fs::remove_file(server.config_path()).expect("it was there");
    let (status, report) = server.post();
    assert_eq!((status, &report["ok"]), (422, &false.into()));
    assert_says_what_check_says(&report, &check(&server));
    Call::start(server.alice(Kind::Tls)).assert_goes_on();
}

#[test]
fn reload_is_asked_for_by_post_alone() {
    let server = Server::start(&Conf::default());
    let (status, body) = server.get("/reload");
    assert_eq!(status, 405, "{body}");
    assert_eq!(server.metric("relayd_config_generation"), Some(1.0));
}
