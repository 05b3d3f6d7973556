use super::super::{PrefixRoute, Settings};
use super::*;
use proptest::prelude::*;

const PROXY: &str = "proxy.example.com:8443";

fn router() -> Router {
    let allow = ["*.skype.com", "host.example.org:8443"];
    let settings = Settings {
        allow: allow
            .iter()
            .map(|rule| rule.parse().expect("a rule"))
            .collect(),
        routes: vec![PrefixRoute {
            prefix: "/ws/".into(),
            upstream: "https://fixed.example.com/v2/".into(),
        }],
        prefixes: vec!["/azure".into()],
        agora_hosts: vec!["*.agora.io:443-5000".parse().expect("a rule")],
        trtc_signal_hosts: vec!["*.rtc-web.com".parse().expect("a rule")],
        ..Settings::default()
    };
    Router::new(&settings).expect("good settings")
}

struct Case<'a> {
    status: u16,
    location: &'a str,
    method: Method,
    target: &'a str,
    hops: u8,
    body_replayable: bool,
}

const CASE: Case<'static> = Case {
    status: 302,
    location: "https://edge.skype.com/next",
    method: Method::GET,
    target: "/edge.skype.com/a/b?c",
    hops: 0,
    body_replayable: true,
};

fn run(case: &Case<'_>) -> Decision {
    let router = router();
    let route = router.route(PROXY, case.target).expect("a route");
    let location = HeaderValue::from_bytes(case.location.as_bytes()).expect("a value");
    let answer = Answer {
        status: StatusCode::from_u16(case.status).expect("a status"),
        location: Some(&location),
        method: &case.method,
        route: &route,
        client_authority: PROXY,
        hops: case.hops,
        body_replayable: case.body_replayable,
    };
    decide(&answer, &router)
}

fn followed(case: &Case<'_>) -> Follow {
    match run(case) {
        Decision::Follow(follow) => *follow,
        other => panic!("{} was not followed: {other:?}", case.location),
    }
}

fn url(follow: &Follow) -> String {
    format!(
        "https://{}{}",
        follow.route.authority(),
        follow.route.path_and_query
    )
}

fn rewritten(case: &Case<'_>) -> String {
    match run(case) {
        Decision::Rewrite(location) => location.to_str().expect("ASCII").to_owned(),
        other => panic!("{} was not rewritten: {other:?}", case.location),
    }
}

#[test]
fn a_redirect_to_an_allowed_host_is_followed_with_its_reference_resolved() {
    for (location, wanted) in [
        (
            "https://edge.skype.com/next?x=y",
            "https://edge.skype.com/next?x=y",
        ),
        ("https://API.skype.com", "https://api.skype.com/"),
        ("https://api.skype.com?x", "https://api.skype.com/?x"),
        (
            "https://host.example.org:8443/x",
            "https://host.example.org:8443/x",
        ),
        ("http://api.skype.com/x", "https://api.skype.com/x"),
        ("http://api.skype.com:80/x", "https://api.skype.com/x"),
        ("wss://api.skype.com/x", "https://api.skype.com/x"),
        ("//api.skype.com/x", "https://api.skype.com/x"),
        ("/x/y", "https://edge.skype.com/x/y"),
        ("x/y", "https://edge.skype.com/a/x/y"),
        ("../x", "https://edge.skype.com/x"),
        ("../../../x", "https://edge.skype.com/x"),
        ("./", "https://edge.skype.com/a/"),
        ("?z", "https://edge.skype.com/a/b?z"),
        ("/x/%2e%2E/%2e/y%2Fz", "https://edge.skype.com/y%2Fz"),
        ("/x#part", "https://edge.skype.com/x"),
        ("/caf\u{e9} x", "https://edge.skype.com/caf%C3%A9%20x"),
        ("  /x  ", "https://edge.skype.com/x"),
        // Through the proxy already, or built from X-Forwarded-Host.
        (
            "https://proxy.example.com:8443/api.skype.com/x",
            "https://api.skype.com/x",
        ),
        (
            "https://proxy.example.com:8443/login/x",
            "https://edge.skype.com/login/x",
        ),
    ] {
        assert_eq!(
            url(&followed(&Case { location, ..CASE })),
            wanted,
            "{location}"
        );
    }
}

