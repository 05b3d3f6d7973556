//! Text that is not TOML: every syntax error with its place and a fix, and the text without what is broken.
//!
//! The parser gives up on the rest of a file in some cases, and a list that is not closed swallows it. So broken
//! lines are blanked, a value that is still open where the next key begins is emptied, and the rest is parsed again:
//! one mistake is one problem, and everything around it is still checked.

use super::section::{Draft, Reader};
use super::source::{Source, looks_like_key, table_header};
use std::ops::Range;
use toml::de::{DeTable, Error};

/// Rounds of repair; each takes every error that one parse finds.
const ROUNDS_MAX: usize = 32;

/// Text that is TOML; byte offsets and lines are those of the file.
pub(super) struct Repaired {
    pub text: String,
    problems: Vec<SyntaxProblem>,
}

struct SyntaxProblem {
    span: Range<usize>,
    what: String,
    label: String,
    help: Option<&'static str>,
}

impl Repaired {
    pub fn new(text: &str) -> Self {
        let mut repaired = Self {
            text: text.to_owned(),
            problems: Vec::new(),
        };
        for _ in 0..ROUNDS_MAX {
            let (_, errors) = DeTable::parse_recoverable(&repaired.text);
            if errors.is_empty() {
                return repaired;
            }
            repaired.round(&errors);
        }
        // What cannot be repaired is told as far as it was understood, and the rest is not checked.
        repaired.text.clear();
        repaired
    }

    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Tells every problem, and hides what may be secret by its look: the values of broken lines cannot be told by
    /// their keys.
    pub fn note(&self, reader: &Reader, source: &Source<'_>) {
        for range in source.suspicious_ranges(&reader.known()) {
            reader.mask(range);
        }
        for problem in &self.problems {
            let message = format!("not valid TOML: {}", problem.what);
            let draft = Draft::error(message, &problem.label).at(Some(problem.span.clone()));
            reader.push(match problem.help {
                Some(help) => draft.help(help),
                None => draft,
            });
        }
    }

    fn round(&mut self, errors: &[Error]) {
        let text = self.text.clone();
        let source = Source::new(&text);
        let spans = || errors.iter().filter_map(Error::span);
        if let Some(range) = spans().find_map(|span| unclosed_before(&source, &text, &span)) {
            let is_consequence = self.problems.iter().any(|p| range.contains(&p.span.start));
            if !is_consequence {
                self.problems.push(SyntaxProblem {
                    span: range.start..range.start + 1,
                    what: "a list or table is not closed".to_owned(),
                    label: "it begins here".to_owned(),
                    help: Some("close it with ] or }, before the next key"),
                });
            }
            self.text = emptied(&text, &range);
            return;
        }
        let mut told = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = source.line_of(span.start);
            if !told.contains(&line) {
                told.push(line);
                self.problems.push(SyntaxProblem::new(error, span.clone()));
            }
            self.text = without_lines(&self.text, &source, &span);
        }
    }
}

impl SyntaxProblem {
    fn new(error: &Error, span: Range<usize>) -> Self {
        let (what, expected) = match error.message().split_once(", expected ") {
            Some((what, expected)) => (what, Some(expected)),
            None => (error.message(), None),
        };
        Self {
            span,
            what: what.to_owned(),
            label: match expected {
                Some("literal string") => {
                    "accepted: text in quotes, a number, true or false".to_owned()
                }
                Some(expected) => format!("accepted here: {expected}"),
                None if what == "duplicate key" => "it stands further up already".to_owned(),
                None => what.to_owned(),
            },
            help: help(what),
        }
    }
}

fn help(what: &str) -> Option<&'static str> {
    let fixes = [
        (
            "duplicate key",
            "keep one of the two; a key or [table] stands once in a file",
        ),
        (
            "string values must be quoted",
            "put text in quotes: key = \"value\"",
        ),
        ("unclosed array", "close the list with ]"),
        ("unclosed inline table", "close the table with }"),
        ("unclosed table", "close the table header with ]"),
        (
            "missing comma between array",
            "put a comma between the elements",
        ),
        (
            "missing comma between key-value",
            "put a comma between the entries",
        ),
        ("key with no value", "write key = value"),
        ("missing assignment", "put each key on its own line"),
        (
            "invalid basic string",
            "close the text with a quote on the same line; write a backslash as \\\\",
        ),
        (
            "invalid literal string",
            "close the text with a quote on the same line",
        ),
    ];
    let found = fixes.iter().find(|(start, _)| what.starts_with(start));
    found.map(|(_, fix)| *fix)
}

