//! What a person should know about the certificate before clients find out: for `relayd check` and the start-up log.

use super::{CertificateSource, Error, Settings, files, self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, Validity, X509Certificate};

/// A certificate that ends within this time is warned about, in seconds (14 days).
const EXPIRES_SOON_S: i64 = 14 * 86_400;

/// What the certificate says about itself, and what is questionable about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// DNS names and IP addresses that it is valid for.
    pub names: Vec<String>,
    /// Validity, in seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Certificates in the file.
    pub chain_length: usize,
    pub warnings: Vec<Warning>,
}

impl Inspection {
    /// Whether every one of `names` is among those of the certificate (RFC 9525 §6.3).
    pub fn covers(&self, names: &[String]) -> bool {
        let covered = |name: &String| self.names.iter().any(|own| covers(own, name));
        names.iter().all(covered)
    }

    /// Whether clients refuse it for want of a known issuer.
    pub fn is_self_signed(&self) -> bool {
        self.warnings.contains(&Warning::SelfSigned)
    }
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// DNS names and IP addresses that it is valid for.
    pub names: Vec<String>,
    /// Distinguished name.
    pub issuer: String,
    /// End of the validity, in seconds since 1970.
    pub not_after: i64,
}

impl Facts {
    /// Of the first one.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(Self {
            names: names(&leaf),
            issuer: leaf.issuer().to_string(),
            not_after: leaf.validity().not_after.timestamp(),
        })
    }
}

/// A certificate that can be loaded, but that clients will or may soon refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    Expired {
        not_after: i64,
    },
    ExpiresSoon {
        not_after: i64,
        days: i64,
    },
    NotYetValid {
        not_before: i64,
    },
    /// Subject alternative names do not cover `server.domain` (RFC 9525 §6.3).
    DomainNotCovered {
        domain: String,
        names: Vec<String>,
    },
    /// The issuer of the last certificate is missing; browsers may have it cached, other clients fail.
    ChainIncomplete {
        issuer: String,
    },
    /// Certificate `position`, counted from 1, did not sign the one before it.
    ChainBroken {
        position: usize,
    },
    SelfSigned,
    /// The key file can be read by every user of the machine.
    KeyReadableByAll {
        path: PathBuf,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { not_after } => {
                write!(f, "the certificate expired at {}", date(*not_after))
            }
            Self::ExpiresSoon { not_after, days } => write!(
                f,
                "the certificate expires in {days} days, at {}",
                date(*not_after)
            ),
            Self::NotYetValid { not_before } => write!(
                f,
                "the certificate is not valid before {}; is the clock right?",
                date(*not_before)
            ),
            Self::DomainNotCovered { domain, names } if names.is_empty() => write!(
                f,
                "the certificate has no subject alternative name, so no client accepts it for {domain}"
            ),
            Self::DomainNotCovered { domain, names } => write!(
                f,
                "the certificate is for {}, not for {domain}",
                names.join(", ")
            ),
            Self::ChainIncomplete { issuer } => write!(
                f,
                "the certificate file ends before {issuer}; append the intermediate certificate (`fullchain.pem`)"
            ),
            Self::ChainBroken { position } => write!(
                f,
                "certificate {position} of the file did not issue certificate {}",
                position - 1
            ),
            Self::SelfSigned => write!(
                f,
                "the certificate is self-signed; clients that were not told to trust it refuse it"
            ),
            Self::KeyReadableByAll { path } => write!(
                f,
                "the private key in {} can be read by every user; `chmod o-rwx` it",
                path.display()
            ),
        }
    }
}

/// Loads the certificate as [`super::Store::load`] does and judges it for `domain` at `now_unix` (seconds since 1970).
pub fn inspect(settings: &Settings, domain: &str, now_unix: u64) -> Result<Inspection, Error> {
    let now = i64::try_from(now_unix).unwrap_or(i64::MAX);
    match &settings.source {
        CertificateSource::Files { cert, key } => {
            let files = files::read(cert, key)?;
            let certified = files.certify(&aws_lc_rs::default_provider())?;
            let mut inspection = judge(&certified.cert, domain, now);
            let mode = std::fs::metadata(key).map(|file| file.permissions().mode());
            if mode.is_ok_and(|mode| mode & 0o004 != 0) {
                inspection
                    .warnings
                    .push(Warning::KeyReadableByAll { path: key.clone() });
            }
            Ok(inspection)
        }
        CertificateSource::SelfSigned { names } => {
            let (der, _, _) = self_signed::make(names, now_unix)?;
            Ok(judge(&[der], domain, now))
        }
        CertificateSource::Managed { names, file } => {
            let stored = files::read(file, file)
                .and_then(|files| files.certify(&aws_lc_rs::default_provider()));
            match stored {
                Ok(certified) => Ok(judge(&certified.cert, domain, now)),
                Err(_) => {
                    let (der, _, _) = self_signed::make(names, now_unix)?;
                    Ok(judge(&[der], domain, now))
                }
            }
        }
    }
}

