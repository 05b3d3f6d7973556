//! The table of allocations.

use super::table::{Cell, Column, Side, cell, column, styled};
use super::{Look, Seen, table};
use crate::top::answers::{Allocation, Quality};
use crate::top::model::Model;
use crate::top::rates::FlowRate;
use crate::top::text::cut;
use crate::top::theme::Theme;
use crate::top::units::{UNKNOWN, count, known, millis, percent, scaled, span};
use crate::top::walk::Walk;
use ratatui::style::Style;
use ratatui::text::Line;

const COLUMNS: &[Column] = &[
    column("id", 5, Side::Right, 0).up_to(20),
    column("user", 10, Side::Left, 1).up_to(40),
    column("over", 4, Side::Left, 5),
    column("client", 21, Side::Left, 9).up_to(47),
    column("age", 6, Side::Right, 6),
    column("to peer", 7, Side::Right, 4),
    column("to client", 9, Side::Right, 4),
    column("loss c|p", 11, Side::Right, 3),
    column("jitter c|p", 10, Side::Right, 8),
    column("rtt c|p", 9, Side::Right, 7),
    column("trouble", 12, Side::Left, 2),
];

pub(super) fn lines(model: &Model, look: Look, height: usize) -> (Vec<Line<'static>>, Seen) {
    let list = &model.allocations;
    let row = |one: &Allocation| {
        let rates = list.rates.get(&one.id).copied().unwrap_or_default();
        cells(one, rates, look.theme)
    };
    let rows: Vec<Vec<Cell>> = list.rows.iter().map(row).collect();
    listed(&list.walk, ("allocations", COLUMNS), &rows, look, height)
}

/// A line about the list, the head of its table, and as many of its rows as fit.
pub(super) fn listed(
    walk: &Walk,
    (name, columns): (&str, &[Column]),
    rows: &[Vec<Cell>],
    look: Look,
    height: usize,
) -> (Vec<Line<'static>>, Seen) {
    let about = cut(&about(walk, name), look.width);
    let mut lines = vec![Line::styled(about, look.theme.head())];
    let room = height.saturating_sub(2);
    if let Some(refused) = &walk.refused {
        lines.push(Line::styled(cut(refused, look.width), look.theme.bad()));
    } else {
        let mut table = table::lines(columns, rows, Some(walk.selected), look);
        let table_rows = table.split_off(1);
        lines.append(&mut table);
        // In a window of less than a page the selected row is seen.
        let first = (walk.selected + 1).saturating_sub(room);
        lines.extend(table_rows.into_iter().skip(first).take(room));
    }
    let seen = Seen {
        rows: room,
        page_lines: room.max(1),
        ..Seen::default()
    };
    (lines, seen)
}

fn about(walk: &Walk, name: &str) -> String {
    let total = known(walk.total, count);
    let shown = match walk.shown {
        Some((first, last)) => format!("{} to {} of {total} {name}", count(first), count(last)),
        None => format!("{total} {name}"),
    };
    let order = if walk.descending {
        "most first"
    } else {
        "least first"
    };
    let filter = match walk.filter_text.trim() {
        "" => String::new(),
        text => format!(", only {}", crate::top::text::Clean::new(text)),
    };
    format!("{shown}, by {} ({order}){filter}", walk.sort_name())
}

fn cells(one: &Allocation, [to_peer, to_client]: [FlowRate; 2], theme: Theme) -> Vec<Cell> {
    let quality = one.quality.as_ref();
    let both = |show: &dyn Fn(&crate::top::answers::Side) -> String| match quality {
        Some(quality) => cell(format!("{}|{}", show(&quality.client), show(&quality.peer))),
        None => cell(UNKNOWN),
    };
    let rate = |flow: FlowRate| cell(known(flow.bits, |bits| scaled(bits).replace(' ', "")));
    vec![
        cell(one.id.to_string()),
        cell(one.user.as_str()),
        cell(one.transport.as_str()),
        cell(one.client.as_str()),
        cell(span(one.age_s)),
        rate(to_peer),
        rate(to_client),
        both(&|side| percent(side.loss_ratio)),
        both(&|side| millis(side.jitter_ms)),
        both(&|side| millis(side.round_trip_ms)),
        trouble(quality, theme),
    ]
}

/// How bad, of what, on which side: `72 loss c`.
fn trouble(quality: Option<&Quality>, theme: Theme) -> Cell {
    let Some((quality, score)) = quality.and_then(|one| Some((one, one.trouble?))) else {
        return cell(UNKNOWN);
    };
    let word = |text: &Option<crate::top::text::Clean>| {
        text.as_ref().map_or("", |text| text.as_str()).to_owned()
    };
    let cause = match word(&quality.trouble_cause).as_str() {
        "round_trip" => "rtt".to_owned(),
        cause => cause.to_owned(),
    };
    let side: String = word(&quality.trouble_side).chars().take(1).collect();
    let text = format!("{score:.0} {cause} {side}");
    styled(text.trim_end(), trouble_style(score, theme))
}

pub(super) fn trouble_style(score: f64, theme: Theme) -> Style {
    match score {
        score if score >= 60.0 => theme.bad(),
        score if score >= 25.0 => theme.warn(),
        _ => theme.good(),
    }
}
