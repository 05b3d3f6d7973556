use crate::live::report::{Part, Report, Row};
use crate::live::text::Style;
use std::time::Duration;

fn report() -> Report {
    let checks = vec![
        Row::ok(Part::Server, "running server", "ready").took(Duration::from_micros(1234)),
        Row::fail(
            Part::Upstreams,
            "api.example.com",
            "it has expired",
            "Renew it.",
        )
        .took(Duration::from_millis(42)),
        Row::untried(Part::Upstreams, "*.example.org", "any name below it"),
        Row::fail(
            Part::Upstreams,
            "b.example.com:8443",
            "it has expired",
            "Renew it.",
        ),
        Row::warn(
            Part::Stun,
            "9.9.9.9",
            "other",
            "Look at server.external_ip.",
        )
        .took(Duration::from_millis(2500)),
    ];
    let took = Duration::from_millis(2517);
    Report::new("relay.toml".to_owned(), 1_700_000_000, took, false, checks)
}

#[test]
fn the_table_is_aligned_and_each_advice_stands_once_failures_first() {
    let expected = "\
server
  running server      ok     1.23 ms  ready
upstreams, as relayd reaches them
  api.example.com     FAIL     42 ms  it has expired
  *.example.org       -               any name below it
  b.example.com:8443  FAIL            it has expired
from outside
  9.9.9.9             warn     2.5 s  other

what to do
  FAIL  api.example.com, b.example.com:8443
          Renew it.
  warn  9.9.9.9
          Look at server.external_ip.

2 of 4 do not work, 1 warning, 1 not tried; 2.5 s";
    assert_eq!(report().text(Style::Plain), expected);
}

#[test]
fn nothing_that_a_terminal_would_obey_reaches_it() {
    let evil = "a\x1b[2J\u{9b}1m\x07\rb\nc\u{202e}d";
    let rows = vec![
        Row::fail(Part::Server, evil, evil, evil),
        Row::ok(Part::Proxy, evil, evil),
    ];
    let report = Report::new(evil.to_owned(), 0, Duration::ZERO, false, rows);
    let text = report.text(Style::Plain);
    let json = serde_json::to_string(&report).expect("plain data");
    for shown in [text.replace('\n', ""), json.clone(), report.source] {
        let obeyed = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!shown.contains(obeyed), "{shown:?}");
    }
    assert!(!json.contains("\\u00"), "{json}");
    assert!(
        text.contains("a\u{fffd}[2J\u{fffd}1m\u{fffd} b c\u{fffd}d"),
        "{text}"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let mut text = report().text(Style::Coloured);
    for code in ["\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"] {
        assert!(text.contains(code), "{code:?}");
        text = text.replace(code, "");
    }
    assert_eq!(text, report().text(Style::Plain));
}

#[test]
fn colours_are_for_terminals_of_people_who_have_not_declined() {
    assert_eq!(Style::of(true, None, Some("xterm")), Style::Coloured);
    assert_eq!(Style::of(true, Some(""), None), Style::Coloured);
    assert_eq!(Style::of(true, Some("1"), Some("xterm")), Style::Plain);
    assert_eq!(Style::of(true, None, Some("dumb")), Style::Plain);
    assert_eq!(Style::of(false, None, Some("xterm")), Style::Plain);
}

#[test]
fn json_has_every_row_with_its_result_and_the_counts() {
    let json = serde_json::to_value(report()).expect("plain data");
    assert_eq!(
        json["counts"],
        serde_json::json!({"ok": 1, "warn": 1, "fail": 2, "untried": 1})
    );
    assert_eq!(json["ok"], false);
    assert_eq!(
        json["checks"][1],
        serde_json::json!({
            "part": "upstreams", "what": "api.example.com", "result": "fail", "ms": 42.0,
            "detail": "it has expired", "advice": "Renew it."
        })
    );
    assert_eq!(json["checks"][2]["ms"], serde_json::Value::Null);
}

#[test]
fn warnings_alone_are_no_failure_and_an_interruption_is() {
    let rows = || vec![Row::warn(Part::Stun, "a", "b", "c")];
    let report = |interrupted| Report::new(String::new(), 0, Duration::ZERO, interrupted, rows());
    assert!(report(false).ok);
    assert!(!report(true).ok);
    let text = report(true).text(Style::Plain);
    assert!(text.ends_with("what had not ended is not shown"), "{text}");
}

#[test]
fn many_names_of_one_advice_are_wrapped_and_counted() {
    let row = |n: usize| {
        let name = format!("upstream-with-a-long-name-{n}.example.com");
        Row::fail(Part::Upstreams, name, "refused", "Look.")
    };
    let rows = (0..20).map(row).collect();
    let report = Report::new(String::new(), 0, Duration::ZERO, false, rows);
    let text = report.text(Style::Plain);
    let (_, to_do) = text.split_once("what to do").expect("advice");
    assert!(to_do.contains("and 12 more"), "{to_do}");
    assert!(to_do.lines().all(|line| line.len() <= 110), "{to_do}");
}
