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
