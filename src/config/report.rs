//! Problems of a configuration, each with its place in the file, and how they are shown.
//!
//! A problem names the key, shows the line with carets under the value, says what is accepted and how to
//! fix it. Source lines arrive here with secrets already taken out (`source`).

use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// relayd does not start.
    Error,
    /// relayd starts, but a human should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Where in the file a problem is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line as it may be shown: secrets are `***`.
    pub source: String,
    /// First character of `source` to underline, from 0.
    pub caret_start: usize,
    /// Characters to underline; at least 1.
    pub caret_count: usize,
}

/// One thing that is wrong, or that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// One line; keys in backticks.
    pub message: String,
    /// The configuration file; `None` when the problem is not in a file.
    pub file: Option<String>,
    pub place: Option<Place>,
    /// What is accepted, or why the value is not; stands beside the carets.
    pub label: String,
    /// What to write or do instead.
    pub help: Option<String>,
}

impl Problem {
    /// A warning about the machine, not about a line of the file.
    pub fn warning(
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message, label, help)
        }
    }

    /// An error that is in no line of a file.
    pub fn error(
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            file: None,
            place: None,
            label: label.into(),
            help: Some(help.into()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        let width = match &self.place {
            Some(place) => place.line.to_string().len(),
            None => 1,
        };
        match (&self.file, &self.place) {
            (Some(file), Some(place)) => {
                write!(
                    f,
                    "\n{:width$}--> {file}:{}:{}",
                    "", place.line, place.column
                )?;
            }
            (Some(file), None) => write!(f, "\n{:width$}--> {file}", "")?,
            (None, _) => {}
        }
        match &self.place {
            Some(place) => write!(
                f,
                "\n{} | {}\n{:width$} | {:caret_start$}{} {}",
                place.line,
                place.source,
                "",
                "",
                "^".repeat(place.caret_count),
                self.label,
                caret_start = place.caret_start,
            )?,
            None if self.label.is_empty() => {}
            None => write!(f, "\n{:width$} = note: {}", "", self.label)?,
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:width$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Every problem of one file, in the order of the file; at least one is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub problems: Vec<Problem>,
}

impl Report {
    /// A file that could not be used at all.
    pub fn of_file(file: &str, message: String, label: String, help: &str) -> Self {
        Self {
            problems: vec![Problem {
                severity: Severity::Error,
                message,
                file: Some(file.to_owned()),
                place: None,
                label,
                help: Some(help.to_owned()),
            }],
        }
    }

    /// `2 errors, 1 warning`.
    pub fn tally(&self) -> String {
        tally(&self.problems)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            write!(f, "{problem}\n\n")?;
        }
        f.write_str(&self.tally())
    }
}

impl std::error::Error for Report {}

/// Counts in words: `no problems`, `1 error`, `2 errors, 1 warning`.
pub fn tally(problems: &[Problem]) -> String {
    let count = |severity| problems.iter().filter(|p| p.severity == severity).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => plural(errors, "error"),
        (0, warnings) => plural(warnings, "warning"),
        (errors, warnings) => {
            format!(
                "{}, {}",
                plural(errors, "error"),
                plural(warnings, "warning")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_its_line_carets_and_fix() {
        let problem = Problem {
            severity: Severity::Error,
            message: "`turn.relay_ports` runs backwards".to_owned(),
            file: Some("relay.toml".to_owned()),
            place: Some(Place {
                line: 14,
                column: 15,
                source: "relay_ports = \"65535-49152\"".to_owned(),
                caret_start: 14,
                caret_count: 13,
            }),
            label: "first port is above the last".to_owned(),
            help: Some("write \"49152-65535\"".to_owned()),
        };
        assert_eq!(
            problem.to_string(),
            "error: `turn.relay_ports` runs backwards\n  --> relay.toml:14:15\n\
             14 | relay_ports = \"65535-49152\"\n   |               ^^^^^^^^^^^^^ first port is above the last\n\
             \x20  = help: write \"49152-65535\""
        );
    }

    #[test]
    fn a_problem_without_a_place_still_says_why_and_what_to_do() {
        let problem = Problem::warning("`net.core.rmem_max` is small", "it is 212992", "raise it");
        assert_eq!(
            problem.to_string(),
            "warning: `net.core.rmem_max` is small\n  = note: it is 212992\n  = help: raise it"
        );
        assert_eq!(tally(&[problem]), "1 warning");
    }
}
