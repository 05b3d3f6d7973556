//! Account, certificate and history on disk: what a restart must not ask for again.
//!
//! One folder for each authority, for relayd's user alone (0700, files 0600). A file is replaced as a whole, by a rename
//! after it has reached the disk. Whoever holds the lock asks; another relayd of the same folder waits for its turn.
//! Errors name the file; nothing here decides what they mean.

use super::schedule::History;
use crate::secret::Secret;
use instant_acme::AccountCredentials;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";
const HISTORY: &str = "history.json";
const LOCK: &str = "lock";
/// Longest file that is read back.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot make the folder {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not what relayd wrote", path.display())]
    Broken {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// An account with what it was made with. The credentials hold its key.
#[derive(Serialize, Deserialize)]
pub struct StoredAccount {
    pub directory: String,
    pub contact: Vec<String>,
    pub credentials: AccountCredentials,
}

impl StoredAccount {
    pub fn text(&self) -> Secret {
        Secret::new(serde_json::to_string_pretty(self).expect("texts and lists are JSON"))
    }

    /// `None` for what is not a text of relayd's.
    pub fn of_text(text: &Secret) -> Option<Self> {
        serde_json::from_str(text.expose()).ok()
    }
}

/// The folder of one authority.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
}

/// Whether this process may ask.
#[derive(Debug)]
pub enum Turn {
    /// Ours until it is dropped.
    Held { _lock: File },
    /// Another process has it.
    Taken,
    /// Nobody can know: the folder cannot be written.
    Unknown(StateError),
}

impl State {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn lock(&self) -> Turn {
        let path = self.folder.join(LOCK);
        if let Err(error) = self.make_folder() {
            return Turn::Unknown(error);
        }
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let failed = |source| Turn::Unknown(StateError::Write { path, source });
        let file = match opened {
            Ok(file) => file,
            Err(source) => return failed(source),
        };
        match file.try_lock() {
            Ok(()) => Turn::Held { _lock: file },
            Err(TryLockError::WouldBlock) => Turn::Taken,
            Err(TryLockError::Error(source)) => failed(source),
        }
    }

    pub fn account(&self) -> Result<Option<StoredAccount>, StateError> {
        self.read_json(ACCOUNT)
    }

    /// What [`StoredAccount::text`] made.
    pub fn save_account(&self, text: &Secret) -> Result<(), StateError> {
        self.write(ACCOUNT, text.expose().as_bytes())
    }

    pub fn history(&self) -> Result<Option<History>, StateError> {
        self.read_json(HISTORY)
    }

    pub fn save_history(&self, history: &History) -> Result<(), StateError> {
        self.write_json(HISTORY, history)
    }

    /// Chain and key in one file, so that no crash leaves the one without the other.
    pub fn save_certificate(&self, pem: &Secret) -> Result<(), StateError> {
        self.write(CERTIFICATE, pem.expose().as_bytes())
    }

    /// What is stored, by whichever process; `None` also for what cannot be read.
    pub fn certificate(&self) -> Option<Secret> {
        let bytes = read(&self.folder.join(CERTIFICATE)).ok()?;
        String::from_utf8(bytes).ok().map(Secret::new)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let path = self.folder.join(name);
        match read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StateError::Broken { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Read { path, source }),
        }
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(value).map_err(|source| StateError::Broken {
            path: self.folder.join(name),
            source,
        })?;
        self.write(name, &text)
    }

    fn make_folder(&self) -> Result<(), StateError> {
        let failed = |source| StateError::Folder {
            path: self.folder.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(failed)?;
        let mode = fs::metadata(&self.folder)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.make_folder()?;
        let path = self.folder.join(name);
        let temporary = self.folder.join(format!("{name}.new"));
        let replaced = replace(&self.folder, &temporary, &path, bytes);
        replaced.map_err(|source| {
            // Nothing is left behind to fill the disk further.
            let _ = fs::remove_file(&temporary);
            StateError::Write { path, source }
        })
    }
}

fn replace(folder: &Path, temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One from before a crash may have other permissions.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    // The rename itself reaches the disk with its folder.
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
