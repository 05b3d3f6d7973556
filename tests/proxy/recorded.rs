//! Every request that a vendor's real SDK made in a recording, sent again: the upstream gets exactly what was meant.

use super::web::PATIENCE;
use super::web::certs::Authority;
use super::web::client::Client;
use super::web::origin::{Origin, Then, accept_websocket, echo_bytes, ok};
use super::web::relayd::{Relayd, Setup, resolve};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Instant;

#[derive(Clone, Deserialize)]
struct Recorded {
    vendor: String,
    method: String,
    url: String,
    host_header: String,
    is_websocket: bool,
    headers: BTreeMap<String, String>,
    /// What a correct proxy asks for; a preflight has none.
    upstream: Option<String>,
}

impl Recorded {
    /// TRTC's sdkAppId tells the region, and a preset serves one of them.
    fn preset(&self) -> &str {
        let international =
            self.vendor == "trtc" && self.url.to_ascii_lowercase().contains("sdkappid=20000001");
        match international {
            true => "trtc-international",
            false => &self.vendor,
        }
    }

    /// Authority and target of the upstream.
    fn upstream(&self) -> (&str, &str) {
        let url = self.upstream.as_deref().expect("an upstream");
        let (_, rest) = url.split_once("://").expect("a URL");
        rest.split_at(rest.find('/').expect("a path"))
    }

    fn length(&self) -> usize {
        let length = self.headers.get("content-length");
        length.map_or(0, |length| length.parse().expect("a length"))
    }

    fn send(&self, client: &mut Client) {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.url, self.host_header
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.is_websocket {
            head.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        }
        if self.method == "POST" && !self.headers.contains_key("content-length") {
            head.push_str("Content-Length: 0\r\n");
        }
        client.send(format!("{head}\r\n"));
        client.send(vec![b'x'; self.length()]);
    }
}

fn recorded() -> Vec<Recorded> {
    let text = include_str!("../data/vendor-requests.json");
    serde_json::from_str(text).expect("recorded requests")
}

/// relayd with these lines of `[proxy]`, before an origin that is every upstream of these requests.
fn before(requests: &[Recorded], proxy: &str) -> (Origin, Relayd) {
    let with_upstream = requests.iter().filter(|r| r.upstream.is_some());
    let authorities: BTreeSet<&str> = with_upstream.map(|r| r.upstream().0).collect();
    let authorities: Vec<&str> = authorities.into_iter().collect();
    let names: BTreeSet<&str> = authorities
        .iter()
        .filter_map(|a| a.split(':').next())
        .collect();
    let ca = Authority::new("vendors' root");
    let leaf = ca.leaf(&names.into_iter().collect::<Vec<_>>());
    let origin = Origin::start(&leaf, |seen, wire, reader| {
        if seen.message.one("upgrade").is_none() {
            return ok(wire, "fine");
        }
        let protocol = seen.message.one("sec-websocket-protocol");
        let headers: Vec<_> = protocol
            .into_iter()
            .map(|p| ("Sec-WebSocket-Protocol", p))
            .collect();
        accept_websocket(seen, wire, &headers, b"");
        echo_bytes(wire, reader);
        Then::Close
    });
    let relayd = Relayd::start(Setup {
        proxy: format!(
            "prefixes = [\"/azure\", \"/trtc\"]\n{}{proxy}",
            resolve(&authorities, origin.addr)
        ),
        upstream_ca: Some(&ca),
        ..Setup::default()
    });
    (origin, relayd)
}

