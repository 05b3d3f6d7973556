//! One certificate store for TURN and HTTPS, swapped as a whole.
//!
//! A [`Store`] makes one `rustls::ServerConfig` at start; live listeners keep it, and a reload only swaps the
//! certificate behind it, so the next handshake on any thread shows the new one. TLS 1.2 and 1.3 by aws-lc-rs, with
//! stateless session tickets.
//!
//! ALPN is `stun.turn`, `stun.nat-discovery`, `h2`, `http/1.1`, in this order: TURN clients offer HTTP's name too, HTTP
//! clients never TURN's. A client without ALPN is served; a client that offers only names outside this list is refused with
//! `no_application_protocol` (RFC 7301 §3.2): guessing what it meant from its first byte would open relayd to
//! cross-protocol attacks, and no TURN or HTTP client is known to do so.
//!
//! `acme-tls/1` is not in that list: who offers it alone is answered by [`challenge`], and only while a challenge for the
//! name is open; that connection carries nothing.
//!
//! Absent: choice by SNI (there is one certificate), client certificates, OCSP stapling, 0-RTT (a replayed Allocate
//! or POST is worth more to an attacker than a round trip is to a client).

pub mod challenge;
mod files;
mod inspect;
mod managed;
mod roots;
mod self_signed;
#[cfg(test)]
mod tests;

pub use inspect::{Facts, Inspection, Warning, inspect, judge, time};
pub use managed::examine;
pub use roots::{RootsError, client_config, public_roots, roots};

use crate::secret::Secret;
use crate::sys::clock;
use arc_swap::ArcSwap;
use challenge::Challenges;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM files: the chain (leaf first) and its private key.
    Files { cert: PathBuf, key: PathBuf },
    /// Made at start for these names and addresses; for a first try.
    SelfSigned { names: Vec<String> },
    /// Obtained by `acme` for these names: `file` holds chain and key. Until there is one, a self-signed stand-in serves.
    Managed { names: Vec<String>, file: PathBuf },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub source: CertificateSource,
}

/// ALPN protocol names (RFC 7301, RFC 9113, RFC 7443).
pub const ALPN_H2: &[u8] = b"h2";
pub const ALPN_HTTP11: &[u8] = b"http/1.1";
pub const ALPN_TURN: &[u8] = b"stun.turn";
pub const ALPN_NAT_DISCOVERY: &[u8] = b"stun.nat-discovery";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is {bytes} bytes long, which no certificate or key file is", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{} is no valid PEM file", path.display())]
    Pem {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{} holds no certificate (a `-----BEGIN CERTIFICATE-----` block), but {found}", path.display())]
    NoCertificate { path: PathBuf, found: &'static str },
    #[error("certificate {position} in {} is broken: {problem}", path.display())]
    BrokenCertificate {
        path: PathBuf,
        position: usize,
        problem: String,
    },
    #[error("{} holds no private key (a `-----BEGIN PRIVATE KEY-----` block), but {found}", path.display())]
    NoKey { path: PathBuf, found: &'static str },
    #[error("{} holds {count} private keys; leave the one that belongs to the certificate", path.display())]
    SeveralKeys { path: PathBuf, count: usize },
    #[error("the private key in {} is encrypted; decrypt it with `openssl pkey -in {} -out key.pem`", path.display(), path.display())]
    EncryptedKey { path: PathBuf },
    #[error("the private key in {} cannot be used", path.display())]
    BrokenKey {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), cert.display())]
    KeyMismatch { cert: PathBuf, key: PathBuf },
    #[error(
        "the certificate of the private key is number {position} in {}; it must be the first",
        cert.display()
    )]
    ChainOrder { cert: PathBuf, position: usize },
    #[error("cannot make a self-signed certificate for {}", names.join(", "))]
    SelfSigned {
        names: Vec<String>,
        source: rcgen::Error,
    },
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

/// A self-signed certificate and its key as text, to be saved or shown.
#[derive(Clone, Debug)]
pub struct SelfSignedPem {
    pub certificate: String,
    pub key: Secret,
}

/// The certificate of this server and the TLS configuration that shows it.
#[derive(Debug)]
pub struct Store {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    challenges: Arc<Challenges>,
    /// Held by whoever replaces the certificate: a reload and `acme` do so on different threads.
    replacing: Mutex<()>,
}

