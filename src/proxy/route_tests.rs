use super::*;
use crate::proxy::{HostRule, Limits};
use proptest::prelude::*;

const PROXY: &str = "proxy.example.com:8443";

fn settings() -> Settings {
    let allow = [
        "*.skype.com",
        "*.communication.microsoft.com",
        "host.example.org:8443",
        "api.example.com",
    ];
    let fixed = [
        ("/ws/", "https://signaling.rtc.qq.com/"),
        ("/logger/", "https://yun.tim.qq.com/"),
        ("/websocket/", "https://watchrtc-server.cyara.com/"),
        ("/deep/er/", "https://deep.example.com:9443/v2/x/"),
        ("/deep/", "https://shallow.example.com/"),
    ];
    Settings {
        public_names: vec!["relay.example.net".into(), "exact.example.net:444".into()],
        allow: allow
            .iter()
            .map(|rule| rule.parse().expect("a rule"))
            .collect(),
        routes: fixed
            .iter()
            .map(|(prefix, upstream)| PrefixRoute {
                prefix: (*prefix).into(),
                upstream: (*upstream).into(),
            })
            .collect(),
        prefixes: vec!["/azure".into(), "/a/b".into()],
        agora_hosts: ["*.agora.io", "*.agora.io:4700-5000"]
            .map(|rule| rule.parse().expect("a rule"))
            .to_vec(),
        trtc_signal_hosts: vec!["*.rtc-web.com".parse().expect("a rule")],
        ..Settings::default()
    }
}

fn router() -> Router {
    Router::new(&settings()).expect("good settings")
}

fn url(target: &str) -> Result<String, Refusal> {
    let route = router().route(PROXY, target)?;
    Ok(format!(
        "https://{}{}",
        route.authority(),
        route.path_and_query
    ))
}

#[test]
fn a_target_that_names_an_allowed_host_goes_there() {
    for (target, wanted) in [
        (
            "/edge.skype.com/trap/tokens",
            "https://edge.skype.com/trap/tokens",
        ),
        (
            "/EDGE.Skype.Com/Trap/Tokens",
            "https://edge.skype.com/Trap/Tokens",
        ),
        ("/edge.skype.com:443/x", "https://edge.skype.com/x"),
        (
            "/host.example.org:8443/x?y",
            "https://host.example.org:8443/x?y",
        ),
        ("/edge.skype.com", "https://edge.skype.com/"),
        ("/edge.skype.com/", "https://edge.skype.com/"),
        ("/edge.skype.com?a=b", "https://edge.skype.com/?a=b"),
        ("/edge.skype.com/?", "https://edge.skype.com/?"),
        (
            "/edge.skype.com?url=/api.example.com/x",
            "https://edge.skype.com/?url=/api.example.com/x",
        ),
    ] {
        assert_eq!(url(target).as_deref(), Ok(wanted), "{target}");
    }
}

#[test]
fn the_path_arrives_byte_for_byte() {
    for path in [
        "/a%2Fb%20c",
        "/a//b///c",
        "/%2e%2e/%2E%2E/x",
        "/../x",
        "/./x",
        "/%C3%A9%00%ff",
        "/caf\u{e9}",
        "/x;y=z,!$&'()*+",
        "/x?a=%2F//&b=?&c=[]{}|\"<>",
        "/%",
        "/%zz",
        "/a\\b",
        "/api.example.com//x",
    ] {
        let wanted = format!("https://edge.skype.com{path}");
        assert_eq!(url(&format!("/edge.skype.com{path}")), Ok(wanted), "{path}");
    }
}

#[test]
fn several_slashes_right_after_the_host_or_the_prefix_are_one() {
    for (target, wanted) in [
        (
            "/ecs.communication.microsoft.com//config/v1",
            "https://ecs.communication.microsoft.com/config/v1",
        ),
        (
            "/ecs.communication.microsoft.com///config//v1",
            "https://ecs.communication.microsoft.com/config//v1",
        ),
        ("/logger//v5/x", "https://yun.tim.qq.com/v5/x"),
        (
            "/websocket//trace",
            "https://watchrtc-server.cyara.com/trace",
        ),
        ("/azure//edge.skype.com/x", "https://edge.skype.com/x"),
        ("//edge.skype.com/x", "https://edge.skype.com/x"),
        (
            "/proxy.example.com:8443//edge.skype.com//x",
            "https://edge.skype.com/x",
        ),
    ] {
        assert_eq!(url(target).as_deref(), Ok(wanted), "{target}");
    }
}

