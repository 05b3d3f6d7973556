//! One thing is wrong with an upstream.

use super::network;
use super::site::{Checked, Site, UPSTREAM, origin};
use super::web::certs::{Authority, Leaf, Validity};
use super::web::origin::{Origin, send};
use std::net::TcpListener;

/// The check of an upstream with this certificate alone; the server need not run for it.
fn check_with(leaf: impl FnOnce(&Site) -> Leaf, ahead_s: i64) -> (Checked, Origin) {
    let site = Site::new();
    let origin = origin(&leaf(&site), ahead_s);
    let site = site.reaching(origin.addr);
    let mut serving = site.serve();
    let checked = site.check(&["--only", "upstreams,machine"]);
    assert_eq!(serving.stop(), Some(0));
    (checked, origin)
}

#[test]
fn a_certificate_that_has_ended_is_named_with_its_date_and_nothing_is_asked() {
    const NAME: &str =
        "upstreams::a_certificate_that_has_ended_is_named_with_its_date_and_nothing_is_asked";
    network::alone(NAME, &[], || {
        let validity = Validity {
            from_day: -9,
            to_day: -2,
        };
        let (checked, origin) =
            check_with(|site| site.authority.leaf_valid(&[UPSTREAM], validity), 0);
        checked.assert(UPSTREAM, "fail", "it has expired", "has to renew");
        checked.assert_only_failure(UPSTREAM);
        assert!(origin.seen().is_empty());
    });
}

#[test]
fn a_certificate_for_another_name_and_one_of_an_unknown_authority_are_told_apart() {
    const NAME: &str =
        "upstreams::a_certificate_for_another_name_and_one_of_an_unknown_authority_are_told_apart";
    network::alone(NAME, &[], || {
        let (checked, _) = check_with(|site| site.authority.leaf(&["portal.example.net"]), 0);
        let detail = "it is for portal.example.net, not for this name";
        checked.assert(UPSTREAM, "fail", detail, "Another server answers");
        checked.assert_only_failure(UPSTREAM);

        let inspecting = Authority::new("Corporate Inspection");
        let (checked, _) = check_with(|_| inspecting.leaf(&[UPSTREAM]), 0);
        let detail = "issued by Corporate Inspection, which is unknown here";
        checked.assert(UPSTREAM, "fail", detail, "proxy.ca_file");
        checked.assert_only_failure(UPSTREAM);
    });
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning() {
    const NAME: &str = "upstreams::a_certificate_that_ends_soon_is_a_warning";
    network::alone(NAME, &[], || {
        let validity = Validity {
            from_day: -9,
            to_day: 5,
        };
        let (checked, _) = check_with(|site| site.authority.leaf_valid(&[UPSTREAM], validity), 0);
        checked.assert(UPSTREAM, "warn", "days left", "ends soon");
        checked.assert_code(0);
    });
}

/// The upstream's Date header is all there is to compare with.
#[test]
fn a_clock_that_is_an_hour_off_is_found_by_the_upstreams_dates() {
    const NAME: &str = "upstreams::a_clock_that_is_an_hour_off_is_found_by_the_upstreams_dates";
    network::alone(NAME, &[], || {
        for (ahead_s, side) in [(3600, "behind 1 upstream"), (-3600, "ahead of 1 upstream")] {
            let (checked, _) = check_with(|site| site.authority.leaf(&[UPSTREAM]), ahead_s);
            checked.assert_ok(UPSTREAM, "status 200");
            checked.assert("clock", "fail", side, "time-limited credentials");
            checked.assert_only_failure("clock");
        }
    });
}

/// The upstream is refused to the check and to the server alike; both say so.
#[test]
fn an_upstream_that_refuses_fails_there_and_through_the_server() {
    const NAME: &str = "upstreams::an_upstream_that_refuses_fails_there_and_through_the_server";
    network::alone(NAME, &[], || {
        let site = Site::new().reaching("127.0.0.1:1".parse().expect("an address"));
        let mut serving = site.serve();
        let checked = site.check(&[]);
        checked.assert(
            UPSTREAM,
            "fail",
            "refused",
            "the address that proxy.resolve gives",
        );
        let websocket = format!("WebSocket to {UPSTREAM}");
        checked.assert(
            &websocket,
            "fail",
            "502 connect_failed",
            "row of this upstream",
        );
        checked.assert_ok("udp 127.0.0.1:3478", "there and back");
        checked.assert_code(1);
        assert_eq!(serving.stop(), Some(0));
    });
}

/// A load balancer before the upstream may say so; the command reaches the upstream by itself, so the path is not the reason.
#[test]
fn a_gateways_error_of_an_upstream_that_is_reached_is_its_own() {
    const NAME: &str = "upstreams::a_gateways_error_of_an_upstream_that_is_reached_is_its_own";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let leaf = site.authority.leaf(&[UPSTREAM]);
        let origin = Origin::start(&leaf, |seen, wire, _| match seen.message.one("upgrade") {
            Some(_) => send(wire, "502 Bad Gateway", &[], b"<h1>Bad Gateway</h1>"),
            None => send(wire, "200 OK", &[], b""),
        });
        let site = site.reaching(origin.addr);
        let mut serving = site.serve();
        let checked = site.check(&["--only", "upstreams,proxy"]);
        checked.assert_ok(&format!("WebSocket to {UPSTREAM}"), "answers 502");
        checked.assert_code(0);
        let checked = site.check(&["--only", "proxy"]);
        let detail = "of the upstream or of relayd";
        checked.assert(&format!("WebSocket to {UPSTREAM}"), "fail", detail, "row");
        assert_eq!(serving.stop(), Some(0));
    });
}

