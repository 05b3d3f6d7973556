use super::super::Settings;
use super::super::route::Router;
use super::*;
use http::Request;

const APP: &str = "https://app.example.com";

fn parts(method: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri("/edge.skype.com/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn any() -> CorsPolicy {
    CorsPolicy::new(&["*".to_owned()])
}

fn ask(policy: &CorsPolicy, target: &str, parts: &request::Parts) -> Option<Response<Bytes>> {
    let allow = vec!["*.skype.com".parse().expect("a rule")];
    let router = Router::new(&Settings {
        allow,
        ..Settings::default()
    })
    .expect("good settings");
    let route = router.route("proxy.example.com", target);
    preflight(parts, route.as_ref(), &policy.judge(&parts.headers))
}

const ASKING: [(&str, &str); 3] = [
    ("origin", APP),
    ("access-control-request-method", "DELETE"),
    (
        "access-control-request-headers",
        "authorization,x-skypetoken",
    ),
];

#[test]
fn a_preflight_of_an_allowed_target_is_204_and_echoes_what_was_asked() {
    let response =
        ask(&any(), "/edge.skype.com/x", &parts("OPTIONS", &ASKING)).expect("a preflight");
    assert_eq!(response.status(), 204);
    assert!(response.body().is_empty());
    let headers = response.headers();
    for (name, value) in [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "DELETE"),
        ("access-control-allow-headers", "authorization,x-skypetoken"),
        ("access-control-max-age", "7200"),
        ("vary", PREFLIGHT_VARY),
    ] {
        assert_eq!(
            headers.get_all(name).iter().collect::<Vec<_>>(),
            [value],
            "{name}"
        );
    }
    assert!(!headers.contains_key(ALLOW_PRIVATE_NETWORK));
    assert!(!headers.contains_key(header::CONTENT_LENGTH));
}

#[test]
fn a_preflight_without_headers_gets_none_and_private_network_if_asked() {
    let asking = [
        ("origin", APP),
        ("access-control-request-method", "GET"),
        ("access-control-request-private-network", "true"),
    ];
    let response =
        ask(&any(), "/edge.skype.com/x", &parts("OPTIONS", &asking)).expect("a preflight");
    assert_eq!(response.headers()[ALLOW_PRIVATE_NETWORK], "true");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-headers")
    );
}

#[test]
fn a_preflight_for_another_target_or_from_another_origin_is_403() {
    for target in ["/evil.com/x", "/nowhere", "/127.0.0.1/x"] {
        let response = ask(&any(), target, &parts("OPTIONS", &ASKING)).expect("a preflight");
        assert_eq!(response.status(), 403, "{target}");
    }
    let policy = CorsPolicy::new(&["https://other.example.com".to_owned()]);
    let response =
        ask(&policy, "/edge.skype.com/x", &parts("OPTIONS", &ASKING)).expect("a preflight");
    assert_eq!(response.status(), 403);
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
}

#[test]
fn a_preflight_for_a_method_that_is_never_proxied_is_refused() {
    for (method, status) in [("TRACE", 405), ("CONNECT", 405), ("G T", 400)] {
        let asking = [("origin", APP), ("access-control-request-method", method)];
        let response =
            ask(&any(), "/edge.skype.com/x", &parts("OPTIONS", &asking)).expect("a preflight");
        assert_eq!(response.status(), status, "{method}");
    }
}

#[test]
fn other_requests_are_no_preflight() {
    for (method, headers) in [
        ("OPTIONS", &[("origin", APP)][..]),
        ("OPTIONS", &[("access-control-request-method", "GET")][..]),
        ("GET", &ASKING[..]),
        ("POST", &ASKING[..]),
    ] {
        assert!(
            ask(&any(), "/edge.skype.com/x", &parts(method, headers)).is_none(),
            "{method}"
        );
    }
}

#[test]
fn an_origin_is_judged_by_the_list() {
    let list = CorsPolicy::new(&[APP.to_owned(), "null".to_owned()]);
    for (policy, origin, allowed) in [
        (&any(), APP, true),
        (&any(), "null", true),
        (&list, APP, true),
        (&list, "https://APP.example.com", true),
        (&list, "null", true),
        (&list, "http://app.example.com", false),
        (&list, "https://app.example.com:8443", false),
        (&list, "https://app.example.com.evil.com", false),
        (&list, "https://evil.com", false),
    ] {
        let judged = policy.judge(&parts("GET", &[("origin", origin)]).headers);
        assert_eq!(matches!(judged, Origin::Allowed(_)), allowed, "{origin}");
        assert_eq!(judged == Origin::Denied, !allowed, "{origin}");
    }
    assert_eq!(any().judge(&HeaderMap::new()), Origin::Absent);
    assert_eq!(
        any().judge(&parts("GET", &[("origin", APP), ("origin", "https://b")]).headers),
        Origin::Denied
    );
}

fn answer() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-origin", "https://theirs.example.com"),
        ("access-control-expose-headers", "*"),
        ("access-control-allow-private-network", "true"),
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("x-trace", "a"),
        ("x-trace", "b"),
        ("set-cookie", "a=b"),
        ("vary", "Accept-Encoding"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let all = headers.get_all(name).iter();
    all.map(|v| v.to_str().expect("ASCII")).collect()
}

#[test]
fn an_upstreams_cors_headers_are_replaced_by_exactly_one_of_each() {
    let mut headers = answer();
    decorate(
        &mut headers,
        &Origin::Allowed(HeaderValue::from_static(APP)),
    );
    assert_eq!(all(&headers, "access-control-allow-origin"), [APP]);
    assert_eq!(all(&headers, "access-control-allow-credentials"), ["true"]);
    assert_eq!(
        all(&headers, "access-control-expose-headers"),
        ["content-length, content-type, vary, x-trace"]
    );
    assert!(!headers.contains_key("access-control-allow-private-network"));
    assert_eq!(all(&headers, "vary"), ["Accept-Encoding", "Origin"]);
}

#[test]
fn without_an_origin_any_may_read_and_with_a_denied_one_none() {
    let mut headers = answer();
    decorate(&mut headers, &Origin::Absent);
    assert_eq!(all(&headers, "access-control-allow-origin"), ["*"]);
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let mut headers = answer();
    decorate(&mut headers, &Origin::Denied);
    assert!(
        !headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control-"))
    );
    assert_eq!(all(&headers, "vary"), ["Accept-Encoding", "Origin"]);
}

#[test]
fn vary_names_origin_once() {
    for (given, wanted) in [
        ("Accept, ORIGIN", vec!["Accept, ORIGIN"]),
        ("*", vec!["*"]),
        ("Originator", vec!["Originator", "Origin"]),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("vary", HeaderValue::from_static(given));
        decorate(&mut headers, &Origin::Absent);
        assert_eq!(all(&headers, "vary"), wanted);
    }
}
