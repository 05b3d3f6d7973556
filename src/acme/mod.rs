//! Certificates obtained and renewed by relayd itself: ACME (RFC 8555) with TLS-ALPN-01 (RFC 8737).
//!
//! `schedule` says when to ask (pure), `order` is one attempt from account to chain, `client` carries its requests,
//! `state` keeps account, certificate and history on disk, `keeper` ties them together, `worker` is its thread.
//!
//! What holds: whatever goes wrong here, the certificate in use goes on being served, and a person is told; no failure is
//! repeated fast enough to reach a public authority's limits, restarts included; keys are in `state`'s files and in
//! `tls`, in no log and no metric; relayd does not wait for this room to start or to reload, and for 2 s at
//! most to stop (only the stored certificate is read at once, as any file of the configuration).
//!
//! Absent: other challenges (relayd has the TLS port already, and no say in DNS), wildcards (RFC 8737 proves none),
//! certificates for addresses (RFC 8738), revocation, several certificates chosen by SNI, renewal information (RFC 9773).

mod client;
mod failure;
mod keeper;
mod metrics;
mod order;
mod schedule;
mod state;
#[cfg(test)]
mod tests;
mod worker;

pub use metrics::{Metrics, Outcome};
pub use worker::Acme;

use crate::secret::Secret;
use std::fmt;
use std::path::PathBuf;

/// Directories that go by a name in the configuration.
pub const DIRECTORIES: [(&str, &str); 2] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
];
/// RFC 8737 §3: where validation comes, whatever port relayd listens on.
pub const VALIDATION_PORT: u16 = 443;
/// Names of one certificate; Let's Encrypt takes no more.
pub const NAMES_MAX: usize = 100;
/// Longest directory URL: the folder of its state is named after it.
pub const DIRECTORY_BYTES_MAX: usize = 200;

/// What is asked of whom, and where it is kept. The terms of service have been agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// DNS names of the certificate, in lower case; at least one.
    pub names: Vec<String>,
    /// E-mail addresses that the authority may write to.
    pub contact: Vec<String>,
    /// `https` URL of the authority's directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// What several authorities' state is kept under.
    pub state_dir: PathBuf,
    /// Authorities to trust for the directory itself, beside the public ones: PEM.
    pub ca_file: Option<PathBuf>,
    /// RFC 8555 §7.3.4.
    pub external_account: Option<ExternalAccount>,
    /// What kind of certificate to ask for, if the authority has several.
    pub profile: Option<String>,
}

/// An account that the authority knows already, by other means.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// HMAC key in base64url.
    pub key: Secret,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount")
            .field("key_id", &self.key_id)
            .field("key", &self.key)
            .finish()
    }
}

impl Settings {
    /// Account, certificate and history of this authority: each has a folder of its own, so that a try with a staging
    /// directory leaves the production state alone.
    pub fn folder(&self) -> PathBuf {
        let name = self.directory.trim_start_matches("https://");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let name: String = name
            .trim_end_matches('/')
            .chars()
            .map(|c| if plain(c) { c } else { '-' })
            .collect();
        self.state_dir.join(name)
    }

    /// Chain and private key, PEM.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder().join("certificate.pem")
    }

    /// Whom is asked, as a person would say it.
    pub fn authority(&self) -> &str {
        let host = self.directory.trim_start_matches("https://");
        host.split('/').next().unwrap_or(host)
    }
}
