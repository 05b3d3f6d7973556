//! Sampling, reloads, the key to the collector, TLS, and a ratio that holds.

use super::collector::Span;
use super::trouble::wait_counted;
use super::web::certs::Authority;
use super::web::client::Client;
use super::web::origin::{Origin, Seen, Then, Wire, accept_websocket, ok, send};
use super::web::relayd::Relayd;
use super::{TARGET, World, counted, reload, start, table};
use prost::Message as _;

#[test]
fn a_ratio_of_a_half_tells_of_about_half_and_of_whole_requests_only() {
    const REQUESTS: usize = 200;
    let world = World::new("sample_ratio = 0.5");
    let mut client = world.relayd.connect();
    for _ in 0..REQUESTS {
        client.send(world.relayd.head("GET", TARGET, &[], 0));
        assert_eq!(client.answer().status(), 200);
    }
    let change = |file: String| file.replace("sample_ratio = 0.5", "sample_ratio = 1");
    reload(&world.relayd, change, "\"reloaded\"");
    // The last that comes is this one's.
    world.relayd.request("PUT", TARGET, &[], b"");
    let is_last = |span: &Span| span.name == "PUT" && span.kind == 2;
    let mut spans = world.collector.wait_for(1);
    while !spans.iter().any(is_last) {
        spans = world.collector.wait_for(spans.len() + 1);
    }
    let servers = spans.iter().filter(|span| span.kind == 2).count() - 1;
    let clients = spans.iter().filter(|span| span.kind == 3).count() - 1;
    assert_eq!(servers, clients);
    // Seven standard deviations to each side.
    assert!((50..=150).contains(&servers), "{servers} of {REQUESTS}");
}

#[test]
fn nothing_is_sent_while_it_is_off_and_a_reload_switches_it_on_and_off() {
    let world = World::new("");
    let off = |file: String| file.replace("endpoint = \"http", "endpoint = \"off\" #http");
    let on = |file: String| file.replace("endpoint = \"off\" #http", "endpoint = \"http");
    reload(&world.relayd, off, "\"reloaded\"");
    world.relayd.get(TARGET);
    reload(&world.relayd, on, "\"reloaded\"");
    world.relayd.request("PUT", TARGET, &[], b"");
    world.collector.exactly(&["PUT", "PUT"]);
    reload(&world.relayd, off, "\"reloaded\"");
    world.relayd.get(TARGET);
    reload(&world.relayd, on, "\"reloaded\"");
    world.relayd.request("POST", TARGET, &[], b"");
    world.collector.exactly(&["PUT", "PUT", "POST", "POST"]);
    wait_counted(&world, "exported", 4.0);
    assert_eq!(counted(&world.relayd, "failed"), 0.0);
}

/// Opens a WebSocket whose upstream ends it with the client, and waits until what was told of its opening has arrived.
fn tunnel(world: &World) -> Client {
    let mut client = world.relayd.connect();
    client.send(world.relayd.websocket_head("/api.example.com/ws", &[]));
    assert_eq!(client.answer_head().status(), 101);
    world.collector.exactly(&["GET", "GET"]);
    client
}

fn until_closed(seen: &Seen, wire: &mut Wire) -> Then {
    accept_websocket(seen, wire, &[], b"");
    let _ = std::io::Read::read(wire, &mut [0; 1]);
    Then::Close
}

#[test]
fn a_tunnel_that_outlives_the_tracing_is_not_told_of() {
    let world = World::answering("", until_closed);
    let client = tunnel(&world);
    let off = |file: String| file.replace("endpoint = \"http", "endpoint = \"off\" #http");
    reload(&world.relayd, off, "\"reloaded\"");
    drop(client);
    wait_counted(&world, "dropped", 1.0);
    assert_eq!(world.collector.spans().len(), 2);
    wait_counted(&world, "exported", 2.0);
}

#[test]
fn privacy_that_comes_with_a_reload_holds_for_open_tunnels() {
    let world = World::answering("", until_closed);
    let client = tunnel(&world);
    let private =
        |file: String| file.replace("format = \"json\"", "format = \"json\"\nprivacy = true");
    reload(&world.relayd, private, "\"reloaded\"");
    drop(client);
    let spans = world.collector.exactly(&["GET", "GET", "WebSocket"]);
    let tunnel = super::collector::of_kind(&spans, 1);
    assert_eq!(super::collector::attribute(tunnel, "client.address"), "");
}

