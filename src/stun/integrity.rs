//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 over raw keys (RFC 8489 §14.5, §14.6, §9.2.2).
//!
//! Our own, because `stun-types` makes keys from passwords only, and an operator may have nothing but the MD5.

use crate::stun::attributes::{MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256};
use aws_lc_rs::{constant_time, digest, hmac};
use md5::{Digest, Md5};

/// Which attribute protects a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
}

impl Algorithm {
    pub fn attribute(self) -> u16 {
        match self {
            Self::Sha1 => MESSAGE_INTEGRITY,
            Self::Sha256 => MESSAGE_INTEGRITY_SHA256,
        }
    }

    /// Bytes of the value.
    pub fn mac_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }
}

/// MD5(username ":" realm ":" password), the key where no PASSWORD-ALGORITHM says otherwise.
pub fn md5_key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in [username, ":", realm, ":", password] {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256(username ":" realm ":" password), the key of PASSWORD-ALGORITHM SHA-256 (§18.5.1.2).
pub fn sha256_key(username: &str, realm: &str, password: &str) -> [u8; 32] {
    sha256(&[username, ":", realm, ":", password])
}

/// SHA-256(username ":" realm), the value of USERHASH (§14.4).
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    sha256(&[username, ":", realm])
}

fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(part.as_bytes());
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

/// The HMAC of a message whose integrity attribute starts at `start`.
///
/// The header's length field counts as if the attribute were the message's last (§14.5).
pub fn compute(
    message: &[u8],
    start: usize,
    algorithm: Algorithm,
    key: &[u8],
) -> Option<hmac::Tag> {
    let length = start + 4 + algorithm.mac_len();
    let length = u16::try_from(length.checked_sub(crate::stun::HEADER_LEN)?).ok()?;
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm.hmac(), key));
    context.update(message.get(..2)?);
    context.update(&length.to_be_bytes());
    context.update(message.get(4..start)?);
    Some(context.sign())
}

/// Whether `mac`, the value of the integrity attribute at `start`, is right. In constant time.
///
/// A truncated MESSAGE-INTEGRITY-SHA256 is wrong: the TURN usage defines no truncation (§14.6).
pub fn verify(message: &[u8], start: usize, mac: &[u8], algorithm: Algorithm, key: &[u8]) -> bool {
    let Some(right) = compute(message, start, algorithm, key) else {
        return false;
    };
    constant_time::verify_slices_are_equal(right.as_ref(), mac).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::Message;
    use proptest::prelude::*;
    use stun_types::message::{
        BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message as Reference,
        MessageIntegrityCredentials, MessageWriteVec,
    };
    use stun_types::prelude::*;

    /// RFC 8489 §9.2.2.
    #[test]
    fn the_md5_key_is_the_one_in_the_rfc() {
        let key = md5_key("user", "realm", "pass");
        assert_eq!(
            u128::from_be_bytes(key),
            0x8493_fbc5_3ba5_82fb_4c04_4c45_6bdc_40eb
        );
    }

    proptest! {
        #[test]
        fn what_the_reference_protects_we_verify(
            username in "[a-z]{1,20}", realm in "[a-z]{1,20}", password in "\\PC{0,20}",
            sha256: bool, fingerprint: bool,
        ) {
            let (algorithm, theirs) = if sha256 {
                (Algorithm::Sha256, IntegrityAlgorithm::Sha256)
            } else {
                (Algorithm::Sha1, IntegrityAlgorithm::Sha1)
            };
            let credentials = LongTermKeyCredentials::new(
                username.clone(), password.clone(), realm.clone());
            let mut message = Reference::builder_request(BINDING, MessageWriteVec::new());
            message
                .add_message_integrity(&MessageIntegrityCredentials::LongTerm(credentials), theirs)
                .expect("the first one");
            if fingerprint {
                message.add_fingerprint().expect("the first one");
            }
            let bytes = message.finish();
            let message = Message::parse(&bytes).expect("well-formed");
            let md5 = md5_key(&username, &realm, &password);
            let sha256_key = sha256_key(&username, &realm, &password);
            let key = if sha256 { &sha256_key[..] } else { &md5 };
            prop_assert!(message.is_protected_by(algorithm, key));
            prop_assert!(!message.is_protected_by(algorithm, b"another key"));
        }
    }

    /// RFC 8489 §14.6.
    #[test]
    fn a_truncated_sha256_is_not_accepted() {
        let mut message = Reference::builder_request(BINDING, MessageWriteVec::new());
        let start = message.len();
        let right = {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, b"key"));
            context.update(&message[..2]);
            context.update(&20_u16.to_be_bytes());
            context.update(&message[4..start]);
            context.sign()
        };
        let short = stun_types::attribute::MessageIntegritySha256::new(&right.as_ref()[..16]);
        message.push_attribute_unchecked(&short.expect("16 bytes"));
        let bytes = message.finish();
        let message = Message::parse(&bytes).expect("well-formed");
        assert!(!message.is_protected_by(Algorithm::Sha256, b"key"));
    }
}
