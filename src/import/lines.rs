//! The lines of a turnserver.conf, cut as coturn cuts them (`read_config_file` and `parse_arg_string` of 4.6 and 4.17).
//!
//! A key ends at the first blank or `=`; all blanks and `=` behind it are skipped; the rest is the value, its quotes
//! taken off. A `#` begins a comment at the beginning of a line only. Which keys there are is not known here.

use crate::config::{Place, Problem, Severity};

/// coturn reads lines into a buffer of this size and takes the rest of a longer one for the next line.
const LINE_BYTES_MAX: usize = 1023;
/// Of a line in a report.
const SHOWN_CHARS_MAX: usize = 120;
/// What stands for a value that is not shown.
const MASK: &str = "***";

/// One line that sets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// From 1.
    pub number: usize,
    /// As coturn takes it: not a key of its own for sure.
    pub key: &'t str,
    /// Empty for a bare key.
    pub value: &'t str,
    /// The line up to its value, for reports.
    before_value: &'t str,
    /// Blanks before the key, in characters.
    indent: usize,
}

impl<'t> Line<'t> {
    /// `None`: blank, or a comment.
    pub fn read(number: usize, bytes: &'t [u8]) -> Result<Option<Self>, BadLine> {
        let bytes = bytes.trim_ascii_end();
        let text = bytes.trim_ascii_start();
        if text.is_empty() || text.starts_with(b"#") {
            return Ok(None);
        }
        let indent = bytes.len() - text.len();
        let bad = |fault| BadLine { number, fault };
        if bytes.len() > LINE_BYTES_MAX {
            return Err(bad(Fault::TooLong));
        }
        let text = std::str::from_utf8(text).map_err(|_| bad(Fault::NotUtf8))?;
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(bad(Fault::ControlCharacter));
        }
        let separator = [' ', '=', '\t'];
        let (key, rest) = text.split_at(text.find(separator).unwrap_or(text.len()));
        let value = rest.trim_start_matches(separator);
        let before_value = text.get(..text.len() - value.len()).unwrap_or(text);
        Ok(Some(Self {
            number,
            key,
            value: unquoted(value),
            before_value,
            indent,
        }))
    }

    /// True if the key has the look of one, so that it may be shown: nobody's password stands there by mistake.
    pub fn has_plain_key(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !self.key.is_empty() && self.key.len() <= 64 && self.key.chars().all(plain)
    }

    /// The key's place in a report, the value hidden.
    pub fn place_of_key(&self) -> Place {
        let (source, count) = match (self.has_plain_key(), self.value) {
            (false, _) => (MASK.to_owned(), MASK.len()),
            (true, "") => (self.key.to_owned(), self.key.len()),
            (true, _) => (format!("{}{MASK}", self.before_value), self.key.len()),
        };
        Place {
            line: self.number,
            column: self.indent + 1,
            source,
            caret_start: 0,
            caret_count: count.max(1),
        }
    }

    /// The value's place in a report; a secret is not shown.
    pub fn place_of_value(&self, visible: Visible) -> Place {
        let before = self.before_value.chars().count();
        if self.value.is_empty() {
            return self.place_of_key();
        }
        let room = SHOWN_CHARS_MAX.saturating_sub(before);
        let shown: String = match visible {
            Visible::Yes => self.value.chars().take(room.max(1)).collect(),
            Visible::No => MASK.to_owned(),
        };
        Place {
            line: self.number,
            column: self.indent + before + 1,
            caret_start: before,
            caret_count: shown.chars().count().max(1),
            source: format!("{}{shown}", self.before_value),
        }
    }
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    Yes,
    No,
}

/// As coturn does it: an opening quote is dropped whether it is closed or not.
fn unquoted(value: &str) -> &str {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').unwrap_or(rest),
        None => value,
    }
}

/// A line that cannot be read at all. Nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine {
    number: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLong,
    NotUtf8,
    ControlCharacter,
}

impl BadLine {
    pub fn problem(self, file: &str) -> Problem {
        let number = self.number;
        let (what, label, help) = match self.fault {
            Fault::TooLong => (
                "is too long",
                "coturn takes what is beyond 1023 bytes for a line of its own",
                "shorten it",
            ),
            Fault::NotUtf8 => (
                "is not UTF-8 text",
                "names and passwords are UTF-8 on the wire (RFC 8489 §14.3)",
                "save the file as UTF-8",
            ),
            Fault::ControlCharacter => (
                "has a control character",
                "accepted: printable text",
                "write the line anew",
            ),
        };
        Problem {
            severity: Severity::Error,
            message: format!("line {number} {what}"),
            file: Some(file.to_owned()),
            place: Some(Place {
                line: number,
                column: 1,
                source: MASK.to_owned(),
                caret_start: 0,
                caret_count: MASK.len(),
            }),
            label: label.to_owned(),
            help: Some(help.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> (String, String) {
        let line = Line::read(1, text.as_bytes()).expect(text).expect(text);
        (line.key.to_owned(), line.value.to_owned())
    }

    #[test]
    fn keys_and_values_are_cut_as_coturn_cuts_them() {
        for (text, key, value) in [
            ("listening-port=3478", "listening-port", "3478"),
            ("listening-port = 3478", "listening-port", "3478"),
            ("listening-port 3478\r\n", "listening-port", "3478"),
            ("\t listening-port\t3478 ", "listening-port", "3478"),
            ("fingerprint", "fingerprint", ""),
            ("fingerprint=", "fingerprint", ""),
            ("realm==x", "realm", "x"),
            ("user=a:b=c d", "user", "a:b=c d"),
            ("userdb=\"host=h dbname=d\"  ", "userdb", "host=h dbname=d"),
            ("realm=\"open", "realm", "open"),
            ("realm=closed\"", "realm", "closed\""),
            ("realm=\"\"", "realm", ""),
            ("realm=\"", "realm", ""),
            ("listening-port=1 # one", "listening-port", "1 # one"),
        ] {
            assert_eq!(pair(text), (key.to_owned(), value.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn comments_and_blank_lines_set_nothing_whatever_their_bytes() {
        for text in [&b""[..], b" \t\r", b"# x", b"  #x=y", b"#\xff\xfe", b"\0\0"] {
            let read = Line::read(1, text);
            let is_bytes = text.starts_with(b"\0");
            assert_eq!(read.is_err(), is_bytes, "{text:?}");
            assert!(read.is_err() || read == Ok(None));
        }
    }

    #[test]
    fn lines_that_coturn_would_read_otherwise_are_refused_without_being_shown() {
        let long = format!("realm={}", "x".repeat(LINE_BYTES_MAX));
        for bytes in [long.as_bytes(), b"user=a:s3cret\xff", b"user=a:s3cret\x07b"] {
            let bad = Line::read(7, bytes).expect_err("a bad line");
            let shown = bad.problem("x.conf").to_string();
            assert!(shown.contains("x.conf:7:1"), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn places_are_columns_of_the_file_and_hide_what_is_secret() {
        let line = Line::read(3, b"  user = alice:s3cret").expect("text");
        let line = line.expect("a setting");
        let value = line.place_of_value(Visible::No);
        assert_eq!((value.line, value.column), (3, 10));
        assert_eq!(value.source, "user = ***");
        assert_eq!((value.caret_start, value.caret_count), (7, 3));
        assert_eq!(line.place_of_value(Visible::Yes).caret_count, 12);
        let key = line.place_of_key();
        assert_eq!((key.column, key.source.as_str()), (3, "user = ***"));
        let odd = Line::read(1, b"alice:s3cret").expect("text");
        assert_eq!(odd.expect("a setting").place_of_key().source, "***");
    }
}
