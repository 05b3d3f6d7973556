//! What the presets do not open: look-alikes, addresses, odd ports and inside names are refused, and nothing is dialled.

use super::web::certs::Authority;
use super::web::origin::Origin;
use super::web::relayd::{Relayd, Setup, resolve};

/// Names that are on no list, and would be reached if they were not refused.
const OUTSIDE: [&str; 12] = [
    "evilagora.io",
    "agora.io",
    "agora.io.evil.com",
    "a.agora.io.evil.com",
    "evil-rtc.qq.com",
    "rtc-web.com.evil.com",
    "evilskype.com",
    "skype.com.evil.com",
    "example.com",
    "gateway",
    "localhost",
    "metadata.internal",
];

fn all_vendors(more: &str) -> (Origin, Relayd) {
    let inside = [
        "a.agora.io:443",
        "a.agora.io:4700",
        "a.agora.io:22",
        "a.agora.io:8443",
        "edge.skype.com",
        "events.data.skype.com",
        "s.rtc-web.com",
        "s.rtc-web.com:8443",
        "signaling.rtc.qq.com",
        "watchrtc.spearline.dev",
        "schedule.rtc-web.com",
    ];
    let hosts = [&inside[..], &OUTSIDE].concat();
    let ca = Authority::new("vendors' root");
    let leaf = ca.leaf(
        &hosts
            .iter()
            .filter_map(|h| h.split(':').next())
            .collect::<Vec<_>>(),
    );
    let origin = Origin::plain(&leaf);
    let vendors = "vendors = [\"azure\", \"agora\", \"trtc\", \"watchrtc\", \"vonage\", \"daily\", \"livekit\"]";
    let relayd = Relayd::start(Setup {
        proxy: format!("{vendors}\n{more}{}", resolve(&hosts, origin.addr)),
        upstream_ca: Some(&ca),
        ..Setup::default()
    });
    (origin, relayd)
}

