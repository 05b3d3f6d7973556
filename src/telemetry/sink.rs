//! Where lines go: standard output or error, a file, or the journal. All of this runs on the log thread alone.
//!
//! A write may fail and be tried again with the next line; it never panics and never ends the thread. A line of which a
//! part was written before the disk was full is ended when writing works again, so that the next one stands alone.

use super::file::LogFile;
use super::journal::Journal;
use super::record::Record;
use super::text;
use super::{Destination, Error, Format, Settings};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

pub(super) trait Sink: Send {
    /// Writes one line; an error means that it is lost.
    fn write(&mut self, record: &Record, now: Instant) -> io::Result<()>;

    /// The same file, opened again.
    fn reopened(&mut self, _file: File) {}
}

/// Opens what the settings name; nothing has been written to it yet.
pub(super) fn open(settings: &Settings) -> Result<Box<dyn Sink>, Error> {
    let standard = |fd: BorrowedFd<'_>, ansi: bool| -> Result<Box<dyn Sink>, Error> {
        // A descriptor of its own, without the standard library's buffer: that keeps half a line after an error.
        let copy = fd.try_clone_to_owned().map_err(Error::Standard)?;
        let style = Style::new(settings.format, ansi);
        Ok(Box::new(Stream {
            out: Torn::new(File::from(copy)),
            style,
        }))
    };
    match &settings.to {
        Destination::Stdout => standard(io::stdout().as_fd(), io::stdout().is_terminal()),
        Destination::Stderr => standard(io::stderr().as_fd(), io::stderr().is_terminal()),
        Destination::Journal(socket) => {
            Journal::open(socket.clone()).map(|journal| Box::new(journal) as Box<dyn Sink>)
        }
        Destination::File(path) => {
            let style = Style::new(settings.format, false);
            LogFile::open(path.clone(), style).map(|file| Box::new(file) as Box<dyn Sink>)
        }
    }
}

/// How a record becomes a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    format: Format,
    ansi: bool,
}

impl Style {
    pub fn new(format: Format, ansi: bool) -> Self {
        Self { format, ansi }
    }

    pub fn line(self, record: &Record) -> String {
        match self.format {
            Format::Text => text::text(record, self.ansi),
            Format::Json => text::json(record),
        }
    }
}

struct Stream {
    out: Torn<File>,
    style: Style,
}

impl Sink for Stream {
    fn write(&mut self, record: &Record, _now: Instant) -> io::Result<()> {
        self.out.write_line(&self.style.line(record))
    }
}

/// Whole lines into an output that may take a part of one and then fail.
pub(super) struct Torn<W> {
    out: W,
    /// The last thing written was not the end of a line.
    torn: bool,
}

impl<W: Write> Torn<W> {
    pub fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    pub fn get_ref(&self) -> &W {
        &self.out
    }

    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many bytes as it has room for, and fails then.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_tore_is_ended_before_the_next_one() {
        let mut out = Torn::new(Disk {
            room: 9,
            written: Vec::new(),
        });
        out.write_line("first\n").expect("there is room");
        out.write_line("second\n").expect_err("three bytes fit");
        out.write_line("third\n").expect_err("nothing fits");
        out.out.room = 100;
        out.write_line("fourth\n").expect("there is room");
        assert_eq!(out.get_ref().written, b"first\nsec\nfourth\n");
    }
}
