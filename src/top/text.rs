//! Text from elsewhere, made fit for a terminal; and what fits into so many columns.
//!
//! User names, hosts and paths are other people's words. [`Clean`] is the only way by which they get into the model, so no
//! control character, escape sequence or change of direction can reach the terminal.

use serde::{Deserialize, Deserializer};
use std::fmt;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for a character that is not shown.
const REPLACEMENT: char = '\u{fffd}';
/// Longest text that is kept, in characters; a user name has 508 bytes at most.
const CHARS_MAX: usize = 1024;
/// Marks that combine with one character; more of them would write over the lines around.
const MARKS_MAX: usize = 2;

/// Text without anything that a terminal would obey.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Clean(String);

impl Clean {
    pub(super) fn new(text: &str) -> Self {
        let mut clean = String::with_capacity(text.len().min(CHARS_MAX));
        let mut marks = 0;
        for char in text.chars().take(CHARS_MAX) {
            let shown = if is_harmless(char) { char } else { REPLACEMENT };
            marks = match shown.width() {
                Some(0) => marks + 1,
                _ => 0,
            };
            if marks <= MARKS_MAX {
                clean.push(shown);
            }
        }
        Self(clean)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Clean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

/// Neither a control character (Cc) nor one that changes the direction, the line or nothing that can be seen (Cf, Zl, Zp),
/// nor a private one, which fonts show as they like.
fn is_harmless(char: char) -> bool {
    let invisible = matches!(
        u32::from(char),
        0xad | 0x34f
            | 0x600..=0x605
            | 0x61c
            | 0x6dd
            | 0x70f
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xe000..=0xf8ff
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfffb
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0xe0000..=0x10_ffff
    );
    !char.is_control() && !invisible
}

pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `columns`, with an ellipsis if it was cut.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for char in text.chars() {
        used += char.width().unwrap_or(0);
        if used >= columns {
            break;
        }
        kept.push(char);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The text in exactly `columns`, at their left.
pub(super) fn left(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    text.push_str(&" ".repeat(columns.saturating_sub(width(&text))));
    text
}

/// The text in exactly `columns`, at their right.
pub(super) fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_left() {
        let wild =
            "a\x1b[31mb\x07\u{9b}2J\r\n\t\u{202e}c\u{2066}\u{200b}\u{feff}\u{7f}\u{e0041}d\u{e000}";
        let clean = Clean::new(wild);
        assert_eq!(clean.as_str(), "a�[31mb��2J����c�����d�");
        assert!(!clean.as_str().chars().any(char::is_control));
        let read: Clean = serde_json::from_str(r#""x\u001b]0;title\u0007y""#).expect("text");
        assert_eq!(read.as_str(), "x�]0;title�y");
    }

    #[test]
    fn names_of_all_scripts_stay_as_they_are() {
        for name in ["Zoë", "王小明", "אבג", "Ünïcödé-👩", "e\u{301}"] {
            assert_eq!(Clean::new(name).as_str(), name);
        }
    }

    #[test]
    fn a_pile_of_marks_and_an_endless_name_are_cut() {
        let piled = format!("a{}b", "\u{301}".repeat(500));
        assert_eq!(Clean::new(&piled).as_str(), "a\u{301}\u{301}b");
        let long = "x".repeat(5000);
        assert_eq!(Clean::new(&long).as_str().len(), CHARS_MAX);
    }

    #[test]
    fn columns_are_filled_exactly_also_by_wide_characters() {
        assert_eq!(left("abc", 5), "abc  ");
        assert_eq!(right("abc", 5), "  abc");
        assert_eq!(left("abcdef", 4), "abc…");
        for columns in 0..9 {
            for text in [
                "",
                "abcdefgh",
                "王小明王小明",
                "a王b小",
                "e\u{301}e\u{301}e\u{301}",
            ] {
                assert_eq!(width(&left(text, columns)), columns, "{text} in {columns}");
                assert_eq!(width(&right(text, columns)), columns, "{text} in {columns}");
            }
        }
    }
}