/// Blanks the lines of `span`; after a broken table header all lines up to the next header, which would otherwise
/// count as keys of the table before.
fn without_lines(text: &str, source: &Source<'_>, span: &Range<usize>) -> String {
    let line_text = |line: usize| text.get(source.line_range(line)).unwrap_or("");
    let first = source.line_of(span.start);
    let mut last = source.line_of(span.end.saturating_sub(1).max(span.start));
    if line_text(first).trim_start().starts_with('[') {
        let lines = text.lines().count();
        while last + 1 < lines && table_header(line_text(last + 1)).is_none() {
            last += 1;
        }
    }
    let range = source.line_range(first).start..source.line_range(last).end;
    blanked(text, &range)
}

/// The value that is still open where `error` stands, if the line of the error looks like a key or a header.
fn unclosed_before(source: &Source<'_>, text: &str, error: &Range<usize>) -> Option<Range<usize>> {
    let line_text = |line: usize| text.get(source.line_range(line)).unwrap_or("");
    let is_key = |line: &str| {
        line.split_once('=')
            .is_some_and(|(key, _)| looks_like_key(key))
    };
    let line = source.line_of(error.start);
    let begins = |line: &str| is_key(line) || table_header(line).is_some();
    // At the end of the file the error stands after the last line.
    let stop = match (line..=line + 1).find(|line| begins(line_text(*line))) {
        Some(next) if next == line || line_text(line).trim().is_empty() => next,
        Some(_) | None if error.start >= text.trim_end().len() => line + 1,
        Some(_) | None => return None,
    };
    let opener = (0..stop).rev().find(|line| is_key(line_text(*line)))?;
    let start = source.line_range(opener).start;
    let equals = line_text(opener).find('=')?;
    let value = text.get(start + equals + 1..)?;
    let bracket = start + equals + 1 + (value.len() - value.trim_start().len());
    if !text.get(bracket..)?.starts_with(['[', '{']) {
        return None;
    }
    let end = source.line_range(stop - 1).end.max(bracket + 1);
    is_open(text.get(bracket..end)?).then_some(bracket..end)
}

/// True if brackets outside of quotes and comments do not close.
fn is_open(value: &str) -> bool {
    let mut depth = 0_i32;
    for line in value.lines() {
        let mut quote = None;
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '#') => break,
                (None, '[' | '{') => depth += 1,
                (None, ']' | '}') => depth -= 1,
                (None, _) => {}
            }
        }
    }
    depth > 0
}

/// The value replaced by an empty list.
fn emptied(text: &str, range: &Range<usize>) -> String {
    let blank = blanked(text, range);
    let (before, rest) = blank.split_at(range.start);
    match (rest.strip_prefix("  "), rest.strip_prefix(' ')) {
        (Some(rest), _) => format!("{before}[]{rest}"),
        (None, Some(rest)) => format!("{before}0{rest}"),
        (None, None) => blank,
    }
}

/// The same text with blanks in `range`; line ends stay.
fn blanked(text: &str, range: &Range<usize>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let inside = bytes.get_mut(range.clone()).unwrap_or_default();
    for byte in inside.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_mistake_is_one_problem_and_the_rest_is_still_there() {
        for (text, rest) in [
            ("a = [1\nb = 2\nc = 3\n", vec!["a", "b", "c"]),
            ("a = { x = 1\nb = 2\n[t]\nc = 3\n", vec!["a", "b", "t"]),
            ("a = [\n  1,\n  2\n[t]\nc = 3\n", vec!["a", "t"]),
            ("a = [1", vec![]),
            ("a\nb = 2\n", vec!["b"]),
            ("a = x\nb = 2\n", vec!["b"]),
            ("a = \"x\nb = 2\n", vec!["b"]),
            ("a = 1\na = 2\nb = 2\n", vec!["a", "b"]),
            ("a = 1\n[t\nb = 2\n[u]\nc = 3\n", vec!["a", "u"]),
            ("a = 1 2\nb = 2\n", vec!["b"]),
        ] {
            let repaired = Repaired::new(text);
            assert_eq!(repaired.problems.len(), 1, "{text}");
            let table: toml::Table = repaired.text.parse().expect(text);
            assert_eq!(table.keys().collect::<Vec<_>>(), rest, "{text}");
        }
    }

    #[test]
    fn sound_text_stays_as_it_is() {
        let text = "a = [\n 1, # ]\n]\n[t]\nb = { c = \"[\" }\n";
        let repaired = Repaired::new(text);
        assert!(repaired.is_sound());
        assert_eq!(repaired.text, text);
    }

    proptest! {
        #[test]
        fn repaired_text_is_toml_whatever_it_was(text in "[a-c=\\[\\]{}\"'#,. \n1é]{0,60}") {
            let repaired = Repaired::new(&text);
            let (_, errors) = DeTable::parse_recoverable(&repaired.text);
            prop_assert!(errors.is_empty());
            prop_assert_eq!(repaired.is_sound(), DeTable::parse(&text).is_ok());
        }
    }
}
