//! A line of pieces, each of which is there whole or not at all.

use crate::top::text::{cut, left, width};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns of a line's name.
const NAME: usize = 10;
const GAP: usize = 2;

pub(super) struct Strip {
    spans: Vec<Span<'static>>,
    used: usize,
    width: usize,
    is_full: bool,
}

impl Strip {
    pub(super) fn new(width: usize) -> Self {
        Self {
            spans: Vec::new(),
            used: 0,
            width,
            is_full: false,
        }
    }

    /// With a name at its beginning.
    pub(super) fn named(name: &str, style: Style, width: usize) -> Self {
        let mut strip = Self::new(width);
        strip
            .spans
            .push(Span::styled(left(name, NAME.min(width)), style));
        strip.used = NAME.min(width);
        strip
    }

    /// A piece after a gap. The first one is cut if it does not fit; after another one that does not, none follows.
    pub(super) fn put(&mut self, text: impl Into<String>, style: Style) -> &mut Self {
        let mut text = text.into();
        let is_first = self.spans.len() <= 1;
        let gap = if is_first { 0 } else { GAP };
        if is_first {
            text = cut(&text, self.width - self.used);
        }
        let needed = gap + width(&text);
        self.is_full |= self.used + needed > self.width;
        if !self.is_full {
            self.spans.push(Span::raw(" ".repeat(gap)));
            self.spans.push(Span::styled(text, style));
            self.used += needed;
        }
        self
    }

    /// A piece at the right edge, if there is room.
    pub(super) fn put_right(&mut self, text: String, style: Style) -> &mut Self {
        let needed = width(&text) + 1;
        if let Some(gap) = self.width.checked_sub(self.used + needed) {
            self.spans.push(Span::raw(" ".repeat(gap + 1)));
            self.spans.push(Span::styled(text, style));
            self.used = self.width;
        }
        self
    }

    pub(super) fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }

    /// Filled with blanks to its end, and styled as a whole.
    pub(super) fn bar(mut self, style: Style) -> Line<'static> {
        let rest = self.width.saturating_sub(self.used);
        self.spans.push(Span::raw(" ".repeat(rest)));
        Line::from(self.spans).style(style)
    }
}