#[test]
fn a_prefix_goes_to_its_upstream_with_and_without_its_slash() {
    for (target, wanted) in [
        (
            "/ws/?sdkAppId=1",
            "https://signaling.rtc.qq.com/?sdkAppId=1",
        ),
        ("/ws?sdkAppId=1", "https://signaling.rtc.qq.com/?sdkAppId=1"),
        ("/ws", "https://signaling.rtc.qq.com/"),
        ("/ws/x?y", "https://signaling.rtc.qq.com/x?y"),
        (
            "/websocket?apiKey=a",
            "https://watchrtc-server.cyara.com/?apiKey=a",
        ),
        (
            "/websocket/?apiKey=a",
            "https://watchrtc-server.cyara.com/?apiKey=a",
        ),
        (
            "/websocket/trace",
            "https://watchrtc-server.cyara.com/trace",
        ),
        ("/deep/x", "https://shallow.example.com/x"),
        ("/deep/erx", "https://shallow.example.com/erx"),
        ("/deep/er/x", "https://deep.example.com:9443/v2/x/x"),
        ("/deep/er?x", "https://deep.example.com:9443/v2/x/?x"),
        ("/azure/ws/x", "https://signaling.rtc.qq.com/x"),
        (
            "/proxy.example.com:8443/ws/x",
            "https://signaling.rtc.qq.com/x",
        ),
    ] {
        assert_eq!(url(target).as_deref(), Ok(wanted), "{target}");
    }
    for target in ["/wsx", "/WS/", "/w", "/%77s/"] {
        assert!(url(target).is_err(), "{target}");
    }
}

#[test]
fn agoras_paths_and_the_unified_proxy_are_served_behind_prefixes_and_the_own_authority() {
    for front in [
        "",
        "/azure",
        "/proxy.example.com:8443",
        "/azure/proxy.example.com:8443/azure",
        "/azure/",
    ] {
        for (target, wanted) in [
            (
                "/ap/?url=a.agora.io/api/v1&action=x",
                "https://a.agora.io/api/v1?action=x",
            ),
            ("/rs?h=a.agora.io&p=4700&d=x", "https://a.agora.io:4700/x"),
            ("/ws/?h=a.agora.io&p=443", "https://a.agora.io/"),
            ("/ws/?a=b", "https://signaling.rtc.qq.com/?a=b"),
            (
                "/v2/ws?signalDomain=s.rtc-web.com&race=1",
                "https://s.rtc-web.com/v2/ws?signalDomain=s.rtc-web.com&race=1",
            ),
            (
                "/?a=b&signalDomain=s.rtc-web.com",
                "https://s.rtc-web.com/?a=b&signalDomain=s.rtc-web.com",
            ),
        ] {
            let target = format!("{front}{target}");
            assert_eq!(url(&target).as_deref(), Ok(wanted), "{target}");
        }
    }
}

#[test]
fn paths_that_name_a_host_in_their_query_are_none_unless_their_list_has_hosts() {
    let settings = Settings {
        agora_hosts: Vec::new(),
        trtc_signal_hosts: Vec::new(),
        ..settings()
    };
    let router = Router::new(&settings).expect("good settings");
    for target in [
        "/ap/?url=a.agora.io/x",
        "/rs/?h=a.agora.io&p=443",
        "/v2/ws?signalDomain=s.rtc-web.com",
        "/?signalDomain=s.rtc-web.com",
    ] {
        assert_eq!(
            router.route(PROXY, target),
            Err(Refusal::NoRoute),
            "{target}"
        );
    }
}

#[test]
fn a_denied_host_is_reached_by_no_kind_of_route() {
    let deny = [
        "edge.skype.com",
        "*.qq.com",
        "*.agora.io:4700",
        "x.rtc-web.com",
    ];
    let settings = Settings {
        deny: deny.map(|rule| rule.parse().expect("a rule")).to_vec(),
        ..settings()
    };
    let router = Router::new(&settings).expect("good settings");
    for target in [
        "/edge.skype.com/x",
        "/ws/?a=b",
        "/logger/x",
        "/rs/?h=a.agora.io&p=4700",
        "/v2/ws?signalDomain=x.rtc-web.com",
    ] {
        let refused = Err(Refusal::HostNotAllowed);
        assert_eq!(router.route(PROXY, target), refused, "{target}");
    }
    for target in [
        "/api.skype.com/x",
        "/rs/?h=a.agora.io&p=4701",
        "/websocket/x",
        "/v2/ws?signalDomain=y.rtc-web.com",
    ] {
        let route = router.route(PROXY, target).expect(target);
        for host in ["edge.skype.com", "x.rtc-web.com", "signaling.rtc.qq.com"] {
            let authority = Authority::parse(host).expect("an authority");
            assert_eq!(
                router.route_beside(&route, &authority, "/"),
                None,
                "{target}"
            );
        }
    }
}