#[test]
fn what_is_outside_of_the_presets_is_refused_counted_and_not_dialled() {
    let (origin, relayd) = all_vendors("");
    let port = origin.addr.port();
    let mut targets: Vec<String> = Vec::new();
    let by_query = |host: &str, port: &str| {
        [
            format!("/rs/?h={host}&p={port}&d=/x"),
            format!("/ls/?h={host}&p={port}&d=x"),
            format!("/cs/?h={host}&p={port}&d=x"),
            format!("/ws/?h={host}&p={port}"),
        ]
    };
    for host in OUTSIDE.iter().chain(&[
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "a.agora.io.",
        "a%2eagora.io",
        "u@a.agora.io",
        "",
    ]) {
        targets.extend(by_query(host, "443"));
        targets.extend(by_query(host, &port.to_string()));
        targets.push(format!("/ap/?url={host}/x"));
        targets.push(format!("/ap/?url={host}:{port}/x"));
        targets.push(format!("/v2/ws?a=b&signalDomain={host}"));
        targets.push(format!("/?signalDomain={host}:{port}"));
    }
    for bad in [
        "22", "8443", "0", "0443", "65979", "443x", "", "-1", "0x1bb",
    ] {
        targets.extend(by_query("a.agora.io", bad));
        targets.push(format!("/ap/?url=a.agora.io:{bad}/x"));
    }
    targets.extend(
        [
            "/ap/?url=https://a.agora.io/x",
            "/ap/?url=edge.skype.com/x",
            "/rs/?h=s.rtc-web.com&p=443&d=/x",
            "/v2/ws?signalDomain=a.agora.io",
            "/v2/ws?signalDomain=edge.skype.com",
            "/v2/ws?signalDomain=s.rtc-web.com:8443",
            "/a.agora.io/x",
            "/evilskype.com/x",
        ]
        .map(str::to_owned),
    );
    for target in &targets {
        let answer = relayd.get(target);
        assert_eq!(answer.status(), 403, "{target}: {answer:?}");
        assert_eq!(answer.json()["error"], "host_not_allowed", "{target}");
    }
    let mut handshakes = 0;
    for target in [
        "/ws/?h=evilagora.io&p=443".to_owned(),
        format!("/ws/?h=127.0.0.1&p={port}"),
        "/v2/ws?a=b&signalDomain=rtc-web.com.evil.com".to_owned(),
        "/?signalDomain=localhost".to_owned(),
    ] {
        let mut client = relayd.connect();
        client.send(relayd.websocket_head(&target, &[("Origin", "https://app.example.org")]));
        let answer = client.answer();
        assert_eq!(answer.status(), 403, "{target}");
        assert_eq!(
            answer.one("access-control-allow-origin"),
            Some("https://app.example.org")
        );
        let asked = [
            ("Origin", "https://app.example.org"),
            ("Access-Control-Request-Method", "POST"),
        ];
        assert_eq!(
            relayd.request("OPTIONS", &target, &asked, b"").status(),
            403,
            "{target}"
        );
        handshakes += 1;
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(
        relayd.metric("relayd_proxy_upstream_connects_total", &[]),
        0.0
    );
    let refused = relayd.metric(
        "relayd_proxy_errors_total",
        &["reason=\"host_not_allowed\""],
    );
    assert_eq!(refused, (targets.len() + handshakes) as f64);
    for target in [
        "/rs/?h=a.agora.io&p=4700&d=x",
        "/v2/ws?signalDomain=s.rtc-web.com",
        "/edge.skype.com/x",
    ] {
        assert_eq!(relayd.get(target).status(), 200, "{target}");
    }
}

#[test]
fn a_denied_host_of_a_preset_is_refused_by_every_route() {
    let deny = "deny = [\"events.data.skype.com\", \"*.rtc.qq.com\", \"a.agora.io:4700\", \"*.rtc-web.com\"]\n";
    let (origin, relayd) = all_vendors(deny);
    for target in [
        "/events.data.skype.com/x",
        "/ws/?sdkAppId=1",
        "/rs/?h=a.agora.io&p=4700&d=x",
        "/v2/ws?signalDomain=s.rtc-web.com",
        "/schedule-international/api/v1/config",
    ] {
        assert_eq!(relayd.get(target).status(), 403, "{target}");
    }
    assert_eq!(origin.connections(), 0);
    for target in ["/edge.skype.com/x", "/rs/?h=a.agora.io&p=443&d=x"] {
        assert_eq!(relayd.get(target).status(), 200, "{target}");
    }
}

#[test]
fn the_staging_and_international_services_have_prefixes_of_their_own() {
    let (origin, relayd) = all_vendors("");
    for (target, host, wanted) in [
        (
            "/websocket-staging?apiKey=1",
            "watchrtc.spearline.dev",
            "/?apiKey=1",
        ),
        (
            "/websocket-staging/trace",
            "watchrtc.spearline.dev",
            "/trace",
        ),
        (
            "/schedule-international/api/v1/config",
            "schedule.rtc-web.com",
            "/api/v1/config",
        ),
    ] {
        assert_eq!(relayd.get(target).status(), 200, "{target}");
        let seen = origin.last().message;
        assert_eq!((seen.one("host"), seen.target()), (Some(host), wanted));
    }
}

/// TRTC's older SDK opens its WebSocket at the root, and that is where the page is.
#[test]
fn the_test_page_leaves_the_root_to_the_unified_proxys_websocket() {
    let (origin, relayd) = all_vendors("test_page = true\n");
    assert!(relayd.get("/").text().contains("<html"));
    let mut client = relayd.connect();
    client.send(relayd.websocket_head("/?a=b&signalDomain=s.rtc-web.com", &[]));
    assert_eq!(client.answer().text(), "fine");
    let seen = origin.only().message;
    assert_eq!(seen.one("host"), Some("s.rtc-web.com"));
    assert_eq!(seen.target(), "/?a=b&signalDomain=s.rtc-web.com");
}

#[test]
fn what_a_client_says_of_its_address_to_an_access_point_is_replaced() {
    let (origin, relayd) = all_vendors("");
    let lie = [("X-User-Address", "1.1.1.1"), ("Cookie", "a=b")];
    assert_eq!(
        relayd
            .request("POST", "/ap/?url=a.agora.io/x", &lie, b"x")
            .status(),
        200
    );
    let seen = origin.only().message;
    assert_eq!(seen.one("x-user-address"), Some("127.0.0.1"));
    assert_eq!(seen.one("cookie"), None);
}
