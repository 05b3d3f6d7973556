//! The Grafana dashboard.

use super::promql::named;
use super::scrape::Exposed;
use super::{DASHBOARD, assert_good, promtool, root};
use serde_json::Value;
use std::collections::BTreeSet;

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().expect("panels")
}

/// Every value of a key, however deep.
fn all<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if name == key {
                    found.push(value);
                }
                all(value, key, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| all(value, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// As Prometheus gets them: Grafana's variables replaced.
fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["expr", "definition"] {
        all(dashboard, key, &mut found);
    }
    let text = found.iter().map(|value| value.as_str().expect("text"));
    text.map(replaced).collect()
}

fn replaced(expression: &str) -> String {
    let text = expression
        .replace("$__rate_interval", "5m")
        .replace("$instance", ".*");
    assert!(!text.contains('$'), "{text}");
    text
}

#[test]
fn the_dashboard_names_what_the_binary_exposes() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 60, "{}", expressions.len());
    Exposed::scrape().assert_all_there(&expressions);
}

#[test]
fn legends_name_labels_that_their_series_have() {
    let exposed = Exposed::scrape();
    let dashboard = dashboard();
    let mut targets = Vec::new();
    all(&dashboard, "targets", &mut targets);
    let targets = targets
        .iter()
        .flat_map(|list| list.as_array().expect("a list"));
    for target in targets {
        let expression = target["expr"].as_str().expect("text");
        let legend = target["legendFormat"].as_str().expect("text");
        let named = named(&replaced(expression));
        for label in legend.split("{{").skip(1) {
            let label = label.split("}}").next().expect("the end");
            let kept = match expression.contains(" by (") {
                true => named.groupings.iter().any(|grouping| grouping == label),
                // A sum without labels has none left.
                false => named
                    .selectors
                    .iter()
                    .any(|s| exposed.has_label(&s.name, label)),
            };
            assert!(kept, "{{{{{label}}}}} of {expression}");
        }
    }
}

#[test]
fn every_expression_is_promql() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let dashboard = dashboard();
    let promql = expressions(&dashboard);
    let promql = promql
        .iter()
        .filter(|expression| !expression.starts_with("label_values"));
    for (index, expression) in promql.enumerate() {
        rules.push_str(&format!(
            "      - {{record: 'panel:{index}', expr: '{expression}'}}\n"
        ));
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard-rules.yml");
    std::fs::write(&path, rules).expect("a file");
    assert_good(&promtool(&["check", "rules", path.to_str().expect("text")]));
}

#[test]
fn panels_have_a_place_a_title_a_unit_and_the_chosen_data_source() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: an ID twice");
        let of = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
        assert!(of("x") + of("w") <= 24, "{title}");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(places.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        let heatmap = panel["type"] == "heatmap" && panel["options"]["yAxis"]["unit"].is_string();
        assert!(unit.is_string() || heatmap, "{title}: no unit");
    }
    let mut sources = Vec::new();
    all(&dashboard, "datasource", &mut sources);
    let chosen =
        |source: &&Value| source["uid"] == "${datasource}" || source["uid"] == "-- Grafana --";
    assert!(sources.iter().all(chosen), "{sources:#?}");
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|variable| variable["name"].as_str().expect("text"))
        .collect();
    assert_eq!(variables, ["datasource", "instance"]);
}

#[test]
fn both_files_are_in_the_package() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    for file in [
        "config/grafana/relayd.json",
        "config/prometheus/relayd-alerts.yml",
    ] {
        let line = format!("[\"{file}\", \"usr/share/doc/relayd/examples/\", \"644\"],");
        assert!(manifest.contains(&line), "{file}");
    }
}