impl Store {
    /// Reads or makes the certificate; every error names the file and the cause.
    pub fn load(settings: &Settings) -> Result<Arc<Self>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let loaded = Loaded::new(settings, &provider)?;
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(loaded)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        // In order of preference: who offers a STUN name means it, and coturn's clients offer http/1.1 beside it.
        config.alpn_protocols = [ALPN_TURN, ALPN_NAT_DISCOVERY, ALPN_H2, ALPN_HTTP11]
            .map(<[u8]>::to_vec)
            .to_vec();
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::Setup)?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            resolver,
            challenges: Arc::default(),
            replacing: Mutex::default(),
        }))
    }

    /// Takes another certificate; on an error the present one stays.
    ///
    /// A self-signed certificate for the same names is kept: clients were told to trust that one.
    #[cfg(test)]
    pub fn reload(&self, settings: &Settings) -> Result<(), Error> {
        let prepared = self.prepare(settings)?;
        self.install(prepared);
        Ok(())
    }

    /// Reads or makes the certificate of these settings, for [`install`](Self::install).
    pub fn prepare(&self, settings: &Settings) -> Result<Prepared, Error> {
        let present = self.resolver.0.load();
        let same = present.settings == *settings;
        if same && matches!(settings.source, CertificateSource::SelfSigned { .. }) {
            return Ok(Prepared(Arc::clone(&present)));
        }
        let loaded = Loaded::new(settings, self.config.crypto_provider())?;
        Ok(Prepared(Arc::new(loaded.after(&present))))
    }

    /// Reads the files of the present certificate again: `None` where they hold what is in use.
    pub fn look(&self) -> Result<Option<Prepared>, Error> {
        let present = self.resolver.0.load();
        let CertificateSource::Files { cert, key } = &present.settings.source else {
            return Ok(None);
        };
        let files = files::read(cert, key)?;
        if present.digest == Some(files.digest) {
            return Ok(None);
        }
        let loaded = Loaded::of_files(files, &present.settings, self.config.crypto_provider())?;
        Ok(Some(Prepared(Arc::new(loaded))))
    }

    /// Shows the certificate from the next handshake on.
    pub fn install(&self, prepared: Prepared) {
        let _replacing = self.replacing();
        // What `acme` has obtained since it was prepared is not lost.
        let loaded = match prepared.0.settings.source {
            CertificateSource::Managed { .. } => {
                let present = self.resolver.0.load();
                Arc::new(Loaded::clone(&prepared.0).after(&present))
            }
            CertificateSource::Files { .. } | CertificateSource::SelfSigned { .. } => prepared.0,
        };
        self.resolver.0.store(loaded);
    }

    /// Where the present certificate comes from.
    pub fn settings(&self) -> Settings {
        self.resolver.0.load().settings.clone()
    }

    /// The end of the present certificate's validity, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.resolver.0.load().not_after
    }

    /// What the present certificate says of itself, and where it was got; `None` for one that cannot be read.
    pub fn facts(&self) -> Option<(Facts, Origin)> {
        let present = self.resolver.0.load();
        let facts = Facts::of(&present.certified.cert)?;
        Some((facts, present.origin))
    }

    /// Goes on with a self-signed certificate that another process made for the same names.
    pub fn keep_self_signed(&self, pem: SelfSignedPem) -> Result<(), Error> {
        let wrong = |source| Error::Pem {
            path: PathBuf::from("the former process's certificate"),
            source,
        };
        let certificate = CertificateDer::from_pem_slice(pem.certificate.as_bytes());
        let key = KeyDer::from_pem_slice(pem.key.expose().as_bytes()).map_err(wrong)?;
        let key = self
            .config
            .crypto_provider()
            .key_provider
            .load_private_key(key);
        let certified = CertifiedKey::new(
            vec![certificate.map_err(wrong)?],
            key.map_err(Error::Setup)?,
        );
        let settings = self.resolver.0.load().settings.clone();
        self.resolver.0.store(Arc::new(Loaded {
            self_signed: Some(pem),
            ..Loaded::of(certified, Origin::SelfSigned, &settings)
        }));
        Ok(())
    }

    /// Open TLS-ALPN-01 challenges, which are answered instead of serving.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// The configuration for every handshake; it stays the same object across reloads.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The certificate in use, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.resolver.0.load().certified.cert.clone()
    }

    /// `None` where the certificate comes from files.
    pub fn self_signed(&self) -> Option<SelfSignedPem> {
        self.resolver.0.load().self_signed.clone()
    }
}