#[test]
fn routes_that_a_query_names_keep_no_cookies() {
    for target in [
        "/ap/?url=a.agora.io/x",
        "/ws/?h=a.agora.io&p=443",
        "/v2/ws?signalDomain=s.rtc-web.com",
    ] {
        let route = router().route(PROXY, target).expect("a route");
        assert_eq!(route.cookie_path, None, "{target}");
    }
}

#[test]
fn relayds_own_authority_is_stripped_as_often_as_it_stands_there() {
    for target in [
        "/proxy.example.com:8443/edge.skype.com/trap/tokens",
        "/Proxy.Example.com:8443/edge.skype.com/trap/tokens",
        "/proxy.example.com:8443/proxy.example.com:8443/edge.skype.com/trap/tokens",
        "/azure/proxy.example.com:8443/azure/edge.skype.com/trap/tokens",
        "/azure/proxy.example.com:8443/edge.skype.com/trap/tokens",
        "/proxy.example.com:8443/azure/edge.skype.com/trap/tokens",
        "/a/b/proxy.example.com:8443/a/b/edge.skype.com/trap/tokens",
        "/relay.example.net/edge.skype.com/trap/tokens",
        "/relay.example.net:31443/edge.skype.com/trap/tokens",
        "/exact.example.net:444/relay.example.net/proxy.example.com:8443/edge.skype.com/trap/tokens",
    ] {
        assert_eq!(
            url(target).as_deref(),
            Ok("https://edge.skype.com/trap/tokens"),
            "{target}"
        );
    }
    for target in [
        "/proxy.example.com/edge.skype.com/x",
        "/proxy.example.com:8444/edge.skype.com/x",
        "/exact.example.net/edge.skype.com/x",
        "/exact.example.net:443/edge.skype.com/x",
        "/relay.example.net:x/edge.skype.com/x",
        "/relay.example.network/edge.skype.com/x",
        "/xrelay.example.net/edge.skype.com/x",
    ] {
        assert_eq!(url(target), Err(Refusal::HostNotAllowed), "{target}");
    }
    assert_eq!(url("/azure/azure/edge.skype.com/x"), Err(Refusal::NoRoute));
    assert_eq!(url("/proxy.example.com:8443"), Err(Refusal::NoRoute));
}

#[test]
fn the_own_authority_may_be_an_address_and_its_default_port_unwritten() {
    let router = router();
    for (authority, target) in [
        ("192.0.2.7:8443", "/192.0.2.7:8443/edge.skype.com/x"),
        ("[2001:db8::7]:8443", "/[2001:db8::7]:8443/edge.skype.com/x"),
        ("[2001:db8::7]", "/[2001:db8::7]/edge.skype.com/x"),
        (
            "proxy.example.com",
            "/proxy.example.com:443/edge.skype.com/x",
        ),
        (
            "proxy.example.com:443",
            "/proxy.example.com/edge.skype.com/x",
        ),
        ("localhost:8443", "/localhost:8443/edge.skype.com/x"),
    ] {
        let route = router.route(authority, target);
        assert_eq!(
            route.map(|r| r.host),
            Ok("edge.skype.com".into()),
            "{target}"
        );
    }
}

#[test]
fn a_public_name_that_is_also_an_allowed_upstream_at_another_port_stays_one() {
    let mut settings = settings();
    settings.allow.push(HostRule {
        name: "relay.example.net".into(),
        subdomains: false,
        ports: 9443..=9443,
    });
    let router = Router::new(&settings).expect("good settings");
    let route = router
        .route(PROXY, "/relay.example.net:9443/edge.skype.com/x")
        .expect("a route");
    assert_eq!(
        (route.authority().as_str(), route.path_and_query.as_str()),
        ("relay.example.net:9443", "/edge.skype.com/x")
    );
    let route = router
        .route(PROXY, "/relay.example.net:443/edge.skype.com/x")
        .expect("a route");
    assert_eq!(route.authority(), "edge.skype.com");
}

