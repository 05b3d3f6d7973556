//! One certificate store for TURN and HTTPS, swapped as a whole.

use std::path::PathBuf;

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM files: the chain (leaf first) and its private key.
    Files { cert: PathBuf, key: PathBuf },
    /// Made at start for these names and addresses; for a first try.
    SelfSigned { names: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub source: CertificateSource,
}
