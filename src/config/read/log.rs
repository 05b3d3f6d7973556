//! `[log]`: format and level.

use crate::config::nearest::nearest;
use crate::config::section::{Item, Table, Wrong};
use crate::telemetry::{Format, Settings};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const FORMATS: [&str; 2] = ["text", "json"];

pub(in crate::config) fn read(table: &Table<'_>) -> Settings {
    let defaults = Settings::default();
    Settings {
        format: table
            .read("format", format)
            .map_or(defaults.format, |format| format.value),
        level: table
            .read("level", |item| {
                level(item.text("a level such as \"info\"")?)
            })
            .map_or(defaults.level, |level| level.value),
    }
}

fn format(item: &Item<'_>) -> Result<Format, Wrong> {
    match item.text("\"text\" or \"json\"")? {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        other => Err(did_you_mean(
            Wrong::new("is not a log format", "accepted: \"text\", \"json\""),
            other,
            &FORMATS,
        )),
    }
}

/// A level, or directives of a target and its level, with commas.
fn level(text: &str) -> Result<String, Wrong> {
    for directive in text.split(',') {
        let (target, level) = match directive.trim().split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive.trim()),
        };
        let target_ok = |target: &str| {
            !target.is_empty()
                && target
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
        };
        if !LEVELS.contains(&level) || !target.is_none_or(target_ok) {
            return Err(did_you_mean(
                Wrong::new(
                    "is not a log level",
                    "accepted: off, error, warn, info, debug, trace, or with parts: \"info,relayd::proxy=debug\"",
                ),
                level,
                &LEVELS,
            ));
        }
    }
    Ok(text.to_owned())
}

fn did_you_mean(wrong: Wrong, found: &str, known: &[&str]) -> Wrong {
    match nearest(found, known.iter().copied()) {
        Some(meant) => wrong.help(format!("did you mean \"{meant}\"?")),
        None => wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_and_directives() {
        for text in [
            "info",
            "off",
            "info,relayd::proxy=debug",
            "relayd::turn=trace, warn",
        ] {
            assert!(level(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "inof",
            "5",
            "relayd=",
            "=info",
            "info,,debug",
            "a b=info",
        ] {
            assert!(level(text).is_err(), "{text}");
        }
        let help = level("inof").expect_err("a typo").help;
        assert_eq!(help.as_deref(), Some("did you mean \"info\"?"));
    }
}