#[test]
fn look_alikes_of_an_allowed_host_are_refused() {
    for target in [
        "/evilskype.com/x",
        "/skype.com/x",
        "/skype.com.evil.com/x",
        "/edge.skype.com.evil.com/x",
        "/edge.skype.com./x",
        "/edge%2eskype.com/x",
        "/edge.skype.com%2F.evil.com/x",
        "/127.0.0.1:8443%2F.skype.com/p",
        "/user@edge.skype.com/x",
        "/edge.skype.com@evil.com/x",
        "/edge.skype.com:443@evil.com/x",
        "/edge.skype.com:0/x",
        "/edge.skype.com:0443/x",
        "/edge.skype.com:65536/x",
        "/edge.skype.com:65979/x",
        "/edge.skype.com:/x",
        "/edge.skype.com:8443/x",
        "/edge.skype.com:443:443/x",
        "/edge..skype.com/x",
        "/.skype.com/x",
        "/*.skype.com/x",
        "/edge.skype.com\\@evil.com/x",
        "/edge.skype.com;x/x",
        "/127.0.0.1/x",
        "/127.1/x",
        "/0x7f.1/x",
        "/[::1]/x",
        "/[::ffff:127.0.0.1]:443/x",
        "/169.254.169.254/latest/meta-data",
        "/https://edge.skype.com/x",
        "/https:/edge.skype.com/x",
        "/xn--edge-skype.com/x",
        "/\u{435}dge.skype.com/x",
        "/edge.skype\u{3002}com/x",
    ] {
        assert_eq!(url(target), Err(Refusal::HostNotAllowed), "{target}");
    }
    let label = format!("/{}.skype.com/x", "a".repeat(64));
    let name = format!("/{}skype.com/x", "a.".repeat(123));
    assert_eq!(url(&label), Err(Refusal::HostNotAllowed));
    assert_eq!(url(&name), Err(Refusal::HostNotAllowed));
    for target in [
        "/",
        "//",
        "/favicon",
        "/localhost/x",
        "/2130706433/x",
        "/?x=edge.skype.com",
        "/-/x",
    ] {
        assert_eq!(url(target), Err(Refusal::NoRoute), "{target}");
    }
}

#[test]
fn a_target_that_is_no_path_or_too_long_is_refused() {
    for target in [
        "",
        "*",
        "edge.skype.com/x",
        "https://edge.skype.com/x",
        "/edge.skype.com/a b",
        "/a\tb",
        "/a\0b",
        "/a\x7fb",
        "/a#b",
    ] {
        assert_eq!(url(target), Err(Refusal::BadTarget), "{target:?}");
    }
    let max = Limits::default().target_bytes;
    let prefix = "/edge.skype.com/";
    let exact = format!("{prefix}{}", "x".repeat(max - prefix.len()));
    assert!(url(&exact).is_ok());
    assert_eq!(url(&format!("{exact}x")), Err(Refusal::TargetTooLong));
}

#[test]
fn a_route_says_where_its_cookies_belong_and_how_it_was_reached() {
    let router = router();
    for (target, cookie_path, base, kind) in [
        ("/edge.skype.com/x", "/edge.skype.com", "", RouteKind::Host),
        ("/Edge.skype.com/x", "/Edge.skype.com", "", RouteKind::Host),
        (
            "/host.example.org:8443/x",
            "/host.example.org:8443",
            "",
            RouteKind::Host,
        ),
        (
            "/azure/edge.skype.com/x",
            "/azure/edge.skype.com",
            "/azure",
            RouteKind::Host,
        ),
        (
            "/azure/proxy.example.com:8443/azure/edge.skype.com/x",
            "/azure/edge.skype.com",
            "/azure",
            RouteKind::Host,
        ),
        (
            "/a/b/edge.skype.com/x",
            "/a/b/edge.skype.com",
            "/a/b",
            RouteKind::Host,
        ),
        ("/ws/x", "/ws", "", RouteKind::Prefix),
        (
            "/azure/deep/er/x",
            "/azure/deep/er",
            "/azure",
            RouteKind::Prefix,
        ),
    ] {
        let route = router.route(PROXY, target).expect("a route");
        assert_eq!(route.cookie_path.as_deref(), Some(cookie_path), "{target}");
        assert_eq!((route.base.as_str(), route.kind), (base, kind), "{target}");
    }
}