/// The limit counts by address, and everything that is asked comes from this one.
#[test]
fn a_rate_limit_that_the_test_reaches_is_no_failure() {
    const NAME: &str = "upstreams::a_rate_limit_that_the_test_reaches_is_no_failure";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let origin = origin(&site.authority.leaf(&[UPSTREAM]), 0);
        let limits = "[proxy.limits]\nrequests_per_second_per_address = 1\n";
        let site = site.reaching(origin.addr).append(limits);
        let mut serving = site.serve();
        let checked = site.check(&["--only", "proxy"]);
        checked.assert_code(0);
        let rows = checked.json["checks"].as_array().expect("rows").iter();
        let limited = rows.filter(|row| {
            let detail = row["detail"].as_str().unwrap_or_default();
            row["result"] == "untried" && detail.contains("requests_per_second_per_address")
        });
        assert!(limited.count() > 0, "{:#}", checked.json);
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn an_upstream_that_never_shakes_hands_is_given_up_in_time() {
    const NAME: &str = "upstreams::an_upstream_that_never_shakes_hands_is_given_up_in_time";
    network::alone(NAME, &[], || {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let site = Site::new().reaching(silent.local_addr().expect("an address"));
        let checked = site.check(&["--only", "upstreams", "--timeout", "1s"]);
        checked.assert(
            UPSTREAM,
            "fail",
            "no TLS handshake in time",
            "may end those to this name",
        );
    });
}

/// Prefixes with a fixed upstream are asked by their path, and an upstream that wants no WebSocket has proved the path.
#[test]
fn a_route_is_asked_by_its_prefix_and_any_status_of_its_upstream_will_do() {
    const NAME: &str =
        "upstreams::a_route_is_asked_by_its_prefix_and_any_status_of_its_upstream_will_do";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let origin = Origin::plain(&site.authority.leaf(&["signal.example.net"]));
        let site = site.append(&format!(
            "[proxy]\nca_file = \"upstream-ca.pem\"\nresolve = {{ \"signal.example.net:443\" = \"{}\" }}\n[[proxy.route]]\nprefix = \"/signal/\"\nupstream = \"https://signal.example.net/v1/\"\n",
            origin.addr
        ));
        let mut serving = site.serve();
        let checked = site.check(&["--only", "upstreams,proxy"]);
        checked.assert_code(0);
        checked.assert_ok("signal.example.net", "status 200");
        let what = "WebSocket /signal/ to signal.example.net";
        checked.assert_ok(what, "the upstream answers 200: the path works");
        let targets = origin.seen();
        let asked = |target: &str| targets.iter().any(|seen| seen.message.target() == target);
        assert!(asked("/") && asked("/v1/"), "{targets:#?}");
        assert_eq!(serving.stop(), Some(0));
    });
}
