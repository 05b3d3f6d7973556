//! Columns: those that fit are shown, the important ones first.

use super::Look;
use crate::top::text::{left, right, width};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

#[derive(Clone, Copy)]
pub(super) struct Column {
    pub title: &'static str,
    pub width: usize,
    pub side: Side,
    /// Those with lower numbers are shown before others.
    pub rank: u8,
    /// Up to so many columns, for what is longer and if there is room.
    pub width_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

pub(super) const fn column(title: &'static str, width: usize, side: Side, rank: u8) -> Column {
    Column {
        title,
        width,
        side,
        rank,
        width_max: width,
    }
}

impl Column {
    pub(super) const fn up_to(self, width_max: usize) -> Self {
        Self { width_max, ..self }
    }
}

pub(super) struct Cell {
    pub text: String,
    pub style: Style,
}

pub(super) fn cell(text: impl Into<String>) -> Cell {
    styled(text, Style::new())
}

pub(super) fn styled(text: impl Into<String>, style: Style) -> Cell {
    Cell {
        text: text.into(),
        style,
    }
}

/// The head and the rows. `sorted` marks the column of this title.
pub(super) fn lines(
    columns: &[Column],
    rows: &[Vec<Cell>],
    selected: Option<usize>,
    look: Look,
) -> Vec<Line<'static>> {
    let shown = choose(columns, rows, look.width);
    let head = shown.iter().filter_map(|(index, width)| {
        let column = columns.get(*index)?;
        Some(Span::raw(aligned(column.title, *width, column.side)))
    });
    let mut lines = vec![joined(head, look.width).style(look.theme.columns())];
    for (index, row) in rows.iter().enumerate() {
        let cells = shown.iter().filter_map(|(index, width)| {
            let (column, cell) = (columns.get(*index)?, row.get(*index)?);
            let text = aligned(&cell.text, *width, column.side);
            Some(Span::styled(text, cell.style))
        });
        let line = joined(cells, look.width);
        lines.push(match selected == Some(index) {
            true => line.style(look.theme.bar()),
            false => line,
        });
    }
    lines
}

/// Indices and widths of the columns that fit, in their order.
fn choose(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> Vec<(usize, usize)> {
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|index| columns.get(*index).map(|column| column.rank));
    let mut shown = Vec::new();
    let mut used = 0;
    for index in by_rank {
        let Some(column) = columns.get(index) else {
            continue;
        };
        let gap = usize::from(!shown.is_empty());
        if used + gap + column.width <= room {
            used += gap + column.width;
            shown.push((index, column.width));
        }
    }
    // By rank still: the important ones grow first.
    for (index, width) in &mut shown {
        let max = columns.get(*index).map_or(0, |column| column.width_max);
        let wanted = longest(rows, *index).min(max).max(*width);
        let more = (wanted - *width).min(room - used);
        *width += more;
        used += more;
    }
    shown.sort_unstable();
    shown
}

fn longest(rows: &[Vec<Cell>], index: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(index));
    cells.map(|cell| width(&cell.text)).max().unwrap_or(0)
}

fn aligned(text: &str, columns: usize, side: Side) -> String {
    match side {
        Side::Left => left(text, columns),
        Side::Right => right(text, columns),
    }
}

/// With a blank between any two, and filled to the end.
fn joined(spans: impl Iterator<Item = Span<'static>>, room: usize) -> Line<'static> {
    let mut line = Line::default();
    for span in spans {
        if !line.spans.is_empty() {
            line.push_span(" ");
        }
        line.push_span(span);
    }
    let rest = room.saturating_sub(line.width());
    line.push_span(" ".repeat(rest));
    line
}
