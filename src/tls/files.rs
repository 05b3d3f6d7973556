//! Certificate and key files: PEM in, or an error that says which file is wrong and how.

use super::{Error, KeyDer};
use aws_lc_rs::digest;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest certificate or key file, in bytes; a chain of four RSA certificates has about 10 000.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the two files hold; nothing says yet that they belong together.
pub(super) struct Files {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyDer,
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
    /// Of the bytes of both.
    pub digest: Digest,
}

/// SHA-256: tells what is in use from what the files hold, whatever their times and sizes say.
pub(super) type Digest = [u8; 32];

pub(super) fn read(cert_path: &Path, key_path: &Path) -> Result<Files, Error> {
    let certificates = Sections::read(cert_path)?;
    let chain = chain(cert_path, &certificates)?;
    let keys = Sections::read(key_path)?;
    files(cert_path, chain, &certificates, key_path, &keys)
}

/// The same of one text that holds both; `path` is where it is or will be kept, for errors.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Files, Error> {
    let sections = Sections::parse(path, text.to_vec())?;
    let chain = chain(path, &sections)?;
    files(path, chain, &sections, path, &sections)
}

fn files(
    cert_path: &Path,
    chain: Vec<CertificateDer<'static>>,
    certificates: &Sections,
    key_path: &Path,
    keys: &Sections,
) -> Result<Files, Error> {
    let mut digest = digest::Context::new(&digest::SHA256);
    for bytes in [&certificates.bytes, &keys.bytes] {
        digest.update(&bytes.len().to_be_bytes());
        digest.update(bytes);
    }
    let mut digest_bytes = Digest::default();
    digest_bytes.copy_from_slice(digest.finish().as_ref());
    Ok(Files {
        chain,
        key: key(key_path, keys)?,
        digest: digest_bytes,
        cert_path: cert_path.to_owned(),
        key_path: key_path.to_owned(),
    })
}

/// Every certificate of the file, in its order; at least one, each of them well-formed.
fn chain(path: &Path, sections: &Sections) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Vec<_> = sections.certificates().collect();
    if chain.is_empty() {
        return Err(Error::NoCertificate {
            path: path.to_owned(),
            found: sections.describe(),
        });
    }
    for (index, der) in chain.iter().enumerate() {
        let problem = match X509Certificate::from_der(der) {
            Ok(([], _)) => continue,
            Ok(_) => "bytes follow its end".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Error::BrokenCertificate {
            path: path.to_owned(),
            position: index + 1,
            problem,
        });
    }
    Ok(chain)
}

fn key(path: &Path, sections: &Sections) -> Result<KeyDer, Error> {
    if sections.encrypted_key {
        return Err(Error::EncryptedKey {
            path: path.to_owned(),
        });
    }
    let mut keys = sections.keys();
    let Some(key) = keys.next() else {
        return Err(Error::NoKey {
            path: path.to_owned(),
            found: sections.describe(),
        });
    };
    match keys.count() {
        0 => Ok(key),
        more => Err(Error::SeveralKeys {
            path: path.to_owned(),
            count: more + 1,
        }),
    }
}

/// The PEM blocks of one file.
struct Sections {
    blocks: Vec<(SectionKind, Vec<u8>)>,
    encrypted_key: bool,
    empty: bool,
    bytes: Vec<u8>,
}

impl Sections {
    fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, read_bytes(path)?)
    }

    fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(&bytes);
        let mut rest = bytes.as_slice();
        let mut blocks = Vec::new();
        while let Some(block) = pem::from_buf(&mut rest).map_err(|source| Error::Pem {
            path: path.to_owned(),
            source,
        })? {
            blocks.push(block);
        }
        Ok(Self {
            blocks,
            // RFC 7468 §11 and the older header of RFC 1421 that OpenSSL writes.
            encrypted_key: text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
                || text.contains("Proc-Type: 4,ENCRYPTED"),
            empty: text.trim().is_empty(),
            bytes,
        })
    }

    fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.blocks
            .iter()
            .filter_map(|(kind, der)| CertificateDer::from_pem(*kind, der.clone()))
    }

    fn keys(&self) -> impl Iterator<Item = KeyDer> {
        self.blocks
            .iter()
            .filter_map(|(kind, der)| PrivateKeyDer::from_pem(*kind, der.clone()))
    }

    /// What the file holds instead of what was looked for.
    fn describe(&self) -> &'static str {
        if self.certificates().next().is_some() {
            "certificates (are `cert` and `key` swapped?)"
        } else if self.keys().next().is_some() {
            "a private key (are `cert` and `key` swapped?)"
        } else if self.encrypted_key {
            "an encrypted private key"
        } else if !self.blocks.is_empty() {
            "other PEM blocks"
        } else if self.empty {
            "is empty"
        } else {
            "no PEM block at all (DER files must be converted with `openssl x509` or `openssl pkey`)"
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let length = std::fs::metadata(path).map_or(FILE_BYTES_MAX + 1, |file| file.len());
        return Err(Error::TooLarge {
            path: path.to_owned(),
            bytes: length,
        });
    }
    Ok(bytes)
}
