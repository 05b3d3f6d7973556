//! A self-signed certificate for a first try: P-256, held in memory.

use super::{Error, KeyDer, SelfSignedPem};
use crate::secret::Secret;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::time::Duration;

/// Validity; browsers refuse a certificate that is valid for more than 398 days.
const VALID_DAYS: u64 = 365;
const DAY_S: u64 = 86_400;

/// Makes a certificate for `names` (DNS names and IP addresses), valid from the day before `now_unix`.
pub(super) fn make(
    names: &[String],
    now_unix: u64,
) -> Result<(CertificateDer<'static>, KeyDer, SelfSignedPem), Error> {
    let failed = |source| Error::SelfSigned {
        names: names.to_vec(),
        source,
    };
    let mut params = CertificateParams::new(names).map_err(failed)?;
    // The subject is for people who read the certificate; clients look at the names alone (RFC 9525 §6.3).
    params
        .distinguished_name
        .push(DnType::CommonName, "relayd self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A day early, for clients whose clock is behind.
    let begin = now_unix.saturating_sub(DAY_S);
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(begin);
    params.not_after =
        date_time_ymd(1970, 1, 1) + Duration::from_secs(begin + (VALID_DAYS + 1) * DAY_S);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let pem = SelfSignedPem {
        certificate: certificate.pem(),
        key: Secret::new(key.serialize_pem()),
    };
    Ok((certificate.into(), key.into(), pem))
}
