//! The first line, the line that tells of trouble, and the last line.

use super::Look;
use super::strip::Strip;
use crate::top::model::{Model, Popup, Screen};
use crate::top::text::cut;
use crate::top::units::span;
use ratatui::text::Line;
use std::time::Duration;

/// Data that is older than this many intervals is worth a word.
const INTERVALS_SILENT: u32 = 3;

pub(super) fn title(model: &Model, look: Look) -> Line<'static> {
    let stats = &model.numbers.stats;
    let text = look.theme.text();
    let mut strip = Strip::new(look.width);
    let version = stats
        .version
        .as_ref()
        .map_or("", |version| version.as_str());
    strip.put(
        cut(format!(" relayd {version}").trim_end(), look.width),
        text,
    );
    strip.put(model.place.as_str(), text);
    if stats.draining == Some(true) {
        strip.put("DRAINING", look.theme.head());
    }
    if model.paused {
        strip.put("PAUSED", look.theme.head());
    }
    if stats.moment.uptime_s.is_some() {
        strip.put(format!("up {}", span(stats.moment.uptime_s)), text);
    }
    if let Some(generation) = stats.configuration.generation {
        strip.put(format!("configuration {generation}"), text);
    }
    strip.put_right(format!("every {} ", interval(model.interval)), text);
    strip.bar(look.theme.bar())
}

fn interval(interval: Duration) -> String {
    let seconds = interval.as_secs_f64();
    match seconds.fract() == 0.0 {
        true => format!("{seconds:.0}s"),
        false => format!("{seconds:.1}s"),
    }
}

/// Why the numbers are old, and how old they are.
pub(super) fn banner(model: &Model, look: Look) -> Option<Line<'static>> {
    let age = model.age();
    let age_text = match age {
        Some(age) => format!("data is {} old", span(Some(age.as_secs_f64()))),
        None => "no data yet".to_owned(),
    };
    let silent =
        age.is_some_and(|age| age > model.interval * INTERVALS_SILENT + Duration::from_secs(1));
    let text = match &model.link.trouble {
        Some(trouble) => format!(" {age_text}: {}; trying again", trouble.sentence()),
        None if silent && !model.paused => format!(" {age_text}: no answer yet"),
        None => return None,
    };
    let mut strip = Strip::new(look.width);
    strip.put(cut(&text, look.width), look.theme.text());
    Some(strip.bar(look.theme.alarm()))
}

/// A notice, or the keys that are of use here.
pub(super) fn footer(model: &Model, look: Look) -> Line<'static> {
    if let Some(notice) = model.notice() {
        return Line::styled(cut(notice, look.width), look.theme.warn());
    }
    let keys: &[&str] = match (&model.popup, model.screen) {
        (Some(Popup::Filter { .. }), _) => &["Enter apply", "Esc leave"],
        (Some(Popup::Sort(_)), _) => &["Enter choose", "Esc leave"],
        (Some(Popup::Confirm { .. }), _) => &["y yes", "n no"],
        (None, Screen::Allocations) => &[
            "q quit",
            "? help",
            "Enter detail",
            "s sort",
            "/ filter",
            "x end",
            "t tunnels",
            "u upstreams",
            "d drops",
            "p pause",
        ],
        (None, Screen::Tunnels) => &[
            "q quit", "Esc back", "? help", "s sort", "/ filter", "x end", "p pause",
        ],
        (None, Screen::Detail) => &["q quit", "Esc back", "? help", "x end", "p pause"],
        (None, Screen::Upstreams | Screen::Drops) => &["q quit", "Esc back", "? help", "p pause"],
        (None, Screen::Help) => &["q quit", "Esc back"],
    };
    let mut strip = Strip::new(look.width);
    for key in keys {
        strip.put(*key, look.theme.text());
    }
    strip.line()
}
