//! The text of a configuration file: from byte offsets to lines that may be shown.
//!
//! Nothing of a masked range leaves this module: it is shown as `***` whatever its length.

use super::report::Place;
use std::ops::Range;

/// What a secret looks like in a report.
const MASK: &str = "***";
/// A shown line is cut to this many characters around the carets.
const SHOWN_CHARS_MAX: usize = 160;

pub(super) struct Source<'t> {
    text: &'t str,
    /// Byte offset of the first byte of each line.
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub fn new(text: &'t str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, line_starts }
    }

    /// Index of the line that holds `offset`, from 0.
    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }

    /// Byte range of a line without its line end.
    pub fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        let end = match self.line_starts.get(line + 1) {
            Some(next) => next - 1,
            None => self.text.len(),
        };
        let text = self.text.get(start..end).unwrap_or("");
        start..start + text.trim_end_matches('\r').len()
    }

    /// Where `span` is, with its first line as it may be shown.
    pub fn place(&self, span: &Range<usize>, masks: &[Range<usize>]) -> Place {
        let start = span.start.min(self.text.len());
        let line = self.line_of(start);
        let range = self.line_range(line);
        let text = self.text.get(range.clone()).unwrap_or("");

        let mut shown = Vec::new();
        let (mut caret_start, mut caret_end) = (None, 0);
        let mut column = 1;
        let mut mask_open = None;
        for (offset, c) in text.char_indices() {
            let at = range.start + offset;
            if at < start {
                column += 1;
            }
            let mask = masks.iter().position(|mask| mask.contains(&at));
            let position = match (mask, mask_open) {
                (Some(_), Some(begun)) => begun,
                (Some(_), None) => {
                    mask_open = Some(shown.len());
                    let position = shown.len();
                    shown.extend(MASK.chars());
                    position
                }
                (None, _) => {
                    mask_open = None;
                    shown.push(if c.is_control() { ' ' } else { c });
                    shown.len() - 1
                }
            };
            if at >= start && at < span.end.max(start + 1) {
                caret_start.get_or_insert(position);
                caret_end = shown.len();
            }
        }
        let caret_start = caret_start.unwrap_or(shown.len());
        let caret_count = caret_end.saturating_sub(caret_start).max(1);
        let (source, caret_start, caret_count) = cut(&shown, caret_start, caret_count);
        Place {
            line: line + 1,
            column,
            source,
            caret_start,
            caret_count,
        }
    }

    /// Ranges that may hold secrets, judged by the look of the lines alone: for a file whose syntax is broken, in
    /// which values cannot be told by their keys. Whatever does not plainly belong to one of the `known` keys that
    /// are no secret is in a range.
    pub fn suspicious_ranges(&self, known: &[String]) -> Vec<Range<usize>> {
        let is_open = |key: &str| {
            let leaf = key.rsplit('.').next().unwrap_or(key).trim();
            let names = known.iter().filter_map(|path| path.rsplit('.').next());
            !speaks_of_secrets(key) && names.into_iter().any(|name| name == leaf)
        };
        let mut ranges = Vec::new();
        let mut table_is_secret = false;
        let mut value_is_secret = true;
        let mut list_is_open = false;
        for line in 0..self.line_starts.len() {
            let range = self.line_range(line);
            let text = self.text.get(range.clone()).unwrap_or("");
            let from = if let Some(header) = table_header(text) {
                table_is_secret = speaks_of_secrets(header);
                (value_is_secret, list_is_open) = (true, false);
                text.find(']').map_or(text.len(), |at| at + 1) + usize::from(text.contains("]]"))
            } else {
                match text.split_once('=') {
                    Some((key, value)) if looks_like_key(key) && !list_is_open => {
                        // An inline table has keys of its own.
                        let speaks = speaks_of_secrets(value);
                        value_is_secret = table_is_secret || !is_open(key) || speaks;
                        list_is_open = value_is_secret && value.contains('[');
                        key.len() + 1
                    }
                    Some(_) | None => {
                        let word = text.split_whitespace().next().unwrap_or("");
                        if !list_is_open && !word.starts_with(['"', '\'', '[', ']', '{', '}']) {
                            value_is_secret = table_is_secret || !is_open(word);
                        }
                        value_is_secret |= speaks_of_secrets(text);
                        0
                    }
                }
            };
            let from = range.start + from + leading_blank(text.get(from..).unwrap_or(""));
            let personal = text.contains('@') || text.contains("-----BEGIN");
            if (value_is_secret || personal) && from < range.end {
                ranges.push(from..range.end);
            }
            list_is_open &= !text.contains(']');
        }
        ranges
    }
}

/// Words in a key or table name that make its values secret.
const SECRET_WORDS: [&str; 10] = [
    "user",
    "secret",
    "pass",
    "token",
    "credential",
    "private",
    "hs256",
    "account_key",
    "hmac",
    "headers",
];