#[test]
fn credentials_stay_behind_when_the_host_or_port_changes() {
    for (location, dropped) in [
        ("/x", false),
        ("https://EDGE.skype.com:443/x", false),
        ("https://api.skype.com/x", true),
        ("https://host.example.org:8443/x", true),
    ] {
        let follow = followed(&Case { location, ..CASE });
        assert_eq!(follow.drop_credentials, dropped, "{location}");
        let mut headers = HeaderMap::new();
        for name in [
            header::AUTHORIZATION,
            header::COOKIE,
            header::CONTENT_TYPE,
            header::HOST,
        ] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        follow.adjust(&mut headers);
        assert_eq!(headers.contains_key(header::AUTHORIZATION), !dropped);
        assert_eq!(headers.contains_key(header::COOKIE), !dropped);
        assert!(headers.contains_key(header::CONTENT_TYPE));
        assert_eq!(headers[header::HOST], follow.route.authority());
    }
}

#[test]
fn the_method_changes_as_browsers_change_it() {
    for (status, method, wanted) in [
        (301, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (302, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ] {
        let follow = followed(&Case {
            status,
            method: method.parse().expect("a method"),
            ..CASE
        });
        assert_eq!(follow.method, wanted, "{status} {method}");
        assert_eq!(follow.keep_body, method == wanted, "{status} {method}");
    }
}

#[test]
fn a_body_that_is_gone_is_not_sent_again_but_left_to_the_client() {
    let gone = |status, method| Case {
        status,
        method,
        body_replayable: false,
        ..CASE
    };
    assert_eq!(
        rewritten(&gone(307, Method::POST)),
        "https://proxy.example.com:8443/edge.skype.com/next"
    );
    assert_eq!(
        rewritten(&gone(301, Method::PUT)),
        "https://proxy.example.com:8443/edge.skype.com/next"
    );
    let follow = followed(&gone(302, Method::POST));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("9"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    follow.adjust(&mut headers);
    assert_eq!(headers.keys().collect::<Vec<_>>(), [header::HOST]);
}

#[test]
fn after_five_hops_the_location_is_rewritten() {
    assert!(matches!(
        run(&Case { hops: 4, ..CASE }),
        Decision::Follow(_)
    ));
    for (target, location, wanted) in [
        (
            "/edge.skype.com/a",
            "/x#part",
            "https://proxy.example.com:8443/edge.skype.com/x#part",
        ),
        (
            "/azure/edge.skype.com/a",
            "/x",
            "https://proxy.example.com:8443/azure/edge.skype.com/x",
        ),
        (
            "/azure/edge.skype.com/a",
            "https://host.example.org:8443/x?y",
            "https://proxy.example.com:8443/azure/host.example.org:8443/x?y",
        ),
        ("/ws/a", "/v2/x", "https://proxy.example.com:8443/ws/x"),
        ("/ws/a", "b", "https://proxy.example.com:8443/ws/b"),
        (
            "/ws/a",
            "/elsewhere",
            "https://proxy.example.com:8443/fixed.example.com/elsewhere",
        ),
        (
            "/edge.skype.com/a",
            "https://proxy.example.com:8443/api.skype.com/x",
            "https://proxy.example.com:8443/api.skype.com/x",
        ),
    ] {
        assert_eq!(
            rewritten(&Case {
                hops: 5,
                target,
                location,
                ..CASE
            }),
            wanted,
            "{location}"
        );
    }
}

#[test]
fn a_redirect_to_another_host_leads_the_browser_back_to_the_proxy_which_refuses() {
    for (location, wanted) in [
        (
            "https://evil.com/x",
            "https://proxy.example.com:8443/evil.com/x",
        ),
        (
            "https://edge.skype.com:8443/x",
            "https://proxy.example.com:8443/edge.skype.com:8443/x",
        ),
        (
            "http://evil.com/x",
            "https://proxy.example.com:8443/evil.com/x",
        ),
        (
            "//evil.com/..%2f/../x",
            "https://proxy.example.com:8443/evil.com/x",
        ),
        (
            "https://evil.com/a/../../edge.skype.com/x",
            "https://proxy.example.com:8443/evil.com/edge.skype.com/x",
        ),
    ] {
        assert_eq!(rewritten(&Case { location, ..CASE }), wanted, "{location}");
    }
}

#[test]
fn a_location_that_no_client_may_follow_is_stripped() {
    for location in [
        "https://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "https://[::1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://localhost/x",
        "https://user:pass@edge.skype.com/x",
        "https://edge.skype.com:0/x",
        "https://edge.skype.com./x",
        "https:/edge.skype.com/x",
        "https:edge.skype.com/x",
        "https:\\\\edge.skype.com/x",
        "https://edge.skype.com\\@evil.com/x",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://edge.skype.com/x",
        "/a\tb",
        "///x",
    ] {
        assert_eq!(
            run(&Case { location, ..CASE }),
            Decision::Strip,
            "{location}"
        );
    }
}

#[test]
fn a_prefix_route_follows_its_own_upstream_and_keeps_its_cookies_inside_its_base() {
    let inside = followed(&Case {
        target: "/ws/a",
        location: "/v2/x",
        ..CASE
    });
    assert_eq!(url(&inside), "https://fixed.example.com/v2/x");
    assert_eq!(inside.route.cookie_path.as_deref(), Some("/ws"));
    let outside = followed(&Case {
        target: "/ws/a",
        location: "/elsewhere",
        ..CASE
    });
    assert_eq!(url(&outside), "https://fixed.example.com/elsewhere");
    assert_eq!(outside.route.cookie_path, None);
    assert!(!outside.drop_credentials);
}

#[test]
fn other_answers_pass() {
    for status in [200, 201, 300, 304, 400, 405, 500] {
        assert_eq!(run(&Case { status, ..CASE }), Decision::Pass, "{status}");
    }
    let router = router();
    let route = router.route(PROXY, CASE.target).expect("a route");
    let answer = Answer {
        status: StatusCode::FOUND,
        location: None,
        method: &Method::GET,
        route: &route,
        client_authority: PROXY,
        hops: 0,
        body_replayable: true,
    };
    assert_eq!(decide(&answer, &router), Decision::Pass);
}

proptest! {
    #[test]
    fn whatever_an_upstream_says_the_browser_stays_with_the_proxy(location in "[ -~]{0,60}", hops in 0u8..8) {
        let Ok(value) = HeaderValue::from_str(&location) else { return Ok(()) };
        let router = router();
        let route = router.route(PROXY, CASE.target).expect("a route");
        let answer = Answer {
            status: StatusCode::TEMPORARY_REDIRECT,
            location: Some(&value),
            method: &Method::POST,
            route: &route,
            client_authority: PROXY,
            hops,
            body_replayable: true,
        };
        match decide(&answer, &router) {
            Decision::Follow(follow) => {
                prop_assert!(hops < 5);
                prop_assert!(follow.route.host.ends_with(".skype.com") || follow.route.host == "host.example.org");
                prop_assert!(follow.route.path_and_query.starts_with('/'));
            }
            Decision::Rewrite(location) => {
                let location = location.to_str().expect("ASCII");
                prop_assert!(location.starts_with("https://proxy.example.com:8443/"));
                prop_assert!(!location.contains("/../"));
            }
            Decision::Strip => {}
            Decision::Pass => prop_assert!(false, "a redirect passed"),
        }
    }
}

#[test]
fn a_redirect_between_hosts_that_a_query_may_name_is_followed() {
    for (target, location, wanted) in [
        ("/ap/?url=a.agora.io/x?y", "/z", "https://a.agora.io/z"),
        (
            "/ap/?url=a.agora.io/x?y",
            "https://b.agora.io/z?w",
            "https://b.agora.io/z?w",
        ),
        (
            "/rs/?h=a.agora.io&p=443&d=x",
            "https://b.agora.io:4700/z",
            "https://b.agora.io:4700/z",
        ),
        (
            "/rs/?h=a.agora.io&p=443&d=x",
            "https://edge.skype.com/z",
            "https://edge.skype.com/z",
        ),
        (
            "/v2/ws?signalDomain=a.rtc-web.com",
            "https://b.rtc-web.com/v2/ws",
            "https://b.rtc-web.com/v2/ws",
        ),
    ] {
        let follow = followed(&Case {
            location,
            target,
            ..CASE
        });
        assert_eq!(url(&follow), wanted, "{location}");
        assert_eq!(
            follow.route.cookie_path.is_some(),
            location.contains("skype")
        );
    }
}

#[test]
fn a_redirect_that_is_not_followed_comes_back_as_a_query_that_names_its_place() {
    for (target, location, wanted) in [
        (
            "/azure/ap/?url=a.agora.io/x?y",
            "/z?w",
            "/azure/ap/?url=a.agora.io/z?w",
        ),
        (
            "/ap/?url=a.agora.io/x?y",
            "https://b.agora.io/z",
            "/ap/?url=b.agora.io/z",
        ),
        (
            "/ls/?h=a.agora.io&p=443&d=x",
            "https://b.agora.io:4700/z",
            "/rs/?h=b.agora.io&p=4700&d=/z",
        ),
        (
            "/ls/?h=a.agora.io&p=443&d=x",
            "https://agora.io.evil.com/z",
            "/agora.io.evil.com/z",
        ),
    ] {
        let case = Case {
            location,
            target,
            hops: u8::MAX,
            ..CASE
        };
        assert_eq!(rewritten(&case), format!("https://{PROXY}{wanted}"));
    }
}
