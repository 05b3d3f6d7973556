//! Proxied requests: what their spans say, and what they never say.

use super::collector::{assert_attributes, assert_below, attribute, failed, of_kind};
use super::web::origin::{Then, accept_websocket, send};
use super::{HOST, TARGET, World, reload};
use std::time::{SystemTime, UNIX_EPOCH};

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_nanos()).expect("before 2554")
}

#[test]
fn a_request_is_a_server_span_and_its_try_at_the_upstream_a_client_span_below_it() {
    let world = World::new("service_name = \"relay-1\"");
    let before = now();
    let secrets = [("Authorization", "TOP-SECRET"), ("Cookie", "TOP-SECRET")];
    let answer = world
        .relayd
        .request("POST", TARGET, &secrets, b"TOP-SECRET body");
    assert_eq!(answer.text(), "fine");
    let spans = world.collector.exactly(&["POST", "POST"]);
    let (server, client) = (of_kind(&spans, 2), of_kind(&spans, 3));
    let port = world.relayd.tls.port().to_string();
    assert_attributes(
        server,
        &[
            ("client.address", "127.0.0.1"),
            ("http.request.body.size", "15"),
            ("http.request.method", "POST"),
            ("http.response.body.size", "4"),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("relayd.request.end", "complete"),
            ("relayd.request.kind", "host"),
            ("server.address", "proxy.example.com"),
            ("server.port", &port),
            ("url.path", "/api.example.com/v2/calls"),
            ("url.scheme", "https"),
        ],
    );
    assert_attributes(
        client,
        &[
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("server.address", HOST),
            ("server.port", "443"),
            ("url.full", "https://api.example.com/v2/calls"),
        ],
    );
    assert_below(client, server);
    assert_eq!(server.parent_span_id, Vec::<u8>::new());
    assert_eq!((server.trace_id.len(), server.span_id.len()), (16, 8));
    assert!(!failed(server) && !failed(client));
    assert!(before <= server.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    assert!(server.end_time_unix_nano <= now());
    let batch = &world.collector.requests()[0];
    assert_eq!((batch.method(), batch.target()), ("POST", "/v1/traces"));
    assert_eq!(batch.one("content-type"), Some("application/x-protobuf"));
    let batches = world.collector.requests();
    let told = |batch: &super::web::message::Message| {
        String::from_utf8_lossy(&batch.body).contains("TOP-SECRET")
    };
    assert!(!batches.iter().any(told));
    let resource = &world.collector.resources()[0];
    assert_eq!(resource["service.name"], "relay-1");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["process.pid"], world.relayd.pid().to_string());
    assert_eq!(resource["service.instance.id"].len(), 32);
}

#[test]
fn what_relayd_refuses_is_one_span_with_its_reason_and_no_failure_of_the_server() {
    let world = World::new("");
    assert_eq!(
        world.relayd.get("/evil.example.org/x?TOP-SECRET").status(),
        403
    );
    let spans = world.collector.exactly(&["GET"]);
    let server = of_kind(&spans, 2);
    assert_eq!(attribute(server, "error.type"), "host_not_allowed");
    assert_eq!(attribute(server, "http.response.status_code"), "403");
    assert_eq!(attribute(server, "relayd.request.kind"), "refused");
    assert_eq!(attribute(server, "url.path"), "/evil.example.org/x");
    assert!(!failed(server));
}

#[test]
fn an_upstreams_failure_is_told_by_both_spans_and_a_broken_connection_by_its_reason() {
    let cases = [
        ("failing", 503, "503", "503", true),
        ("missing", 404, "404", "", false),
        ("closed", 502, "upstream_closed", "upstream_closed", true),
    ];
    for (path, status, of_client, of_server, server_failed) in cases {
        let world = World::answering("", |seen, wire| match seen.message.target() {
            "/failing" => send(wire, "503 Service Unavailable", &[], b""),
            "/missing" => send(wire, "404 Not Found", &[], b""),
            _ => Then::Close,
        });
        let answer = world.relayd.get(&format!("/api.example.com/{path}"));
        assert_eq!(answer.status(), status);
        let spans = world.collector.exactly(&["GET", "GET"]);
        let (server, client) = (of_kind(&spans, 2), of_kind(&spans, 3));
        assert_eq!(attribute(client, "error.type"), of_client, "{path}");
        assert_eq!(attribute(server, "error.type"), of_server, "{path}");
        assert!(failed(client), "{path}");
        assert_eq!(failed(server), server_failed, "{path}");
        assert_below(client, server);
    }
}

