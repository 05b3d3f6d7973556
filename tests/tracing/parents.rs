//! W3C Trace Context: whom relayd believes, and what it tells upstreams.

use super::collector::{assert_below, of_kind};
use super::{TARGET, World, counted};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A relayd that trusts loopback as a proxy.
fn trusting(lines: &str) -> World {
    let world = World::new(lines);
    let trust = |file: String| {
        file.replace(
            "[proxy]\n",
            "[proxy]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
        )
    };
    super::reload(&world.relayd, trust, "\"reloaded\"");
    world
}

#[test]
fn a_strangers_traceparent_decides_nothing_and_passes_as_any_other_header() {
    let world = World::new("");
    let (parent, state) = (traceparent("01"), "vendor=1");
    let headers = [("traceparent", parent.as_str()), ("tracestate", state)];
    world.relayd.request("GET", TARGET, &headers, b"");
    let spans = world.collector.exactly(&["GET", "GET"]);
    let server = of_kind(&spans, 2);
    assert_ne!(hex(&server.trace_id), TRACE);
    assert_eq!(server.parent_span_id, Vec::<u8>::new());
    assert_eq!(server.trace_state, "");
    let seen = world.origin.only().message;
    assert_eq!(seen.one("traceparent"), Some(parent.as_str()));
    assert_eq!(seen.one("tracestate"), Some(state));
}

#[test]
fn a_stranger_cannot_have_a_request_recorded() {
    let world = World::new("sample_ratio = 0");
    let parent = traceparent("01");
    world
        .relayd
        .request("GET", TARGET, &[("traceparent", &parent)], b"");
    reload_to_sampling(&world);
    world.relayd.get(TARGET);
    let spans = world.collector.exactly(&["GET", "GET"]);
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE));
}

#[test]
fn a_trusted_proxys_traceparent_is_the_parent_and_decides() {
    let world = trusting("sample_ratio = 0");
    let parent = traceparent("01");
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    world.relayd.request("GET", TARGET, &headers, b"");
    let spans = world.collector.exactly(&["GET", "GET"]);
    let (server, client) = (of_kind(&spans, 2), of_kind(&spans, 3));
    assert_eq!(hex(&server.trace_id), TRACE);
    assert_eq!(hex(&server.parent_span_id), SPAN);
    assert_eq!(server.trace_state, "a=1,b=2");
    // Sampled, and the parent is known to be of another process.
    assert_eq!(server.flags, 0x301);
    assert_eq!(client.flags, 0x101);
    assert_below(client, server);
}

#[test]
fn a_trusted_proxy_that_does_not_record_is_followed_too_and_nonsense_is_none() {
    let world = trusting("");
    let unsampled = traceparent("00");
    world
        .relayd
        .request("GET", TARGET, &[("traceparent", &unsampled)], b"");
    for nonsense in [
        "",
        "00-x",
        &traceparent("01").to_uppercase(),
        &format!("{}-x", traceparent("01")),
    ] {
        world
            .relayd
            .request("GET", TARGET, &[("traceparent", nonsense)], b"");
    }
    let twice = traceparent("01");
    let twice = [
        ("traceparent", twice.as_str()),
        ("traceparent", twice.as_str()),
    ];
    world.relayd.request("GET", TARGET, &twice, b"");
    // Two for each request but the first.
    let spans = world.collector.exactly(&["GET"; 10]);
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) != TRACE),
        "{spans:#?}"
    );
    assert_eq!(counted(&world.relayd, "dropped"), 0.0);
}

#[test]
fn upstreams_are_told_of_a_trace_only_where_that_is_switched_on() {
    let world = World::new("");
    world.relayd.get(TARGET);
    assert_eq!(world.origin.only().message.one("traceparent"), None);

    let world = World::new("propagate = true");
    let (parent, state) = (traceparent("01"), "vendor=1");
    let headers = [("traceparent", parent.as_str()), ("tracestate", state)];
    world.relayd.request("GET", TARGET, &headers, b"");
    let spans = world.collector.exactly(&["GET", "GET"]);
    let client = of_kind(&spans, 3);
    let seen = world.origin.only().message;
    let told = format!("00-{}-{}-01", hex(&client.trace_id), hex(&client.span_id));
    assert_eq!(seen.one("traceparent"), Some(told.as_str()));
    assert_eq!(seen.one("tracestate"), None);
}

#[test]
fn upstreams_hear_that_a_trace_is_not_recorded_and_get_a_trusted_tracestate() {
    let world = trusting("propagate = true\nsample_ratio = 0");
    world.relayd.get(TARGET);
    let seen = world.origin.last().message;
    let told = seen.one("traceparent").expect("a header");
    assert!(
        told.starts_with("00-") && told.ends_with("-00") && told.len() == 55,
        "{told}"
    );
    let parent = traceparent("00");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "a=1")];
    world.relayd.request("GET", TARGET, &headers, b"");
    let seen = world.origin.last().message;
    assert_eq!(seen.one("tracestate"), Some("a=1"));
    let told = seen.one("traceparent").expect("a header");
    assert!(
        told.starts_with(&format!("00-{TRACE}-")) && !told.contains(SPAN),
        "{told}"
    );
}

fn reload_to_sampling(world: &World) {
    let change = |file: String| file.replace("sample_ratio = 0", "sample_ratio = 1.0");
    super::reload(&world.relayd, change, "\"reloaded\"");
}
