use super::super::route::{RouteKind, Router};
use super::*;
use http::{Method, Request};

const PROXY: &str = "proxy.example.com:8443";

fn parts(method: Method, version: Version, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).version(version).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn get(headers: &[(&str, &str)]) -> request::Parts {
    parts(Method::GET, Version::HTTP_11, "/edge.skype.com/x", headers)
}

fn settings() -> Settings {
    Settings {
        allow: vec!["edge.skype.com:8443".parse().expect("a rule")],
        ..Settings::default()
    }
}

fn route() -> Route {
    let router = Router::new(&settings()).expect("good settings");
    router
        .route(PROXY, "/edge.skype.com:8443/x")
        .expect("a route")
}

fn upstream_of(parts: &request::Parts, route: &Route) -> HeaderMap {
    let client = ClientInfo {
        ip: "192.0.2.1".parse().expect("an address"),
        tls: true,
        authority: PROXY.into(),
    };
    to_upstream(parts, route, &client, &settings()).expect("headers")
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let all = headers.get_all(name).iter();
    all.map(|v| v.to_str().expect("ASCII")).collect()
}

#[test]
fn a_request_needs_exactly_one_well_formed_host() {
    assert_eq!(check(&get(&[("host", PROXY)])).as_deref(), Ok(PROXY));
    for headers in [
        &[][..],
        &[("host", PROXY), ("host", PROXY)],
        &[("host", "")],
        &[("host", "a b")],
        &[("host", "user@a.com")],
        &[("host", "a.com/x")],
        &[("host", "a.com, b.com")],
    ] {
        assert_eq!(check(&get(headers)), Err(Refusal::BadHost), "{headers:?}");
    }
}

#[test]
fn an_absolute_target_beats_host_and_http_2_agrees_with_itself() {
    let absolute = |headers| {
        parts(
            Method::GET,
            Version::HTTP_11,
            "https://a.example.com:1/x",
            headers,
        )
    };
    assert_eq!(
        check(&absolute(&[("host", PROXY)])).as_deref(),
        Ok("a.example.com:1")
    );
    assert_eq!(check(&absolute(&[])), Err(Refusal::BadHost));
    let h2 = |headers| {
        parts(
            Method::GET,
            Version::HTTP_2,
            "https://a.example.com:1/x",
            headers,
        )
    };
    assert_eq!(check(&h2(&[])).as_deref(), Ok("a.example.com:1"));
    assert_eq!(
        check(&h2(&[("host", "A.example.com:1")])).as_deref(),
        Ok("a.example.com:1")
    );
    assert_eq!(
        check(&h2(&[("host", "b.example.com")])),
        Err(Refusal::BadHost)
    );
}

#[test]
fn a_length_given_in_two_ways_is_refused() {
    for headers in [
        &[
            ("host", PROXY),
            ("content-length", "1"),
            ("content-length", "2"),
        ][..],
        &[
            ("host", PROXY),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
        ],
    ] {
        assert_eq!(check(&get(headers)), Err(Refusal::BadLength), "{headers:?}");
    }
}

#[test]
fn every_method_passes_but_trace_and_connect() {
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN",
    ] {
        let method: Method = method.parse().expect("a method");
        let parts = parts(method, Version::HTTP_11, "/x", &[("host", PROXY)]);
        assert!(check(&parts).is_ok());
    }
    for method in [Method::TRACE, Method::CONNECT] {
        let parts = parts(method, Version::HTTP_11, "/x", &[("host", PROXY)]);
        assert_eq!(check(&parts), Err(Refusal::MethodNotAllowed));
    }
}

