//! The server in six lines.

use super::Look;
use super::strip::Strip;
use crate::top::answers::Mean;
use crate::top::model::Model;
use crate::top::numbers::Of;
use crate::top::rates::{FlowRate, sum};
use crate::top::text::Clean;
use crate::top::trail::blocks;
use crate::top::units::{bits, bytes, count, known, millis, per_second, percent};
use ratatui::text::Line;
use std::collections::BTreeMap;

/// Columns of a sparkline, and what each stands for: five minutes.
const SPARK: usize = 30;
const SPARK_COLUMN_S: f64 = 10.0;
/// Narrower screens have none.
const WIDTH_WITH_SPARK: usize = 100;
/// Reasons that are named.
const REASONS: usize = 4;

pub(super) fn lines(model: &Model, look: Look) -> Vec<Line<'static>> {
    let rates = &model.numbers.rates;
    vec![
        calls(model, look),
        traffic(model, look, ("to peer", Of::ToPeer), &rates.to_peer),
        traffic(model, look, ("to client", Of::ToClient), &rates.to_client),
        drops(model, look),
        proxy(model, look),
        quality(model, look),
    ]
}

fn begin(name: &str, look: Look) -> Strip {
    let spark = match look.width >= WIDTH_WITH_SPARK {
        true => SPARK + 1,
        false => 0,
    };
    Strip::named(name, look.theme.head(), look.width - spark)
}

fn finish(strip: Strip, of: Of, model: &Model, look: Look) -> Line<'static> {
    let mut line = strip.bar(look.theme.text());
    if look.width >= WIDTH_WITH_SPARK {
        let columns = model.numbers.trail(of).columns(SPARK, SPARK_COLUMN_S);
        line.push_span(" ");
        line.push_span(ratatui::text::Span::styled(
            blocks(&columns),
            look.theme.line(),
        ));
    }
    line
}

fn calls(model: &Model, look: Look) -> Line<'static> {
    let stats = &model.numbers.stats;
    let (calls, ports, text) = (&stats.allocations, &stats.relay_ports, look.theme.text());
    let mut strip = begin("calls", look);
    strip.put(known(calls.total, count), look.theme.head());
    strip.put(format!("udp {}", known(calls.udp, count)), text);
    strip.put(format!("tcp {}", known(calls.tcp, count)), text);
    strip.put(format!("tls {}", known(calls.tls, count)), text);
    strip.put(
        format!("new {}", per_second(model.numbers.rates.started)),
        text,
    );
    let cores = model.numbers.rates.cores;
    strip.put(
        format!("cpu {}", known(cores, |cores| format!("{cores:.2}"))),
        text,
    );
    strip.put(
        format!("memory {}", bytes(stats.process.resident_bytes)),
        text,
    );
    let used = known(ports.used, count);
    let of = ports.total.map(|total| format!(" of {}", count(total)));
    strip.put(format!("ports {used}{}", of.unwrap_or_default()), text);
    finish(strip, Of::Calls, model, look)
}

fn traffic(
    model: &Model,
    look: Look,
    (name, of): (&str, Of),
    flows: &BTreeMap<Clean, FlowRate>,
) -> Line<'static> {
    let all = sum(flows);
    let mut strip = begin(name, look);
    strip.put(bits(all.bits), look.theme.head());
    strip.put(
        format!("{} packets", per_second(all.packets)),
        look.theme.text(),
    );
    for transport in ["udp", "tcp", "tls"] {
        let flow = flows
            .get(&Clean::new(transport))
            .copied()
            .unwrap_or_default();
        strip.put(
            format!("{transport} {}", bits(flow.bits)),
            look.theme.text(),
        );
    }
    finish(strip, of, model, look)
}

fn drops(model: &Model, look: Look) -> Line<'static> {
    let rates = &model.numbers.rates;
    let is_dropping = rates.drops_total.is_some_and(|rate| rate > 0.0);
    let style = if is_dropping {
        look.theme.warn()
    } else {
        look.theme.head()
    };
    let mut strip = begin("drops", look);
    strip.put(per_second(rates.drops_total), style);
    let mut reasons: Vec<_> = rates
        .drops
        .iter()
        .filter(|(_, rate)| **rate > 0.0)
        .collect();
    reasons.sort_by(|a, b| b.1.total_cmp(a.1));
    for (reason, rate) in reasons.into_iter().take(REASONS) {
        strip.put(
            format!("{reason} {}", per_second(Some(*rate))),
            look.theme.text(),
        );
    }
    finish(strip, Of::Drops, model, look)
}

fn proxy(model: &Model, look: Look) -> Line<'static> {
    let (rates, proxy) = (&model.numbers.rates, &model.numbers.stats.proxy);
    let failing = rates.proxy_errors.is_some_and(|rate| rate > 0.0);
    let style = if failing {
        look.theme.warn()
    } else {
        look.theme.text()
    };
    let mut strip = begin("proxy", look);
    strip.put(
        format!("{} requests", per_second(rates.proxy_requests)),
        look.theme.head(),
    );
    strip.put(format!("{} errors", per_second(rates.proxy_errors)), style);
    strip.put(
        format!("{} tunnels", known(proxy.tunnels, count)),
        look.theme.text(),
    );
    strip.put(
        format!("{} connections", known(proxy.connections, count)),
        look.theme.text(),
    );
    finish(strip, Of::Proxy, model, look)
}

/// Means of the last minute.
fn quality(model: &Model, look: Look) -> Line<'static> {
    let means = &model.numbers.stats.quality;
    let mut strip = Strip::named("quality", look.theme.head(), look.width);
    for (side, mean) in [("client", &means.client), ("peer", &means.peer)] {
        let none = Mean::default();
        let mean = mean.as_ref().unwrap_or(&none);
        let text = format!(
            "{side} loss {} jitter {} rtt {}",
            percent(mean.loss_ratio),
            with_unit(mean.jitter_ms),
            with_unit(mean.round_trip_ms)
        );
        strip.put(text, look.theme.text());
    }
    strip.line()
}

fn with_unit(value: Option<f64>) -> String {
    known(value, |value| format!("{} ms", millis(Some(value))))
}
