//! Colours and emphasis. No word is said by colour alone, and without colour emphasis is left.
//!
//! Of the 16 colours only those that stand out on a black and on a white background alike: yellow and cyan vanish on white,
//! blue on black. Ordinary text has the terminal's own colour.

use ratatui::style::{Color, Modifier, Style};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    Colours,
    Plain,
}

impl Theme {
    /// <https://no-color.org>: any value but an empty one.
    pub(super) fn new(no_color: Option<&str>, is_off: bool) -> Self {
        match is_off || no_color.is_some_and(|value| !value.is_empty()) {
            true => Self::Plain,
            false => Self::Colours,
        }
    }

    pub(super) fn text(self) -> Style {
        Style::new()
    }

    /// The first line, and the row that is selected.
    pub(super) fn bar(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The head of a table.
    pub(super) fn columns(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) fn warn(self) -> Style {
        self.coloured(Color::Magenta).add_modifier(Modifier::BOLD)
    }

    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What cannot be overlooked.
    pub(super) fn alarm(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn line(self) -> Style {
        self.good()
    }

    fn coloured(self, color: Color) -> Style {
        match self {
            Self::Colours => Style::new().fg(color),
            Self::Plain => Style::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_the_option_leave_emphasis_only() {
        for theme in [Theme::new(Some("1"), false), Theme::new(None, true)] {
            assert_eq!(theme, Theme::Plain);
            for style in [
                theme.good(),
                theme.warn(),
                theme.bad(),
                theme.alarm(),
                theme.line(),
            ] {
                assert_eq!((style.fg, style.bg), (None, None));
            }
        }
        assert_eq!(Theme::new(Some(""), false), Theme::Colours);
        assert_eq!(Theme::new(None, false), Theme::Colours);
    }
}
