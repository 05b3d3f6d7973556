//! Public keys of JWT issuers: what a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) holds, checked once.

use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// RFC 7518 §3.3: RS256 needs 2048 bits or more. More than 8192 costs too much for each request.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// An uncompressed point of P-256: 0x04, x, y (SEC 1 §2.3.3).
const P256_POINT_BYTES: usize = 65;

/// A public key in the form that signatures are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) Vec<u8>);

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the public key is malformed")]
    Malformed,
    #[error("this is no RSA key")]
    NotRsa,
    #[error("this is no P-256 key")]
    NotP256,
    #[error("an RSA key has 2048 to 8192 bits (RFC 7518 §3.3)")]
    RsaSize,
}

impl PublicKey {
    /// An RSA key for RS256, from a SubjectPublicKeyInfo in DER.
    pub fn rsa(info: &[u8]) -> Result<Self, KeyError> {
        let info = parse(info)?;
        let Ok(Parsed::RSA(key)) = info.parsed() else {
            return Err(KeyError::NotRsa);
        };
        // `key_size` counts the sign byte of the modulus out.
        if !RSA_BITS.contains(&key.key_size()) {
            return Err(KeyError::RsaSize);
        }
        Ok(Self(info.subject_public_key.data.to_vec()))
    }

    /// A P-256 key for ES256, from a SubjectPublicKeyInfo in DER.
    pub fn p256(info: &[u8]) -> Result<Self, KeyError> {
        let info = parse(info)?;
        let point = &info.subject_public_key.data;
        let curve = info
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        let is_p256 = curve.is_some_and(|oid| oid == x509_parser::oid_registry::OID_EC_P256);
        if !is_p256 || point.len() != P256_POINT_BYTES || point.first() != Some(&4) {
            return Err(KeyError::NotP256);
        }
        Ok(Self(point.to_vec()))
    }
}

fn parse(info: &[u8]) -> Result<SubjectPublicKeyInfo<'_>, KeyError> {
    match SubjectPublicKeyInfo::from_der(info) {
        Ok(([], info)) => Ok(info),
        Ok(_) | Err(_) => Err(KeyError::Malformed),
    }
}
