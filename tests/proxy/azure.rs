//! VENDORS.md §0, §2: what Azure's SDK needs beyond plain mapping.

use super::web::certs::Authority;
use super::web::origin::{Origin, Seen, Then, Wire, ok, send};
use super::web::relayd::{Relayd, Setup, resolve};
use std::sync::Mutex;
use std::sync::mpsc;

const HOSTS: [&str; 8] = [
    "edge.skype.com",
    "api.flightproxy.skype.com",
    "api-nam.flightproxy.skype.com",
    "registrar.communication.microsoft.com",
    "pub-usea-01-t.trouter.communication.microsoft.com",
    "prod.mediabroker.communications.svc.cloud.microsoft",
    "api.gov.teams.microsoft.us",
    "res.public.onecdn.static.microsoft",
];
const ORIGIN: &str = "https://app.example.org";

fn azure(handler: impl Fn(&Seen, &mut Wire) -> Then + Send + Sync + 'static) -> (Origin, Relayd) {
    let ca = Authority::new("Azure's root");
    let leaf = ca.leaf(&HOSTS);
    let origin = Origin::start(&leaf, move |seen, wire, _| handler(seen, wire));
    let relayd = Relayd::start(Setup {
        proxy: format!("vendors = \"azure\"\n{}", resolve(&HOSTS, origin.addr)),
        upstream_ca: Some(&ca),
        ..Setup::default()
    });
    (origin, relayd)
}

/// A page that says `redirect: "manual"` can do nothing with a 3xx, and the server cannot tell it from another.
#[test]
fn no_redirect_between_azures_hosts_reaches_the_page_whatever_the_method() {
    let (origin, relayd) = azure(
        |seen, wire| match seen.message.target().strip_prefix("/from/") {
            Some(status) => {
                let to = "https://api-nam.flightproxy.skype.com/to?x=y";
                send(wire, &format!("{status} Moved"), &[("Location", to)], b"")
            }
            None => ok(wire, "arrived"),
        },
    );
    // As large as the request that sets up a call.
    let body = vec![b'x'; 40 << 10];
    for status in ["301", "302", "303", "307", "308"] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let own = relayd.authority();
            let target = format!("/{own}/api.flightproxy.skype.com/from/{status}");
            let body: &[u8] = if matches!(method, "POST" | "PUT") {
                &body
            } else {
                b""
            };
            let headers = [
                ("Origin", ORIGIN),
                ("Authorization", "Bearer x"),
                ("X-Skypetoken", "t"),
            ];
            let answer = relayd.request(method, &target, &headers, body);
            assert_eq!(
                (answer.status(), answer.text()),
                (200, "arrived"),
                "{method} {status}"
            );
            assert_eq!(answer.one("location"), None);
            assert_eq!(answer.one("access-control-allow-origin"), Some(ORIGIN));
            let seen = origin.last().message;
            assert_eq!(seen.one("host"), Some("api-nam.flightproxy.skype.com"));
            assert_eq!(seen.one("x-skypetoken"), Some("t"));
            let becomes_get =
                status == "303" || (method == "POST" && matches!(status, "301" | "302"));
            let (wanted, wanted_body) = if becomes_get {
                ("GET", &b""[..])
            } else {
                (method, body)
            };
            assert_eq!(
                (seen.method(), &seen.body[..]),
                (wanted, wanted_body),
                "{method} {status}"
            );
        }
    }
}

#[test]
fn delete_and_put_pass_with_their_preflight() {
    let (origin, relayd) = azure(|_, wire| ok(wire, "{}"));
    let target = "/registrar.communication.microsoft.com/registrar/prod/v3/registrations/id";
    for method in ["DELETE", "PUT"] {
        let asked = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", method),
            (
                "Access-Control-Request-Headers",
                "authorization,x-skypetoken",
            ),
        ];
        let preflight = relayd.request("OPTIONS", target, &asked, b"");
        assert_eq!(preflight.status(), 204, "{method}");
        assert_eq!(preflight.one("access-control-allow-methods"), Some(method));
        let headers = [
            ("Origin", ORIGIN),
            ("Authorization", "x"),
            ("X-Skypetoken", "t"),
        ];
        let body: &[u8] = if method == "PUT" { b"{\"a\":1}" } else { b"" };
        let answer = relayd.request(method, target, &headers, body);
        assert_eq!(
            (answer.status(), answer.one("content-length")),
            (200, Some("2"))
        );
        let seen = origin.last().message;
        assert_eq!((seen.method(), &seen.body[..]), (method, body));
        assert_eq!(seen.one("authorization"), Some("x"));
    }
}

#[test]
fn a_long_poll_waits_for_its_answer_while_other_requests_pass() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (origin, relayd) = azure(move |seen, wire| {
        if seen.message.target().contains("xhr-polling") {
            // An end of the test frees the thread too.
            let _ = held.lock().expect("not poisoned").recv();
        }
        ok(wire, "8::")
    });
    let mut poll = relayd.connect();
    let target =
        "/pub-usea-01-t.trouter.communication.microsoft.com/socket.io/1/xhr-polling/id?v=v4";
    poll.send(relayd.head("GET", target, &[("Origin", ORIGIN)], 0));
    origin.wait_for(1);
    let other = "/pub-usea-01-t.trouter.communication.microsoft.com/socket.io/1/?v=v4";
    for _ in 0..3 {
        assert_eq!(relayd.get(other).status(), 200);
    }
    release.send(()).expect("the poll waits");
    let answer = poll.answer();
    assert_eq!((answer.status(), answer.text()), (200, "8::"));
    assert_eq!(origin.seen().len(), 4);
}

#[test]
fn hosts_outside_of_com_and_net_are_reached() {
    let (origin, relayd) = azure(|_, wire| ok(wire, "fine"));
    for host in &HOSTS[5..] {
        let own = relayd.authority();
        for target in [format!("/{host}/x?y"), format!("/{own}/{host}/x?y")] {
            assert_eq!(relayd.get(&target).status(), 200, "{target}");
            let seen = origin.last().message;
            assert_eq!((seen.one("host"), seen.target()), (Some(*host), "/x?y"));
        }
    }
}
