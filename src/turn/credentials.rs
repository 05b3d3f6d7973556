//! Users of the configuration and time-limited credentials (TURN REST), and the keys that they make.
//!
//! A time-limited username is `timestamp:name`, `name:timestamp` or `timestamp`; its password is
//! base64(HMAC-SHA1(secret, username)). It expires when the clock reaches the timestamp.

use crate::secret::Secret;
use crate::stun::integrity::{md5_key, sha256_key};
use crate::turn::settings::{Settings, UserKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// PASSWORD-ALGORITHM: how a password becomes a key (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDerivation {
    Md5,
    Sha256,
}

/// The keys of one user in one realm. Held by each allocation, so that it outlives the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    md5: [u8; 16],
    /// `None` where the configuration holds nothing but the MD5.
    sha256: Option<[u8; 32]>,
}

impl Credential {
    pub fn of_password(username: &str, realm: &str, password: &str) -> Self {
        Self {
            md5: md5_key(username, realm, password),
            sha256: Some(sha256_key(username, realm, password)),
        }
    }

    pub fn of_md5(md5: [u8; 16]) -> Self {
        Self { md5, sha256: None }
    }

    pub fn key(&self, derivation: KeyDerivation) -> Option<&[u8]> {
        match derivation {
            KeyDerivation::Md5 => Some(&self.md5),
            KeyDerivation::Sha256 => self.sha256.as_ref().map(<[u8; 32]>::as_slice),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Every credential that `username` may have: its own, then one of each secret while its time lasts.
pub fn candidates<'a>(
    settings: &'a Settings,
    username: &'a str,
    now_s: u64,
) -> impl Iterator<Item = Credential> + 'a {
    let realm = &settings.realm;
    let own = settings.users.get(username).map(|key| match key {
        UserKey::Password(password) => Credential::of_password(username, realm, password.expose()),
        UserKey::Md5(md5) => Credential::of_md5(*md5),
    });
    let current = TimeLimited::parse(username).is_some_and(|name| name.expires_s > now_s);
    let secrets = settings.auth_secrets.iter().filter(move |_| current);
    let limited = secrets.map(move |secret| {
        Credential::of_password(username, realm, &time_limited_password(secret, username))
    });
    own.into_iter().chain(limited)
}

/// The password of a time-limited username, as clients get it from an application's server.
pub fn time_limited_password(secret: &Secret, username: &str) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.expose().as_bytes(),
    );
    STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

/// The parts of a time-limited username.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimited<'a> {
    /// Seconds since 1970.
    pub expires_s: u64,
    /// Empty for a bare timestamp.
    pub name: &'a str,
}

impl<'a> TimeLimited<'a> {
    pub fn parse(username: &'a str) -> Option<Self> {
        let first = username.split_once(':');
        let last = username.rsplit_once(':').map(|(name, stamp)| (stamp, name));
        let parts = [first, last, Some((username, ""))];
        parts.into_iter().flatten().find_map(|(stamp, name)| {
            Some(Self {
                expires_s: timestamp(stamp)?,
                name,
            })
        })
    }
}

/// Digits alone: `parse` would take a sign.
fn timestamp(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Whose quota an allocation counts for: the name inside a time-limited username, else the username.
pub fn quota_name<'a>(settings: &Settings, username: &'a str) -> &'a str {
    if settings.users.contains_key(username) || settings.auth_secrets.is_empty() {
        return username;
    }
    match TimeLimited::parse(username) {
        Some(TimeLimited { name: "", .. }) | None => username,
        Some(TimeLimited { name, .. }) => name,
    }
}
