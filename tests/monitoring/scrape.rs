//! What the running binary exposes, and whether an expression names nothing else.

use super::promql::{Named, Selector, named};
use super::web::message::{Message, Reader};
use super::web::relayd::{Relayd, Setup};
use super::{assert_good, promtool};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// Labels that Prometheus adds to every sample of a target.
const OF_TARGET: [&str; 2] = ["instance", "job"];
/// What Prometheus makes itself.
const OF_PROMETHEUS: [&str; 1] = ["up"];
/// Series that appear with their first event; every other one is there from the start.
const LATE: [(&str, &str); 1] = [("relayd_turn_requests_total", "method")];

/// Every sample's name, with each label's values.
pub struct Exposed(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exposed {
    pub fn scrape() -> Self {
        let relayd = Relayd::start(Setup::default());
        let mut exposed = BTreeMap::new();
        for line in relayd.admin("/metrics").text().lines() {
            if line.starts_with('#') {
                continue;
            }
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let found = named(series);
            let [selector] = &found.selectors[..] else {
                panic!("{line}");
            };
            let labels: &mut BTreeMap<String, BTreeSet<String>> =
                exposed.entry(selector.name.clone()).or_default();
            for matcher in &selector.matchers {
                let values = labels.entry(matcher.label.clone()).or_default();
                values.insert(matcher.value.clone());
            }
        }
        Self(exposed)
    }

    /// Everything that an expression names and that is not there.
    pub fn missing(&self, expression: &str) -> Vec<String> {
        let Named {
            selectors,
            groupings,
        } = named(expression);
        let mut missing = Vec::new();
        let mut labels = BTreeSet::from(OF_TARGET);
        for selector in &selectors {
            if OF_TARGET.contains(&selector.name.as_str()) {
                // An argument of label_values.
                continue;
            }
            let Some(known) = self.0.get(&selector.name) else {
                if !OF_PROMETHEUS.contains(&selector.name.as_str()) {
                    missing.push(format!("metric {}", selector.name));
                }
                continue;
            };
            labels.extend(known.keys().map(String::as_str));
            missing.extend(unknown_values(selector, known));
        }
        let unknown = groupings
            .iter()
            .filter(|label| !labels.contains(label.as_str()));
        missing.extend(unknown.map(|label| format!("label {label}")));
        missing
    }

    pub fn assert_all_there(&self, expressions: &[String]) {
        for expression in expressions {
            let missing = self.missing(expression);
            assert!(missing.is_empty(), "{missing:?} of {expression}");
        }
    }

    pub fn has_label(&self, name: &str, label: &str) -> bool {
        let known = self
            .0
            .get(name)
            .is_some_and(|labels| labels.contains_key(label));
        known || OF_TARGET.contains(&label)
    }
}

fn unknown_values(selector: &Selector, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut missing = Vec::new();
    for matcher in &selector.matchers {
        if OF_TARGET.contains(&matcher.label.as_str()) {
            continue;
        }
        let Some(values) = known.get(&matcher.label) else {
            missing.push(format!("label {} of {}", matcher.label, selector.name));
            continue;
        };
        for alternative in matcher.alternatives() {
            if !values.iter().any(|value| matcher.fits(alternative, value)) {
                missing.push(format!(
                    "{}={alternative} of {}",
                    matcher.label, selector.name
                ));
            }
        }
    }
    missing
}

#[test]
fn a_misspelt_metric_label_or_value_is_found() {
    let exposed = Exposed::scrape();
    for (expression, missing) in [
        (
            "rate(relayd_turn_relayed_bytes[5m])",
            "metric relayd_turn_relayed_bytes",
        ),
        (
            "sum by (direktion) (relayd_turn_relayed_bytes_total)",
            "label direktion",
        ),
        (
            "relayd_turn_relayed_bytes_total{way=\"to_peer\"}",
            "label way of relayd_turn_relayed_bytes_total",
        ),
        (
            "relayd_turn_relayed_bytes_total{direction!=\"to_pier\"}",
            "direction=to_pier of relayd_turn_relayed_bytes_total",
        ),
        (
            "relayd_proxy_errors_total{reason=~\"tls_.*|upstraem_.*\"}",
            "reason=upstraem_.* of relayd_proxy_errors_total",
        ),
    ] {
        assert_eq!(exposed.missing(expression), [missing], "{expression}");
    }
}

#[test]
fn what_appears_late_is_what_is_said_to() {
    let exposed = Exposed::scrape();
    for (name, label) in LATE {
        assert!(exposed.has_label(name, label), "{name}");
    }
}

/// The format that Prometheus' own linter reads, and no fault of relayd's own names in it.
#[test]
fn the_plain_text_format_is_what_promtool_reads() {
    let relayd = Relayd::start(Setup {
        admin: "coturn_metrics = false\n".to_owned(),
        ..Setup::default()
    });
    let answer = plain(&relayd);
    let media_type = answer.one("content-type").expect("a media type");
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(&answer.body).expect("written");
    drop(stdin);
    assert_good(&promtool.wait_with_output().expect("an end"));
}

fn plain(relayd: &Relayd) -> Message {
    let mut stream = TcpStream::connect(relayd.admin).expect("a connection");
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: text/plain;version=0.0.4\r\nConnection: close\r\n\r\n",
        relayd.admin
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let answer = Reader::default().message(&mut stream, false);
    answer.expect("an answer").expect("before the end")
}

#[test]
fn promtool_is_there() {
    assert_good(&promtool(&["--version"]));
}