/// The end of the leaf's validity, in seconds since 1970; 0 for one that cannot be read.
pub(super) fn not_after(chain: &[CertificateDer<'_>]) -> i64 {
    leaf_validity(chain).map_or(0, |validity| validity.not_after.timestamp())
}

/// The beginning of it, likewise.
pub(super) fn not_before(chain: &[CertificateDer<'_>]) -> i64 {
    leaf_validity(chain).map_or(0, |validity| validity.not_before.timestamp())
}

fn leaf_validity(chain: &[CertificateDer<'_>]) -> Option<Validity> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(leaf.validity().clone())
}

pub(super) fn judge(chain: &[CertificateDer<'_>], domain: &str, now: i64) -> Inspection {
    let parsed: Vec<_> = chain
        .iter()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .map(|(_, certificate)| certificate)
        .collect();
    let Some(leaf) = parsed.first() else {
        return Inspection {
            names: Vec::new(),
            not_before: 0,
            not_after: 0,
            chain_length: 0,
            warnings: Vec::new(),
        };
    };
    let names = names(leaf);
    let not_before = leaf.validity().not_before.timestamp();
    let not_after = leaf.validity().not_after.timestamp();
    let mut warnings = Vec::new();
    warnings.extend(validity(not_before, not_after, now));
    if !names.iter().any(|name| covers(name, domain)) {
        warnings.push(Warning::DomainNotCovered {
            domain: domain.to_owned(),
            names: names.clone(),
        });
    }
    warnings.extend(chain_warning(&parsed));
    Inspection {
        names,
        not_before,
        not_after,
        chain_length: parsed.len(),
        warnings,
    }
}

fn validity(not_before: i64, not_after: i64, now: i64) -> Option<Warning> {
    if now > not_after {
        Some(Warning::Expired { not_after })
    } else if now < not_before {
        Some(Warning::NotYetValid { not_before })
    } else if not_after - now < EXPIRES_SOON_S {
        let days = (not_after - now) / 86_400;
        Some(Warning::ExpiresSoon { not_after, days })
    } else {
        None
    }
}

/// The chain must lead to a certificate whose issuer clients have themselves: a root.
///
/// Whether that root is a trusted one is not known here. An end-entity certificate alone is issued by an intermediate
/// in every public CA, so it is incomplete.
fn chain_warning(chain: &[X509Certificate<'_>]) -> Option<Warning> {
    let (leaf, last) = (chain.first()?, chain.last()?);
    if leaf.subject() == leaf.issuer() {
        return Some(Warning::SelfSigned);
    }
    let broken = chain
        .windows(2)
        .position(|pair| matches!(pair, [child, parent] if child.issuer() != parent.subject()));
    if let Some(index) = broken {
        return Some(Warning::ChainBroken {
            position: index + 2,
        });
    }
    (chain.len() == 1).then(|| Warning::ChainIncomplete {
        issuer: last.issuer().to_string(),
    })
}

/// DNS names and IP addresses of the subject alternative name extension.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = &extension.value.general_names;
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
            _ => None,
        })
        .collect()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// RFC 9525 §6.3: equal without regard to case, or a `*` for exactly the first label. An address is never a wildcard's.
fn covers(name: &str, domain: &str) -> bool {
    if let Ok(ip) = domain.parse::<IpAddr>() {
        return name.parse::<IpAddr>() == Ok(ip);
    }
    if name.eq_ignore_ascii_case(domain) {
        return true;
    }
    let (Some(suffix), Some((first, rest))) = (name.strip_prefix("*."), domain.split_once('.'))
    else {
        return false;
    };
    !first.is_empty() && suffix.eq_ignore_ascii_case(rest)
}

/// A time as certificates have it, for people.
pub fn time(unix_s: u64) -> String {
    date(i64::try_from(unix_s).unwrap_or(i64::MAX))
}

fn date(unix_s: i64) -> String {
    ASN1Time::from_timestamp(unix_s).map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}
