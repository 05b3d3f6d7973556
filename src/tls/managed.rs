//! Certificates that relayd obtains itself: a stand-in until there is one, and the swap when it comes.
//!
//! What holds: a stored certificate that cannot be used is no reason not to start; a certificate in use, also one from files
//! of before a reload, is kept until the next one is there; `install_obtained` puts nothing in the place of what another source
//! gave in the meantime.

use super::inspect::judge;
use super::{CertificateSource, Error, Inspection, Loaded, Settings, Store, files};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

/// What a certificate that was just obtained says; an error if it cannot be served. `pem` holds chain and key.
pub fn examine(file: &Path, pem: &str, now_unix_s: u64) -> Result<Inspection, Error> {
    let files = files::parse(file, pem.as_bytes())?;
    let certified = files.certify(&aws_lc_rs::default_provider())?;
    let now = i64::try_from(now_unix_s).unwrap_or(i64::MAX);
    Ok(judge(&certified.cert, "", now))
}

impl Store {
    /// Serves this certificate from the next handshake on; `pem` holds chain and key.
    ///
    /// False if the certificate is not managed any more, or kept elsewhere than in `file`: then nothing changes.
    pub fn install_obtained(&self, file: &Path, pem: &str) -> Result<bool, Error> {
        let provider = self.config.crypto_provider();
        let certified = files::parse(file, pem.as_bytes())?.certify(provider)?;
        let _replacing = self.replacing();
        let settings = self.resolver.0.load().settings.clone();
        let managed =
            matches!(&settings.source, CertificateSource::Managed { file: own, .. } if own == file);
        if managed {
            let loaded = Loaded::of(certified, &settings);
            self.resolver.0.store(Arc::new(loaded));
        }
        Ok(managed)
    }

    /// What the managed certificate says; `None` while there is a stand-in, or another source.
    pub fn managed(&self, now_unix_s: u64) -> Option<Inspection> {
        let loaded = self.resolver.0.load();
        let managed = matches!(loaded.settings.source, CertificateSource::Managed { .. });
        let now = i64::try_from(now_unix_s).unwrap_or(i64::MAX);
        (managed && !loaded.stand_in).then(|| judge(&loaded.certified.cert, "", now))
    }

    /// Whether what is served only fills the place of a certificate that is still to be obtained.
    pub fn is_stand_in(&self) -> bool {
        self.resolver.0.load().stand_in
    }

    /// What is served where certificates are managed, in a word: "stand-in" or "obtained".
    pub fn standing(&self) -> Option<&'static str> {
        let loaded = self.resolver.0.load();
        match (&loaded.settings.source, loaded.stand_in) {
            (CertificateSource::Managed { .. }, true) => Some("stand-in"),
            (CertificateSource::Managed { .. }, false) => Some("obtained"),
            (CertificateSource::Files { .. } | CertificateSource::SelfSigned { .. }, _) => None,
        }
    }

    pub(super) fn replacing(&self) -> MutexGuard<'_, ()> {
        // Nothing is left half done under it.
        self.replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    /// The stored certificate, else a stand-in for its names.
    pub(super) fn managed(
        settings: &Settings,
        names: &[String],
        file: &Path,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let stored = files::read(file, file).and_then(|files| files.certify(provider));
        let (certified, stand_in) = match stored {
            Ok(certified) => (certified, false),
            Err(error) => {
                if !matches!(&error, Error::Read { source, .. } if source.kind() == ErrorKind::NotFound)
                {
                    tracing::warn!(%error, "the stored certificate cannot be used");
                }
                (Self::self_signed(names, provider)?.0, true)
            }
        };
        Ok(Self {
            stand_in,
            ..Self::of(certified, settings)
        })
    }

    /// What is to be served after `present`, if this is managed: in memory there may be a later one than on a full disk; and
    /// what clients trust beats a stand-in.
    pub(super) fn after(self, present: &Self) -> Self {
        let CertificateSource::Managed { file, .. } = &self.settings.source else {
            return self;
        };
        let same_file = matches!(&present.settings.source, CertificateSource::Managed { file: own, .. } if own == file);
        let keep = !present.stand_in && (same_file || self.stand_in);
        if !keep || present.self_signed.is_some() {
            return self;
        }
        Self {
            settings: self.settings,
            stand_in: !same_file,
            digest: None,
            ..present.clone()
        }
    }
}
