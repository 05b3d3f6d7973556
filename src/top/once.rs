//! One snapshot as plain text, for scripts and pipes: no escape sequence, no colour, lines that end.

use super::client::{Client, Trouble};
use super::model::{Effect, Model};
use super::theme::Theme;
use super::view;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::collections::VecDeque;
use std::sync::Arc;

/// Lines above the rows, and the one below them.
const OTHER_LINES: u16 = 12;

/// Asks twice, an interval apart, as rates need two answers.
pub(super) async fn snapshot(
    client: &Arc<Client>,
    mut model: Model,
    (width, rows): (u16, u16),
) -> Result<String, Trouble> {
    model.allocations.walk.resize(usize::from(rows));
    round(client, &mut model).await?;
    tokio::time::sleep(model.interval).await;
    round(client, &mut model).await?;
    Ok(text(&model, width, rows))
}

/// One round of questions, with those that the answers lead to.
async fn round(client: &Arc<Client>, model: &mut Model) -> Result<(), Trouble> {
    let mut effects = VecDeque::from(model.tick());
    while let Some(effect) = effects.pop_front() {
        let Effect::Ask(question) = effect else {
            continue;
        };
        let answer = client.ask(&question).await;
        effects.extend(model.take(&question, answer));
        if let Some(trouble) = &model.link.trouble {
            return Err(trouble.clone());
        }
        if let Some(message) = model.allocations.walk.refused.clone() {
            return Err(Trouble::Refused {
                status: 400,
                message: super::text::Clean::new(&message),
            });
        }
    }
    Ok(())
}

/// What the screen would show, without the line of keys.
fn text(model: &Model, width: u16, rows: u16) -> String {
    let shown = u16::try_from(model.allocations.rows.len()).unwrap_or(rows);
    let height = OTHER_LINES.saturating_add(shown).max(24);
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    view::draw(model, Theme::Plain, &mut buffer);
    let mut lines = lines(&buffer);
    lines.pop();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.join("\n")
}

/// The characters of each line, without blanks at its end.
pub(super) fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y: u16| {
        let mut text = String::new();
        // A wide character has the cells behind it, too.
        let mut covered = 0;
        for x in area.left()..area.right() {
            let symbol = buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
            if covered == 0 {
                text.push_str(symbol);
            }
            covered = super::text::width(symbol).max(covered).saturating_sub(1);
        }
        text.trim_end().to_owned()
    };
    (area.top()..area.bottom()).map(line).collect()
}