/// Sends each request and compares what its upstream received.
fn replay(requests: &[Recorded], proxy: &str) -> (Origin, Relayd) {
    let (origin, relayd) = before(requests, proxy);
    for (index, request) in requests.iter().enumerate() {
        let mut client = relayd.connect();
        request.send(&mut client);
        let what = format!("{} {}", request.method, request.url);
        let answer = client.answer_head();
        let status = if request.is_websocket { 101 } else { 200 };
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        let of_request = |name: &str| request.headers.get(name).map(String::as_str);
        assert_eq!(
            answer.one("access-control-allow-origin"),
            of_request("origin"),
            "{what}"
        );
        let protocol = "sec-websocket-protocol";
        assert_eq!(answer.one(protocol), of_request(protocol), "{what}");
        if request.is_websocket {
            client.send("frames");
            assert_eq!(client.exactly(6), b"frames", "{what}");
        } else {
            assert_eq!(answer.one("content-length"), Some("4"), "{what}");
            assert_eq!(client.exactly(4), b"fine", "{what}");
        }
        let seen = origin.wait_for(index + 1).swap_remove(index);
        let (authority, target) = request.upstream();
        let message = &seen.message;
        assert_eq!(message.method(), request.method, "{what}");
        assert_eq!(message.target(), target, "{what}");
        assert_eq!(message.one("host"), Some(authority), "{what}");
        assert_eq!(seen.sni.as_deref(), authority.split(':').next(), "{what}");
        for (name, value) in &request.headers {
            assert_eq!(message.one(name), Some(value.as_str()), "{what}: {name}");
        }
        assert_eq!(message.body, vec![b'x'; request.length()], "{what}");
        for name in ["x-real-ip", "x-forwarded-for"] {
            assert_eq!(message.one(name), Some("127.0.0.1"), "{what}");
        }
        let told = request.url.starts_with("/ap/").then_some("127.0.0.1");
        assert_eq!(message.one("x-user-address"), told, "{what}");
    }
    assert_eq!(origin.seen().len(), requests.len());
    (origin, relayd)
}

#[test]
fn every_recorded_request_reaches_its_upstream_as_it_was_meant_with_all_vendors_on() {
    let mut requests = recorded();
    requests.retain(|request| request.method != "OPTIONS");
    let (international, rest): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|r| r.preset() == "trtc-international");
    assert_eq!((rest.len(), international.len()), (76, 2));
    let all = "vendors = [\"azure\", \"agora\", \"trtc\", \"watchrtc\", \"vonage\", \"daily\", \"livekit\"]\n";
    let (_origin, relayd) = replay(&rest, all);
    for (kind, count) in [
        ("host", 42.0),
        ("prefix", 19.0),
        ("query", 13.0),
        ("unified", 2.0),
    ] {
        let label = format!("kind=\"{kind}\"");
        // A request is counted when the last of it is gone, and that may be after its client has it all.
        let deadline = Instant::now() + PATIENCE;
        let mut counted = 0.0;
        while counted < count && Instant::now() < deadline {
            counted = relayd.metric("relayd_proxy_requests_total", &[&label]);
        }
        assert_eq!(counted, count, "{kind}");
    }
    replay(
        &international,
        "vendors = [\"agora\", \"trtc-international\"]\n",
    );
}

#[test]
fn a_preset_printed_as_configuration_behaves_as_its_name_does() {
    for preset in [
        "azure",
        "agora",
        "trtc",
        "trtc-international",
        "watchrtc",
        "vonage",
    ] {
        let mut requests = recorded();
        requests.retain(|r| r.method != "OPTIONS" && r.preset() == preset);
        assert!(!requests.is_empty(), "{preset}");
        let printed = Command::new(env!("CARGO_BIN_EXE_relayd"))
            .args(["vendors", preset, "--toml"])
            .output()
            .expect("the binary");
        let text = String::from_utf8(printed.stdout).expect("text");
        let (_, lines) = text.split_once("[proxy]\n").expect("a table");
        replay(&requests, lines);
    }
}

#[test]
fn every_recorded_preflight_is_answered_here_with_what_it_asks_for() {
    let mut requests = recorded();
    requests.retain(|request| request.method == "OPTIONS");
    assert_eq!(requests.len(), 30);
    let (origin, relayd) = before(&requests, "vendors = [\"azure\", \"agora\"]\n");
    for request in &requests {
        let mut client = relayd.connect();
        request.send(&mut client);
        let answer = client.answer();
        assert_eq!(answer.status(), 204, "{}", request.url);
        for (answered, asked) in [
            ("access-control-allow-origin", "origin"),
            (
                "access-control-allow-methods",
                "access-control-request-method",
            ),
            (
                "access-control-allow-headers",
                "access-control-request-headers",
            ),
        ] {
            let asked = request.headers.get(asked).map(String::as_str);
            assert_eq!(answer.one(answered), asked, "{}", request.url);
        }
        assert_eq!(answer.one("access-control-allow-credentials"), Some("true"));
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(
        relayd.metric("relayd_proxy_upstream_connects_total", &[]),
        0.0
    );
}