pub(super) fn speaks_of_secrets(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

pub(super) fn table_header(line: &str) -> Option<&str> {
    let line = line.trim();
    let inside = line.strip_prefix('[')?;
    let name = inside.split(']').next().unwrap_or(inside);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.[ ".contains(c);
    name.chars().all(plain).then_some(name)
}

pub(super) fn looks_like_key(text: &str) -> bool {
    let text = text.trim();
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    let quoted = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    match quoted('"').or_else(|| quoted('\'')) {
        Some(inside) => !inside.contains(['"', '\'']),
        None => !text.is_empty() && text.chars().all(bare),
    }
}

fn leading_blank(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// Keeps the part of a long line that the carets are under.
fn cut(shown: &[char], caret_start: usize, caret_count: usize) -> (String, usize, usize) {
    if shown.len() <= SHOWN_CHARS_MAX {
        return (shown.iter().collect(), caret_start, caret_count);
    }
    let from = caret_start.saturating_sub(SHOWN_CHARS_MAX / 4);
    let to = (from + SHOWN_CHARS_MAX).min(shown.len());
    let mut text: String = shown.iter().take(to).skip(from).collect();
    if to < shown.len() {
        text.push('…');
    }
    let (text, lead) = if from > 0 {
        (format!("…{text}"), 1)
    } else {
        (text, 0)
    };
    let caret_start = caret_start - from + lead;
    let room = text.chars().count().saturating_sub(caret_start);
    (text, caret_start, caret_count.min(room).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\n# é\r\nkéy = \"x\"\n";
        let source = Source::new(text);
        let at = text.find("\"x\"").expect("the value");
        let place = source.place(&(at..at + 3), &[]);
        assert_eq!((place.line, place.column), (3, 7));
        assert_eq!(place.source, "kéy = \"x\"");
        assert_eq!((place.caret_start, place.caret_count), (6, 3));
    }

    #[test]
    fn a_mask_hides_text_and_its_length_and_keeps_the_carets_right() {
        let text = "users = { alice = \"hunter2hunter2\", bob = 7 }";
        let source = Source::new(text);
        let secret = text.find("hunter2").expect("the secret");
        let mask = secret..secret + 14;
        let bob = text.find('7').expect("the value");
        let place = source.place(&(bob..bob + 1), std::slice::from_ref(&mask));
        assert_eq!(place.source, "users = { alice = \"***\", bob = 7 }");
        assert_eq!(place.column, bob + 1);
        assert_eq!(place.source.chars().nth(place.caret_start), Some('7'));
        let whole = source.place(&(secret - 1..secret + 15), &[mask]);
        assert_eq!(whole.caret_count, 5);
    }

    #[test]
    fn the_end_of_the_text_and_an_empty_span_still_have_a_caret() {
        for text in ["", "a", "a\n", "a = "] {
            let source = Source::new(text);
            let place = source.place(&(text.len()..text.len()), &[]);
            assert_eq!(place.caret_count, 1, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_its_carets() {
        let text = format!("a = \"{}!{}\"", "x".repeat(500), "y".repeat(500));
        let source = Source::new(&text);
        let at = text.find('!').expect("the mark");
        let place = source.place(&(at..at + 1), &[]);
        assert!(place.source.chars().count() <= SHOWN_CHARS_MAX + 2);
        assert_eq!(place.source.chars().nth(place.caret_start), Some('!'));
    }

    #[test]
    fn suspicious_ranges_leave_only_what_plainly_belongs_to_open_keys() {
        let text = "[turn] # s3cret-zero\nauth_secret = [\n \"s3cret-one\",\n \"s3cret-two==\",\n s3cret=x\n \
                    \"s3cret-two\n]\nrealm = \"open\"\npwd \"s3cret-six\"\n# s3cret-seven\n\
                    [turn.users]\nalice = s3cret-three\ns3cret-four\n[proxy]\nallow = [\n  \"open\",\n  \
                    \"https://me:s3cret@a.example\"\n]\nallow \"open-too\"\n\
                    static-auth-secret=s3cret-five\npsk = \"s3cret-eight\"\n";
        let source = Source::new(text);
        let known = ["turn.realm", "turn.auth_secret", "proxy.allow"].map(str::to_owned);
        let masks = source.suspicious_ranges(&known);
        for (line, _) in text.lines().enumerate() {
            let start = source.line_range(line).start;
            let place = source.place(&(start..start + 1), &masks);
            assert!(!place.source.contains("s3cret"), "{}", place.source);
        }
        let shown = |needle: &str| {
            let at = text.find(needle).expect("the needle");
            source.place(&(at..at + 1), &masks).source
        };
        for line in [
            "realm = \"open\"",
            "allow = [",
            "  \"open\",",
            "allow \"open-too\"",
        ] {
            assert_eq!(shown(line), line);
        }
    }

    #[test]
    fn an_open_key_does_not_uncover_the_secrets_of_an_inline_table() {
        let known = [
            "tls.acme",
            "tls.acme.names",
            "tls.acme.external_account_key",
        ];
        let known = known.map(str::to_owned);
        for text in [
            "external_account_key = \"s3cret\n",
            "external_account_key \"s3cret\"\n",
            "acme = { external_account_key = \"s3cret\n",
            "acme = { names = [\"open\"], external_account_key = \"s3cret\n",
            "acme = { names = [\"open\"], external_account_key =\n \"s3cret\n",
            "acme = {\n  names = [\"open\"], external_account_key = [\n \"s3cret\n",
            "acme = {\n  { external_account_key \n \"s3cret\n",
        ] {
            let source = Source::new(text);
            let masks = source.suspicious_ranges(&known);
            for (line, _) in text.lines().enumerate() {
                let start = source.line_range(line).start;
                let place = source.place(&(start..start + 1), &masks);
                assert!(!place.source.contains("s3cret"), "{text}: {}", place.source);
            }
        }
    }
}