#[test]
fn each_hop_of_a_redirect_that_is_followed_is_a_try_of_its_own() {
    let world = World::answering("", |seen, wire| {
        if seen.message.target() == "/from" {
            let to = [("Location", "https://other.example.com/to?TOP-SECRET")];
            return send(wire, "302 Found", &to, b"");
        }
        super::ok(wire, "there")
    });
    assert_eq!(world.relayd.get("/api.example.com/from").text(), "there");
    let spans = world.collector.exactly(&["GET", "GET", "GET"]);
    let told = |span: &super::collector::Span| {
        let of = |name| attribute(span, name);
        (
            of("url.full"),
            of("http.response.status_code"),
            of("http.request.resend_count"),
        )
    };
    let hops: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == 3)
        .map(told)
        .collect();
    let hop = |url: &str, status: &str, count: &str| {
        (url.to_owned(), status.to_owned(), count.to_owned())
    };
    assert_eq!(
        hops,
        [
            hop("https://api.example.com/from", "302", ""),
            hop("https://other.example.com/to", "200", "1"),
        ]
    );
}

#[test]
fn a_websocket_is_a_span_of_its_own_with_its_time_its_bytes_and_its_end() {
    let world = World::answering("", |seen, wire| {
        accept_websocket(seen, wire, &[], b"");
        let mut bytes = [0; 5];
        std::io::Read::read_exact(wire, &mut bytes).expect("the client's bytes");
        std::io::Write::write_all(wire, b"answer!").expect("sent");
        std::io::Write::flush(wire).expect("sent");
        Then::Close
    });
    let mut client = world.relayd.connect();
    client.send(
        world
            .relayd
            .websocket_head("/api.example.com/ws?TOP-SECRET", &[]),
    );
    assert_eq!(client.answer_head().status(), 101);
    client.send("hello");
    assert_eq!(client.exactly(7), b"answer!");
    client.half_close();
    assert!(client.ended());
    let spans = world.collector.exactly(&["GET", "GET", "WebSocket"]);
    let (tunnel, server, upstream) = (of_kind(&spans, 1), of_kind(&spans, 2), of_kind(&spans, 3));
    assert_attributes(
        tunnel,
        &[
            ("client.address", "127.0.0.1"),
            ("network.protocol.name", "websocket"),
            ("relayd.tunnel.bytes_to_client", "7"),
            ("relayd.tunnel.bytes_to_upstream", "5"),
            ("relayd.tunnel.end", "*"),
            ("server.address", HOST),
            ("server.port", "443"),
        ],
    );
    assert_below(tunnel, server);
    assert_below(upstream, server);
    for span in [server, upstream] {
        assert_eq!(attribute(span, "http.response.status_code"), "101");
        assert!(!failed(span));
    }
    assert!(tunnel.end_time_unix_nano > tunnel.start_time_unix_nano);
}

#[test]
fn health_checks_preflights_and_own_pages_are_no_spans() {
    let world = World::new("");
    assert_eq!(world.relayd.get("/healthcheck").status(), 200);
    let asked = [
        ("Origin", "https://app.example.org"),
        ("Access-Control-Request-Method", "DELETE"),
    ];
    let preflight = world.relayd.request("OPTIONS", TARGET, &asked, b"");
    assert_eq!(preflight.status(), 204);
    assert_eq!(world.relayd.get(TARGET).status(), 200);
    let spans = world.collector.exactly(&["GET", "GET"]);
    assert_eq!(
        attribute(of_kind(&spans, 2), "url.path"),
        "/api.example.com/v2/calls"
    );
}

#[test]
fn tokens_in_a_path_are_blanked_and_privacy_leaves_the_host_alone() {
    let world = World::new("");
    let path = "/api.example.com/users/0123456789abcdef0123456789abcdef/x";
    assert_eq!(world.relayd.get(path).status(), 200);
    let spans = world.collector.exactly(&["GET", "GET"]);
    assert_eq!(
        attribute(of_kind(&spans, 2), "url.path"),
        "/api.example.com/users/*/x"
    );
    assert_eq!(
        attribute(of_kind(&spans, 3), "url.full"),
        "https://api.example.com/users/*/x"
    );
    let private =
        |file: String| file.replace("format = \"json\"", "format = \"json\"\nprivacy = true");
    reload(&world.relayd, private, "\"reloaded\"");
    assert_eq!(
        world.relayd.get("/api.example.com/users/alice").status(),
        200
    );
    let spans = world.collector.wait_for(4);
    let (server, client) = (of_kind(&spans[2..], 2), of_kind(&spans[2..], 3));
    assert_eq!(attribute(server, "url.path"), "/api.example.com/*");
    assert_eq!(attribute(server, "client.address"), "");
    assert_eq!(attribute(client, "url.full"), "https://api.example.com/*");
    assert_eq!(attribute(client, "server.address"), HOST);
    let body = &world.collector.requests().pop().expect("a batch").body;
    let body = String::from_utf8_lossy(body).into_owned();
    assert!(
        !body.contains("alice") && !body.contains("127.0.0.1"),
        "{body}"
    );
}

#[test]
fn a_method_of_a_clients_own_invention_is_not_told() {
    let world = World::new("");
    assert_eq!(
        world.relayd.request("ALICE", TARGET, &[], b"").status(),
        200
    );
    let spans = world.collector.exactly(&["_OTHER", "_OTHER"]);
    assert_eq!(attribute(&spans[0], "http.request.method"), "_OTHER");
}
