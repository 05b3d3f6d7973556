//! `relayd health` against the running binary: what a container's health check sees.

use super::network;
use super::process::{Ended, Serving, relayd, run};
use super::site::Site;
use super::support::client::{Client, Kind, Wire};
use std::net::TcpListener;
use std::process::Command;

const ADMIN: &str = "listen = \"127.0.0.1:9641\"";

fn site() -> Site {
    Site::with(&[
        ("listen = \"127.0.0.1:0\"", ADMIN),
        ("udp = [\"127.0.0.1:0\"]", "udp = [\"127.0.0.1:3478\"]"),
    ])
}

fn health(site: &Site, arguments: &[&str]) -> Ended {
    let mut command = relayd();
    command.arg("health").args(arguments);
    run(command.arg("--config").arg(site.toml()))
}

#[test]
fn a_server_is_healthy_from_its_start_to_its_end_and_ready_until_it_drains() {
    const NAME: &str =
        "health::a_server_is_healthy_from_its_start_to_its_end_and_ready_until_it_drains";
    network::alone(NAME, &[], || {
        let site = site();
        let before = health(&site, &[]);
        assert_eq!(before.code, Some(1), "{before:#?}");
        before.assert_says(&["error: nobody answers at 127.0.0.1:9641"]);

        let mut serving = Serving::start(relayd().arg("--config").arg(site.toml()), "\"serving\"");
        let healthy = health(&site, &[]);
        assert_eq!(healthy.code, Some(0), "{healthy:#?}");
        assert_eq!(healthy.stdout, "{\"healthy\":true}\n");
        let ready = health(&site, &["--ready"]);
        assert_eq!(ready.code, Some(0), "{ready:#?}");
        assert!(ready.stdout.contains("\"state\":\"ready\""), "{ready:#?}");

        // A call keeps it draining.
        let wire = Wire::open(Kind::Udp, "127.0.0.1:3478".parse().expect("valid"));
        let mut call = Client::new(wire.expect("a socket"), "alice", "s3cret-of-alice");
        call.allocate().expect("there is room");
        let pid = serving.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        serving.wait_for("\"stopping");
        let healthy = health(&site, &[]);
        assert_eq!(healthy.code, Some(0), "{healthy:#?}");
        let draining = health(&site, &["--ready"]);
        assert_eq!(draining.code, Some(1), "{draining:#?}");
        draining.assert_says(&["error: status 503", "draining"]);
        // The second one ends it.
        assert_eq!(serving.stop(), Some(0));
        let after = health(&site, &["--ready"]);
        assert_eq!(after.code, Some(1), "{after:#?}");
    });
}

#[test]
fn a_listener_that_does_not_answer_is_unhealthy_in_time() {
    network::alone(
        "health::a_listener_that_does_not_answer_is_unhealthy_in_time",
        &[],
        || {
            let site = site();
            let silent = TcpListener::bind("127.0.0.1:9641").expect("bound");
            let ended = health(&site, &["--timeout", "1s"]);
            assert_eq!(ended.code, Some(1), "{ended:#?}");
            ended.assert_says(&["no answer from 127.0.0.1:9641 within 1000 ms"]);
            drop(silent);
        },
    );
}

#[test]
fn a_configuration_that_leaves_nobody_to_ask_is_a_bad_one() {
    for (listen, says) in [
        ("listen = \"off\"", "`admin.listen` is off"),
        ("listen = \"127.0.0.1:0\"", "port 0"),
        ("listen = 5", "`admin.listen` has the wrong type"),
    ] {
        let site = Site::with(&[("listen = \"127.0.0.1:0\"", listen)]);
        let ended = health(&site, &[]);
        assert_eq!(ended.code, Some(64), "{ended:#?}");
        ended.assert_says(&[says]);
    }
    let ended = run(relayd().args(["health", "--timeout", "0s"]));
    assert_eq!(ended.code, Some(64), "{ended:#?}");
}