#[test]
fn a_reload_with_a_bad_key_or_authority_changes_nothing() {
    let world = World::new("headers = { authorization = \"file:key\" }\nservice_name = \"before\"");
    let broken = |file: String| {
        file.replace("\"file:key\"", "\"file:nothing\"")
            .replace("\"before\"", "\"after\"")
    };
    reload(&world.relayd, broken, "the configuration stays as it was");
    world.relayd.get(TARGET);
    world.collector.exactly(&["GET", "GET"]);
    assert_eq!(world.collector.resources()[0]["service.name"], "before");
    assert!(
        !world.relayd.log().contains("TOP-SECRET"),
        "{}",
        world.relayd.log()
    );
}

#[test]
fn the_key_to_the_collector_comes_from_a_file_and_is_shown_nowhere() {
    let world = World::new("headers = { authorization = \"file:key\", x-scope = \"one\" }");
    world.relayd.get(TARGET);
    world.collector.exactly(&["GET", "GET"]);
    let batch = &world.collector.requests()[0];
    assert_eq!(batch.one("authorization"), Some("Bearer TOP-SECRET-KEY"));
    assert_eq!(batch.one("x-scope"), Some("one"));
    let shown = world.relayd.admin("/config");
    assert!(shown.text().contains("tracing.headers"), "{}", shown.text());
    for text in [shown.text(), &world.relayd.log()] {
        assert!(!text.contains("TOP-SECRET-KEY"), "{text}");
    }
}

#[test]
fn a_collector_with_tls_is_verified_by_the_authority_of_the_file() {
    let ca = Authority::new("one for both");
    let upstream = Origin::plain(&ca.leaf(&["*.example.com"]));
    let collector = Origin::start(&ca.leaf(&["localhost"]), |_, wire, _| {
        send(wire, "200 OK", &[], b"")
    });
    let endpoint = format!(
        "[tracing]\nendpoint = \"https://localhost:{}/base/\"\n",
        collector.addr.port()
    );
    let relayd = start(
        &ca,
        upstream.addr,
        &format!("{endpoint}ca_file = \"collector-ca.pem\"\n"),
    );
    relayd.get(TARGET);
    let batch = collector.wait_for(1).remove(0).message;
    assert_eq!(batch.target(), "/base/v1/traces");
    assert_eq!(spans_in(&batch.body), 2);

    let relayd = start(&ca, upstream.addr, &endpoint);
    relayd.get(TARGET);
    relayd.wait_for_log("line about the certificate", |line| {
        line.contains("spans cannot be sent") && line.contains("UnknownIssuer")
    });
    assert_eq!(collector.seen().len(), 1);
}

fn spans_in(body: &[u8]) -> usize {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    request.resource_spans[0].scope_spans[0].spans.len()
}

#[test]
fn spans_of_http_2_say_so() {
    let world = World::new("");
    let mut client = world.relayd.connect_alpn(&["h2"]);
    let authority = world.relayd.authority();
    let mut head = vec![0x82, 0x87];
    for (name, value) in [(1, authority.as_str()), (4, "/api.example.com/x")] {
        head.extend([name, u8::try_from(value.len()).expect("a short value")]);
        head.extend(value.as_bytes());
    }
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let length = u8::try_from(head.len()).expect("a short head");
    client.send([&[0, 0, length, 1, 5, 0, 0, 0, 1], &head[..]].concat());
    let spans = world.collector.exactly(&["GET", "GET"]);
    let server = super::collector::of_kind(&spans, 2);
    let attribute = |name| super::collector::attribute(server, name);
    assert_eq!(attribute("network.protocol.version"), "2");
    assert_eq!(attribute("server.address"), "proxy.example.com");
}

/// What runs without the table is what runs with it off.
#[test]
fn without_a_table_no_thread_sends_and_the_counters_are_there() {
    let ca = Authority::new("upstream test root");
    let upstream = Origin::start(&ca.leaf(&["*.example.com"]), |_, wire, _| ok(wire, "fine"));
    let relayd = start(&ca, upstream.addr, "");
    assert_eq!(relayd.get(TARGET).status(), 200);
    let metrics = relayd.admin("/metrics");
    for result in ["exported", "dropped", "failed"] {
        let line = format!("relayd_tracing_spans_total{{result=\"{result}\"}} 0");
        assert!(metrics.text().contains(&line), "{line}");
    }
    assert!(!threads(&relayd).contains(&"relayd-spans".to_owned()));
    let collector = super::Collector::start();
    let on = |file: String| format!("{file}{}", table(collector.addr, ""));
    reload(&relayd, on, "\"reloaded\"");
    // A thread names itself when it first runs.
    let begin = std::time::Instant::now();
    while !threads(&relayd).contains(&"relayd-spans".to_owned()) {
        assert!(begin.elapsed().as_secs() < 20, "no thread sends spans");
        std::thread::yield_now();
    }
}

fn threads(relayd: &Relayd) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", relayd.pid())).expect("a process");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim_end().to_owned())
    };
    tasks.filter_map(name).collect()
}
