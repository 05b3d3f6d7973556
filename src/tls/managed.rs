//! Certificates that relayd obtains itself: a stand-in until there is one, and the swap when it comes.
//!
//! What holds: a stored certificate that cannot be used is no reason not to start; a certificate in use, also one from files
//! of before a reload, is kept until the next one is there, however many reloads come first; `install_obtained` puts nothing in
//! the place of what another source gave in the meantime.

use super::inspect::judge;
use super::{CertificateSource, Error, Inspection, Loaded, Origin, Place, Settings, Store, files};
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
        self.install_managed(file, pem, |obtained, _| obtained)
    }

    /// The same for what another process may have stored in `file`: false also if what is served is as late or later.
    pub fn install_stored(&self, file: &Path, pem: &str) -> Result<bool, Error> {
        self.install_managed(file, pem, Loaded::after)
    }

    fn install_managed(
        &self,
        file: &Path,
        pem: &str,
        choose: fn(Loaded, &Loaded) -> Loaded,
    ) -> Result<bool, Error> {
        let provider = self.config.crypto_provider();
        let certified = files::parse(file, pem.as_bytes())?.certify(provider)?;
        let _replacing = self.replacing();
        let present = self.resolver.0.load_full();
        let source = &present.settings.source;
        if !matches!(source, CertificateSource::Managed { file: own, .. } if own == file) {
            return Ok(false);
        }
        let chosen = choose(
            Loaded::of(certified, Origin::Acme, &present.settings),
            &present,
        );
        let changed = !Arc::ptr_eq(&chosen.certified, &present.certified);
        if changed {
            self.resolver.0.store(Arc::new(chosen));
        }
        Ok(changed)
    }

    /// What the managed certificate says; `None` while another one fills its place, or with another source.
    pub fn managed(&self, now_unix_s: u64) -> Option<Inspection> {
        let loaded = self.resolver.0.load();
        let managed = matches!(loaded.settings.source, CertificateSource::Managed { .. });
        let now = i64::try_from(now_unix_s).unwrap_or(i64::MAX);
        let own = managed && loaded.place == Place::Own;
        own.then(|| judge(&loaded.certified.cert, "", now))
    }

    /// Whether relayd made what is served, for want of a certificate that is still to be obtained.
    pub fn is_stand_in(&self) -> bool {
        self.resolver.0.load().place == Place::StandIn
    }

    /// Whether what is served is the certificate of former settings, until the first one by the present settings.
    pub fn is_kept(&self) -> bool {
        self.resolver.0.load().place == Place::Kept
    }

    /// What is served where certificates are managed, in a word: "stand-in", "kept" or "obtained".
    pub fn standing(&self) -> Option<&'static str> {
        let loaded = self.resolver.0.load();
        match (&loaded.settings.source, loaded.place) {
            (CertificateSource::Managed { .. }, Place::StandIn) => Some("stand-in"),
            (CertificateSource::Managed { .. }, Place::Kept) => Some("kept"),
            (CertificateSource::Managed { .. }, Place::Own) => Some("obtained"),
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
        let (certified, place, origin) = match stored {
            Ok(certified) => (certified, Place::Own, Origin::Acme),
            Err(error) => {
                if !matches!(&error, Error::Read { source, .. } if source.kind() == ErrorKind::NotFound)
                {
                    tracing::warn!(%error, "the stored certificate cannot be used");
                }
                let (made, _) = Self::self_signed(names, provider)?;
                (made, Place::StandIn, Origin::SelfSigned)
            }
        };
        Ok(Self {
            place,
            ..Self::of(certified, origin, settings)
        })
    }

    /// What is to be served after `present`, if this is managed: of two obtained ones the later, for in memory there may be a
    /// later one than on a full disk, and on the disk a later one by another process; and what clients trust beats a stand-in.
    pub(super) fn after(self, present: &Self) -> Self {
        let CertificateSource::Managed { file, .. } = &self.settings.source else {
            return self;
        };
        let same_file = matches!(&present.settings.source, CertificateSource::Managed { file: own, .. } if own == file);
        let found = self.place == Place::Own;
        let place = match present.place {
            Place::Own if present.self_signed.is_some() => return self,
            Place::Own if same_file => match found && self.not_before > present.not_before {
                true => return self,
                false => Place::Own,
            },
            Place::Own | Place::Kept if found => return self,
            Place::Own | Place::Kept => Place::Kept,
            // Nobody trusts it, but who looks at it twice is not to wonder why it changed.
            Place::StandIn if !found && self.settings == present.settings => Place::StandIn,
            Place::StandIn => return self,
        };
        Self {
            settings: self.settings,
            place,
            digest: None,
            ..present.clone()
        }
    }
}
