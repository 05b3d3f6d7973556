//! One allocation with all that is known of it.

use super::allocations::trouble_style;
use super::strip::Strip;
use super::table::{Cell, Column, Side as Edge, cell, column, styled};
use super::{Look, table};
use crate::top::answers::{Allocation, CallHistory, Flow, Quality, Series, Side, Stream};
use crate::top::model::{Detail, Model};
use crate::top::rates::FlowRate;
use crate::top::text::{Clean, cut};
use crate::top::trail::{blocks, squeeze};
use crate::top::units::{UNKNOWN, bits, bytes, count, known, millis, percent, scaled, span};
use ratatui::text::{Line, Span};

const SIDES: &[Column] = &[
    column("", 14, Edge::Left, 0),
    column("client", 16, Edge::Right, 1),
    column("peer", 16, Edge::Right, 2),
];

const STREAMS: &[Column] = &[
    column("from", 6, Edge::Left, 0),
    column("ssrc", 10, Edge::Left, 2),
    column("pt", 3, Edge::Right, 6),
    column("packets", 10, Edge::Right, 5),
    column("lost", 7, Edge::Right, 7),
    column("loss", 6, Edge::Right, 1),
    column("jitter", 6, Edge::Right, 3),
    column("bit/s", 7, Edge::Right, 1),
    column("idle", 6, Edge::Right, 4),
    column("peer", 21, Edge::Left, 8).up_to(47),
];

const PERMISSIONS: &[Column] = &[
    column("permission", 16, Edge::Left, 0).up_to(40),
    column("ends in", 8, Edge::Right, 1),
];

const CHANNELS: &[Column] = &[
    column("channel", 7, Edge::Left, 1),
    column("peer", 21, Edge::Left, 0).up_to(48),
    column("ends in", 8, Edge::Right, 2),
];

pub(super) fn lines(model: &Model, look: Look) -> Vec<Line<'static>> {
    let Some(detail) = &model.detail else {
        return Vec::new();
    };
    let Some(one) = &detail.allocation else {
        let text = match detail.has_ended {
            true => format!("allocation {} has ended", detail.id),
            false => format!("allocation {} …", detail.id),
        };
        return vec![Line::styled(cut(&text, look.width), look.theme.head())];
    };
    let mut lines = facts(detail, one, look);
    match &one.quality {
        Some(quality) => lines.extend(quality_lines(quality, look)),
        None => lines.push(Line::raw(cut(
            "Nothing of its quality is known.",
            look.width,
        ))),
    }
    lines.extend(permissions(one, look));
    lines
}

fn facts(detail: &Detail, one: &Allocation, look: Look) -> Vec<Line<'static>> {
    let text = look.theme.text();
    let mut first = Strip::new(look.width);
    let name = format!("allocation {} of {}", one.id, one.user);
    first.put(name, look.theme.head());
    if detail.has_ended {
        first.put("HAS ENDED", look.theme.bad());
    }
    let mut path = Strip::named("path", look.theme.head(), look.width);
    path.put(one.client.as_str(), text);
    path.put(format!("{} {}", one.transport, one.server), text);
    let relayed: Vec<&str> = one.relayed.iter().map(Clean::as_str).collect();
    path.put(format!("relayed {}", relayed.join(" ")), text);
    let mut times = Strip::named("age", look.theme.head(), look.width);
    times.put(span(one.age_s), text);
    times.put(format!("ends in {}", span(one.lifetime_left_s)), text);
    times.put(format!("worker {}", known(one.worker, count)), text);
    let [to_peer, to_client] = detail.rates;
    vec![
        first.line(),
        path.line(),
        times.line(),
        flow("to peer", one.to_peer, to_peer, look),
        flow("to client", one.to_client, to_client, look),
        Line::default(),
    ]
}

fn flow(name: &str, flow: Flow, rate: FlowRate, look: Look) -> Line<'static> {
    let mut strip = Strip::named(name, look.theme.head(), look.width);
    strip.put(bits(rate.bits), look.theme.head());
    strip.put(bytes(flow.bytes), look.theme.text());
    strip.put(
        format!("{} packets", known(flow.packets, count)),
        look.theme.text(),
    );
    strip.line()
}

fn quality_lines(quality: &Quality, look: Look) -> Vec<Line<'static>> {
    let mut lines = vec![trouble(quality, look)];
    lines.extend(sides(quality, look));
    lines.push(Line::default());
    if let Some(history) = &quality.history {
        lines.extend(histories(history, look));
        lines.push(Line::default());
    }
    if !quality.streams.is_empty() {
        lines.extend(streams(quality, look));
        lines.push(Line::default());
    }
    lines
}

fn trouble(quality: &Quality, look: Look) -> Line<'static> {
    let mut strip = Strip::named("trouble", look.theme.head(), look.width);
    let Some(score) = quality.trouble else {
        strip.put(UNKNOWN, look.theme.text());
        return strip.line();
    };
    let word = |text: &Option<Clean>| text.as_ref().map(|text| text.as_str().replace('_', " "));
    let mut text = format!("{score:.0} of 100");
    if let Some(cause) = word(&quality.trouble_cause) {
        text.push_str(&format!(": {cause}"));
    }
    if let Some(side) = word(&quality.trouble_side) {
        text.push_str(&format!(", on the side of the {side}"));
    }
    strip.put(text, trouble_style(score, look.theme));
    strip.line()
}