#[test]
fn end_to_end_headers_pass_as_they_are() {
    let passing = [
        ("authorization", "Bearer x"),
        ("origin", "https://app.example.com"),
        ("referer", "https://app.example.com/a"),
        ("user-agent", "Browser"),
        ("accept-encoding", "gzip, br"),
        ("content-length", "3"),
        ("content-type", "application/json"),
        ("x-skypetoken", "t"),
        ("range", "bytes=0-1"),
        ("x-user-address", "1.2.3.4"),
        ("cookie", "a=b"),
    ];
    let headers = upstream_of(&get(&passing), &route());
    for (name, value) in passing {
        assert_eq!(all(&headers, name), [value]);
    }
    assert_eq!(all(&headers, "host"), ["edge.skype.com:8443"]);
    assert_eq!(all(&headers, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(all(&headers, "x-forwarded-host"), [PROXY]);
}

#[test]
fn what_belongs_to_one_hop_or_is_named_by_connection_never_passes() {
    let headers = upstream_of(
        &get(&[
            ("host", PROXY),
            ("connection", "close, X-Private"),
            ("connection", "x-other"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("proxy", "http://evil"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("expect", "100-continue"),
            ("x-kept", "3"),
        ]),
        &route(),
    );
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "forwarded",
            "host",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-kept",
            "x-real-ip"
        ]
    );
}

#[test]
fn connection_cannot_name_away_what_the_upstream_needs() {
    let given = [
        ("host", PROXY),
        (
            "connection",
            "content-length, host, x-real-ip, x-forwarded-for",
        ),
        ("content-length", "3"),
    ];
    let headers = upstream_of(&get(&given), &route());
    assert_eq!(all(&headers, "content-length"), ["3"]);
    assert_eq!(all(&headers, "host"), ["edge.skype.com:8443"]);
    assert_eq!(all(&headers, "x-real-ip"), ["192.0.2.1"]);
}

#[test]
fn a_websocket_handshake_passes_and_no_other_upgrade() {
    let handshake = [
        ("host", PROXY),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "2.0"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
    ];
    let request = get(&handshake);
    assert!(is_websocket(&request));
    let headers = upstream_of(&request, &route());
    assert_eq!(all(&headers, "connection"), ["Upgrade"]);
    assert_eq!(all(&headers, "upgrade"), ["websocket"]);
    for (name, value) in &handshake[3..] {
        assert_eq!(all(&headers, name), [*value]);
    }
    for (connection, upgrade) in [
        ("Upgrade, HTTP2-Settings", "h2c"),
        ("Upgrade", "TLS/1.0"),
        ("keep-alive", "websocket"),
        ("upgrades", "websocket"),
    ] {
        let request = get(&[
            ("host", PROXY),
            ("connection", connection),
            ("upgrade", upgrade),
        ]);
        assert!(!is_websocket(&request), "{upgrade}");
        let headers = upstream_of(&request, &route());
        assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"));
    }
    let post = parts(Method::POST, Version::HTTP_11, "/x", &handshake);
    let old = parts(Method::GET, Version::HTTP_10, "/x", &handshake);
    assert!(!is_websocket(&post) && !is_websocket(&old));
}

#[test]
fn cookies_pass_as_one_line_and_only_on_routes_that_have_them() {
    let request = get(&[("host", PROXY), ("cookie", "a=b"), ("cookie", "c=d")]);
    assert_eq!(
        all(&upstream_of(&request, &route()), "cookie"),
        ["a=b; c=d"]
    );
    let without = Route {
        cookie_path: None,
        kind: RouteKind::Prefix,
        ..route()
    };
    assert!(!upstream_of(&request, &without).contains_key("cookie"));
}

#[test]
fn an_upstream_that_wants_the_clients_address_gets_it_and_not_what_the_client_says() {
    let request = get(&[("host", PROXY), ("x-user-address", "1.1.1.1")]);
    let wanting = Route {
        user_address: true,
        ..route()
    };
    let told = |route: &Route| all(&upstream_of(&request, route), "x-user-address").join(",");
    assert_eq!(told(&wanting), "192.0.2.1");
    assert_eq!(told(&route()), "1.1.1.1");
}

#[test]
fn an_answer_loses_its_hop_and_what_would_bind_relayds_origin() {
    let mut upstream = HeaderMap::new();
    for (name, value) in [
        ("connection", "close, x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "Basic"),
        ("alt-svc", "h3=\":443\""),
        ("strict-transport-security", "max-age=1"),
        ("nel", "{}"),
        ("report-to", "{}"),
        ("reporting-endpoints", "a=\"b\""),
        ("clear-site-data", "\"*\""),
        ("service-worker-allowed", "/"),
        ("access-control-allow-origin", "*"),
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("content-encoding", "gzip"),
        ("www-authenticate", "Bearer"),
        ("server", "theirs"),
        ("etag", "\"x\""),
        ("set-cookie", "a=b; Domain=skype.com; Path=/"),
    ] {
        upstream.append(name, HeaderValue::from_static(value));
    }
    let origin = Origin::Allowed(HeaderValue::from_static("https://app.example.com"));
    let headers = to_client(upstream, &route(), &origin);
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "access-control-allow-credentials",
            "access-control-allow-origin",
            "access-control-expose-headers",
            "content-encoding",
            "content-length",
            "content-type",
            "etag",
            "server",
            "set-cookie",
            "vary",
            "www-authenticate",
        ]
    );
    assert_eq!(
        all(&headers, "set-cookie"),
        ["a=b; Path=/edge.skype.com:8443"]
    );
    assert_eq!(all(&headers, "content-length"), ["2"]);
    let exposed =
        "content-encoding, content-length, content-type, etag, server, vary, www-authenticate";
    assert_eq!(all(&headers, "access-control-expose-headers"), [exposed]);
}
