//! The proxy's upstreams, busiest first.

use super::table::{Cell, Column, Side, cell, column, styled};
use super::{Look, table};
use crate::top::answers::Upstream;
use crate::top::model::Model;
use crate::top::text::{Clean, cut};
use crate::top::units::{count, known, millis, per_second};
use ratatui::text::Line;

const COLUMNS: &[Column] = &[
    column("host", 20, Side::Left, 0).up_to(60),
    column("requests", 9, Side::Right, 1),
    column("2xx", 9, Side::Right, 5),
    column("3xx", 7, Side::Right, 8),
    column("4xx", 7, Side::Right, 6),
    column("5xx", 7, Side::Right, 4),
    column("errors", 7, Side::Right, 2),
    column("mean ms", 7, Side::Right, 9),
    column("p50", 5, Side::Right, 3),
    column("p90", 5, Side::Right, 7),
    column("p99", 5, Side::Right, 3),
    column("tunnels", 7, Side::Right, 7),
];

pub(super) fn lines(model: &Model, look: Look) -> Vec<Line<'static>> {
    let proxy = &model.numbers.stats.proxy;
    let Some(upstreams) = &proxy.upstreams else {
        let text = "This server does not tell what its upstreams do.";
        return vec![Line::raw(cut(text, look.width))];
    };
    let forgotten = match proxy.upstreams_forgotten {
        Some(forgotten) if forgotten > 0 => {
            format!(", {} more are not told apart", count(forgotten))
        }
        Some(_) | None => String::new(),
    };
    let about = format!("{} upstreams, busiest first{forgotten}", upstreams.len());
    let mut lines = vec![Line::styled(cut(&about, look.width), look.theme.head())];
    let rows: Vec<Vec<Cell>> = upstreams
        .iter()
        .map(|one| cells(one, model, look))
        .collect();
    lines.extend(table::lines(COLUMNS, &rows, None, look));
    lines
}

fn cells(one: &Upstream, model: &Model, look: Look) -> Vec<Cell> {
    let rate = model.numbers.rates.upstreams.get(&one.host).copied();
    let class = |class: &str| cell(known(one.requests.get(&Clean::new(class)).copied(), count));
    let errors = known(one.errors, count);
    vec![
        cell(one.host.as_str()),
        cell(per_second(rate)),
        class("2xx"),
        class("3xx"),
        class("4xx"),
        class("5xx"),
        match one.errors.is_some_and(|errors| errors > 0) {
            true => styled(errors, look.theme.warn()),
            false => cell(errors),
        },
        cell(millis(one.latency_ms.mean)),
        cell(millis(one.latency_ms.p50)),
        cell(millis(one.latency_ms.p90)),
        cell(millis(one.latency_ms.p99)),
        cell(known(one.tunnels, count)),
    ]
}