fn sides(quality: &Quality, look: Look) -> Vec<Line<'static>> {
    type Show = fn(&Side) -> String;
    const KINDS: [&str; 5] = ["rtp", "rtcp", "stun", "dtls", "other"];
    let shown: [(&str, Show); 8] = [
        ("loss", |side| percent(side.loss_ratio)),
        ("jitter ms", |side| millis(side.jitter_ms)),
        ("round trip", |side| match &side.round_trip_from {
            Some(from) => format!("{} ({from})", millis(side.round_trip_ms)),
            None => millis(side.round_trip_ms),
        }),
        ("bit/s", |side| known(side.bits_per_s, scaled)),
        ("packets/s", |side| known(side.packets_per_s, scaled)),
        ("lost in all", |side| {
            format!(
                "{} of {}",
                known(side.lost, count),
                known(side.expected, count)
            )
        }),
        ("reordered", |side| known(side.reordered, count)),
        ("duplicates", |side| known(side.duplicates, count)),
    ];
    let mut rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|(name, show)| {
            vec![
                cell(*name),
                cell(show(&quality.client)),
                cell(show(&quality.peer)),
            ]
        })
        .collect();
    rows.push(vec![
        cell("restarts"),
        cell(known(quality.client.restarts, count)),
        cell(known(quality.peer.restarts, count)),
    ]);
    for kind in KINDS {
        let packets = |side: &Side| known(side.packets.get(&Clean::new(kind)).copied(), count);
        rows.push(vec![
            cell(format!("{kind} packets")),
            cell(packets(&quality.client)),
            cell(packets(&quality.peer)),
        ]);
    }
    table::lines(SIDES, &rows, None, look)
}

/// The whole call, one line for each measure and side.
fn histories(history: &CallHistory, look: Look) -> Vec<Line<'static>> {
    let steps = history.client.loss_ratio.len();
    let whole = history.step_s.map(|step| step * steps as f64);
    let head = format!("history of {}", span(whole));
    let mut lines = vec![Line::styled(cut(&head, look.width), look.theme.head())];
    for (side, series) in [("client", &history.client), ("peer", &history.peer)] {
        lines.extend(side_history(side, series, look));
    }
    lines
}

fn side_history(side: &str, series: &Series, look: Look) -> [Line<'static>; 4] {
    let line = |name: &str, values: &[Option<f64>], show: fn(Option<f64>) -> String| {
        let greatest = values.iter().flatten().copied().reduce(f64::max);
        let name = crate::top::text::left(&format!(" {side} {name}"), 19);
        let peak = crate::top::text::left(&format!("max {}", show(greatest)), 10);
        let room = look.width.saturating_sub(31);
        Line::from(vec![
            Span::raw(name),
            Span::raw(peak),
            Span::raw("  "),
            Span::styled(blocks(&squeeze(values, room)), look.theme.line()),
        ])
    };
    [
        line("loss", &series.loss_ratio, percent),
        line("jitter ms", &series.jitter_ms, millis),
        line("round trip", &series.round_trip_ms, millis),
        line("bit/s", &series.bits_per_s, |rate| known(rate, scaled)),
    ]
}

fn streams(quality: &Quality, look: Look) -> Vec<Line<'static>> {
    let forgotten = match quality.streams_forgotten {
        Some(forgotten) if forgotten > 0 => {
            format!(", {} more have been forgotten", count(forgotten))
        }
        Some(_) | None => String::new(),
    };
    let head = format!("{} streams{forgotten}", quality.streams.len());
    let mut lines = vec![Line::styled(cut(&head, look.width), look.theme.head())];
    let row = |one: &Stream| {
        let loss = percent(one.loss_ratio);
        vec![
            cell(one.from.as_str()),
            cell(known(one.ssrc, |ssrc| format!("{ssrc:08x}"))),
            cell(known(one.payload_type, count)),
            cell(known(one.packets, count)),
            cell(known(one.lost, count)),
            match one.loss_ratio.is_some_and(|ratio| ratio >= 0.02) {
                true => styled(loss, look.theme.warn()),
                false => cell(loss),
            },
            cell(millis(one.jitter_ms)),
            cell(known(one.bits_per_s, |bits| scaled(bits).replace(' ', ""))),
            cell(span(one.idle_s)),
            cell(one.peer.as_str()),
        ]
    };
    let rows: Vec<Vec<Cell>> = quality.streams.iter().map(row).collect();
    lines.extend(table::lines(STREAMS, &rows, None, look));
    lines
}

fn permissions(one: &Allocation, look: Look) -> Vec<Line<'static>> {
    let permissions = one.permissions.iter();
    let permissions: Vec<Vec<Cell>> = permissions
        .map(|one| vec![cell(one.ip.as_str()), cell(span(one.lifetime_left_s))])
        .collect();
    let channels = one.channels.iter().map(|one| {
        let number = format!("0x{:04x}", one.number);
        vec![
            cell(number),
            cell(one.peer.as_str()),
            cell(span(one.lifetime_left_s)),
        ]
    });
    let channels: Vec<Vec<Cell>> = channels.collect();
    let mut lines = table::lines(PERMISSIONS, &permissions, None, look);
    lines.push(Line::default());
    lines.extend(table::lines(CHANNELS, &channels, None, look));
    lines
}
