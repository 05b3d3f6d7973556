//! A line that is being typed. Pure.

use super::key::Key;

/// Longest line, in characters.
const CHARS_MAX: usize = 600;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Editor {
    chars: Vec<char>,
    /// Characters before it.
    cursor: usize,
}

impl Editor {
    pub(super) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().take(CHARS_MAX).collect();
        Self {
            cursor: chars.len(),
            chars,
        }
    }

    pub(super) fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// What stands before the cursor, and from it on.
    pub(super) fn parts(&self) -> (String, String) {
        let (before, after) = self.chars.split_at(self.cursor.min(self.chars.len()));
        (before.iter().collect(), after.iter().collect())
    }

    /// Takes a key; other keys than those of editing do nothing.
    pub(super) fn take(&mut self, key: Key) {
        match key {
            Key::Char(char) if !char.is_control() && self.chars.len() < CHARS_MAX => {
                self.chars.insert(self.cursor, char);
                self.cursor += 1;
            }
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.chars.len()),
            Key::Home | Key::Control('a') => self.cursor = 0,
            Key::End | Key::Control('e') => self.cursor = self.chars.len(),
            Key::Backspace | Key::Control('h') if self.cursor > 0 => {
                self.cursor -= 1;
                self.chars.remove(self.cursor);
            }
            Key::Delete | Key::Control('d') if self.cursor < self.chars.len() => {
                self.chars.remove(self.cursor);
            }
            Key::Control('u') => {
                self.chars.drain(..self.cursor);
                self.cursor = 0;
            }
            Key::Control('k') => self.chars.truncate(self.cursor),
            Key::Control('w') => self.cut_word(),
            _ => {}
        }
    }

    fn cut_word(&mut self) {
        let before = self.chars.get(..self.cursor).unwrap_or_default();
        let blank = before.iter().rev().take_while(|char| **char == ' ').count();
        let rest = before.iter().rev().skip(blank);
        let word = rest.take_while(|char| **char != ' ').count();
        let begin = self.cursor - blank - word;
        self.chars.drain(begin..self.cursor);
        self.cursor = begin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_as_in_a_shell() {
        let mut editor = Editor::new("usr=alice");
        for key in [
            Key::Home,
            Key::Right,
            Key::Right,
            Key::Char('x'),
            Key::Backspace,
        ] {
            editor.take(key);
        }
        editor.take(Key::Left);
        editor.take(Key::Right);
        editor.take(Key::Delete);
        editor.take(Key::Char('é'));
        assert_eq!(editor.parts(), ("usé".to_owned(), "=alice".to_owned()));
        editor.take(Key::Control('k'));
        assert_eq!(editor.text(), "usé");
        for key in [
            Key::Char(' '),
            Key::Char('王'),
            Key::Char(' '),
            Key::Control('w'),
        ] {
            editor.take(key);
        }
        assert_eq!(editor.text(), "usé ");
        editor.take(Key::Control('u'));
        for key in [
            Key::Backspace,
            Key::Delete,
            Key::Left,
            Key::Right,
            Key::Control('w'),
        ] {
            editor.take(key);
        }
        assert_eq!(editor, Editor::default());
    }

    #[test]
    fn control_characters_and_endless_lines_are_not_taken() {
        let mut editor = Editor::default();
        editor.take(Key::Char('\x1b'));
        for _ in 0..1000 {
            editor.take(Key::Char('x'));
        }
        assert_eq!(editor.text().len(), CHARS_MAX);
    }
}
