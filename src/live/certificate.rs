//! What a TLS server shows, written down before it is refused: rustls alone would only say that it is.

use crate::check::date;
use crate::sys::clock;
use crate::tls::{Warning, judge};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// A certificate that ends sooner is worth a warning, in days.
pub(super) const DAYS_MIN: i64 = 14;

/// Why a certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    WrongName,
    Expired,
    NotYetValid,
    UnknownIssuer,
    Other(String),
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub names: Vec<String>,
    pub issuer: String,
    pub self_signed: bool,
    /// In seconds since 1970.
    pub not_after: i64,
    pub days_left: i64,
    /// `None`: it is good for the name that was asked for.
    pub fault: Option<Fault>,
    /// What is wrong with it whoever issued it: verification tells an unknown issuer first, and nothing more then.
    pub own_fault: Option<Fault>,
}

impl Certificate {
    fn new(chain: &[CertificateDer<'_>], fault: Option<Fault>, name: &str) -> Option<Self> {
        let unix_s = i64::try_from(clock::now().unix_s()).unwrap_or(i64::MAX);
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        let inspection = judge(chain, name, unix_s);
        Some(Self {
            issuer: issuer(leaf.issuer()),
            self_signed: leaf.issuer() == leaf.subject(),
            days_left: inspection
                .not_after
                .saturating_sub(unix_s)
                .div_euclid(86_400),
            own_fault: inspection.warnings.iter().find_map(own_fault),
            names: inspection.names,
            not_after: inspection.not_after,
            fault,
        })
    }

    /// `certificate of R11 (Let's Encrypt), 61 days left`.
    pub(super) fn summary(&self) -> String {
        let by = match self.self_signed {
            true => "self-signed certificate".to_owned(),
            false => format!("certificate of {}", self.issuer),
        };
        match self.days_left {
            days if days < 0 => format!("{by}, ended {}", date(self.not_after)),
            1 => format!("{by}, 1 day left"),
            days => format!("{by}, {days} days left"),
        }
    }

    /// What it is for, as a sentence has it.
    pub(super) fn names(&self) -> String {
        const SHOWN_MAX: usize = 4;
        let shown: Vec<&str> = self
            .names
            .iter()
            .take(SHOWN_MAX)
            .map(String::as_str)
            .collect();
        match self.names.len() {
            0 => "no name".to_owned(),
            n if n > SHOWN_MAX => format!("{} and {} more", shown.join(", "), n - SHOWN_MAX),
            _ => shown.join(", "),
        }
    }
}

fn own_fault(warning: &Warning) -> Option<Fault> {
    match warning {
        Warning::Expired { .. } => Some(Fault::Expired),
        Warning::NotYetValid { .. } => Some(Fault::NotYetValid),
        Warning::DomainNotCovered { .. } => Some(Fault::WrongName),
        Warning::ExpiresSoon { .. }
        | Warning::ChainIncomplete { .. }
        | Warning::ChainBroken { .. }
        | Warning::SelfSigned
        | Warning::KeyReadableByAll { .. } => None,
    }
}

/// Common name and organisation, as far as they are told.
fn issuer(name: &X509Name<'_>) -> String {
    let common = name
        .iter_common_name()
        .next()
        .and_then(|it| it.as_str().ok());
    let organisation = name
        .iter_organization()
        .next()
        .and_then(|it| it.as_str().ok());
    // Whoever made the certificate chose this text: nothing of it steers the terminal.
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect();
    let common: Option<String> = common.map(plain);
    let organisation: Option<String> = organisation.map(plain);
    match (common, organisation) {
        (Some(common), Some(organisation)) if common != organisation => {
            format!("{common} ({organisation})")
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => "an issuer without a name".to_owned(),
    }
}

/// What becomes of a connection whose certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It ends, as relayd itself would end it.
    Ends,
    /// It goes on: what is behind it is to be tested, too. For this machine's own listeners.
    GoesOn,
}

/// Verifies as webpki does, and remembers what it saw.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    refused: Refused,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    fault: Option<Fault>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen {
            chain: chain.map(|der| der.clone().into_owned()).collect(),
            fault: verified.as_ref().err().map(fault),
        });
        match self.refused {
            Refused::Ends => verified,
            Refused::GoesOn => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn fault(error: &rustls::Error) -> Fault {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return Fault::Other(error.to_string());
    };
    match fault {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Fault::WrongName
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Fault::NotYetValid
        }
        CertificateError::UnknownIssuer => Fault::UnknownIssuer,
        // A self-signed leaf that is no authority, or one that is: the issuer is unknown all the same.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Fault::UnknownIssuer
        }
        other => Fault::Other(other.to_string()),
    }
}

/// Makes handshakes that are written down; one for each set of roots.
#[derive(Clone)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    inner: Arc<WebPkiServerVerifier>,
}

/// What a handshake led to.
pub(super) struct Shaken<S> {
    pub stream: Result<TlsStream<S>, HandshakeError>,
    /// `None` where the server showed none.
    pub certificate: Option<Certificate>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("no TLS handshake in time")]
    TimedOut,
    #[error("the TLS handshake failed")]
    Failed(#[source] io::Error),
}

impl HandshakeError {
    /// With its cause.
    pub(super) fn full(&self) -> String {
        match self {
            Self::TimedOut => self.to_string(),
            Self::Failed(cause) => format!("{self}: {cause}"),
        }
    }
}

impl Tls {
    /// `None` for roots of which none can be used: webpki wants one.
    pub(super) fn new(roots: RootCertStore) -> Option<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Some(Self {
            provider,
            inner: inner.build().ok()?,
        })
    }

    pub(super) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: &str,
        alpn: &[&[u8]],
        refused: Refused,
        wait: Duration,
    ) -> Shaken<S> {
        let witness = Arc::new(Witness {
            inner: Arc::clone(&self.inner),
            refused,
            seen: Mutex::default(),
        });
        let shaken = match ServerName::try_from(name.to_owned()) {
            Ok(server) => {
                let connector = TlsConnector::from(self.config(&witness, alpn));
                timeout(wait, connector.connect(server, stream)).await
            }
            Err(error) => Ok(Err(io::Error::other(error))),
        };
        let seen = witness
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        Shaken {
            stream: match shaken {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(HandshakeError::Failed(error)),
                Err(_) => Err(HandshakeError::TimedOut),
            },
            certificate: seen.and_then(|seen| Certificate::new(&seen.chain, seen.fault, name)),
        }
    }

    fn config(&self, witness: &Arc<Witness>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let verifier: Arc<dyn ServerCertVerifier> = witness.clone();
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("aws-lc-rs speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

/// `TLS 1.3`, and the protocol that was agreed upon.
pub(super) fn protocol<S>(stream: &TlsStream<S>) -> String {
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(_) | None => "TLS",
    };
    match connection.alpn_protocol() {
        Some(alpn) => format!("{version} {}", String::from_utf8_lossy(alpn)),
        None => version.to_owned(),
    }
}
