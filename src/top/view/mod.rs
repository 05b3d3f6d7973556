//! The model as characters in a buffer. Pure; whatever does not fit is left out, in an order of importance.

mod allocations;
mod detail;
mod drops;
mod help;
mod overview;
mod popup;
mod strip;
mod table;
mod title;
mod tunnels;
mod upstreams;

use super::model::{Model, Popup, Screen};
use super::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

/// What a drawing had room for; the model asks and scrolls by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Rows of the list.
    pub rows: usize,
    /// The last line that may be first on a screen without a list.
    pub scroll_max: usize,
    pub page_lines: usize,
    /// Where something is typed.
    pub cursor: Option<Position>,
}

/// Columns and theme of a drawing.
#[derive(Clone, Copy)]
struct Look {
    width: usize,
    theme: Theme,
}

pub(super) fn draw(model: &Model, theme: Theme, buffer: &mut Buffer) -> Seen {
    let area = buffer.area;
    let look = Look {
        width: usize::from(area.width),
        theme,
    };
    let mut top = vec![title::title(model, look)];
    top.extend(title::banner(model, look));
    if model.screen != Screen::Help {
        let lines = overview_lines(area.height);
        top.extend(overview::lines(model, look).into_iter().take(lines));
    }
    let above = put(buffer, area, &top);
    let (body, footer) = split_off_last(above);
    let mut seen = draw_body(model, look, buffer, body);
    put(buffer, footer, &[title::footer(model, look)]);
    if let Some(popup) = &model.popup {
        seen.cursor = draw_popup(model, popup, look, buffer);
    }
    seen
}

/// The numbers give way to the list where there is little room.
fn overview_lines(height: u16) -> usize {
    match height {
        0..=7 => 0,
        8..=15 => 1,
        16..=21 => 3,
        22.. => usize::MAX,
    }
}

fn draw_body(model: &Model, look: Look, buffer: &mut Buffer, area: Rect) -> Seen {
    let height = usize::from(area.height);
    let (lines, seen) = match model.screen {
        Screen::Allocations => allocations::lines(model, look, height),
        Screen::Tunnels => tunnels::lines(model, look, height),
        Screen::Detail => scrolled(model, detail::lines(model, look), height),
        Screen::Upstreams => scrolled(model, upstreams::lines(model, look), height),
        Screen::Drops => scrolled(model, drops::lines(model, look), height),
        Screen::Help => scrolled(model, help::lines(look), height),
    };
    put(buffer, area, &lines);
    seen
}

fn scrolled(model: &Model, lines: Vec<Line<'static>>, height: usize) -> (Vec<Line<'static>>, Seen) {
    let scroll_max = lines.len().saturating_sub(height);
    let first = model.scroll.min(scroll_max);
    let seen = Seen {
        scroll_max,
        page_lines: height.max(1),
        ..Seen::default()
    };
    (lines.into_iter().skip(first).collect(), seen)
}

fn draw_popup(model: &Model, popup: &Popup, look: Look, buffer: &mut Buffer) -> Option<Position> {
    match popup {
        Popup::Sort(index) => {
            popup::sorts(model, *index, look, buffer);
            None
        }
        Popup::Confirm { text, .. } => {
            popup::confirm(text, look, buffer);
            None
        }
        Popup::Filter {
            kind,
            editor,
            wrong,
        } => popup::filter(*kind, editor, wrong.as_deref(), look, buffer),
    }
}

/// Writes lines from the top of `area` on, and returns what is left of it.
fn put(buffer: &mut Buffer, area: Rect, lines: &[Line<'_>]) -> Rect {
    let mut left = area;
    for line in lines {
        if left.height == 0 {
            break;
        }
        buffer.set_line(left.x, left.y, line, left.width);
        left = Rect {
            y: left.y + 1,
            height: left.height - 1,
            ..left
        };
    }
    left
}

fn split_off_last(area: Rect) -> (Rect, Rect) {
    let last = area.height.min(1);
    let body = Rect {
        height: area.height - last,
        ..area
    };
    let footer = Rect {
        y: area.y + body.height,
        height: last,
        ..area
    };
    (body, footer)
}