#[test]
fn a_root_prefix_takes_what_nothing_else_takes_and_keeps_no_cookies() {
    let mut settings = settings();
    settings.routes.insert(
        0,
        PrefixRoute {
            prefix: "/".into(),
            upstream: "https://gateway:8443/v1/".into(),
        },
    );
    let router = Router::new(&settings).expect("good settings");
    for (target, authority, path) in [
        ("/", "gateway:8443", "/v1/"),
        ("/x/y?z", "gateway:8443", "/v1/x/y?z"),
        ("/evil.com/x", "gateway:8443", "/v1/evil.com/x"),
        ("/ws/x", "signaling.rtc.qq.com", "/x"),
        ("/edge.skype.com/x", "edge.skype.com", "/x"),
    ] {
        let route = router.route(PROXY, target).expect("a route");
        assert_eq!(
            (route.authority().as_str(), route.path_and_query.as_str()),
            (authority, path),
            "{target}"
        );
        assert_eq!(route.cookie_path.is_none(), authority == "gateway:8443");
    }
}

#[test]
fn a_prefix_or_upstream_that_is_none_makes_no_router() {
    for (prefix, upstream) in [
        ("ws/", "https://a.com/"),
        ("/ws", "https://a.com/"),
        ("/ws/", "http://a.com/"),
        ("/ws/", "https://a.com"),
        ("/ws/", "https://a.com/x"),
        ("/ws/", "https://127.0.0.1/"),
        ("/ws/", "https://a.com:0/"),
        ("/ws/", "https://u@a.com/"),
        ("/ws/", "https://a.com/x?y/"),
        ("/ws/", "https:///"),
    ] {
        let routes = vec![PrefixRoute {
            prefix: prefix.into(),
            upstream: upstream.into(),
        }];
        let settings = Settings {
            routes,
            ..Settings::default()
        };
        assert!(Router::new(&settings).is_err(), "{prefix} {upstream}");
    }
}

#[test]
fn a_clients_path_to_a_route_leads_back_to_it() {
    let router = router();
    for target in [
        "/azure/edge.skype.com/x?y",
        "/ws/x?y",
        "/deep/er/x",
        "/deep/er?x",
        "/host.example.org:8443/",
        "/azure/ap/?url=a.agora.io:4700/x?y&z",
        "/ap/?url=a.agora.io/x&y",
        "/cs/?h=a.agora.io&p=443&d=x/y?z",
        "/azure/ws/?h=a.agora.io&p=4702",
        "/azure/v2/ws?a&signalDomain=s.rtc-web.com",
        "/?signalDomain=s.rtc-web.com",
    ] {
        let route = router.route(PROXY, target).expect("a route");
        let path = route.client_path().expect("a path");
        assert_eq!(router.route(PROXY, &path), Ok(route), "{target}");
    }
}

proptest! {
    #[test]
    fn a_route_never_leads_to_a_host_outside_the_allow_list(authority in "[a-z0-9.:\\[\\]]{1,24}", target in "/?((ap/[?]url=|rs/[?]h=|v2/ws[?]signalDomain=)[a-z.]{0,3}(agora[.]io|rtc-web[.]com)?)?[!-~]{0,60}") {
        let router = router();
        if let Ok(route) = router.route(&authority, &target) {
            match route.kind {
                RouteKind::Host => prop_assert!(router.allow.holds(&route.to_authority())),
                RouteKind::Prefix => prop_assert!(router.fixed.iter().any(|f| f.upstream == route.to_authority())),
                RouteKind::Query => prop_assert!(route.host.ends_with(".agora.io")),
                RouteKind::Unified => prop_assert!(route.host.ends_with(".rtc-web.com")),
            }
            prop_assert!(route.path_and_query.starts_with('/'));
        }
    }

    #[test]
    fn hosts_near_an_allowed_one_pass_only_below_its_suffix(host in "[a-zA-Z0-9.%@:\\[\\]-]{0,10}skype[.]com[a-z0-9.%@:-]{0,8}") {
        if let Ok(route) = router().route(PROXY, &format!("/{host}/x")) {
            prop_assert!(route.host.ends_with(".skype.com"), "{}", route.host);
            prop_assert_eq!(route.port, 443);
        }
    }

    #[test]
    fn any_path_and_query_behind_a_host_arrives_as_sent(path in "(/[!-.0-~][!-~]{0,40})?", query in "([?][!-~]{0,40})?") {
        prop_assume!(!path.contains('#') && !query.contains('#'));
        let route = router().route(PROXY, &format!("/edge.skype.com{path}{query}")).expect("a route");
        let wanted = if path.is_empty() || path.starts_with('?') { format!("/{path}{query}") } else { format!("{path}{query}") };
        prop_assert_eq!(route.path_and_query, wanted);
    }

    #[test]
    fn nothing_that_a_client_sends_panics(authority in ".{0,40}", target in "/.{0,80}") {
        let _ = router().route(&authority, &target);
    }
}
