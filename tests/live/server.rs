//! The running server is not there, another one, or does not relay.

use super::network;
use super::process::{relayd, run};
use super::site::{Checked, Site, UPSTREAM, admin, allocations, origin};
use std::net::TcpListener;

const TURN: [&str; 3] = [
    "udp 127.0.0.1:3478",
    "tcp 127.0.0.1:3478",
    "tls 127.0.0.1:8443",
];

/// Before the first start, too, the ways out are worth a test.
#[test]
fn without_a_server_the_upstreams_are_tested_all_the_same() {
    const NAME: &str = "server::without_a_server_the_upstreams_are_tested_all_the_same";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let origin = origin(&site.authority.leaf(&[UPSTREAM]), 0);
        let site = site.reaching(origin.addr);
        let checked = site.check(&[]);
        let detail = "nobody answers at 127.0.0.1:9641";
        checked.assert("running server", "fail", detail, "systemctl start relayd");
        checked.assert_only_failure("running server");
        checked.assert_ok(UPSTREAM, "status 200");
        checked.assert("relaying", "untried", "does not run", "");
        checked.assert("HTTPS", "untried", "does not run", "");
        // A person is told before the rest is tried.
        let ended = run(&mut site.command(&[]));
        ended.assert_says(&["The server does not run; start it: `systemctl start relayd`"]);
    });
}

#[test]
fn a_file_that_was_changed_or_is_not_the_running_one_is_a_warning() {
    const NAME: &str = "server::a_file_that_was_changed_or_is_not_the_running_one_is_a_warning";
    network::alone(NAME, &[], || {
        let running = Site::new();
        let mut serving = running.serve();
        let other = Site::new().with("drain_timeout = \"5s\"", "drain_timeout = \"6s\"");
        let checked = other.check(&["--only", "turn"]);
        let row = "running configuration";
        checked.assert(
            row,
            "warn",
            "server.drain_timeout",
            "name the file that it runs",
        );
        checked.assert_code(0);

        let running = running.with("drain_timeout = \"5s\"", "drain_timeout = \"6s\"");
        let checked = running.check(&["--only", "turn"]);
        let detail = "the file has changed since it was read: server.drain_timeout";
        checked.assert(row, "warn", detail, "reload");
        checked.assert_code(0);
        admin("POST", "/reload");
        running
            .check(&["--only", "turn"])
            .assert_ok(row, "this file, as it is");
        assert_eq!(serving.stop(), Some(0));
    });
}

/// What is masked cannot be compared; the test with the new password finds it.
#[test]
fn a_password_that_the_server_does_not_know_yet_is_found_by_allocating() {
    const NAME: &str =
        "server::a_password_that_the_server_does_not_know_yet_is_found_by_allocating";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let mut serving = site.serve();
        let site = site.with("s3cret-of-alice", "s3cret-that-is-new");
        let checked = site.check(&["--only", "turn"]);
        for what in TURN {
            checked.assert(what, "fail", "Allocate is answered 401", "reload it");
        }
        checked.assert_code(1);
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn a_token_is_used_where_the_file_has_it_and_asked_for_where_it_has_not() {
    const NAME: &str =
        "server::a_token_is_used_where_the_file_has_it_and_asked_for_where_it_has_not";
    network::alone(NAME, &[], || {
        let listen = "listen = \"127.0.0.1:9641\"\n";
        let with_token = |token: &str| {
            let lines = format!("{listen}token = \"env:{token}\"\n");
            Site::new().with(listen, &lines)
        };
        let site = with_token("RIGHT");
        let token = "s3cret-token-of-16-bytes";
        let mut serving = site.serve_by(relayd().env("RIGHT", token));
        let check = |site: &Site| {
            let mut command = site.command(&["--json", "--only", "turn"]);
            command.env("RIGHT", token);
            command.env("WRONG", "s3cret-token-of-others");
            Checked::of(run(&mut command))
        };
        let row = "running configuration";
        check(&site).assert_ok(row, "this file");
        let wrong = check(&with_token("WRONG"));
        wrong.assert(row, "fail", "401", "another admin.token");
        wrong.assert_code(1);
        let none = check(&Site::new());
        none.assert(row, "fail", "401", "this file has none");
        // It is ready all the same, and relays.
        none.assert_ok("running server", "ready");
        none.assert_ok(TURN[0], "there and back");
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn a_server_that_drains_or_has_no_port_left_answers_508_and_the_advice_says_so() {
    const NAME: &str =
        "server::a_server_that_drains_or_has_no_port_left_answers_508_and_the_advice_says_so";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let mut serving = site.serve();
        admin("POST", "/drain");
        let checked = site.check(&["--only", "turn"]);
        for what in TURN {
            checked.assert(what, "fail", "Allocate is answered 508", "it drains");
        }
        checked.assert("running server", "fail", "draining", "DELETE /drain");
        assert_eq!(serving.stop(), Some(0));

        // One port is not enough for the two allocations that a test needs; the first one is deleted.
        let site = Site::new().with("61000-65535", "61000-61000");
        let mut serving = site.serve();
        let checked = site.check(&["--only", "turn"]);
        checked.assert(TURN[0], "fail", "508", "turn.relay_ports (61000-61000)");
        checked.assert_code(1);
        assert_eq!(allocations(), 0);
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn a_users_quota_that_is_too_small_for_the_test_is_named() {
    const NAME: &str = "server::a_users_quota_that_is_too_small_for_the_test_is_named";
    network::alone(NAME, &[], || {
        let site = Site::new().with(
            "relay_ports = \"61000-65535\"\n",
            "relay_ports = \"61000-65535\"\nlimits = { allocations_per_user = 1 }\n",
        );
        let mut serving = site.serve();
        let checked = site.check(&["--only", "turn"]);
        checked.assert("relaying", "untried", "allocations_per_user is 1", "");
        checked.assert_code(0);
        assert_eq!(serving.stop(), Some(0));
    });
}

/// Something else has the port of the admin listener.
#[test]
fn somebody_else_at_the_admin_port_is_not_taken_for_relayd() {
    const NAME: &str = "server::somebody_else_at_the_admin_port_is_not_taken_for_relayd";
    network::alone(NAME, &[], || {
        let silent = TcpListener::bind("127.0.0.1:9641").expect("the port is free");
        let site = Site::new();
        let checked = site.check(&["--only", "machine", "--timeout", "1s"]);
        let detail = "no answer from 127.0.0.1:9641 within 1000 ms";
        checked.assert("running server", "fail", detail, "who has the port");
        drop(silent);
    });
}

/// Where nobody can be asked, the listeners of the file are tested as they are.
#[test]
fn without_an_admin_listener_the_files_own_addresses_are_tested() {
    const NAME: &str = "server::without_an_admin_listener_the_files_own_addresses_are_tested";
    network::alone(NAME, &[], || {
        let site = Site::new().with("listen = \"127.0.0.1:9641\"", "listen = \"off\"");
        let mut serving = site.serve();
        let checked = site.check(&["--only", "turn"]);
        checked.assert("running server", "untried", "`admin.listen` is off", "");
        checked.assert_ok(TURN[2], "there and back");
        checked.assert_code(0);
        assert_eq!(serving.stop(), Some(0));
        let checked = site.check(&["--only", "turn"]);
        checked.assert(TURN[1], "fail", "not reached", "Nobody serves tcp there");
        checked.assert(TURN[0], "fail", "not reached", "Nobody serves udp there");
        checked.assert_code(1);
    });
}
