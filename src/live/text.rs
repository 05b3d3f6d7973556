//! The report for a terminal: a table for each part, then what to do about what does not work.

use super::report::{Part, Report, Row, Verdict};
use std::fmt::Write;

/// A longer name is not waited for by the others' columns.
const NAME_WIDTH_MAX: usize = 56;
/// Of "what to do".
const TEXT_WIDTH: usize = 100;
/// Names before one advice; the others are counted.
const NAMES_MAX: usize = 8;

/// How it may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Colours for a terminal that has them and a person who has not declined (`NO_COLOR`, no-color.org).
    pub fn of(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> Self {
        let declined = no_color.is_some_and(|value| !value.is_empty());
        match is_terminal && !declined && term != Some("dumb") {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }

    fn paint(self, verdict: Verdict) -> String {
        let (word, colour) = match verdict {
            Verdict::Ok => ("ok", "32"),
            Verdict::Warn => ("warn", "33"),
            Verdict::Fail => ("FAIL", "1;31"),
            Verdict::Untried => ("-", "2"),
        };
        match self {
            Self::Plain => format!("{word:<4}"),
            Self::Coloured => format!("\x1b[{colour}m{word:<4}\x1b[0m"),
        }
    }
}

impl Report {
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let mut part = None;
        let width = self.checks.iter().map(|row| width(&row.what));
        let width = width.filter(|n| *n <= NAME_WIDTH_MAX).max().unwrap_or(0);
        for row in &self.checks {
            if part != Some(row.part) {
                part = Some(row.part);
                let _ = writeln!(text, "{}", row.part.title());
            }
            line(&mut text, row, width, style);
        }
        self.what_to_do(&mut text, style);
        text.push('\n');
        text.push_str(&self.tally());
        text
    }

    fn what_to_do(&self, text: &mut String, style: Style) {
        let mut advised = self.advised();
        // What does not work before what is questionable.
        advised.sort_by_key(|(_, rows)| rows.iter().all(|row| row.result != Verdict::Fail));
        if advised.is_empty() {
            return;
        }
        text.push_str("\nwhat to do\n");
        for (advice, rows) in advised {
            let worst = match rows.iter().any(|row| row.result == Verdict::Fail) {
                true => Verdict::Fail,
                false => Verdict::Warn,
            };
            for (index, line) in wrapped(&names(&rows), TEXT_WIDTH).iter().enumerate() {
                let word = match index {
                    0 => style.paint(worst),
                    _ => " ".repeat(4),
                };
                let _ = writeln!(text, "  {word}  {line}");
            }
            for line in wrapped(advice, TEXT_WIDTH) {
                let _ = writeln!(text, "          {line}");
            }
        }
    }

    /// Each advice once, with all that it is for.
    fn advised(&self) -> Vec<(&str, Vec<&Row>)> {
        let mut advised: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in &self.checks {
            let Some(advice) = row.advice.as_deref() else {
                continue;
            };
            match advised.iter_mut().find(|(same, _)| *same == advice) {
                Some((_, rows)) => rows.push(row),
                None => advised.push((advice, vec![row])),
            }
        }
        advised
    }

    fn tally(&self) -> String {
        let counts = self.counts;
        let tried = counts.ok + counts.warn + counts.fail;
        let mut text = match counts.fail {
            0 => format!("all {tried} work"),
            n => format!("{n} of {tried} do not work"),
        };
        match counts.warn {
            0 => {}
            1 => text.push_str(", 1 warning"),
            n => _ = write!(text, ", {n} warnings"),
        }
        if counts.untried > 0 {
            let _ = write!(text, ", {} not tried", counts.untried);
        }
        let _ = write!(text, "; {:.1} s", self.took_s);
        if self.interrupted {
            text.push_str("\ninterrupted: what had not ended is not shown");
        }
        text
    }
}

fn names(rows: &[&Row]) -> String {
    let shown = rows.iter().take(NAMES_MAX).map(|row| row.what.as_str());
    let shown: Vec<&str> = shown.collect();
    match rows.len() {
        n if n > NAMES_MAX => format!("{} and {} more", shown.join(", "), n - NAMES_MAX),
        _ => shown.join(", "),
    }
}

fn line(text: &mut String, row: &Row, width: usize, style: Style) {
    let time = row.ms.map_or_else(String::new, time);
    let gap = " ".repeat(width.saturating_sub(self::width(&row.what)));
    let (what, word) = (&row.what, style.paint(row.result));
    let line = format!("  {what}{gap}  {word}  {time:>8}  {}", row.detail);
    let _ = writeln!(text, "{}", line.trim_end());
}

fn time(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Lines of at most `max` characters, unless a word is longer.
fn wrapped(text: &str, max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= max => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
