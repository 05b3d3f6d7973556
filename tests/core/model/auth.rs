//! The long-term credential mechanism (RFC 8489 §9.2) as the model understands it.

use super::{Model, Nonce, Origin};
use crate::support::stun::{self, Integrity, Message, attr};
use std::time::Duration;

/// Stamps of nonces may be whole seconds, so the edge of their lifetime is soft by so much.
const NONCE_EDGE: Duration = Duration::from_secs(2);

/// So many failures of one username from one source, so close together, may tire the server.
const FAILURES: usize = 10;
const FAILURES_WITHIN: Duration = Duration::from_secs(51);

/// RFC 8489 §18.1: bit 0 and bit 1 of the security features, in the 24 bits after "obMatJos2".
const PASSWORD_ALGORITHMS: u32 = 0x80_0000;

pub struct Authenticated {
    pub username: String,
    pub password: String,
    pub integrity: Integrity,
}

/// The codes that may refuse a request before its sender is known.
pub struct Refused(pub Vec<u16>);

impl Model {
    pub fn authenticate(&self, from: &Origin, message: &Message) -> Result<Authenticated, Refused> {
        if !message.has_integrity() {
            return Err(Refused(vec![401]));
        }
        let username = self.username(message);
        let text = |kind| {
            message
                .get(kind)
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let (Some(realm), Some(nonce)) = (text(attr::REALM), text(attr::NONCE)) else {
            return Err(Refused(vec![400]));
        };
        let Some(username) = username else {
            return Err(Refused(vec![400]));
        };
        let (fresh, stale) = self.nonce_state(from, &nonce);
        let Ok(sha256_key) = self.password_algorithm(message, &nonce) else {
            let codes = if stale { vec![400, 438] } else { vec![400] };
            return Err(Refused(codes));
        };
        let known = realm == self.rules.realm && username.is_some();
        let signs = |name: &String| {
            let passwords = self.passwords(from, name, sha256_key).into_iter();
            let mut signed = passwords.map(|password| {
                let derive = if sha256_key {
                    stun::key_sha256
                } else {
                    stun::key_md5
                };
                let key = derive(name, &self.rules.realm, &password);
                let integrity = match message.has(attr::MESSAGE_INTEGRITY_SHA256) {
                    true => Integrity::Sha256(key),
                    false => Integrity::Sha1(key),
                };
                (password, integrity)
            });
            signed.find(|(_, integrity)| message.verify(integrity))
        };
        let signed = username.as_ref().and_then(signs);
        let mut codes = Vec::new();
        if stale {
            codes.push(438);
        }
        if !known || signed.is_none() {
            codes.push(401);
        }
        match (signed, username) {
            (Some((password, integrity)), Some(username)) if known && fresh => Ok(Authenticated {
                username,
                password,
                integrity,
            }),
            _ => Err(Refused(codes)),
        }
    }

    /// `None`: no name at all; `Some(None)`: a name that nobody has.
    fn username(&self, message: &Message) -> Option<Option<String>> {
        if let Some(name) = message.get(attr::USERNAME) {
            return Some(String::from_utf8(name.to_vec()).ok());
        }
        let hash = message.get(attr::USERHASH)?;
        let names = self.rules.users.iter().chain(&self.rules.md5_users);
        let mut names = names.map(|(name, _)| name);
        let found = names
            .find(|name| stun::userhash(name, &self.rules.realm) == hash)
            .cloned();
        let live = self
            .allocations
            .iter()
            .map(|allocation| &allocation.username);
        let same = |name: &&String| stun::userhash(name, &self.rules.realm) == hash;
        Some(found.or_else(|| live.clone().find(same).cloned()))
    }

    /// RFC 8489 §9.2.4: which key derivation was asked for, `Err` for an attempted bid-down.
    fn password_algorithm(&self, message: &Message, nonce: &str) -> Result<bool, ()> {
        if features(nonce) & PASSWORD_ALGORITHMS == 0 {
            return Ok(false);
        }
        let chosen = message.get(attr::PASSWORD_ALGORITHM);
        match (chosen, message.get(attr::PASSWORD_ALGORITHMS)) {
            (None, None) => Ok(false),
            (Some(chosen), Some(offered)) => {
                // Both algorithms are offered, MD5 (1) and SHA-256 (2), none with parameters.
                let mut pairs: Vec<&[u8]> = offered.chunks(4).collect();
                pairs.sort_unstable();
                let all = pairs == [[0, 1, 0, 0], [0, 2, 0, 0]];
                match chosen {
                    [0, 1, 0, 0] if all => Ok(false),
                    [0, 2, 0, 0] if all => Ok(true),
                    _ => Err(()),
                }
            }
            _ => Err(()),
        }
    }

    /// (may be good, may be stale); both near the end of its lifetime.
    fn nonce_state(&self, from: &Origin, text: &str) -> (bool, bool) {
        let client = from.tuple.client.ip();
        let known = |nonce: &&Nonce| nonce.text == text && nonce.client == client;
        let Some(nonce) = self.nonces.iter().find(known) else {
            return (false, true);
        };
        let age = from.now.duration_since(nonce.issued);
        let lifetime = Duration::from_secs(u64::from(self.rules.nonce_lifetime_s));
        (age < lifetime + NONCE_EDGE, age + NONCE_EDGE > lifetime)
    }

    /// Stamps are whole seconds: at its edge a nonce or a username may be taken or refused, and the model
    /// follows what the core did.
    pub fn may_refuse_at_an_edge(&self, from: &Origin, message: &Message, code: u16) -> bool {
        let nonce = message.text(attr::NONCE);
        let name = message.text(attr::USERNAME);
        match code {
            438 => nonce.is_some_and(|text| self.nonce_state(from, &text) == (true, true)),
            401 => name.and_then(|name| expiry(&name)) == Some(from.unix_s),
            _ => false,
        }
    }

    pub fn remember_nonce(&mut self, from: &Origin, text: String) {
        let client = from.tuple.client.ip();
        self.nonces.push(Nonce {
            text,
            client,
            issued: from.now,
        });
        let old = Duration::from_secs(u64::from(self.rules.nonce_lifetime_s)) * 4;
        self.nonces.retain(|nonce| nonce.issued + old > from.now);
    }

    /// After too many failures a username is not looked at any more for a while, right or wrong.
    pub fn may_be_tired_of(&self, from: &Origin, message: &Message) -> bool {
        let Some(name) = self.named(message) else {
            return false;
        };
        let ip = from.tuple.client.ip();
        let recent = self.failures.iter().filter(|(client, other, at)| {
            *client == ip && *other == name && *at + FAILURES_WITHIN > from.now
        });
        recent.count() >= FAILURES
    }

    pub fn remember_failure(&mut self, from: &Origin, message: &Message) {
        if let Some(name) = self.named(message) {
            self.failures.push((from.tuple.client.ip(), name, from.now));
        }
        self.failures
            .retain(|(_, _, at)| *at + FAILURES_WITHIN > from.now);
    }

    fn named(&self, message: &Message) -> Option<String> {
        self.username(message).flatten()
    }

    /// Whose quota counts: time-limited usernames of one name are one user's.
    pub fn account<'a>(&self, username: &'a str) -> &'a str {
        let listed = self.rules.users.iter().chain(&self.rules.md5_users);
        let mut listed = listed.map(|(name, _)| name);
        if expiry(username).is_none() || listed.any(|name| name == username) {
            return username;
        }
        let mut parts = username.split(':');
        parts
            .find(|part| part.parse::<u64>().is_err())
            .unwrap_or(username)
    }

    /// The passwords that may sign: a live allocation keeps the one it was made with.
    fn passwords(&self, from: &Origin, name: &str, sha256_key: bool) -> Vec<String> {
        let mut passwords = Vec::new();
        if let Some(index) = self.position(&from.tuple) {
            let allocation = &self.allocations[index];
            if allocation.username == name && !(sha256_key && allocation.md5_only) {
                passwords.push(allocation.password.clone());
            }
        }
        let named = |(user, _): &&(String, String)| user == name;
        if let Some((_, password)) = self.rules.users.iter().find(named) {
            passwords.push(password.clone());
        } else if let Some((_, password)) = self.rules.md5_users.iter().find(named) {
            if !sha256_key {
                passwords.push(password.clone());
            }
        } else if expiry(name).is_some_and(|until| until >= from.unix_s) {
            let secrets = self.rules.secrets.iter();
            passwords.extend(secrets.map(|secret| stun::rest_password(secret, name)));
        }
        passwords
    }
}

/// `timestamp:name`, `name:timestamp` or `timestamp`.
fn expiry(name: &str) -> Option<u64> {
    let mut parts = name.split(':');
    let (first, last) = (parts.next()?, parts.next_back());
    first.parse().ok().or_else(|| last?.parse().ok())
}

fn features(nonce: &str) -> u32 {
    use base64::Engine;
    let Some(rest) = nonce.strip_prefix("obMatJos2") else {
        return 0;
    };
    let text = rest.get(..4).unwrap_or("");
    let bits = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_default();
    match bits[..] {
        [a, b, c] => u32::from_be_bytes([0, a, b, c]),
        _ => 0,
    }
}
