//! The journal's native protocol: one datagram to `/run/systemd/journal/socket` for each entry, a large one as a sealed
//! memory file in its place.
//!
//! Never waits: when the journal is gone or its queue is full, the line is lost. The socket is named anew in each
//! message, so a journal that was restarted is found without any care.

use super::Error;
use super::record::{Record, Value};
use super::sink::Sink;
use super::text::message_and_fields;
use crate::sys::memfd;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Instant;
use tracing::Level;

/// What `journalctl -t` asks for.
const IDENTIFIER: &str = "relayd";
/// Fields of relayd's own begin with this: `journalctl RELAYD_USER=alice`.
const PREFIX: &str = "RELAYD_";
/// The facility `daemon` (RFC 5424 §6.2.1).
const FACILITY: &str = "3";

pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// An error when nobody listens at `path`.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let open = || {
            UnixDatagram::unbound()?.connect(&path)?;
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => Ok(Self { socket, path }),
            Err(source) => Err(Error::Journal { path, source }),
        }
    }
}

impl Sink for Journal {
    fn write(&mut self, record: &Record, _now: Instant) -> io::Result<()> {
        let entry = entry(record);
        match self.socket.send_to(&entry, &self.path) {
            Ok(_) => Ok(()),
            Err(error) if is_too_large(&error) => {
                memfd::send_sealed(&self.socket, &self.path, &entry)
            }
            Err(error) => Err(error),
        }
    }
}

/// What the kernel says to a datagram that does not fit into a socket's buffer.
fn is_too_large(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE) | Some(libc::ENOBUFS)
    )
}

/// The serialisation of systemd's JOURNAL_NATIVE_PROTOCOL.
pub(super) fn entry(record: &Record) -> Vec<u8> {
    let mut entry = Vec::with_capacity(512);
    push(&mut entry, "MESSAGE", &message_and_fields(record));
    push(&mut entry, "PRIORITY", priority(record.level));
    push(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
    push(&mut entry, "SYSLOG_FACILITY", FACILITY);
    push(&mut entry, "RELAYD_TARGET", record.target);
    if let Some(file) = record.file {
        push(&mut entry, "CODE_FILE", file);
    }
    if let Some(line) = record.line {
        push(&mut entry, "CODE_LINE", &line.to_string());
    }
    for (name, value) in &record.fields {
        let name = field_name(name);
        match value {
            Value::Text(text) | Value::Shown(text) => push(&mut entry, &name, text),
            Value::Unsigned(number) => push(&mut entry, &name, &number.to_string()),
            Value::Signed(number) => push(&mut entry, &name, &number.to_string()),
            Value::Float(number) => push(&mut entry, &name, &number.to_string()),
            Value::Bool(yes) => push(&mut entry, &name, &yes.to_string()),
        }
    }
    entry
}

/// syslog(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Capital letters, digits and underscores, 64 at most; the journal drops an entry's other fields.
fn field_name(name: &str) -> String {
    const LEN_MAX: usize = 64;
    let letters = name.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte.to_ascii_uppercase()),
        _ => '_',
    });
    PREFIX.chars().chain(letters).take(LEN_MAX).collect()
}

/// A value with a line end in it goes with its length before it, so that it cannot begin a field of its own.
fn push(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        let len = u64::try_from(value.len()).unwrap_or(u64::MAX);
        entry.extend_from_slice(&len.to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests;
