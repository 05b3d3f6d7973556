//! `[log]`: destination, format, level and privacy.

use crate::config::Surroundings;
use crate::config::nearest::nearest;
use crate::config::secrets::reason;
use crate::config::section::{At, Draft, Item, Table, Wrong};
use crate::sys::access;
use crate::telemetry::{Destination, Format, JOURNAL_SOCKET, Settings};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

const DESTINATIONS: [&str; 4] = ["stdout", "stderr", "journald", "file:"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const FORMATS: [&str; 2] = ["text", "json"];

pub(in crate::config) fn read(table: &Table<'_>, around: &Surroundings<'_>) -> Settings {
    let defaults = Settings::default();
    let to = table
        .read("to", |item| destination(item, around))
        .map_or(defaults.to, |to| to.value);
    let format = table.read("format", format);
    if let (Destination::Journal(_), Some(format)) = (&to, &format) {
        format_is_unused(table, format);
    }
    Settings {
        to,
        format: format.map_or(defaults.format, |format| format.value),
        level: table
            .read("level", |item| {
                level(item.text("a level such as \"info\"")?)
            })
            .map_or(defaults.level, |level| level.value),
        privacy: table
            .read("privacy", |item| item.boolean())
            .map_or(defaults.privacy, |privacy| privacy.value),
    }
}

fn format_is_unused(table: &Table<'_>, format: &At<Format>) {
    if format.value == Format::Text {
        return;
    }
    let warning = Draft::warning(
        "`log.format` says nothing to the journal",
        "its entries have every field on its own",
    );
    let help = "leave it out; `journalctl -o json` shows entries as JSON";
    table
        .reader()
        .push(warning.at(format.span.clone()).help(help));
}

fn destination(item: &Item<'_>, around: &Surroundings<'_>) -> Result<Destination, Wrong> {
    let accepted = "\"stdout\", \"stderr\", \"journald\" or \"file:PATH\"";
    let text = item.text(accepted)?;
    match text.split_once(':') {
        None if text == "stdout" => Ok(Destination::Stdout),
        None if text == "stderr" => Ok(Destination::Stderr),
        None if text == "journald" => journal(PathBuf::from(JOURNAL_SOCKET)),
        Some(("journald", path)) if !path.is_empty() => journal(around.base_dir.join(path)),
        Some(("file", path)) if !path.is_empty() => file(around.base_dir.join(path)),
        Some(_) | None => {
            let wrong = Wrong::new(
                "is no destination for the log",
                format!("accepted: {accepted}"),
            );
            // A path alone is what coturn's `log-file` takes.
            Err(if text.contains('/') && !text.contains(':') {
                wrong.help(format!("for a file write \"file:{text}\""))
            } else {
                did_you_mean(wrong, text, &DESTINATIONS)
            })
        }
    }
}

/// The socket must be there now; whether somebody reads it is seen at start.
fn journal(socket: PathBuf) -> Result<Destination, Wrong> {
    let shown = socket.display();
    match std::fs::metadata(&socket) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(Destination::Journal(socket)),
        Ok(_) => Err(Wrong::new(
            "names a journal that is none",
            format!("{shown} is not a socket"),
        )),
        Err(error) => Err(Wrong::new(
            "names a journal that is not there",
            format!("{shown}: {}", reason(&error)),
        )
        .help("\"stdout\" or \"file:PATH\" where systemd-journald does not run; in a container mount its socket")),
    }
}

/// A file that relayd may append to, or a directory that it may make one in. Nothing is made here.
fn file(path: PathBuf) -> Result<Destination, Wrong> {
    let cannot = |place: &Path, error: &std::io::Error| {
        Wrong::new(
            "names a file that cannot be written",
            format!("{}: {}", place.display(), reason(error)),
        )
    };
    match std::fs::metadata(&path) {
        Ok(metadata) => {
            let kind = metadata.file_type();
            if !kind.is_file() && !kind.is_char_device() {
                return Err(Wrong::new(
                    "does not name a file",
                    format!("{} is not a regular file", path.display()),
                ));
            }
            access::writable(&path).map_err(|error| {
                cannot(&path, &error).help("make it writable for the user that runs relayd")
            })?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                Some(_) | None => Path::new("."),
            };
            if !directory.is_dir() {
                return Err(Wrong::new(
                    "names a file in a directory that is not there",
                    format!("no directory {}", directory.display()),
                )
                .help("make it, owned by the user that runs relayd; under systemd LogsDirectory=relayd makes /var/log/relayd"));
            }
            access::writable(directory).map_err(|error| {
                cannot(directory, &error)
                    .help("let the user that runs relayd make files there; under systemd by LogsDirectory= or ReadWritePaths=")
            })?;
        }
        Err(error) => return Err(cannot(&path, &error)),
    }
    Ok(Destination::File(path))
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
