//! Everything works; the shape of what is printed; the end.

use super::network;
use super::outside::{Told, stun};
use super::process::run;
use super::site::{Checked, DOMAIN, Site, UPSTREAM, allocations, origin};
use super::web::certs::Validity;

#[test]
fn a_server_that_is_well_passes_every_part_and_nothing_of_the_test_remains() {
    const NAME: &str =
        "well::a_server_that_is_well_passes_every_part_and_nothing_of_the_test_remains";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let origin = origin(&site.authority.leaf(&[UPSTREAM]), 0);
        let site = site.reaching(origin.addr);
        let mut serving = site.serve();
        let checked = site.check(&["--stun", &stun(Told::AsItIs).to_string()]);
        checked.assert_code(0);
        checked.assert_ok("running configuration", "this file, as it is");
        let detail = "TLS 1.3; certificate of upstream test root";
        checked.assert_ok(UPSTREAM, detail);
        assert!(checked.row(UPSTREAM)["ms"].is_f64());
        for listener in [
            "udp 127.0.0.1:3478",
            "tcp 127.0.0.1:3478",
            "tls 127.0.0.1:8443",
        ] {
            checked.assert_ok(listener, "a packet there and back");
        }
        let certificate = format!("certificate of {DOMAIN}");
        checked.assert(&certificate, "warn", "no public authority", "told to trust");
        checked.assert_ok("https, 127.0.0.1:8443", "/healthcheck is answered 200");
        checked.assert_ok("CORS preflight", "may ask: status 204");
        let websocket = format!("WebSocket to {UPSTREAM}");
        checked.assert_ok(&websocket, "101");
        checked.assert_ok("clock", "1 upstream");
        let view = checked.json["checks"].as_array().expect("rows").iter();
        let mut view = view.filter(|row| row["part"] == "stun");
        assert_eq!(view.next().expect("a view")["result"], "ok");
        assert_eq!(allocations(), 0);
        assert_eq!(serving.stop(), Some(0));
    });
}

/// Wildcard listeners are reached by loopback, in both families; the plain port speaks TLS, too.
#[test]
fn listeners_on_every_address_are_reached_in_both_families() {
    const NAME: &str = "well::listeners_on_every_address_are_reached_in_both_families";
    network::alone(NAME, &[], || {
        let site = Site::new()
            .with(
                "udp = [\"127.0.0.1:3478\"]",
                "udp = [\"0.0.0.0:3478\", \"[::]:3478\"]",
            )
            .with(
                "tls = [\"127.0.0.1:8443\"]",
                "tls = [\"0.0.0.0:8443\", \"[::]:8443\"]",
            );
        let mut serving = site.serve();
        let checked = site.check(&["--only", "turn,proxy"]);
        checked.assert_code(0);
        for what in ["udp 127.0.0.1:3478", "tls 127.0.0.1:8443"] {
            checked.assert_ok(what, "relayed by 127.0.0.1:");
        }
        for what in ["udp [::1]:3478", "tls [::1]:8443"] {
            checked.assert_ok(what, "relayed by [::1]:");
        }
        checked.assert_ok("https, [::1]:8443", "200");
        assert_eq!(allocations(), 0);
        assert_eq!(serving.stop(), Some(0));
    });
}

/// As with the sysctl of the same name in /etc: `[::]` can be bound, and `::1` does not exist.
#[test]
fn a_server_that_is_well_passes_where_ipv6_is_switched_off() {
    const NAME: &str = "well::a_server_that_is_well_passes_where_ipv6_is_switched_off";
    const SWITCH: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    network::alone(NAME, &[], || {
        if let Err(error) = std::fs::write(SWITCH, "1") {
            eprintln!("not tried: {SWITCH}: {error}");
            return;
        }
        let site = Site::new()
            .with(
                "udp = [\"127.0.0.1:3478\"]",
                "udp = [\"[::]:3478\", \"0.0.0.0:3478\"]",
            )
            .with(
                "tls = [\"127.0.0.1:8443\"]",
                "tls = [\"[::]:8443\", \"0.0.0.0:8443\"]",
            );
        let mut serving = site.serve();
        let checked = site.check(&["--only", "turn,proxy"]);
        checked.assert_code(0);
        for what in ["udp [::]:3478", "tls [::]:8443", "https, [::]:8443"] {
            checked.assert(what, "untried", "this machine has no IPv6", "");
        }
        for what in ["udp 127.0.0.1:3478", "tls 127.0.0.1:8443"] {
            checked.assert_ok(what, "there and back");
        }
        checked.assert_ok("https, 127.0.0.1:8443", "200");
        assert_eq!(serving.stop(), Some(0));
    });
}

