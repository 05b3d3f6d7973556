use super::*;
use crate::proxy::Settings;
use crate::proxy::cors::{self, CorsPolicy};
use crate::proxy::route::{Refusal, RouteKind, Router};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use serde::Deserialize;
use std::collections::HashMap;

#[test]
fn every_name_has_a_preset_and_no_other_name_has() {
    for name in NAMES {
        assert_eq!(preset(name).map(|p| p.name), Some(name));
    }
    for name in ["", "Azure", "zoom"] {
        assert_eq!(preset(name), None);
    }
}

#[test]
fn every_preset_makes_good_settings() {
    for name in NAMES {
        let preset = preset(name).expect("a preset");
        let lists = [preset.hosts, preset.agora_hosts, preset.trtc_signal_hosts];
        let rules: Vec<HostRule> = lists.into_iter().flat_map(rules).collect();
        assert!(!rules.is_empty());
        for rule in &rules {
            let star = if rule.subdomains { "*." } else { "" };
            let (low, high) = (rule.ports.start(), rule.ports.end());
            let text = format!("{star}{}:{low}-{high}", rule.name);
            assert_eq!(text.parse::<HostRule>().as_ref(), Ok(rule));
            assert!(
                rule.name.contains('.'),
                "{name}: {} covers a whole top-level domain",
                rule.name
            );
        }
        assert!(preset.documentation.starts_with("https://"));
        assert_eq!(preset.checked.split('-').count(), 3, "{name}");
        assert!(!preset.note.is_empty(), "{name}");
        router_of(&[name]);
    }
}

#[test]
fn presets_do_not_cover_their_look_alikes() {
    let router = router_of(&NAMES);
    for host in [
        "evilskype.com",
        "skype.com.evil.com",
        "microsoft.com",
        "agora.io.evil.com",
        "evil-daily.co",
        "tokbox.com.evil.io",
        "cloud.microsoft",
        "evilagora.io",
        "agora.io",
        "rtc.qq.com",
        "evilrtc.qq.com",
        "qq.com",
        "127.0.0.1",
        "0x7f.1",
        "gateway",
    ] {
        for target in [
            format!("/{host}/x"),
            format!("/ap/?url={host}/x"),
            format!("/rs/?h={host}&p=443&d=/x"),
            format!("/ls/?h={host}&p=443&d=/x"),
            format!("/cs/?h={host}&p=443&d=/x"),
            format!("/ws/?h={host}&p=443"),
            format!("/v2/ws?signalDomain={host}"),
            format!("/?signalDomain={host}"),
        ] {
            if target == "/gateway/x" {
                continue;
            }
            assert_eq!(
                router.route("proxy.example.com", &target),
                Err(Refusal::HostNotAllowed),
                "{target}"
            );
        }
    }
}

#[test]
fn each_kind_of_route_reaches_the_hosts_and_ports_of_its_own_list_alone() {
    let router = router_of(&NAMES);
    let route = |target: &str| router.route("proxy.example.com", target);
    for target in [
        "/rs/?h=a.edge.agora.io&p=4700",
        "/ws/?h=a.edge.agora.io&p=5000",
        "/ls/?h=a.edge.sd-rtn.com&p=6443&d=x",
        "/ap/?url=a.agora.io:5668/",
        "/c.daily.co/x",
        "/p.livekit.cloud/rtc/v1?x",
        "/v2/ws?signalDomain=a.rtc-web.com",
        "/?signalDomain=signaling.rtc.qq.com",
        "/prod.mediabroker.communications.svc.cloud.microsoft/x",
        "/a.gov.teams.microsoft.us/x",
        "/res.public.onecdn.static.microsoft/x",
        "/prod-ks.pluot.blue/x",
    ] {
        assert!(route(target).is_ok(), "{target}");
    }
    for target in [
        "/rs/?h=a.edge.agora.io&p=22",
        "/ws/?h=a.edge.agora.io&p=5001",
        "/ap/?url=a.agora.io:80/",
        "/rs/?h=edge.skype.com&p=443",
        "/ap/?url=edge.skype.com/",
        "/v2/ws?signalDomain=a.agora.io",
        "/v2/ws?signalDomain=yun.tim.qq.com",
        "/v2/ws?signalDomain=a.rtc-web.com:8443",
        "/a.edge.agora.io/x",
        "/edge.skype.com:8443/",
    ] {
        assert_eq!(route(target), Err(Refusal::HostNotAllowed), "{target}");
    }
}

