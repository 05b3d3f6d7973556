//! The log as a file: appended to, and reopened when it was rotated.
//!
//! `O_APPEND`, so that copytruncate works. After a rename, lines go on into the renamed file until [`reopen`]. A file
//! that nobody can read any more, since its last name is gone, is looked for again under its own name, at most once in
//! [`RETRY`]; until it can be made, lines count as lost.
//!
//! [`reopen`]: super::Handle::reopen

use super::Error;
use super::record::Record;
use super::sink::{Sink, Style, Torn};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A log names users: the owner writes, the group reads, whatever the umask.
const MODE: u32 = 0o640;
/// Pause between two attempts to make a file that has vanished.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct LogFile {
    path: PathBuf,
    style: Style,
    out: Torn<File>,
    retry_at: Option<Instant>,
}

impl LogFile {
    pub fn open(path: PathBuf, style: Style) -> Result<Self, Error> {
        let file = open(&path)?;
        Ok(Self {
            path,
            style,
            out: Torn::new(file),
            retry_at: None,
        })
    }

    /// Whether a written line would be there for somebody to read.
    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.out.get_ref().metadata()?.nlink() > 0)
    }

    fn find_again(&mut self, now: Instant) -> io::Result<()> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.retry_at = Some(now + RETRY);
        let file = open(&self.path).map_err(|error| match error {
            Error::File { source, .. } => source,
            _ => io::ErrorKind::InvalidInput.into(),
        })?;
        self.reopened(file);
        Ok(())
    }
}

impl Sink for LogFile {
    fn write(&mut self, record: &Record, now: Instant) -> io::Result<()> {
        if !self.is_linked()? {
            self.find_again(now)?;
        }
        self.out.write_line(&self.style.line(record))
    }

    fn reopened(&mut self, file: File) {
        self.out = Torn::new(file);
        self.retry_at = None;
    }
}

/// Opens for appending; makes the file if it is not there.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let fault = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    // A FIFO would wait here for its reader, and a terminal would become relayd's own.
    options
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = match options.clone().mode(MODE).create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(MODE))
                .map_err(fault)?;
            file
        }
        // Also where a link leads to a file that is not there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.mode(MODE).create(true).open(path).map_err(fault)?
        }
        Err(error) => return Err(fault(error)),
    };
    let kind = file.metadata().map_err(fault)?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(Error::NotAFile {
            path: path.to_owned(),
        });
    }
    Ok(file)
}