/// A network that has to send a PROXY header: loopback, as behind a load balancer on the same machine.
#[test]
fn listeners_that_want_a_proxy_header_get_one() {
    const NAME: &str = "well::listeners_that_want_a_proxy_header_get_one";
    network::alone(NAME, &[], || {
        let site = Site::new().with(
            "limits = {",
            "proxy_protocol_from = [\"127.0.0.0/8\"]\nlimits = {",
        );
        let mut serving = site.serve();
        let checked = site.check(&["--only", "turn,proxy"]);
        checked.assert_code(0);
        checked.assert_ok("tcp 127.0.0.1:3478", "there and back");
        checked.assert_ok("tls 127.0.0.1:8443", "there and back");
        checked.assert_ok("https, 127.0.0.1:8443", "200");
        assert_eq!(serving.stop(), Some(0));
    });
}

/// A secret makes names of its own; of a user nothing but the MD5 may be known.
#[test]
fn every_kind_of_credential_is_good_enough_to_allocate() {
    const NAME: &str = "well::every_kind_of_credential_is_good_enough_to_allocate";
    network::alone(NAME, &[], || {
        let md5 = super::support::md5::md5(format!("bob:{DOMAIN}:builder").as_bytes());
        let md5: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        let users = "users = { alice = \"s3cret-of-alice\" }";
        for credentials in [
            format!("users = {{ bob = \"key:{md5}\" }}"),
            "auth_secret = [\"s3cret-to-make-others\"]\nlimits = { allocations_per_user = 1 }"
                .to_owned(),
        ] {
            let site = Site::new().with(users, &credentials);
            let mut serving = site.serve();
            let checked = site.check(&["--only", "turn"]);
            checked.assert_code(0);
            checked.assert_ok("udp 127.0.0.1:3478", "there and back");
            assert_eq!(serving.stop(), Some(0));
        }
    });
}

#[test]
fn the_text_is_a_table_with_advice_and_without_colours_for_a_pipe() {
    const NAME: &str = "well::the_text_is_a_table_with_advice_and_without_colours_for_a_pipe";
    network::alone(NAME, &[], || {
        let site = Site::new();
        let mut serving = site.serve();
        let ended = run(&mut site.command(&["--only", "turn,proxy"]));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        for part in [
            "\nTURN through this server\n  udp 127.0.0.1:3478",
            "\nwhat to do\n  warn  certificate of relay.example.com\n",
            " work, 1 warning",
        ] {
            assert!(
                ended.stdout.contains(part),
                "no {part:?} in {}",
                ended.stdout
            );
        }
        assert!(!ended.stdout.contains('\x1b'), "{}", ended.stdout);
        assert!(!ended.stdout.contains("upstreams"), "{}", ended.stdout);
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn bad_configurations_and_arguments_are_refused_as_everywhere() {
    let site = Site::new().with("relay_ports = \"61000-65535\"", "relay_ports = \"2-1\"");
    let ended = run(&mut site.command(&[]));
    assert_eq!(ended.code, Some(64), "{ended:#?}");
    ended.assert_says(&["`turn.relay_ports` runs backwards"]);
    let site = Site::new();
    for arguments in [
        ["--stun", "not a server"],
        ["--only", "nothing"],
        ["--timeout", "0s"],
        ["--peer", "10.0.0.1"],
    ] {
        let ended = run(&mut site.command(&arguments));
        assert_eq!(ended.code, Some(64), "{arguments:?}: {ended:#?}");
    }
    let mut command = super::process::relayd();
    let ended = run(command.args(["check", "--stun", "192.0.2.1"]));
    assert_eq!(ended.code, Some(64), "{ended:#?}");
}

/// The own certificate has a row of its own, whatever the relaying through it is like.
#[test]
fn a_self_signed_certificate_a_stand_in_and_one_for_another_name_are_told_apart() {
    const NAME: &str =
        "well::a_self_signed_certificate_a_stand_in_and_one_for_another_name_are_told_apart";
    network::alone(NAME, &[], || {
        let files = "cert = \"fullchain.pem\"\nkey = \"privkey.pem\"";
        let acme = "[tls.acme]\nterms_agreed = true\ndirectory = \"https://127.0.0.1:1/\"";
        let certificate = format!("certificate of {DOMAIN}");
        let assert = |site: &Site, result: &str, detail: &str, code: i32| {
            let mut serving = site.serve();
            let checked: Checked = site.check(&["--only", "turn,proxy"]);
            checked.assert(&certificate, result, detail, "");
            checked.assert_ok("tls 127.0.0.1:8443", "there and back");
            checked.assert_code(code);
            assert_eq!(serving.stop(), Some(0));
        };
        let self_signed = Site::new().with(files, "self_signed = true");
        assert(&self_signed, "warn", "self-signed certificate", 0);
        let site = Site::new();
        let folder = format!("{acme}\nstate_dir = {:?}", site.dir.path("acme"));
        let stand_in = site.with(&format!("[tls]\n{files}"), &folder);
        assert(&stand_in, "fail", "the stand-in until one is obtained", 1);
        let other = Site::new();
        other.certify(&["other.example.com"], Validity::default());
        let detail = "it is for other.example.com, not for relay.example.com";
        assert(&other, "fail", detail, 1);
    });
}