#[test]
fn one_ws_path_serves_trtc_and_agora_and_the_query_tells_which() {
    let router = router_of(&["trtc", "agora"]);
    let kind = |target: &str| router.route("proxy.example.com", target).map(|r| r.kind);
    assert_eq!(kind("/ws/?h=a.edge.agora.io&p=4702"), Ok(RouteKind::Query));
    assert_eq!(kind("/ws/?sdkAppId=1&userId=h"), Ok(RouteKind::Prefix));
    assert_eq!(kind("/ws?sdkAppId=1"), Ok(RouteKind::Prefix));
    let refused = Err(Refusal::HostNotAllowed);
    assert_eq!(kind("/ws/?h=evil.com&p=443"), refused);
    let trtc = router_of(&["trtc"]);
    let route = trtc.route("proxy.example.com", "/ws/?h=a.edge.agora.io&p=4702");
    assert_eq!(route.map(|r| r.host), Ok("signaling.rtc.qq.com".into()));
    let agora = router_of(&["agora"]);
    let route = agora.route("proxy.example.com", "/ws/?sdkAppId=1");
    assert_eq!(route, Err(Refusal::NoRoute));
}

fn router_of(names: &[&str]) -> Router {
    let presets: Vec<_> = names
        .iter()
        .map(|name| preset(name).expect("a preset"))
        .collect();
    let settings = Settings {
        allow: presets.iter().flat_map(|p| rules(p.hosts)).collect(),
        agora_hosts: presets.iter().flat_map(|p| rules(p.agora_hosts)).collect(),
        trtc_signal_hosts: presets
            .iter()
            .flat_map(|p| rules(p.trtc_signal_hosts))
            .collect(),
        routes: presets.iter().flat_map(|p| p.routes()).collect(),
        prefixes: vec!["/azure".into(), "/trtc".into()],
        ..Settings::default()
    };
    Router::new(&settings).expect("good settings")
}

/// One request of a real SDK, recorded in the proxy's place.
#[derive(Deserialize)]
struct Recorded {
    vendor: String,
    method: String,
    url: String,
    host_header: String,
    is_websocket: bool,
    headers: HashMap<String, String>,
    /// What a correct proxy asks for; a preflight has none.
    upstream: Option<String>,
}

impl Recorded {
    /// TRTC's sdkAppId tells the region, and a fixed upstream serves one of them.
    fn preset(&self) -> &str {
        let international =
            self.vendor == "trtc" && self.url.to_ascii_lowercase().contains("sdkappid=20000001");
        match international {
            true => "trtc-international",
            false => &self.vendor,
        }
    }
}

fn recorded() -> Vec<Recorded> {
    let text = include_str!("../../tests/data/vendor-requests.json");
    serde_json::from_str(text).expect("recorded requests")
}

#[test]
fn every_recorded_request_goes_where_it_should() {
    let mut counted: HashMap<(String, RouteKind), usize> = HashMap::new();
    for request in recorded().iter().filter(|r| r.method != "OPTIONS") {
        let route = router_of(&[request.preset()]).route(&request.host_header, &request.url);
        let route = route.unwrap_or_else(|refusal| panic!("{}: {refusal}", request.url));
        let scheme = if request.is_websocket { "wss" } else { "https" };
        let url = format!("{scheme}://{}{}", route.authority(), route.path_and_query);
        assert_eq!(Some(&url), request.upstream.as_ref(), "{}", request.url);
        assert_eq!(route.user_address, request.url.starts_with("/ap/"));
        *counted
            .entry((request.vendor.clone(), route.kind))
            .or_default() += 1;
    }
    let wanted = [
        (("azure", RouteKind::Host), 39),
        (("agora", RouteKind::Query), 13),
        (("trtc", RouteKind::Prefix), 14),
        (("trtc", RouteKind::Unified), 2),
        (("watchrtc", RouteKind::Prefix), 7),
        (("vonage", RouteKind::Host), 3),
    ];
    let wanted = wanted.map(|((vendor, kind), n)| ((vendor.to_owned(), kind), n));
    assert_eq!(counted, HashMap::from(wanted));
}

#[test]
fn every_recorded_preflight_is_answered_204_with_what_it_asks_for() {
    let policy = CorsPolicy::new(&["*".to_owned()]);
    let mut passed = 0;
    for recorded in recorded().iter().filter(|r| r.method == "OPTIONS") {
        let mut request = Request::options(&recorded.url).body(()).expect("a request");
        for (name, value) in &recorded.headers {
            let name: HeaderName = name.parse().expect("a name");
            request
                .headers_mut()
                .insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let (parts, ()) = request.into_parts();
        let target = parts.uri.path_and_query().expect("a target").as_str();
        assert_eq!(target, recorded.url);
        let route = router_of(&[recorded.preset()]).route(&recorded.host_header, target);
        let response = cors::preflight(&parts, route.as_ref(), &policy.judge(&parts.headers))
            .expect("a preflight");
        assert_eq!(
            response.status(),
            StatusCode::NO_CONTENT,
            "{}",
            recorded.url
        );
        let answer = response.headers();
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
            assert_eq!(answer[answered], recorded.headers[asked]);
        }
        passed += 1;
    }
    assert_eq!((passed, recorded().len()), (30, 108));
}

/// VENDORS.md: Azure's long polls and pings take 40 to 70 s.
#[test]
fn the_default_time_limits_outlast_a_long_poll() {
    let long_poll = std::time::Duration::from_secs(70);
    let timeouts = Settings::default().timeouts;
    assert!(timeouts.response > long_poll && timeouts.tunnel_idle > long_poll);
}
