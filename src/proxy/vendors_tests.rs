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
        let rules = preset.rules();
        assert!(!rules.is_empty());
        for rule in &rules {
            let text = match rule.subdomains {
                true => format!("*.{}:{}", rule.name, rule.port),
                false => format!("{}:{}", rule.name, rule.port),
            };
            assert_eq!(text.parse::<HostRule>().as_ref(), Ok(rule));
            assert!(
                rule.name.contains('.'),
                "{name}: {} covers a whole top-level domain",
                rule.name
            );
        }
        assert!(preset.documentation.starts_with("https://"));
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
    ] {
        assert_eq!(
            router.route("proxy.example.com", &format!("/{host}/x")),
            Err(Refusal::HostNotAllowed),
            "{host}"
        );
    }
    for target in [
        "/a.edge.agora.io:4700/",
        "/a.edge.agora.io:5000/",
        "/a.edge.sd-rtn.com:6443/x",
        "/c.daily.co/x",
        "/p.livekit.cloud/rtc/v1?x",
    ] {
        assert!(
            router.route("proxy.example.com", target).is_ok(),
            "{target}"
        );
    }
    for target in [
        "/a.edge.agora.io:22/",
        "/a.edge.agora.io:5001/",
        "/edge.skype.com:8443/",
    ] {
        assert_eq!(
            router.route("proxy.example.com", target),
            Err(Refusal::HostNotAllowed),
            "{target}"
        );
    }
}

fn router_of(names: &[&str]) -> Router {
    let presets: Vec<_> = names
        .iter()
        .map(|name| preset(name).expect("a preset"))
        .collect();
    let settings = Settings {
        allow: presets.iter().flat_map(|p| p.rules()).collect(),
        routes: presets.iter().flat_map(|p| p.routes()).collect(),
        prefixes: vec!["/azure".into()],
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

/// How a recorded target names its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Addressing {
    /// By host or prefix: routed here.
    Routed,
    /// Agora: host, port and path in the query.
    Query,
    /// TRTC's unifiedProxy: fixed paths and `signalDomain`.
    Unified,
}

impl Recorded {
    fn addressing(&self) -> Addressing {
        let path = self.url.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/trtc").unwrap_or(path);
        match self.vendor.as_str() {
            "agora" => Addressing::Query,
            "trtc"
                if path.starts_with("/api/")
                    || path.starts_with("/v2/")
                    || path.starts_with("/v5/") =>
            {
                Addressing::Unified
            }
            _ => Addressing::Routed,
        }
    }

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
fn every_recorded_request_by_host_or_prefix_goes_where_it_should() {
    let mut counted: HashMap<(String, RouteKind), usize> = HashMap::new();
    for request in recorded()
        .iter()
        .filter(|r| r.addressing() == Addressing::Routed && r.method != "OPTIONS")
    {
        let route = router_of(&[request.preset()]).route(&request.host_header, &request.url);
        let route = route.unwrap_or_else(|refusal| panic!("{}: {refusal}", request.url));
        let scheme = if request.is_websocket { "wss" } else { "https" };
        let url = format!("{scheme}://{}{}", route.authority(), route.path_and_query);
        assert_eq!(Some(&url), request.upstream.as_ref(), "{}", request.url);
        *counted
            .entry((request.vendor.clone(), route.kind))
            .or_default() += 1;
    }
    let wanted = [
        (("azure", RouteKind::Host), 39),
        (("trtc", RouteKind::Prefix), 9),
        (("watchrtc", RouteKind::Prefix), 7),
        (("vonage", RouteKind::Host), 3),
    ];
    let wanted = wanted.map(|((vendor, kind), n)| ((vendor.to_owned(), kind), n));
    assert_eq!(counted, HashMap::from(wanted));
}

#[test]
fn every_recorded_preflight_by_host_or_prefix_is_answered_204_with_what_it_asks_for() {
    let policy = CorsPolicy::new(&["*".to_owned()]);
    let mut passed = 0;
    for recorded in recorded()
        .iter()
        .filter(|r| r.addressing() == Addressing::Routed && r.method == "OPTIONS")
    {
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
        assert_eq!(
            answer["access-control-allow-origin"],
            recorded.headers["origin"]
        );
        assert_eq!(
            answer["access-control-allow-methods"],
            recorded.headers["access-control-request-method"]
        );
        assert_eq!(
            answer["access-control-allow-headers"],
            recorded.headers["access-control-request-headers"]
        );
        passed += 1;
    }
    assert_eq!(passed, 28);
}

/// What is addressed by its query needs routes that this module does not have: counted, so that none is lost.
#[test]
fn the_recorded_requests_of_other_kinds_are_these_and_no_more() {
    let mut counted: HashMap<(Addressing, String), usize> = HashMap::new();
    for request in recorded()
        .iter()
        .filter(|r| r.addressing() != Addressing::Routed)
    {
        *counted
            .entry((request.addressing(), request.vendor.clone()))
            .or_default() += 1;
    }
    let wanted = [
        ((Addressing::Query, "agora".to_owned()), 15),
        ((Addressing::Unified, "trtc".to_owned()), 7),
    ];
    assert_eq!(counted, HashMap::from(wanted));
    assert_eq!(recorded().len(), 108);
}
