//! The alert rules.

use super::scrape::Exposed;
use super::{RULES, RULES_TEST, assert_good, promtool};
use std::collections::BTreeSet;

const README: &str = include_str!("../../README.md");

/// The values of a key, those written over several lines joined.
fn values(text: &str, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let entry = line.trim_start().trim_start_matches("- ");
        let Some(value) = entry
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(": "))
        else {
            continue;
        };
        let depth = line.find(key).expect("it is there");
        let mut value = value.trim().to_owned();
        if value == ">-" {
            value.clear();
            let deeper = |line: &&str| line.len() - line.trim_start().len() > depth;
            while let Some(more) = lines.next_if(deeper) {
                value.push_str(more.trim());
                value.push(' ');
            }
        }
        values.push(value);
    }
    values
}

#[test]
fn promtool_takes_the_rules() {
    assert_good(&promtool(&[
        "check",
        "rules",
        "config/prometheus/relayd-alerts.yml",
    ]));
}

#[test]
fn a_sick_server_fires_every_alert_and_a_nearly_sick_one_none() {
    assert_good(&promtool(&[
        "test",
        "rules",
        "tests/monitoring/alerts.test.yml",
    ]));
    let alerts: BTreeSet<String> = values(RULES, "alert").into_iter().collect();
    let fired = RULES_TEST.split("alertname=\"").skip(1);
    let fired: BTreeSet<String> = fired
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(fired, alerts);
}

#[test]
fn the_rules_and_their_tests_name_what_the_binary_exposes() {
    let exposed = Exposed::scrape();
    let expressions = values(RULES, "expr");
    assert_eq!(expressions.len(), values(RULES, "alert").len());
    exposed.assert_all_there(&expressions);
    let series = RULES_TEST.split("series: '").skip(1);
    let series: Vec<String> = series
        .filter_map(|rest| rest.split_once('\''))
        .map(|(series, _)| series.to_owned())
        .collect();
    assert!(series.len() > 50, "{}", series.len());
    exposed.assert_all_there(&series);
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_means_and_where_the_readme_says_what_to_do() {
    let alerts = values(RULES, "alert");
    for (key, words) in [
        ("labels", "{severity: "),
        ("summary", "{{ $labels.instance }}"),
        ("description", "\""),
    ] {
        let values = values(RULES, key);
        assert_eq!(values.len(), alerts.len(), "{key}");
        for value in values {
            assert!(value.contains(words), "{value}");
        }
    }
    let runbooks = values(RULES, "runbook");
    for (alert, runbook) in alerts.iter().zip(&runbooks) {
        assert_eq!(runbook, &format!("\"README.md, Watching it: {alert}\""));
        assert!(
            README.contains(&format!("| `{alert}` |")),
            "{alert} in README.md"
        );
    }
    assert_eq!(alerts.len(), runbooks.len());
    let rows = README.lines().filter(|line| line.starts_with("| `Relayd"));
    assert_eq!(rows.count(), alerts.len());
    for value in values(RULES, "labels") {
        let severity = ["warning", "critical"].map(|word| format!("{{severity: {word}}}"));
        assert!(severity.contains(&value), "{value}");
    }
}