/// A certificate that can be put in use and that nothing can go wrong with any more.
pub struct Prepared(Arc<Loaded>);

impl Prepared {
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The end of its validity, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// Leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.certified.cert.clone()
    }
}

/// One certificate, ready for handshakes.
#[derive(Clone)]
struct Loaded {
    settings: Settings,
    certified: Arc<CertifiedKey>,
    self_signed: Option<SelfSignedPem>,
    origin: Origin,
    /// Of the files' bytes; `None` where there are none.
    digest: Option<files::Digest>,
    not_before: i64,
    not_after: i64,
    place: Place,
}

/// Where a certificate was got, whatever the settings mean to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    File,
    Acme,
    /// Made by relayd.
    SelfSigned,
}

/// What a certificate is to its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The one that they mean.
    Own,
    /// From other settings: clients trust it, so it serves until the managed one comes.
    Kept,
    /// Made by relayd for want of any: it fills the place of the managed one that is still to come.
    StandIn,
}

impl Loaded {
    fn new(settings: &Settings, provider: &CryptoProvider) -> Result<Self, Error> {
        match &settings.source {
            CertificateSource::Files { cert, key } => {
                Self::of_files(files::read(cert, key)?, settings, provider)
            }
            CertificateSource::SelfSigned { names } => {
                let (certified, pem) = Self::self_signed(names, provider)?;
                Ok(Self {
                    self_signed: Some(pem),
                    ..Self::of(certified, Origin::SelfSigned, settings)
                })
            }
            CertificateSource::Managed { names, file } => {
                Self::managed(settings, names, file, provider)
            }
        }
    }

    fn of_files(
        files: files::Files,
        settings: &Settings,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let digest = files.digest;
        Ok(Self {
            digest: Some(digest),
            ..Self::of(files.certify(provider)?, Origin::File, settings)
        })
    }

    fn self_signed(
        names: &[String],
        provider: &CryptoProvider,
    ) -> Result<(CertifiedKey, SelfSignedPem), Error> {
        let (der, key, pem) = self_signed::make(names, clock::now().unix_s())?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(Error::Setup)?;
        Ok((CertifiedKey::new(vec![der], key), pem))
    }

    fn of(certified: CertifiedKey, origin: Origin, settings: &Settings) -> Self {
        Self {
            origin,
            settings: settings.clone(),
            not_before: inspect::not_before(&certified.cert),
            not_after: inspect::not_after(&certified.cert),
            certified: Arc::new(certified),
            self_signed: None,
            digest: None,
            place: Place::Own,
        }
    }
}

impl files::Files {
    /// Proves that key and certificate belong together.
    fn certify(self, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
        let key = provider
            .key_provider
            .load_private_key(self.key)
            .map_err(|source| Error::BrokenKey {
                path: self.key_path.clone(),
                source,
            })?;
        let certified = CertifiedKey::new(self.chain, key);
        match certified.keys_match() {
            // A key that cannot tell its public half (none of the built-in kinds) is believed.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(_) => Err(match position_of_match(&certified) {
                Some(position) => Error::ChainOrder {
                    cert: self.cert_path,
                    position,
                },
                None => Error::KeyMismatch {
                    cert: self.cert_path,
                    key: self.key_path,
                },
            }),
        }
    }
}

/// The place, counted from 1, of a later certificate in the chain that the key does belong to.
fn position_of_match(certified: &CertifiedKey) -> Option<usize> {
    let others = certified.cert.iter().enumerate().skip(1);
    others
        .map(|(index, der)| {
            let alone = CertifiedKey::new(vec![der.clone()], Arc::clone(&certified.key));
            (index + 1, alone)
        })
        .find(|(_, alone)| alone.keys_match().is_ok())
        .map(|(position, _)| position)
}

struct Resolver(ArcSwap<Loaded>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver")
            .field(&self.0.load().settings)
            .finish()
    }
}

/// A private key as it stands in a file.
pub(crate) type KeyDer = PrivateKeyDer<'static>;
