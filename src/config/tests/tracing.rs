//! `[tracing]`: what is read, refused and warned about.

use super::*;
use crate::spans::{Endpoint, Settings};

fn lines(lines: &str) -> Result<Loaded, Report> {
    let dir = fresh_dir();
    std::fs::write(dir.join("key"), "Bearer s3cret\n").expect("a file");
    std::fs::write(dir.join("binary"), "s3cret\u{1}").expect("a file");
    parse_in(&dir, &format!("{SELF_SIGNED}[tracing]\n{lines}\n"))
}

fn endpoint(url: &str) -> Option<Endpoint> {
    let loaded =
        lines(&format!("endpoint = \"{url}\"")).unwrap_or_else(|report| panic!("{report}"));
    loaded.config.spans.endpoint
}

#[test]
fn it_is_off_by_default_and_reaches_its_part_with_every_key() {
    let config = parse_text(SELF_SIGNED).expect("valid").config;
    assert_eq!(config.spans, Settings::default());
    assert_eq!(endpoint("off"), None);
    let text = "endpoint = \"https://otel.example.com/base/\"\nservice_name = \"relay-1\"\nsample_ratio = 0.25\npropagate = true\n\
         headers = { Authorization = \"file:key\", x-scope = \"one\" }\ntimeout = \"3s\"\nqueue_spans = 1000\n[log]\nprivacy = true";
    let spans = lines(text)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
        .spans;
    let at = spans.endpoint.as_ref().expect("on");
    assert_eq!(
        (at.tls, at.host.as_str(), at.port),
        (true, "otel.example.com", 443)
    );
    assert_eq!(at.base, "/base");
    assert_eq!(spans.service_name, "relay-1");
    assert!((spans.sample_ratio - 0.25).abs() < f64::EPSILON);
    assert!(spans.propagate && spans.privacy);
    let headers: Vec<_> = spans
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(
        headers,
        [("authorization", "Bearer s3cret"), ("x-scope", "one")]
    );
    assert_eq!((spans.timeout.as_secs(), spans.queue_spans), (3, 1000));
}

#[test]
fn collectors_are_named_as_they_are_in_networks_and_clusters() {
    for (url, shown) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("http://localhost:4318/", "http://localhost:4318"),
        ("http://[::1]:4318", "http://[::1]:4318"),
        ("http://collector:4318", "http://collector:4318"),
        (
            "HTTPS://otel.example.com/a",
            "https://otel.example.com:443/a",
        ),
        ("http://otel.example.com", "http://otel.example.com:80"),
    ] {
        assert_eq!(endpoint(url).expect("on").to_string(), shown);
    }
}

#[test]
fn bad_values_are_refused_with_a_reason_and_without_a_secret() {
    for (text, said) in [
        (
            "endpoint = \"127.0.0.1:4318\"",
            "is not the URL of a collector",
        ),
        (
            "endpoint = \"grpc://127.0.0.1:4317\"",
            "is not the URL of a collector",
        ),
        ("endpoint = \"http://s3cret@otel.example.com\"", "no user"),
        ("endpoint = \"http://otel.example.com?key=1\"", "no query"),
        (
            "endpoint = \"http://otel.example.com/v1/traces\"",
            "write \"http://otel.example.com\"",
        ),
        ("endpoint = \"http://[::1:4318\"", "brackets"),
        ("endpoint = \"http://otel.example.com:0\"", "port"),
        ("endpoint = true", "wrong type"),
        ("sample_ratio = 1.5", "from 0 to 1"),
        ("sample_ratio = -1", "from 0 to 1"),
        ("sample_ratio = nan", "from 0 to 1"),
        ("sample_ratio = \"half\"", "wrong type"),
        ("timeout = \"0s\"", "out of range"),
        ("timeout = \"2m\"", "out of range"),
        ("queue_spans = 1", "out of range"),
        ("service_name = \"\"", "`tracing.service_name`"),
        ("headers = \"s3cret\"", "wrong type"),
        ("headers = { host = \"s3cret\" }", "sets itself"),
        ("headers = { \"a b\" = \"s3cret\" }", "name of a header"),
        (
            "headers = { authorization = \"file:binary\" }",
            "printable ASCII",
        ),
        (
            "headers = { authorization = \"file:nothing\" }",
            "no such file",
        ),
        ("ca_file = \"nothing.pem\"", "no such file"),
        ("endpiont = \"off\"", "did you mean `endpoint`?"),
    ] {
        let report = lines(text).expect_err(text).to_string();
        assert!(report.contains(said), "{said} in {report}");
        assert!(!report.contains("s3cret"), "{report}");
    }
}

#[test]
fn a_key_that_is_sent_in_the_clear_is_warned_about() {
    let warned = |text: &str| {
        let loaded = lines(text).unwrap_or_else(|report| panic!("{report}"));
        let mut warnings = loaded.warnings.iter();
        warnings.any(|warning| warning.message.contains("sent without TLS"))
    };
    let key = "headers = { authorization = \"file:key\" }";
    assert!(warned(&format!(
        "endpoint = \"http://otel.example.com\"\n{key}"
    )));
    assert!(!warned(&format!(
        "endpoint = \"https://otel.example.com\"\n{key}"
    )));
    assert!(!warned(&format!(
        "endpoint = \"http://127.0.0.1:4318\"\n{key}"
    )));
    assert!(!warned("endpoint = \"http://otel.example.com\""));
}

#[test]
fn a_change_of_the_key_is_told_by_its_name() {
    let with = |headers: &str| {
        let loaded = lines(&format!(
            "endpoint = \"http://127.0.0.1:4318\"\nheaders = {{ {headers} }}"
        ));
        loaded.unwrap_or_else(|report| panic!("{report}")).config
    };
    let changed = changes(
        &with("a = \"s3cret-1\""),
        &with("a = \"s3cret-2\", b = \"s3cret-3\""),
    );
    let changed: Vec<_> = changed.iter().map(|c| (c.key, c.change.as_str())).collect();
    assert_eq!(changed, [("tracing.headers", "b added, a changed")]);
}
