//! What asks for an answer: the sorts, the filter, the confirmation.

use super::{Look, put};
use crate::top::editor::Editor;
use crate::top::filter::Kind;
use crate::top::model::Model;
use crate::top::text::{Clean, cut, left, width};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

/// Columns of a box, border included.
const BOX_WIDTH_MAX: usize = 76;

/// Lines of a question; a name may have hundreds of characters.
const CONFIRM_LINES_MAX: usize = 4;

pub(super) fn sorts(model: &Model, index: usize, look: Look, buffer: &mut Buffer) {
    let walk = match model.kind() {
        Some(Kind::Allocations) => &model.allocations.walk,
        Some(Kind::Tunnels) => &model.tunnels.walk,
        None => return,
    };
    let room = usize::from(buffer.area.height).saturating_sub(2).max(1);
    let first = (index + 1).saturating_sub(room);
    let lines = walk
        .sorts
        .iter()
        .enumerate()
        .skip(first)
        .map(|(row, sort)| {
            let text = format!(" {} {}", left(sort.name, 16), sort.meaning);
            match row == index {
                true => Line::styled(text, look.theme.bar()),
                false => Line::raw(text),
            }
        });
    boxed("Sort by", lines.collect(), 58, look, buffer);
}

pub(super) fn confirm(text: &str, look: Look, buffer: &mut Buffer) {
    let room = look.width.min(BOX_WIDTH_MAX).saturating_sub(4).max(1);
    let text = cut(text, room * CONFIRM_LINES_MAX);
    let mut lines: Vec<Line<'static>> = wrapped(&text, room)
        .into_iter()
        .map(|line| Line::raw(format!(" {line}")))
        .collect();
    lines.push(Line::styled(" y yes   n no", look.theme.head()));
    boxed("Are you sure?", lines, BOX_WIDTH_MAX, look, buffer);
}

/// The editor on the last line, and above it what can be written. Returns where the cursor is.
pub(super) fn filter(
    kind: Kind,
    editor: &Editor,
    wrong: Option<&str>,
    look: Look,
    buffer: &mut Buffer,
) -> Option<Position> {
    let area = buffer.area;
    let lines = area.height.min(2);
    let place = Rect {
        y: area.bottom() - lines,
        height: lines,
        ..area
    };
    clear(buffer, place);
    let (before, after) = editor.parts();
    // Cut at its beginning, so that the cursor is seen.
    let room = look.width.saturating_sub(2);
    let mut before = Clean::new(&before).to_string();
    while width(&before) > room {
        before.remove(0);
    }
    let column = 1 + width(&before);
    let after = Clean::new(&after);
    let typed = Line::raw(cut(&format!("/{before}{after}"), look.width));
    let help = match wrong {
        Some(wrong) => Line::styled(
            cut(Clean::new(wrong).as_str(), look.width),
            look.theme.bad(),
        ),
        None => Line::raw(cut(kind.help(), look.width)),
    };
    put(buffer, place, &[help, typed][2 - usize::from(lines)..]);
    let column = u16::try_from(column)
        .ok()?
        .min(area.width.saturating_sub(1));
    Some(Position::new(
        area.x + column,
        area.bottom().checked_sub(1)?,
    ))
}

/// Lines in a box in the middle.
fn boxed(title: &str, lines: Vec<Line<'static>>, width: usize, look: Look, buffer: &mut Buffer) {
    let area = buffer.area;
    let columns = u16::try_from(width).unwrap_or(u16::MAX).min(area.width);
    let rows = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect {
        x: area.x + (area.width - columns) / 2,
        y: area.y + (area.height - rows) / 2,
        width: columns,
        height: rows,
    };
    clear(buffer, place);
    let inner = usize::from(columns).saturating_sub(2);
    let title = cut(&format!("─ {title} "), inner);
    let rest = "─".repeat(inner.saturating_sub(crate::top::text::width(&title)));
    let mut boxed = vec![Line::styled(format!("┌{title}{rest}┐"), look.theme.head())];
    for line in lines.into_iter().take(usize::from(rows).saturating_sub(2)) {
        let mut framed = Line::default();
        framed.push_span("│");
        let style = line.style;
        let text: String = line
            .spans
            .iter()
            .map(|span| span.content.as_ref())
            .collect();
        framed.push_span(ratatui::text::Span::styled(left(&text, inner), style));
        framed.push_span("│");
        boxed.push(framed);
    }
    boxed.push(Line::styled(
        format!("└{}┘", "─".repeat(inner)),
        look.theme.head(),
    ));
    put(buffer, place, &boxed);
}

fn clear(buffer: &mut Buffer, area: Rect) {
    // A wide character whose second half is covered goes as a whole.
    for y in area.top()..area.bottom() {
        let before = area.left().checked_sub(1);
        let cell = before.and_then(|x| buffer.cell_mut((x, y)));
        if let Some(cell) = cell.filter(|cell| width(cell.symbol()) > 1) {
            cell.set_symbol(" ");
        }
    }
    for position in area.intersection(buffer.area).positions() {
        if let Some(cell) = buffer.cell_mut(position) {
            cell.reset();
        }
    }
}

/// At blanks; a word that is too long for a line is broken.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').flat_map(|word| pieces(word, room)) {
        if !line.is_empty() && width(&line) + 1 + width(&word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

fn pieces(word: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for char in word.chars() {
        let piece = pieces.last().map_or(0, |piece| width(piece));
        if piece > 0 && piece + width(char.encode_utf8(&mut [0; 4])) > room {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(char);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_blanks_and_long_names_anywhere() {
        assert_eq!(
            wrapped("End allocation 7 of bob?", 12),
            ["End", "allocation 7", "of bob?"]
        );
        assert_eq!(
            wrapped("of abcdefghij to", 4),
            ["of", "abcd", "efgh", "ij", "to"]
        );
        assert_eq!(wrapped("王小明", 4), ["王小", "明"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
