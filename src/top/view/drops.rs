//! What was dropped, what TURN clients asked and were answered, how allocations ended, and what failed in the proxy.

use super::table::{Cell, Column, Side, cell, column};
use super::{Look, table};
use crate::top::model::Model;
use crate::top::text::{Clean, cut};
use crate::top::units::{count, per_second};
use ratatui::text::Line;
use std::collections::BTreeMap;

const COLUMNS: &[Column] = &[
    column("", 26, Side::Left, 0).up_to(60),
    column("per second", 10, Side::Right, 1),
    column("in all", 14, Side::Right, 2),
];

pub(super) fn lines(model: &Model, look: Look) -> Vec<Line<'static>> {
    let (stats, rates) = (&model.numbers.stats, &model.numbers.rates);
    let requests = stats.turn_requests.as_ref().map(|requests| {
        let name = |method: &Clean, answer: &Clean| Clean::new(&format!("{method} {answer}"));
        let counts = requests
            .iter()
            .map(|one| (name(&one.method, &one.answer), one.count));
        counts.collect::<BTreeMap<Clean, u64>>()
    });
    let request_rates = rates.turn_requests.iter();
    let request_rates = request_rates
        .map(|((method, answer), rate)| (Clean::new(&format!("{method} {answer}")), *rate))
        .collect();
    let mut lines = Vec::new();
    lines.extend(part(
        "Packets dropped",
        stats.drops.as_ref(),
        &rates.drops,
        look,
    ));
    lines.extend(part(
        "TURN requests",
        requests.as_ref(),
        &request_rates,
        look,
    ));
    lines.extend(part(
        "Allocations ended",
        stats.allocations.ended.as_ref(),
        &rates.ended,
        look,
    ));
    let errors = stats.proxy.errors.as_ref();
    lines.extend(part(
        "Proxy errors",
        errors,
        &rates.proxy_errors_by_reason,
        look,
    ));
    lines
}

/// Those that have happened, most first.
fn part(
    title: &str,
    counts: Option<&BTreeMap<Clean, u64>>,
    rates: &BTreeMap<Clean, f64>,
    look: Look,
) -> Vec<Line<'static>> {
    let head = |text: String| Line::styled(cut(&text, look.width), look.theme.head());
    let Some(counts) = counts else {
        return vec![
            head(format!("{title}: this server does not tell")),
            Line::default(),
        ];
    };
    let mut happened: Vec<(&Clean, u64)> = counts
        .iter()
        .map(|(name, count)| (name, *count))
        .filter(|(_, count)| *count > 0)
        .collect();
    if happened.is_empty() {
        return vec![head(format!("{title}: none")), Line::default()];
    }
    happened.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rows: Vec<Vec<Cell>> = happened
        .into_iter()
        .map(|(name, number)| {
            let rate = rates.get(name).copied();
            vec![
                cell(name.as_str()),
                cell(per_second(rate)),
                cell(count(number)),
            ]
        })
        .collect();
    let mut lines = vec![head(title.to_owned())];
    lines.extend(table::lines(COLUMNS, &rows, None, look));
    lines.push(Line::default());
    lines
}
